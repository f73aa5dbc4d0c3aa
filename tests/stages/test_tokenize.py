"""stages.tokenize on a tokenizer of whole words, so that ids can be counted by hand."""

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from reward.harness.errors import InputError
from reward.harness.params import load_params
from reward.harness.tables import read_notes
from reward.pairs.preference import SCHEMA, prompt_id
from reward.tokens import tokenization
from reward.tokens.encoder import Encoder
from reward.tokens.records import TOKENS, LeftOut, TokenSettings
from reward.tokens.rendering import RefusedError
from reward.tokens.settings import Tokenize
from reward.tokens.tokenization import Encoding
from reward.training.model_folder import open_tokenizer
from stages.tokenize import TokenizeParams, tokenize

ROOT = Path(__file__).parents[2]

END = 26
"""The id of <end>; a is 0, b is 1, ... z is 25."""


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    letters = {chr(ord("a") + number): number for number in range(26)}
    vocabulary = letters | {"<end>": END, "?": END + 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<end>"}')
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message.content }} {{ eos_token }}{% endfor %}"
    )
    (folder / "config.json").write_text('{"n_positions": 64}')
    return folder


def preference(number: int, prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "pair_id": f"{number:032x}",
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": chosen,
        "rejected": rejected,
        "chosen_rating": 3.0 + number,
        "rejected_rating": None if number == 1 else 2.0,
    }


def write_splits(
    folder: Path, train: list[dict[str, Any]], validation: list[dict[str, Any]] | None = None
) -> Path:
    folder.mkdir(exist_ok=True)
    for side, rows in (("train", train), ("validation", validation or train[:1])):
        records = [{"source": "made", **row} for row in rows]
        pq.write_table(pa.Table.from_pylist(records, SCHEMA), folder / f"{side}.parquet")
    return folder


def params(max_length: int, prompt_floor: float = 0.5, refused: Any = "stop") -> TokenizeParams:
    """Not validated: what is shorter than params.yaml may have it can be followed by hand."""
    return TokenizeParams.model_construct(
        max_length=max_length, tokenize=Tokenize(prompt_floor=prompt_floor, refused=refused)
    )


@pytest.mark.parametrize("max_length", [-1, 0, 2, 15, True])
def test_a_length_without_room_for_words_is_refused(tmp_path: Path, max_length: int) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(
        f"max_length: {str(max_length).lower()}\ntokenize: {{prompt_floor: 0.25, refused: stop}}\n"
    )
    with pytest.raises(InputError, match=rf"^max_length={max_length} in .* is not valid: "):
        load_params(TokenizeParams, path)
    path.write_text("max_length: 16\ntokenize: {prompt_floor: 0.25, refused: stop}\n")
    assert load_params(TokenizeParams, path).max_length == 16


def test_records_by_hand(backbone: Path, tmp_path: Path) -> None:
    splits = write_splits(
        tmp_path / "splits",
        [
            preference(0, "a b", "c d", "c e"),
            preference(1, "a b c d", "e f g", "h"),
            preference(2, "a", "b c d e f g h i", "b c d e f g j"),
        ],
        [preference(3, "z", "y", "x")],
    )
    tokenize(params(max_length=6), splits, backbone, tmp_path / "tokens")
    train = pq.read_table(tmp_path / "tokens/train.parquet")
    assert train.schema.equals(TOKENS)
    assert train.schema.metadata == {b"max_length": b"6", b"prompt_floor": b"0.5"}
    assert train.to_pylist() == [
        {
            "pair_id": f"{0:032x}",
            "prompt_id": prompt_id([("user", "a b")]),
            # a b <end> and c d <end>: 3 + 3 = 6 tokens fit.
            "chosen_ids": [0, 1, END, 2, 3, END],
            "rejected_ids": [0, 1, END, 2, 4, END],
            "prefix_length": 4,
            "prompt_tokens": 3,
            "chosen_tokens": 3,
            "rejected_tokens": 3,
            "shared_tokens": 4,
            "chosen_rating": 3.0,
            "rejected_rating": 2.0,
        },
        {
            "pair_id": f"{1:032x}",
            "prompt_id": prompt_id([("user", "A  b c d")]),
            # 5 + 4 = 9 tokens: the prompt keeps floor(0.5 * 6) = 3, so each response may have 3.
            "chosen_ids": [2, 3, END, 4, 5, 6],
            "rejected_ids": [2, 3, END, 7, END],
            "prefix_length": 3,
            "prompt_tokens": 5,
            "chosen_tokens": 4,
            "rejected_tokens": 2,
            "shared_tokens": 5,
            "chosen_rating": 4.0,
            "rejected_rating": None,
        },
        {
            "pair_id": f"{2:032x}",
            "prompt_id": prompt_id([("user", "a")]),
            # 2 + 9 = 11 tokens that differ from the ninth on. What they share, a <end> b c d e f g,
            # keeps its last 3; then h i <end> and j <end> fit.
            "chosen_ids": [4, 5, 6, 7, 8, END],
            "rejected_ids": [4, 5, 6, 9, END],
            "prefix_length": 3,
            "prompt_tokens": 2,
            "chosen_tokens": 9,
            "rejected_tokens": 8,
            "shared_tokens": 8,
            "chosen_rating": 5.0,
            "rejected_rating": 2.0,
        },
    ]
    validation = pq.read_table(tmp_path / "tokens/validation.parquet").to_pylist()
    assert [row["chosen_ids"] for row in validation] == [[25, END, 24, END]]


words = st.lists(st.sampled_from("abc"), min_size=1, max_size=20).map(" ".join)


@given(
    pairs=st.lists(st.tuples(words, words, words), min_size=1, max_size=5),
    max_length=st.integers(2, 48),
    floor=st.floats(0, 1, exclude_max=True),
)
def test_every_pair_fits_and_differs(
    pairs: list[tuple[str, str, str]],
    max_length: int,
    floor: float,
    backbone: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("property")
    rows = [preference(0, "a", "b", "c")]
    rows += [preference(n, p, c, r) for n, (p, c, r) in enumerate(pairs, 1) if c != r]
    for number, row in enumerate(rows):  # each answer rated by itself: no pair shares one
        row["rejected_rating"] = -number
    splits = write_splits(folder / "splits", rows)
    tokenize(params(max_length, floor), splits, backbone, folder / "tokens")
    records = pq.read_table(folder / "tokens/train.parquet").to_pylist()
    assert [record["pair_id"] for record in records] == [row["pair_id"] for row in rows]
    for record in records:
        chosen, rejected = record["chosen_ids"], record["rejected_ids"]
        prefix = record["prefix_length"]
        assert len(chosen) <= max_length
        assert len(rejected) <= max_length
        assert chosen[:prefix] == rejected[:prefix]
        assert chosen[prefix : prefix + 1] != rejected[prefix : prefix + 1]
        whole = record["prompt_tokens"] + max(record["chosen_tokens"], record["rejected_tokens"])
        assert max(len(chosen), len(rejected)) == min(whole, max_length)


def ranked(first: int, prompt: str, *answers: str) -> list[dict[str, Any]]:
    """All pairs of answers, best first, that are rated 9, 8, ..."""
    rated = [(answer, 9.0 - place) for place, answer in enumerate(answers)]
    return [
        preference(first + number, prompt, one, other)
        | {"chosen_rating": high, "rejected_rating": low}
        for number, ((one, high), (other, low)) in enumerate(combinations(rated, 2))
    ]


def test_answers_of_one_prompt_are_cut_together(backbone: Path, tmp_path: Path) -> None:
    rows = ranked(0, "a b c d", "e f g h i", "j", "k l")
    tokenize(params(8), write_splits(tmp_path / "splits", rows), backbone, tmp_path / "tokens")
    records = pq.read_table(tmp_path / "tokens/train.parquet").to_pylist()
    # 5 + 6 = 11 tokens for the longest: the prompt keeps floor(0.5 * 8) = 4 of its tokens, so that
    # the longest keeps 4, and the others fit; alone, j and k l would leave all 5 of the prompt.
    prompt = [1, 2, 3, END]
    long, short, other = [*prompt, 4, 5, 6, 7], [*prompt, 9, END], [*prompt, 10, 11, END]
    assert [(row["chosen_ids"], row["rejected_ids"]) for row in records] == [
        (long, short),
        (long, other),
        (short, other),
    ]
    assert [row["prefix_length"] for row in records] == [4, 4, 4]
    assert [row["prompt_tokens"] for row in records] == [5, 5, 5]
    assert [(row["chosen_tokens"], row["rejected_tokens"]) for row in records] == [
        (6, 2),
        (6, 3),
        (2, 3),
    ]


def test_pairs_of_one_prompt_without_a_common_answer_are_cut_by_themselves(
    backbone: Path, tmp_path: Path
) -> None:
    rows = [*ranked(0, "a b c d", "e f g h i", "j"), *ranked(1, "a b c d", "k l", "m")]
    rows += [row | {"rejected_rating": 1.0} for row in ranked(2, "a b c d", "n", "j")]  # not 8
    splits = write_splits(tmp_path / "splits", rows)
    tokenize(params(8), splits, backbone, tmp_path / "tokens")
    for number, row in enumerate(rows):
        alone = write_splits(tmp_path / f"alone-{number}", [row])
        tokenize(params(8), alone, backbone, tmp_path / f"tokens-{number}")
        (expected,) = pq.read_table(tmp_path / f"tokens-{number}/train.parquet").to_pylist()
        assert pq.read_table(tmp_path / "tokens/train.parquet").to_pylist()[number] == expected


def test_a_pair_that_would_become_equal_is_cut_by_itself(backbone: Path, tmp_path: Path) -> None:
    # The first two differ in their last word only, the third from the first on.
    rows = ranked(0, "a", "b c d e f g h i j", "b c d e f g h i k", "l")
    tokenize(params(6), write_splits(tmp_path / "splits", rows), backbone, tmp_path / "tokens")
    records = pq.read_table(tmp_path / "tokens/train.parquet").to_pylist()
    first, *others = [(row["chosen_ids"], row["rejected_ids"]) for row in records]
    # What they share gives way down to its last four tokens, f g h i.
    assert first == ([5, 6, 7, 8, 9, END], [5, 6, 7, 8, 10, END])
    same, other = [0, END, 1, 2, 3, 4], [0, END, 11, END]
    assert others == [(same, other), (same, other)]


def test_a_group_is_whole_wherever_batches_end(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(3)
    rows: list[dict[str, Any]] = []
    for prompt in range(30):
        text = " ".join(draw.choices("abcdef", k=draw.randint(1, 8)))
        answers = [f"{word} " * draw.randint(1, 6) for word in "ghijkl"[: prompt % 5 + 2]]
        rows += ranked(len(rows), text, *answers)
    splits = write_splits(tmp_path / "splits", rows)
    found = []
    for size in (1, 4, 7, 1000):
        monkeypatch.setattr(tokenization, "BATCH_ROWS", size)
        tokenize(params(8), splits, backbone, tmp_path / f"tokens-{size}")
        file = pq.ParquetFile(tmp_path / f"tokens-{size}/train.parquet")
        found.append(file.read().to_pylist())
        parts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert max(parts) >= 15 or size == 1000  # of six answers
    assert found[0] == found[1] == found[2] == found[3]


def test_batches_of_pairs_alone_stay_as_they_are() -> None:
    rows = [preference(n, "a", f"b {n}", f"c {n}") | {"source": "made"} for n in range(10)]
    table = pa.Table.from_pylist(rows, SCHEMA)
    batches = table.to_batches(max_chunksize=4)
    assert [len(batch) for batch in tokenization.whole_groups(batches)] == [4, 4, 2]
    rows[5] |= {"chosen": rows[3]["chosen"], "chosen_rating": rows[3]["chosen_rating"]}
    batches = pa.Table.from_pylist(rows, SCHEMA).to_batches(max_chunksize=4)
    longer = list(tokenization.whole_groups(batches))
    assert [len(batch) for batch in longer] == [6, 2, 2]
    assert pa.Table.from_batches(longer).to_pylist() == rows


def test_pairs_without_a_difference_are_left_out_and_reported(
    backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [
        preference(0, "a", "b", "c"),
        preference(1, "a", "b", "B"),
        preference(2, "a", "c", "b"),
    ]
    splits = write_splits(tmp_path / "splits", rows)
    tokenize(params(8), splits, backbone, tmp_path / "tokens")
    kept = pq.read_table(tmp_path / "tokens/train.parquet")["pair_id"].to_pylist()
    assert kept == [f"{0:032x}", f"{2:032x}"]
    assert "train.parquet: 1 pairs left out, same tokens on both sides" in capfd.readouterr().err

    splits = write_splits(tmp_path / "splits", rows[1:2])
    with pytest.raises(InputError, match=r"No pair of .* has sides that differ as tokens"):
        tokenize(params(8), splits, backbone, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"n_positions": 64},
        {"max_position_embeddings": 64, "n_positions": 99},
        {"max_position_embeddings": 99, "text_config": {"max_position_embeddings": 64}},
    ],
)
def test_too_long_is_an_error_before_any_work(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError,
        match=r"^max_length=65 exceeds the backbone's 64 positions: "
        r"lower max_length or choose another backbone\.$",
    ):
        # Neither splits nor a tokenizer exist, so any other work would fail differently.
        tokenize(params(65), tmp_path / "missing", tmp_path, tmp_path / "tokens")
    with pytest.raises(InputError, match="tokenizer"):
        tokenize(params(64), tmp_path / "missing", tmp_path, tmp_path / "tokens")


def test_backbones_without_positions_take_any_length(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bloom"}')
    with pytest.raises(InputError, match="tokenizer"):
        tokenize(params(10**6), tmp_path, tmp_path, tmp_path / "tokens")


def test_parts_tokenised_apart_are_the_whole(backbone: Path, tmp_path: Path) -> None:
    """As several machines do it: each takes a part of the split's pairs."""
    rows = [preference(number, "a b c" * (number % 3 + 1), "d e", "f") for number in range(10)]
    tokenize(params(6), write_splits(tmp_path / "all", rows, rows), backbone, tmp_path / "whole")
    parts = []
    for first in range(0, 10, 4):
        part, out = tmp_path / f"part{first}", tmp_path / f"tokens{first}"
        tokenize(params(6), write_splits(part, rows[first : first + 4]), backbone, out)
        parts.append(pq.read_table(out / "train.parquet"))
    assert pa.concat_tables(parts).equals(pq.read_table(tmp_path / "whole/train.parquet"))


def test_worker_count_does_not_change_the_bytes(backbone: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = []
    for number in range(2500):
        texts = [" ".join(draw.choices("abcdefgh", k=draw.randint(1, 30))) for _ in range(3)]
        rows.append(preference(number, texts[0], texts[1] + " y", texts[2] + " z"))
    splits = write_splits(tmp_path / "splits", rows, rows[:100])
    (tmp_path / "params.yaml").write_text(
        "max_length: 24\ntokenize: {prompt_floor: 0.25, refused: stop}\n"
    )
    written = []
    for workers in ("1", "3"):
        tokens = tmp_path / f"tokens-{workers}"
        command = [sys.executable, "-m", "stages.tokenize", "--splits", splits]
        command += ["--backbone", backbone, "--tokens", tokens]
        subprocess.run(
            list(map(str, command)),
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "RAYON_NUM_THREADS": workers},
            check=True,
        )
        written.append([(tokens / f"{s}.parquet").read_bytes() for s in ("train", "validation")])
    assert written[0] == written[1]
    table = pq.read_table(tmp_path / "tokens-3/train.parquet")
    assert table["pair_id"].to_pylist() == [row["pair_id"] for row in rows]


# Takes no system turn, and drops whatever an answer has up to "h".
CHOOSY = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% set text = message.content %}"
    "{% if message.role == 'assistant' %}{% set text = text.split('h')[-1] %}{% endif %}"
    "{{ text }} {{ eos_token }}{% endfor %}"
)


def choosy(backbone: Path, folder: Path) -> Path:
    shutil.copytree(backbone, folder)
    (folder / "chat_template.jinja").write_text(CHOOSY)
    return folder


def with_system(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"prompt": [{"role": "system", "content": "z"}, *row["prompt"]]}


def test_a_refused_pair_is_named_in_a_sentence(backbone: Path, tmp_path: Path) -> None:
    bad = with_system(preference(7, "a \x1b\n b" + " c" * 99, "d", "e"))
    splits = write_splits(tmp_path / "splits", [preference(0, "a", "b", "c"), bad])
    with pytest.raises(RefusedError) as caught:
        tokenize(params(8), splits, choosy(backbone, tmp_path / "model"), tmp_path / "tokens")
    said = str(caught.value)
    assert "refuses a conversation with the roles system, user (no system), for one: the" in said
    assert f'the pair {7:032x} of made, whose last turn begins "a \\x1b b c c' in said
    assert "set tokenize.refused to merge" in said
    assert len(said) < 600
    assert not (tmp_path / "tokens").exists()


def test_refused_pairs_are_dropped_and_counted(
    backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [preference(number, "a", "b", f"c {number}") for number in range(4)]
    rows[1:3] = map(with_system, rows[1:3])
    splits, tokens = write_splits(tmp_path / "splits", rows), tmp_path / "tokens"
    tokenize(params(8, refused="drop"), splits, choosy(backbone, tmp_path / "model"), tokens)
    kept = pq.read_table(tokens / "train.parquet")["pair_id"].to_pylist()
    assert kept == [f"{0:032x}", f"{3:032x}"]
    left = LeftOut.of(read_notes(tokens / "train.parquet"), missing=2)
    assert left.dropped() == {"refused_by_the_chat_template": 2}
    assert f"2 pairs left out: The chat template in {tmp_path}/model ref" in capfd.readouterr().err
    splits = write_splits(tmp_path / "splits", rows[1:3])
    with pytest.raises(InputError, match="refuses every pair of"):
        tokenize(params(8, refused="drop"), splits, tmp_path / "model", tmp_path / "none")


def test_refused_turns_are_merged_and_the_template_goes_with_the_tokens(
    backbone: Path, tmp_path: Path
) -> None:
    splits = write_splits(tmp_path / "splits", [with_system(preference(0, "a b", "c", "d"))])
    folder, tokens = choosy(backbone, tmp_path / "model"), tmp_path / "tokens"
    tokenize(params(8, refused="merge"), splits, folder, tokens)
    (record,) = pq.read_table(tokens / "train.parquet").to_pylist()
    assert record["chosen_ids"] == [25, 0, 1, END, 2, END]
    template = read_notes(tokens / "train.parquet")["chat_template"]
    messages = [{"role": "system", "content": "z"}, {"role": "user", "content": "a b"}]
    tokenizer = open_tokenizer(folder, template)
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "z\n\na b <end>"
    copied = Encoding(TokenSettings(8, 0.5), Encoder(folder, chat_template=template))
    (batch,) = pq.read_table(splits / "train.parquet").to_batches()
    again = pickle.loads(pickle.dumps(copied))(batch)  # noqa: S301  as Ray does
    assert again.records["chosen_ids"].to_pylist() == [record["chosen_ids"]]


def test_text_of_answers_that_the_template_drops_is_counted(
    backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [
        preference(0, "a", "b", "c"),
        preference(1, "a", "d e h b", "c"),
        preference(2, "a", "e h b", "f h b"),  # differs in what is dropped alone
        preference(3, "a", "b", "g h c"),
    ]
    splits, tokens = write_splits(tmp_path / "splits", rows), tmp_path / "tokens"
    tokenize(params(8), splits, choosy(backbone, tmp_path / "model"), tokens)
    left = LeftOut.of(read_notes(tokens / "train.parquet"), missing=1)
    assert left == LeftOut(1, 0, Counter({"answer_text_left_out": 2}))
    said = capfd.readouterr().err
    assert "of 2 pairs the chat template leaves out or changes text of the answers" in said
    tokenize(params(8), splits, backbone, tmp_path / "plain")
    assert not {"counts", "chat_template"} & read_notes(tmp_path / "plain/train.parquet").keys()
