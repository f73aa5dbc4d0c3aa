"""Further test sets of evaluate: the same readers and rewards, and every row is accounted for."""

import json
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from reward.also import Name, Reading, score_also
from reward.preferences import Message, Preference, to_batch
from reward.reward_model import RewardModel
from reward.score import score
from reward.stage import InputError
from tests.models import make_model

PROJECT = Path(__file__).parents[1]
PARAMS = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
READING = Reading.model_validate(PARAMS["download"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    return RewardModel.open(make_model(tmp_path_factory.mktemp("model")))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def pair(number: int) -> dict[str, Any]:
    return {
        "prompt": f"Name {number} fruits.",
        "chosen": "Apple, pear, plum." * number,
        "rejected": "No.",
        "chosen_rating": 3.4,
        "rejected_rating": 2.4,
    }


def training(folder: Path, prompts: list[str]) -> Path:
    pairs = [
        Preference((Message("user", prompt),), "Yes.", "No.", None, None) for prompt in prompts
    ]
    pq.write_table(pa.Table.from_batches([to_batch(pairs, "mine")]), folder / "train.parquet")
    return folder / "train.parquet"


def none(folder: Path) -> Path:
    return training(folder, [])


def test_prompts_of_the_training_data_are_counted(model: RewardModel, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", [pair(1), pair(2), pair(2) | {"chosen": "Fig."}, pair(3)])
    known = training(tmp_path, ["name 2  FRUITS.", "Name 2 fruits.", "Name 4 fruits."])
    found = score_also(model, {"mine": file}, tmp_path, READING, known)["mine"]
    assert found.measure(0.95, 10)["prompt_in_training"] == 2


def test_rewards_metrics_and_counts(model: RewardModel, tmp_path: Path) -> None:
    pairs = [pair(number) for number in range(1, 8)]
    tie = pair(9) | {"rejected_rating": 3.4}
    file = write(tmp_path / "mine.jsonl", [*pairs, pairs[2], tie])
    ours = cast(list[dict[str, Any]], list(score(model, pairs)))
    found = score_also(model, {"mine": file}, tmp_path, READING, none(tmp_path))["mine"]
    scores = found.scores.to_pylist()
    assert len(scores) == 7
    for row, expected in zip(scores, ours, strict=True):
        assert row["chosen_score"] == pytest.approx(expected["chosen_score"], abs=1e-6)
        assert row["rejected_score"] == pytest.approx(expected["rejected_score"], abs=1e-6)
        assert row["chosen_tokens"] > row["rejected_tokens"]
    measured = found.measure(0.95, 10)
    right = sum(row["chosen_score"] > row["rejected_score"] for row in ours)
    assert measured["accuracy"] == pytest.approx(right / 7)
    assert measured["accuracy_low"] < measured["accuracy"] < measured["accuracy_high"]
    assert measured["longer_wins"]["accuracy"] == 1.0
    assert measured["rows"] == 9
    assert measured["dropped"] == {"duplicate": 1, "tie": 1}
    json.dumps(measured, allow_nan=False)


def test_contradictions_and_repeats_are_judged_as_download_does(
    model: RewardModel, tmp_path: Path
) -> None:
    one, two = pair(2), pair(3)
    swapped = one | {"chosen": one["rejected"], "rejected": one["chosen"]}
    file = write(tmp_path / "mine.jsonl", [one, two, swapped, two])
    found = score_also(model, {"mine": file}, tmp_path, READING, none(tmp_path))["mine"]
    assert found.scores.num_rows == 1
    assert found.counts["dropped"] == {"contradiction": 2, "duplicate": 1}
    actions = {"contradiction": "ignore", "duplicate": "count"}
    quality = READING.quality.model_copy(update=actions)
    lenient = READING.model_copy(update={"quality": quality})
    found = score_also(model, {"mine": file}, tmp_path, lenient, none(tmp_path))["mine"]
    assert found.scores.num_rows == 4
    assert found.counts["dropped"] == {}


@pytest.mark.parametrize("source", ["them/pairs", "../mine.jsonl", "elsewhere/mine.jsonl"])
def test_a_source_outside_of_the_folder_is_refused(
    model: RewardModel, tmp_path: Path, source: str
) -> None:
    with pytest.raises(InputError, match=r"evaluate\.also\.mine=.* put the file there"):
        score_also(model, {"mine": source}, tmp_path, READING, none(tmp_path))


def test_a_file_without_a_valid_pair_is_refused(model: RewardModel, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", [pair(1) | {"rejected_rating": 3.4}])
    with pytest.raises(InputError, match="has no valid pair"):
        score_also(model, {"mine": file}, tmp_path, READING, none(tmp_path))


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "../a", "Ä"])
def test_a_name_is_fit_for_a_metric_and_a_file(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)
