"""K answers to one prompt, from a scored list to evaluate, by one process, by two, and by FSDP."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reward.evaluation.scores import Score
from reward.scoring.comparisons import read_comparisons
from reward.scoring.groups import Group
from reward.scoring.model_folder import open_model
from reward.scoring.scorer import Scorer
from reward.tokens.records import Token
from tests.support.fsdp import SETTINGS
from tests.support.runs import (
    PROJECT,
    copy,
    curve,
    finish,
    kill_after,
    prepare_ranked,
    results,
    torchrun,
)

TIGHT = {"cpu": 60, "mps": 60, "cuda": 60}  # tokens; of 48 a text has up to


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_ranked(tmp_path_factory.mktemp("ranked"))


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains and finds where everything fits into memory."""
    roomy = dict.fromkeys(TIGHT, 100_000)
    folder = copy(prepared, tmp_path_factory.mktemp("alone") / "run", micro_batch_tokens=roomy)
    finish(folder)
    finish(folder, stage="evaluate")
    return folder


def check_same(folder: Path, alone: Path) -> None:
    assert len(curve(folder)) == len(curve(alone)) > 10
    for name in ("loss", "accuracy", "margin", "learning_rate", "grad_norm"):
        found, expected = ([float(row[name]) for row in curve(one)] for one in (folder, alone))
        # Five digits are written.
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5, err_msg=name)


def test_every_answer_of_a_list_is_one_of_its_group(prepared: Path) -> None:
    table = pq.read_table(prepared / "data/tokens/train.parquet")
    compared = read_comparisons(table)
    answers = np.array([len(group.sequences) for group in compared.groups])
    assert set(answers) == {2, 3, 4, 5}
    assert compared.sizes.sum() == len(table)
    # But for pairs that would become equal and are cut by themselves, groups have all their pairs.
    complete = compared.sizes == answers * (answers - 1) // 2
    assert complete.mean() > 0.9
    cut = [max(map(len, group.sequences)) == 48 for group in compared.groups]
    assert sum(cut) > 5  # truncated, all with the same prompt
    assert all(group.prefix > 0 for group in compared.groups)


@pytest.mark.slow
def test_each_pair_has_the_scores_of_its_sides_alone(alone: Path) -> None:
    tokens = pq.read_table(alone / "data/tokens/validation.parquet")
    scores = pq.read_table(alone / "data/scores/validation.parquet")
    assert scores[Score.PAIR_ID] == tokens[Token.PAIR_ID]
    scorer = Scorer(open_model(alone / "data/model", torch.device("cpu")))
    for ids, score in (
        (Token.CHOSEN_IDS, Score.CHOSEN_SCORE),
        (Token.REJECTED_IDS, Score.REJECTED_SCORE),
    ):
        each = [Group((np.array(answer),), 0) for answer in tokens[ids].to_pylist()]
        expected = np.concatenate(scorer.score(each, 1, None))
        np.testing.assert_allclose(scores[score].to_numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_best_of_n_is_how_often_the_best_rated_answer_is_on_top(alone: Path) -> None:
    pairs = pq.read_table(alone / "data/splits/validation.parquet").to_pylist()
    scores = pq.read_table(alone / "data/scores/validation.parquet").to_pylist()
    rewards = {row[Score.PAIR_ID]: row for row in scores}
    prompts: dict[str, dict[tuple[float, float], None]] = {}
    for pair in pairs:
        answers = prompts.setdefault(str(pair["prompt"]), {})
        for side in ("chosen", "rejected"):
            answers[pair[f"{side}_rating"], rewards[pair["pair_id"]][f"{side}_score"]] = None
    several = [[*answers] for answers in prompts.values() if len(answers) > 2]
    right = [max(answers)[1] == max(reward for _, reward in answers) for answers in several]
    details = json.loads((alone / "data/scores/details.json").read_text(encoding="utf-8"))
    found = details["measured"]["best_of_n"]
    assert found["prompts"] == len(several) > 3
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["chance"] == pytest.approx(np.mean([1 / len(answers) for answers in several]))
    metrics = json.loads((alone / "metrics/evaluate.json").read_text(encoding="utf-8"))
    assert metrics["best_of_n"]["accuracy"] == pytest.approx(found["accuracy"], abs=1e-4)


@pytest.mark.slow
def test_a_tight_budget_and_a_kill_change_nothing(
    prepared: Path, alone: Path, tmp_path: Path
) -> None:
    folder = copy(prepared, tmp_path / "tight", micro_batch_tokens=TIGHT)
    finish(folder)
    check_same(folder, alone)
    killed = copy(prepared, tmp_path / "killed", micro_batch_tokens=TIGHT)
    kill_after(killed, 10)
    assert "goes on from its checkpoint-" in finish(killed)
    assert results(killed) == results(folder)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bradley-terry", "plackett-luce"])
def test_two_processes_do_what_one_does(
    prepared: Path, alone: Path, tmp_path: Path, loss: str
) -> None:
    if loss != "bradley-terry":
        roomy = dict.fromkeys(TIGHT, 100_000)
        alone = copy(prepared, tmp_path / "alone", micro_batch_tokens=roomy, loss=loss)
        finish(alone)
    folder = copy(prepared, tmp_path / "two", micro_batch_tokens=TIGHT, loss=loss)
    finish(folder, *torchrun(folder, 2))
    assert {file.name for file in (folder / "ranks").iterdir()} == {"train-0", "train-1"}
    check_same(folder, alone)


@pytest.mark.slow
def test_two_shards_do_what_one_process_does(
    prepared: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process makes as many passes of each kind as the other, or this would never end."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    folder = copy(prepared, tmp_path / "shards", micro_batch_tokens=TIGHT)
    counted = str(PROJECT / "tests/support/counted.py")
    script = str(PROJECT / "tests/support/fsdp.py")
    launcher = tuple(script if word == counted else word for word in torchrun(folder, 2))
    finish(folder, *launcher)
    assert {file.name for file in (folder / "ranks").iterdir()} == {"train-0", "train-1"}
    check_same(folder, alone)
