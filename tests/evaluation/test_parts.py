"""reward.evaluation.parts: datasets of a mix, subsets, prompts with several answers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reward.evaluation.metrics import group, summary
from reward.evaluation.origins import ORIGINS, SCORING, Origins
from reward.evaluation.parts import Parts, by_name, headlines, measure_parts, read_parts
from reward.evaluation.scores import Scored
from reward.harness.tables import parquet_writer
from reward.tokens.records import TOKENS
from tests.support.evidence import made_up


def scored(rewards: list[list[float]], prompts: list[int]) -> Scored:
    chosen, rejected = np.array(rewards, float).T
    nothing = np.zeros(len(prompts))
    return Scored(chosen, rejected, nothing, nothing, nothing, nothing, np.array(prompts))


SCORED = scored([[2, 1], [0, 1], [1, 1], [3, 1]], [0, 1, 2, 3])
ALONE = np.array([[number, 0, 1] for number in range(4)])
UNRATED = np.full((4, 2), np.nan)


def test_each_name_has_its_pairs() -> None:
    found = by_name(np.array(["b", "a", "b", "b"]))
    assert [*found] == ["a", "b"]
    assert found["a"].tolist() == [False, True, False, False]
    assert found["b"].tolist() == [True, False, True, True]


def test_nothing_is_said_of_one_dataset_and_two_answers() -> None:
    parts = Parts(ALONE, UNRATED, datasets=np.array(["only"] * 4))
    assert measure_parts(parts, SCORED, 0.95) == {}


def test_the_datasets_of_a_mix() -> None:
    parts = Parts(ALONE, UNRATED, datasets=np.array(["one", "two", "one", "two"]))
    found = measure_parts(parts, SCORED, 0.95)
    assert [*found] == ["datasets"]
    accuracies = {name: part["accuracy"] for name, part in found["datasets"].items()}
    assert accuracies == {"one": 3 / 4, "two": 1 / 2}
    one = np.array([True, False, True, False])
    assert found["datasets"]["one"] == group(np.array([1, 0, 0.5, 1]), SCORED.prompt, one, 0.95)


def test_subsets_and_prompts_of_several_answers() -> None:
    # Two prompts: the first with one best answer of three and on top, the second of two answers.
    compared = np.array([[0, 0, 1], [0, 0, 2], [1, 0, 1]])
    ratings = np.array([[1.0, 0.0]] * 3)
    origins = Origins(
        rows=np.array([1, 1, 2]),
        places=np.array([[0, 0], [0, 1], [0, 0]]),
        subsets=np.array(["x", "x", "y"]),
        items=np.array(["", "", ""]),
        scoring="pairs",
    )
    pairs = scored([[2, 1], [2, 0], [0, 1]], [0, 0, 1])
    found = measure_parts(Parts(compared, ratings, origins=origins), pairs, 0.95)
    assert [*found] == ["subsets", "best_of_n"]
    assert {name: part["pairs"] for name, part in found["subsets"].items()} == {"x": 2, "y": 1}
    assert (found["best_of_n"]["prompts"], found["best_of_n"]["accuracy"]) == (1, 1)
    assert found["best_of_n"]["chance"] == pytest.approx(1 / 3)


def test_two_rows_of_one_prompt_are_one_draw_for_best_of_n() -> None:
    """Three answers in each of two rows, which were never compared with one another."""
    compared = np.array([[0, 0, 1], [0, 0, 2], [1, 0, 1], [1, 0, 2]])
    pairs: list[list[float]] = [[2, 1], [2, 0], [2, 1], [2, 0]]
    ratings = np.array([[1.0, 0.0]] * 4)
    one, two = (
        measure_parts(Parts(compared, ratings), scored(pairs, prompts), 0.95)["best_of_n"]
        for prompts in ([0, 0, 0, 0], [0, 0, 1, 1])
    )
    assert one["prompts"] == two["prompts"] == 2
    assert one["accuracy_low"] == pytest.approx(1 / (1 + 1.959964**2), abs=1e-6)  # one of one
    assert two["accuracy_low"] == pytest.approx(2 / (2 + 1.959964**2), abs=1e-6)


def tokens(ids: list[str]) -> pa.Table:
    rows = [{"pair_id": one, "chosen_rating": None, "rejected_rating": 2.0} for one in ids]
    return pa.Table.from_pylist(rows, TOKENS)


def test_pairs_find_their_dataset_and_their_row(tmp_path: Path) -> None:
    split = pa.table({"pair_id": ["p1", "p2", "p3"], "source": ["one", "two", "one"]})
    rows = [
        {"pair_id": "p3", "row": 7, "chosen_place": 2, "rejected_place": 1, "subset": "x"},
        {"pair_id": "p1", "row": 9, "chosen_place": 0, "rejected_place": 4, "subset": "y"},
    ]
    origins = pa.Table.from_pylist(
        [row | {"item": ""} for row in rows], ORIGINS.with_metadata({SCORING: "judgebench"})
    )
    for name, table in {"split": split, "origins": origins}.items():
        with parquet_writer(tmp_path / f"{name}.parquet", table.schema) as writer:
            writer.write_table(table)
    compared = np.array([[0, 0, 1], [1, 0, 1]])
    held_out = read_parts(
        tokens(["p3", "p2"]), compared, datasets=tmp_path / "split.parquet", origins=None
    )
    assert held_out.datasets is not None
    assert held_out.datasets.tolist() == ["one", "two"]
    assert held_out.origins is None
    assert np.isnan(held_out.ratings[:, 0]).all()
    assert held_out.ratings[:, 1].tolist() == [2, 2]
    known = tmp_path / "origins.parquet"
    tested = read_parts(tokens(["p3", "p1"]), compared, datasets=None, origins=known)
    assert tested.origins is not None
    assert tested.origins.places.tolist() == [[2, 1], [0, 4]]
    assert tested.origins.scoring == "judgebench"
    without = read_parts(tokens(["p3"]), compared[:1], datasets=None, origins=tmp_path / "none")
    assert without.origins is None


def test_headlines_are_accuracies_and_scores() -> None:
    measured = summary(made_up(20).scored, 0.95, 10)
    part = {"pairs": 3, "accuracy": 0.5, "accuracy_low": 0.1, "accuracy_high": 0.9}
    tested = measured | {
        "subsets": {"x": part},
        "best_of_n": {**part, "prompts": 3, "chance": 0.25},
        "benchmark": {"score": 0.7, "sections": {}},
    }
    found = headlines(
        {"measured": measured | {"datasets": {"one": part}}, "testsets": {"mine": tested}}
    )
    assert found["datasets"] == {"one": {"accuracy": 0.5}}
    assert found["testsets"] == {
        "mine": {
            "accuracy": measured["accuracy"],
            "subsets": {"x": {"accuracy": 0.5}},
            "best_of_n": {"accuracy": 0.5},
            "score": 0.7,
        }
    }
    assert {*headlines({"measured": measured, "testsets": {}})} == {*found} - {"datasets"}
