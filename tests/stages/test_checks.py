"""stages/checks.py on a small model and real texts, by itself and as two processes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

import stages.checks
from reward.evaluation.edits import filler_after
from reward.evaluation.scores import SCORES
from reward.harness.errors import InputError
from reward.harness.params import load_params
from reward.harness.tables import parquet_writer
from reward.pairs.preference import SCHEMA, Preference, prompt_id, to_batch
from reward.pairs.readers import read_pair
from reward.scoring.settings import write_settings
from reward.serving.model import RewardModel
from reward.serving.questions import MANY, Question
from stages.checks import ChecksParams, checks
from tests.support.models import SETTINGS, make_model
from tests.support.runs import environment, torchrun

PROJECT = Path(__file__).parents[2]
PAIRS, LEFT_OUT = 60, 7  # pairs, and how many of them have no scores
CONFIG: dict[str, Any] = {
    "pairs": 40,
    "filler_sentences": 3,
    "micro_batch_tokens": {"cpu": 2000, "mps": 2000, "cuda": 2000},
    "confidence": 0.9,
    "resamples": 200,
}


def make_place(folder: Path, max_length: int) -> Path:
    """A folder with all that checks reads, of the first pairs of the sample."""
    model = make_model(folder / "data/model")
    write_settings(model, SETTINGS.model_copy(update={"max_length": max_length}))
    lines = (PROJECT / "data/sources/sample.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [read_pair(json.loads(line)) for line in lines[:PAIRS]]
    (folder / "data/splits").mkdir()
    with parquet_writer(folder / "data/splits/validation.parquet", SCHEMA) as writer:
        writer.write_batch(to_batch(pairs, "sample"))
    scored = pairs[: LEFT_OUT - 1 : -1]  # in another order
    rewards = score(
        RewardModel.open(model), [(pair.chosen, pair.rejected) for pair in scored], scored
    )
    columns = [
        [pair.pair_id for pair in scored],
        [prompt_id(pair.prompt) for pair in scored],
        *rewards.T.tolist(),
        [len(pair.chosen) for pair in scored],
        [len(pair.rejected) for pair in scored],
        [pair.chosen_rating for pair in scored],
        [pair.rejected_rating for pair in scored],
        [0.0] * len(scored),
    ]
    (folder / "data/scores").mkdir()
    with parquet_writer(folder / "data/scores/validation.parquet", SCORES) as writer:
        writer.write_table(pa.table(columns, schema=SCORES))
    params = {"seed": 5, "process_timeout": 60, "checks": CONFIG}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


def score(
    model: RewardModel, answers: list[tuple[str, ...]], pairs: list[Preference]
) -> np.ndarray:
    """The rewards of some answers to the prompt of each pair, (pairs, answers)."""
    questions = [Question(pair.prompt, own, MANY) for pair, own in zip(pairs, answers, strict=True)]
    return np.array(model.rewards(questions, None))


def run(folder: Path) -> dict[str, Any]:
    data = folder / "data"
    params = load_params(ChecksParams, folder / "params.yaml")
    outputs = data / "checks.json", folder / "metrics.json"
    checks(params, data / "model", data / "splits", data / "scores", *outputs)
    return json.loads(outputs[0].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("checks"), max_length=1024)


def test_edits_are_scored_as_rows_of_texts_are(place: Path) -> None:
    """With all pairs in the sample: the change and the flips that reward.score would show."""
    params = yaml.safe_load((place / "params.yaml").read_text(encoding="utf-8"))
    params["checks"]["pairs"] = 1000
    other = place / "all"
    other.mkdir()
    (other / "data").symlink_to(place / "data")
    (other / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    found = run(other)
    lines = (PROJECT / "data/sources/sample.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [read_pair(json.loads(line)) for line in lines[LEFT_OUT:PAIRS]]
    rewards = score(
        RewardModel.open(place / "data/model"),
        [
            (
                pair.chosen,
                pair.rejected,
                filler_after(pair.chosen, 3),
                filler_after(pair.rejected, 3),
            )
            for pair in pairs
        ],
        pairs,
    )
    # In standard deviations of two answers to a prompt.
    unit = np.sqrt(np.mean(np.var(rewards[:, :2], axis=1, ddof=1)))
    change = (rewards[:, 2:] - rewards[:, :2]) / unit
    right = rewards[:, 0] > rewards[:, 1]
    row = found["edits"][-1]
    assert row["name"] == "filler at the end"
    assert row["answers"] == 2 * (PAIRS - LEFT_OUT)
    assert row["change"]["mean"] == pytest.approx(change.mean(), abs=1e-5)
    assert row["change"]["low"] < row["change"]["mean"] < row["change"]["high"]
    assert row["raised"] == pytest.approx((change > 0).mean())
    assert row["won"] == right.sum()
    assert row["lost"] == (rewards[:, 3] > rewards[:, 0])[right].sum()
    figures = json.loads((other / "metrics.json").read_text(encoding="utf-8"))
    assert figures["filler"] == pytest.approx(change.mean(), abs=1e-4)


def test_what_is_found_and_that_it_is_found_again(place: Path) -> None:
    found = run(place)
    before = (place / "data/checks.json").read_bytes()
    assert found["settings"] == CONFIG
    assert max(row["answers"] for row in found["edits"]) == 2 * CONFIG["pairs"]
    rated = found["best_of_n"][1]
    assert (rated["n"], rated["possible"] > abs(rated["gain"]["mean"])) == (2, True)
    assert found["style"]["control"] == "rating"
    assert [row["name"] for row in found["style"]["effects"]][:2] == ["rating", "length doubled"]
    figures = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    assert list(figures) == ["best_of_2", "length_doubled", "filler"]
    run(place)
    assert (place / "data/checks.json").read_bytes() == before


def test_an_edit_that_the_model_does_not_read_does_not_count(tmp_path: Path) -> None:
    """All texts are cut to the same few tokens, so what comes at the end is lost."""
    found = run(make_place(tmp_path, max_length=12))
    names = [row["name"] for row in found["edits"]]
    assert "filler in front" in names
    assert "filler at the end" not in names
    assert "newline at the end" not in names


@pytest.mark.parametrize(("longest", "least", "most"), [(500, 20, 78), (5, 0, 0)])
def test_a_pair_of_very_long_texts_is_not_edited(
    place: Path, monkeypatch: pytest.MonkeyPatch, longest: int, least: int, most: int
) -> None:
    """Ten megabytes twenty times over would fill the memory."""
    monkeypatch.setattr(stages.checks, "LONGEST", longest)
    answers = [row["answers"] for row in run(place)["edits"]]
    assert least <= max(answers, default=0) <= most


@pytest.mark.slow
def test_two_processes_find_the_same(place: Path, tmp_path: Path) -> None:
    alone = run(place)
    command = [*torchrun(place, 2), "-m", "stages.checks"]
    command += ["--model", "data/model", "--splits", "data/splits", "--scores", "data/scores"]
    command += ["--checks", str(tmp_path / "checks.json"), "--metrics", str(tmp_path / "m.json")]
    done = subprocess.run(
        command, cwd=place, env=environment(place), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (place / "ranks").iterdir()} == {"checks-0", "checks-1"}
    found = json.loads((tmp_path / "checks.json").read_text(encoding="utf-8"))
    assert found["best_of_n"] == alone["best_of_n"]
    for one, other in zip(found["edits"], alone["edits"], strict=True):
        assert one["change"] == pytest.approx(other["change"], abs=1e-5)


def test_a_reward_that_is_not_finite_ends_in_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infinite(_: Any, groups: list[Any], *__: Any) -> list[np.ndarray]:
        return [np.full(len(group.sequences), np.inf) for group in groups]

    monkeypatch.setattr(stages.checks, "score_everywhere", infinite)
    with pytest.raises(InputError, match="not finite: train the model again"):
        run(place)
