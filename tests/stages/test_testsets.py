"""Further test sets: the readers, rules and tokens of the pipeline, and every row accounted for."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from pydantic import ValidationError

import stages.testsets as stage
from reward.evaluation.origins import ORIGINS, Origins
from reward.harness.errors import InputError
from reward.pairs.preference import Message, Preference, to_batch
from reward.tokens.records import TOKENS, Token, TokenSettings
from stages.tokenize import TokenizeParams, tokenize

PROJECT = Path(__file__).parents[2]
PARAMS = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
TINY = PROJECT / "data/sources/tiny"


def params(**changes: Any) -> stage.TestsetsParams:
    names = stage.TestsetsParams.model_fields
    return stage.TestsetsParams.model_validate({name: PARAMS[name] for name in names} | changes)


def pair(number: int) -> dict[str, Any]:
    return {
        "prompt": f"Name {number} fruits.",
        "chosen": "Apple, pear, plum." * number,
        "rejected": "No.",
        "chosen_rating": 3.4,
        "rejected_rating": 2.4,
    }


class Place:
    """A folder with sources, and training pairs with these prompts."""

    def __init__(self, folder: Path, training: list[str]):
        self.sources, self.splits, self.out = (folder / n for n in ("sources", "splits", "out"))
        for path in (self.sources, self.splits):
            path.mkdir()
        known = [Preference((Message("user", one),), "Yes.", "No.", None, None) for one in training]
        table = pa.Table.from_batches([to_batch(known, "mine")])
        pq.write_table(table, self.splits / "train.parquet")

    def write(self, rows: list[dict[str, Any]], name: str = "mine.jsonl") -> dict[str, Any]:
        path = self.sources / name
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return {"source": str(path)}

    def run(self, given: stage.TestsetsParams) -> dict[str, Any]:
        stage.testsets(given, self.sources, self.splits, TINY, self.out)
        return json.loads((self.out / "records.json").read_text(encoding="utf-8"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, [])


def test_without_sets_there_is_a_record_of_none(place: Place) -> None:
    assert place.run(params(testsets={})) == {}
    assert [path.name for path in place.out.iterdir()] == ["records.json"]


def test_control_tokens_are_those_of_the_backbone(place: Place) -> None:
    rows = [pair(1), pair(2) | {"rejected": "No.<|end|>"}]
    assert place.run(params(testsets={"mine": place.write(rows)}))["mine"]["kept_with"] == {
        "control_tokens": 1
    }


def test_prompts_of_the_training_data_are_counted(tmp_path: Path) -> None:
    place = Place(tmp_path, ["name 2  FRUITS.", "Name 2 fruits.", "Name 4 fruits."])
    rows = [pair(1), pair(2), pair(2) | {"chosen": "Fig."}, pair(3)]
    records = place.run(params(testsets={"mine": place.write(rows)}))
    assert records["mine"]["prompt_in_training"] == 2


def test_tokens_are_those_that_tokenize_gives_and_rows_are_counted(
    place: Place, tmp_path: Path
) -> None:
    pairs = [pair(number) for number in range(1, 8)]
    tie = pair(9) | {"rejected_rating": 3.4}
    given = params(testsets={"mine": place.write([*pairs, pairs[2], tie])}, max_length=40)
    record = place.run(given)["mine"]
    assert (record["rows"], record["pairs"]) == (9, 7)
    assert record["dropped"] == {"duplicate": 1, "tie": 1}
    table = pq.read_table(place.out / "mine.parquet")
    assert table.schema.equals(TOKENS)
    assert TokenSettings.of(table.schema) == (40, PARAMS["tokenize"]["prompt_floor"])
    texts = [
        Preference((Message("user", row["prompt"]),), row["chosen"], row["rejected"], 3.4, 2.4)
        for row in pairs
    ]
    for side in ("train", "validation"):
        batch = to_batch(texts, "mine")
        pq.write_table(pa.Table.from_batches([batch]), place.splits / f"{side}.parquet")
    same = TokenizeParams(max_length=40, tokenize=given.tokenize)
    tokenize(same, place.splits, TINY, tmp_path / "tokens")
    assert table.equals(pq.read_table(tmp_path / "tokens/validation.parquet"))
    assert max(map(len, table[Token.CHOSEN_IDS].to_pylist())) == 40


def test_contradictions_and_repeats_are_judged_as_download_does(place: Place) -> None:
    one, two = pair(2), pair(3)
    swapped = one | {"chosen": one["rejected"], "rejected": one["chosen"]}
    entry = place.write([one, two, swapped, two])
    record = place.run(params(testsets={"mine": entry}))["mine"]
    assert record["pairs"] == pq.read_metadata(place.out / "mine.parquet").num_rows == 1
    assert record["dropped"] == {"contradiction": 2, "duplicate": 1}
    quality = PARAMS["download"]["quality"] | {"contradiction": "ignore", "duplicate": "count"}
    lenient = PARAMS["download"] | {"quality": quality}
    record = place.run(params(testsets={"mine": entry}, download=lenient))["mine"]
    assert record["pairs"] == pq.read_metadata(place.out / "mine.parquet").num_rows == 4
    assert record["dropped"] == {}


def test_pairs_of_the_same_tokens_are_counted(place: Place) -> None:
    same = pair(1) | {"chosen": "No.", "rejected": "No.\u00a0"}
    rows = [pair(1), pair(2)]
    quality = dict.fromkeys(PARAMS["download"]["quality"], "ignore")
    given = params(
        testsets={"mine": place.write([*rows, same])},
        download=PARAMS["download"] | {"quality": quality},
    )
    record = place.run(given)["mine"]
    assert record["pairs"] == pq.read_metadata(place.out / "mine.parquet").num_rows
    assert record["pairs"] + sum(record["dropped"].values()) == 3


@pytest.mark.parametrize("source", ["/them/pairs", "../mine.jsonl", "elsewhere/mine.jsonl"])
def test_a_source_outside_of_the_folder_is_refused(place: Place, source: str) -> None:
    with pytest.raises(InputError, match=r"testsets\.mine\.source=.* put the file there"):
        place.run(params(testsets={"mine": {"source": source}}))
    assert not place.out.exists()


def test_a_file_without_a_valid_pair_is_refused(place: Place) -> None:
    entry = place.write([pair(1) | {"rejected_rating": 3.4}])
    with pytest.raises(InputError, match="has no valid pair"):
        place.run(params(testsets={"mine": entry}))
    assert not place.out.exists()


def test_all_sets_are_opened_before_one_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a set is read although the next one has no format")

    monkeypatch.setattr(stage, "write_pairs", never)
    good, bad = place.write([pair(1)], "good.jsonl"), place.write([{"a": "b"}], "bad.jsonl")
    with pytest.raises(InputError, match=r"bad\.jsonl is of no known format"):
        place.run(params(testsets={"good": good, "bad": bad}))


def test_a_set_may_be_a_folder(place: Place) -> None:
    (place.sources / "mine").mkdir()
    place.write([pair(1)], "mine/test-1.jsonl")
    place.write([pair(2), pair(3)], "mine/test-2.jsonl")
    record = place.run(params(testsets={"mine": {"source": str(place.sources / "mine")}}))["mine"]
    assert (record["pairs"], record["split"]) == (3, "test")
    assert [*record["files"]] == ["test-1.jsonl", "test-2.jsonl"]


def test_a_set_that_is_not_enabled_is_not_looked_at(place: Place) -> None:
    off = {"source": "/nowhere.jsonl", "subset": "topic", "enabled": False}
    records = place.run(params(testsets={"off": off, "mine": place.write([pair(1)])}))
    assert [*records] == ["mine"]
    assert not (place.out / "origins").exists()


# Subsets and the rows that pairs come from


def test_columns_of_text_that_are_read_are_not_said_to_be_unread(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = place.write([pair(1) | {"topic": "sums", "author": "somebody"}])
    place.run(params(testsets={"mine": entry | {"subset": "topic"}}))
    assert "columns of text that are not read: author\n" in capsys.readouterr().err


def test_origins_are_those_of_the_pairs_that_are_left(place: Place) -> None:
    rows = [
        pair(1) | {"about": {"topic": "sums"}},
        pair(2) | {"about": {"topic": "words"}, "rejected_rating": 3.4},  # a tie: left out
        pair(3) | {"about": {"topic": None}},
        {
            "prompt": "Name one.",
            "chosen": ["Fig.", "Kiwi."],
            "rejected": ["A car.", "A tram.", "A bus."],
            "about": {"topic": " odd\n\u202ename "},
        },
        pair(1) | {"about": {"topic": "sums"}},  # a repeat: left out
    ]
    place.run(params(testsets={"mine": place.write(rows) | {"subset": "about.topic"}}))
    table = pq.read_table(place.out / "origins/mine.parquet")
    tokens = pq.read_table(place.out / "mine.parquet")
    assert table.schema.equals(ORIGINS)
    assert table["pair_id"].to_pylist() == tokens["pair_id"].to_pylist()
    found = Origins.of(table)
    assert found.rows.tolist() == [1, 3, 4, 4, 4, 4, 4, 4]
    assert found.subsets.tolist() == ["sums", "(none)", *["odd \\u202ename"] * 6]
    assert found.places.tolist()[2:] == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert found.scoring == "pairs"
    prompt = (Message("user", "Name one."),)
    by_place = {(1, 2): Preference(prompt, "Kiwi.", "A bus.", None, None).pair_id}
    assert table["pair_id"][7].as_py() == by_place[1, 2]


def test_a_column_that_is_not_there_is_named_before_a_set_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(stage, "write_pairs")
    entry = place.write([pair(1)]) | {"subset": "topic"}
    with pytest.raises(
        InputError, match=r"mine\.jsonl has no column topic \(there are: prompt, chosen, "
    ):
        place.run(params(testsets={"mine": entry}))


def test_a_column_of_too_many_values_is_refused(place: Place) -> None:
    rows = [pair(1) | {"prompt": f"{number}?", "id": number} for number in range(201)]
    with pytest.raises(InputError, match=r"testsets\.mine\.subset has 201 different values and"):
        place.run(params(testsets={"mine": place.write(rows) | {"subset": "id"}}))


def test_a_set_that_its_rule_cannot_score_is_refused(place: Place) -> None:
    entry = place.write([pair(1) | {"topic": "chat"}])
    entry |= {"subset": "topic", "scoring": "rm-bench"}
    with pytest.raises(InputError, match=r"mine cannot be scored as rm-bench, as chat lacks some"):
        place.run(params(testsets={"mine": entry}))
    assert not place.out.exists()


@pytest.mark.parametrize(
    ("keys", "rule"),
    [
        ({"scoring": "rewardbench"}, "scoring: rewardbench goes by subsets"),
        ({"scoring": "rewardbench-2", "subset": "a"}, "item goes with scoring: rewardbench-2"),
        ({"subset": "a", "item": "b"}, "item goes with scoring: rewardbench-2"),
    ],
)
def test_a_rule_needs_its_columns(keys: dict[str, str], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        params(testsets={"mine": {"source": "mine.jsonl", **keys}})


@pytest.mark.parametrize("target", [None, "evaluate", "report"])
def test_dvc_checks_the_sets_before_it_trains(target: str | None) -> None:
    """In the order that DVC makes of dvc.yaml, where a set that cannot be read ends the run."""
    with Repo(str(PROJECT)) as repo:
        wanted = None if target is None else repo.stage.collect(target)
        order = [stage.name for stage in plan_repro(repo.index.graph, wanted)]
    assert order.index("testsets") < order.index("train") < order.index("evaluate")


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "../a", "Ä"])
def test_a_name_is_fit_for_a_metric_and_a_file(name: str) -> None:
    with pytest.raises(ValidationError):
        params(testsets={name: {"source": "data/sources/mine.jsonl"}})
