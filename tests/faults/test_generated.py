"""Twenty thousand generated cases: rows, texts, cuts and parameters of any kind.

Each property runs on a few cases in the quick run and on all of CASES where slow tests run.
"""

import copy
import json
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import stages.testsets as testsets_stage
from reward.harness.errors import InputError
from reward.harness.params import Params, load_params
from reward.pairs.columns import COLUMNS
from reward.pairs.preference import SCHEMA, Preference, UnusableError, to_batch
from reward.pairs.quality import judge
from reward.pairs.rows import Tolerance, read_rows
from reward.pairs.settings import Quality
from reward.serving.questions import read_question
from reward.tokens.encoder import Encoder
from reward.tokens.truncation import truncate
from stages.download import DownloadParams
from stages.evaluate import EvaluateParams
from stages.report import ReportParams
from stages.split import SplitParams
from stages.stats import StatsParams
from stages.tokenize import TokenizeParams
from stages.train import TrainParams
from tests.support.backbones import CHATML, DIALOGPT, LLAMA, NAMES, TOKENIZERS, save
from tests.support.candidates import read

CASES = {
    "rows": 6000,
    "lines": 2500,
    "questions": 2500,
    "texts": 2500,
    "cuts": 4000,
    "params": 2500,
}
QUICK = 60
PROJECT = Path(__file__).parents[2]

assert sum(CASES.values()) == 20_000


def cases(name: str) -> pytest.MarkDecorator:
    """How many examples a property gets: few, or all where slow tests run."""
    slow = pytest.param(CASES[name], marks=pytest.mark.slow)
    return pytest.mark.parametrize("count", [QUICK, slow])


def generate(count: int, check: Callable[..., None], **strategies: Any) -> None:
    """Run a property and count how often it ran."""
    ran = 0

    @settings(max_examples=count)
    @given(**strategies)
    def counted(**values: Any) -> None:
        nonlocal ran
        ran += 1
        check(**values)

    counted()
    assert ran >= count


# JSON as a file can hold it: lone surrogates, numbers without end, lists in lists.
texts = st.text(st.characters(codec=None), max_size=20)
numbers = st.one_of(
    st.integers(), st.integers(-5, 5), st.floats(), st.just(10**400), st.just(-1e308)
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
words = st.one_of(
    texts,
    st.sampled_from(
        [
            "Why?",
            "\n\nHuman: Why?\n\nAssistant: So.",
            "\n\nHuman: Why?\n\nAssistant:",
            "Human:",
            "\n\nAssistant: So.",
            "<extra_id_0>System\nBe kind.\n<extra_id_1>User\nWhy?\n<extra_id_1>Assistant\n",
            "<extra_id_1>User\n",
            " ",
        ]
    ),
)
roles = st.sampled_from(["user", "assistant", "system", "tool", "", "\ud800"])
message = st.fixed_dictionaries({"role": roles, "content": words})
conversation = st.lists(message | anything, max_size=4)
item = st.dictionaries(
    st.sampled_from(["response", "text", "content", "overall_score", "score", "rating"]),
    words | numbers | anything,
    max_size=3,
)
value = st.one_of(words, conversation, numbers, st.lists(item | words | numbers, max_size=4))

RATED = {"chosen_rating": 2, "rejected_rating": 1}
GOOD: dict[str, dict[str, Any]] = {
    "pairs": {"prompt": "Why?", "chosen": "So.", "rejected": "No.", **RATED},
    "transcripts": {
        "chosen": "\n\nHuman: Why?\n\nAssistant: So.",
        "rejected": "\n\nHuman: Why?\n\nAssistant: No.",
        **RATED,
    },
    "strength": {
        "prompt": "Why?",
        "response_1": "So.",
        "response_2": "No.",
        "overall_preference": -2,
    },
    "scored-lists": {
        "prompt": "Why?",
        "responses": [{"text": "So.", "score": 3}, {"text": "No.", "score": 1}],
    },
    "labels": {"prompt": "Why?", "response_1": "So.", "response_2": "No.", "label": "response_1"},
    "scores": {
        "prompt": "Why?",
        "response_1": "So.",
        "response_2": "No.",
        "score_1": 3,
        "score_2": 1,
    },
    "ranked-lists": {"prompt": "Why?", "responses": ["So.", "No."]},
    "ratings": {"prompt": "Why?", "response": "So.", "helpfulness": 3},
    "branches": {
        "messages": [
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "So.", "score": 3},
            {"role": "assistant", "content": "No.", "score": 1},
        ]
    },
    "trees": {"message_id": "a", "parent_id": "b", "role": "assistant", "text": "So.", "rank": 0},
}

# A first row in which every column that a format may have holds what belongs there.
FIRST = GOOD | {name: GOOD[name] | {"chosen_share": 0.75} for name in ("pairs", "transcripts")}


def columns_of(name: str) -> list[str]:
    # Of very many names the first ones, or hardly a row would have two that belong together.
    known = {alias for ours, column in COLUMNS[name].items() for alias in (ours, *column.names[:3])}
    return sorted(known | {"helpfulness"})


def rows_of(name: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    names = st.sampled_from(columns_of(name))
    row = st.dictionaries(names, value | anything, max_size=6)
    # Fewer changes of a good row, as each can spoil it.
    few = st.dictionaries(names, value | anything, max_size=2)
    near = few.map(lambda changes: GOOD[name] | changes)
    return st.lists(row | near, min_size=1, max_size=4)


ACTIONS = st.sampled_from(["drop", "count", "ignore"])
qualities = st.fixed_dictionaries(dict.fromkeys(Quality.model_fields, ACTIONS))


def holds_control(prompt: Any, answers: Any) -> bool:
    return any("Why" in content for _, content in prompt) or any("So" in text for text in answers)


@cases("rows")
def test_rows_give_valid_pairs_or_reasons(count: int) -> None:
    outcomes = Counter[str]()
    with TemporaryDirectory() as folder:

        def check(kind: str, rows: Any, compare: str | None, quality: dict[str, Any]) -> None:
            chosen = rows.draw(rows_of(kind))
            options: dict[str, Any] = {"format": kind, "comparisons": compare}
            if kind == "ratings":
                options["attributes"] = {"helpfulness": 1.0}
            try:
                found = read(Path(folder), [FIRST[kind], *chosen], **options)
            except InputError as error:  # a column of the first rows has no value that fits
                check_sentence(error)
                outcomes["sentence"] += 1
                return
            outcomes.update(type(one.outcome).__name__ for one in found if one.row > 1)
            assert {candidate.row for candidate in found} <= {*range(1, len(chosen) + 2)}
            for candidate in found:
                if isinstance(candidate.outcome, UnusableError):
                    check_reason(candidate.outcome.reason)
                else:
                    check_pair(candidate.outcome, quality)
            rows_told = {candidate.row for candidate in found}
            if kind in ("pairs", "transcripts", "strength", "labels", "scores"):
                assert rows_told == {*range(1, len(chosen) + 2)}
            elif kind in ("scored-lists", "ranked-lists"):
                one_response = set(range(2, len(chosen) + 2)) - {c.row for c in found}
                for row in one_response:
                    listed = {**chosen[row - 2]}
                    assert any(isinstance(v, list) and len(v) == 1 for v in listed.values())

        generate(
            count,
            check,
            kind=st.sampled_from([*COLUMNS]),
            rows=st.data(),
            compare=st.sampled_from([None, "all", "best-worst"]),
            quality=qualities,
        )
    assert min(outcomes["UnusableError"], outcomes["Preference"]) > 0
    if count > QUICK:  # a few examples may be much alike
        # Neither of them is most of what was seen.
        assert outcomes["sentence"] < count / 4
        assert min(outcomes["UnusableError"], outcomes["Preference"]) > count / 4


def check_pair(pair: Preference, quality: dict[str, Any]) -> None:
    """It is dropped for a reason, or good for all later stages."""
    try:
        problems = judge(pair, quality, holds_control)
    except UnusableError as unusable:
        check_reason(unusable.reason)
        return
    assert all(quality[problem] == "count" for problem in problems)
    batch = to_batch([pair], "mine")
    assert batch.schema == SCHEMA
    batch.validate(full=True)
    (row,) = batch.to_pylist()
    assert row["prompt"][-1]["role"] in ("user", "tool")
    assert len(pair.pair_id) == 32
    for rating in (pair.chosen_rating, pair.rejected_rating):
        assert rating is None or math.isfinite(rating)


line = st.one_of(
    st.binary(max_size=40),
    anything.map(lambda one: json.dumps(one).encode()),
    st.just(b'{"prompt": "Why?", "chosen": "So.", "rejected": "No."}'),
    st.sampled_from([b"", b" ", b"\xef\xbb\xbf{}", b"[" * 5000, b'{"a": 1e999}', b'{"a": NaN}']),
    st.sampled_from([b"[", b"]", b",", b"{", b"}", b'"', b"a,b", b'[{"a": 1},', b'"data": [{}]']),
)


FILES = ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.arrow", "rows.jsonl.zst"]


@cases("lines")
def test_lines_of_any_bytes_are_rows_or_one_sentence(count: int) -> None:
    with TemporaryDirectory() as folder:

        def check(name: str, lines: list[bytes], tolerance: int) -> None:
            path = Path(folder) / name
            path.write_bytes(b"\n".join(lines))
            try:
                batches = [*read_rows({name: path}, Tolerance(tolerance))]
            except InputError as error:
                check_sentence(error)
                return
            rows = [row for batch in batches for _, row in batch]
            assert all(isinstance(row, dict) or row == "unreadable" for row in rows)
            assert rows.count("unreadable") <= tolerance

        generate(
            count,
            check,
            name=st.sampled_from(FILES),
            lines=st.lists(line, max_size=5),
            tolerance=st.integers(0, 5),
        )


@cases("questions")
def test_rows_to_score_are_questions_or_reasons(count: int) -> None:
    def check(row: dict[str, Any]) -> None:
        try:
            question = read_question(row)
        except UnusableError as unusable:
            check_reason(unusable.reason)
            return
        assert question.answers
        for text in (*question.answers, *(text for turn in question.prompt for text in turn)):
            text.encode()
        rewards = question.as_columns(np.arange(len(question.answers), dtype=np.float64))
        assert all(isinstance(values, float | list) for values in rewards.values())

    names = st.sampled_from(["prompt", "chosen", "rejected", "response", "responses"])
    generate(count, check, row=st.dictionaries(names, value | anything, max_size=5))


@cache
def encoders() -> list[Encoder]:
    """Every kind of tokenizer with every kind of template, each opened once."""
    folder = Path(_folder().name)
    return [
        Encoder(save(folder / f"{number}{kind}", TOKENIZERS[kind], template, **NAMES.get(kind, {})))
        for kind in TOKENIZERS
        for number, template in enumerate((CHATML, LLAMA, DIALOGPT, None))
    ]


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


# What JSON and a tokenizer can hold, with the marks of templates in it.
readable = st.lists(
    st.text(max_size=10)
    | st.sampled_from(["<|im_end|>", "<s>", "</s>", "[CLS]", "\x00", "\u202e"]),
    max_size=4,
).map("".join)


@cases("texts")
def test_ids_of_prompt_and_answer_are_those_of_the_whole_text(count: int) -> None:
    def check(which: int, contents: list[str], answers: list[str]) -> None:
        encoder = encoders()[which]
        prompt = [{"role": "user", "content": content} for content in contents]
        (encoded,) = encoder.encode([prompt], [answers])
        for answer, ids in zip(answers, encoded.responses, strict=True):
            text = encoder.render([*prompt, {"role": "assistant", "content": answer}])
            whole = encoder.tokenizer.encode(text, add_special_tokens=False).ids
            assert [*encoded.prompt.tolist(), *ids.tolist()] == whole

    generate(
        count,
        check,
        which=st.integers(0, len(encoders()) - 1),
        contents=st.lists(readable, min_size=1, max_size=3),
        answers=st.lists(readable, min_size=1, max_size=3),
    )


token_ids = st.lists(st.integers(0, 3), max_size=30).map(lambda ids: np.array(ids, dtype=np.int32))


@cases("cuts")
def test_a_cut_keeps_its_promises(count: int) -> None:
    def check(prompt: Any, shared: Any, tails: list[Any], budget: int, floor: float) -> None:
        answers = [np.concatenate([shared, tail]) for tail in tails]
        after = truncate(prompt, answers, budget, floor, {3})
        wholes = [[*prompt.tolist(), *answer.tolist()] for answer in answers]
        shorts = [[*after.prompt.tolist(), *answer.tolist()] for answer in after.responses]
        assert max(map(len, shorts)) <= budget
        if max(map(len, wholes)) <= budget:
            assert shorts == wholes
            return
        assert max(map(len, shorts)) == budget
        if len(answers) == 2:
            assert (shorts[0] == shorts[1]) == (wholes[0] == wholes[1])
        if len({*map(tuple, wholes)}) > 1:
            assert len({*map(tuple, shorts)}) > 1
        for whole, short in zip(wholes, shorts, strict=True):
            if whole[:1] == [3]:
                assert short[0] == 3
                whole, short = whole[1:], short[1:]
            assert any(
                whole[start : start + len(short)] == short
                for start in range(len(whole) - len(short) + 1)
            )

    generate(
        count,
        check,
        prompt=token_ids,
        shared=token_ids,
        tails=st.lists(token_ids, min_size=1, max_size=4),
        budget=st.integers(2, 60),
        floor=st.floats(0, 1, exclude_max=True),
    )


KINDS: list[type[Params]] = [
    *(DownloadParams, SplitParams, TokenizeParams, testsets_stage.TestsetsParams),
    *(StatsParams, TrainParams, EvaluateParams, ReportParams),
]
PARAMS = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
yaml_values = st.recursive(
    st.one_of(
        scalars.filter(lambda one: not isinstance(one, str)),
        st.text(string.printable, max_size=10),
        st.dates(),
        st.binary(max_size=5),
        st.sampled_from([1e308, math.nan, math.inf, "1e-5", "null", "drop", -1, 0, 1, 2**70]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(string.ascii_lowercase, max_size=8) | st.integers(), inner)
    ),
    max_leaves=4,
)


def places(values: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path to every key."""
    for key, inner in values.items():
        yield (*before, key)
        if isinstance(inner, dict):
            yield from places(inner, (*before, key))


@cases("params")
def test_any_value_at_any_place_is_valid_or_one_sentence(count: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"

        def check(place: tuple[str, ...], new: Any, kind: type[Params]) -> None:
            values = copy.deepcopy(PARAMS)
            section = values
            for key in place[:-1]:
                section = section[key]
            section[place[-1]] = new
            path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
            check_params(kind, path)

        generate(
            count,
            check,
            place=st.sampled_from([*places(PARAMS)]),
            new=yaml_values,
            kind=st.sampled_from(KINDS),
        )


def check_params(kind: type[Params], path: Path) -> None:
    try:
        assert isinstance(load_params(kind, path), kind)
    except InputError as error:
        check_sentence(error)


def check_reason(reason: str) -> None:
    """It is a key of records, and reads as words."""
    assert re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", reason)


def check_sentence(error: InputError) -> None:
    said = str(error)
    assert said.isprintable()
    assert said.endswith(".")
