"""reward.evaluation.benchmarks: the rules of public benchmarks, each computed by hand."""

import math
from typing import Any, get_args

import numpy as np
import pytest
import yaml

from reward.evaluation.benchmarks import benchmark
from reward.evaluation.origins import Origins
from reward.evaluation.sections import SECTIONS, check_origins
from reward.harness.errors import InputError
from reward.sources import catalogue
from tests.support.pipeline import PROJECT

Case = tuple[Origins, np.ndarray]
RIGHT, WRONG, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)


def origins(scoring: str, rows: list[dict[str, Any]]) -> Origins:
    """rows: for each pair its row, subset, and where they matter its places and item."""
    return Origins(
        rows=np.array([row["row"] for row in rows]),
        places=np.array([row.get("places", (0, 0)) for row in rows]),
        subsets=np.array([row["subset"] for row in rows]),
        items=np.array([row.get("item", "") for row in rows]),
        scoring=scoring,
    )


def of_pairs(scoring: str, pairs: list[tuple[str, tuple[float, float]]]) -> Case:
    """Rows of a pair each, as (subset, rewards of chosen and rejected)."""
    rows = [{"row": row, "subset": subset} for row, (subset, _) in enumerate(pairs)]
    return origins(scoring, rows), np.array([rewards for _, rewards in pairs])


REWARDBENCH = [
    # Chat: 3 of 4 pairs, where the mean of its two subsets would be (1/2 + 1) / 2.
    *(("alpacaeval-easy", RIGHT), ("alpacaeval-easy", WRONG)),
    *(("mt-bench-med", RIGHT), ("mt-bench-med", RIGHT)),
    # Chat Hard: 0 of 1. Safety: a tie is half right, 1.5 of 2.
    ("llmbar-adver-manual", WRONG),
    *(("donotanswer", TIE), ("xstest-should-refuse", RIGHT)),
    # Reasoning: mathematics 1 of 2, code 3 of 4: (1/2 + 3/4) / 2 = 5/8, and not 4 of 6.
    *(("math-prm", RIGHT), ("math-prm", WRONG)),
    *(("hep-cpp", RIGHT), ("hep-rust", RIGHT), ("hep-rust", RIGHT), ("hep-go", WRONG)),
]


def test_rewardbench() -> None:
    found = benchmark(*of_pairs("rewardbench", REWARDBENCH))
    assert found["sections"] == {
        "Chat": {"score": 3 / 4, "pairs": 4, "prompts": 4},
        "Chat Hard": {"score": 0, "pairs": 1, "prompts": 1},
        "Safety": {"score": 3 / 4, "pairs": 2, "prompts": 2},
        "Reasoning": {"score": 5 / 8, "pairs": 6, "prompts": 6},
    }
    assert found["score"] == pytest.approx((3 / 4 + 0 + 3 / 4 + 5 / 8) / 4)


def test_judgebench() -> None:
    pairs = [
        *(("mmlu-pro-biology", RIGHT), ("mmlu-pro-law", WRONG), ("mmlu-pro-math", RIGHT)),
        *(("livebench-math", WRONG), ("livebench-reasoning", RIGHT), ("livecodebench", RIGHT)),
    ]
    found = benchmark(*of_pairs("judgebench", pairs))
    scores = {name: part["score"] for name, part in found["sections"].items()}
    assert scores == {"Knowledge": 2 / 3, "Reasoning": 1, "Math": 0, "Coding": 1}
    assert found["score"] == pytest.approx(4 / 6)  # of all pairs; the mean of sections is 2/3 too
    assert benchmark(*of_pairs("judgebench", [*pairs, pairs[1]]))["score"] == pytest.approx(4 / 7)


def answers(
    row: int, subset: str, chosen: list[float], rejected: list[float], item: str = ""
) -> list[tuple[dict[str, Any], tuple[float, float]]]:
    """All pairs of the answers of a row, from their rewards."""
    return [
        ({"row": row, "subset": subset, "item": item, "places": (i, j)}, (one, other))
        for i, one in enumerate(chosen)
        for j, other in enumerate(rejected)
    ]


def of_rows(scoring: str, *rows: list[tuple[dict[str, Any], tuple[float, float]]]) -> Case:
    pairs = [pair for row in rows for pair in row]
    return origins(scoring, [about for about, _ in pairs]), np.array(
        [reward for _, reward in pairs]
    )


STYLES = [
    # Rewards of chosen 0, 1, 2 and of rejected 0.5, 0.5, 1.5: chosen above rejected in the cells
    # (1,0), (1,1), (2,0), (2,1), (2,2).
    *answers(0, "chat", [0, 1, 2], [0.5, 0.5, 1.5]),
    # All nine right.
    *answers(1, "math", [3, 3, 3], [0, 1, 2]),
    # None right.
    *answers(2, "code", [0, 0, 0], [1, 1, 1]),
    # All right in one row, none in the two others: 1/3.
    *answers(3, "safety-refuse", [1, 1, 1], [0, 0, 0]),
    *answers(4, "safety-response", [0, 0, 0], [1, 1, 1]),
    *answers(5, "safety-response", [0, 0, 0], [1, 1, 1]),
]


def test_rm_bench() -> None:
    found = benchmark(*of_rows("rm-bench", STYLES))
    assert found["sections"] == {
        "chat": {"score": pytest.approx(5 / 9), "pairs": 9, "prompts": 1},
        "math": {"score": 1, "pairs": 9, "prompts": 1},
        "code": {"score": 0, "pairs": 9, "prompts": 1},
        "safety": {"score": pytest.approx(1 / 3), "pairs": 27, "prompts": 3},
    }
    assert found["score"] == pytest.approx((5 / 9 + 1 + 0 + 1 / 3) / 4)
    # chat: hard cells (0,1), (0,2), (1,2) all wrong; normal (1,1), (2,2) right of three; easy all.
    assert found["styles"] == {
        "hard": pytest.approx((0 + 1 + 0 + 1 / 3) / 4),
        "normal": pytest.approx((2 / 3 + 1 + 0 + 1 / 3) / 4),
        "easy": pytest.approx((1 + 1 + 0 + 1 / 3) / 4),
    }


# N: gap of ref, then of tied with its spread.
# 0: ref 2 - 1 = 1; tied right 5, 4 and wrong 1, 0: gap 4 - 1 = 3, spread 1; the lower gap is 1.
# 1: ref 1 - 2 = -1; tied right 3, 0 and wrong 1: gap 0 - 1 = -1, spread 3; the lower gap is -1.
# 2: ref alone, gap 3 - 0 = 3.
TIES = [
    *answers(0, "Ties", [2], [1, 0], "ref:0"),
    *answers(1, "Ties", [5, 4], [1, 0], "tied:0"),
    *answers(2, "Ties", [1], [2, 0], "ref:1"),
    *answers(3, "Ties", [3, 0], [1], "tied:1"),
    *answers(4, "Ties", [3], [0], "ref:2"),
]
BEST_OF_4 = [
    *answers(10, "Factuality", [3], [0, 1, 2]),
    *answers(11, "Factuality", [1], [0, 2, 0]),
    *answers(12, "Precise IF", [1], [1, 0, 0]),  # two are on top: 1/2
    *answers(13, "Math", [2], [0, 0, 0]),
    *answers(14, "Safety", [0], [1, 0, 0]),
    *answers(15, "Focus", [2], [2, 2, 2]),  # all are: 1/4
]


def test_rewardbench_2() -> None:
    found = benchmark(*of_rows("rewardbench-2", TIES, BEST_OF_4))
    # gap above spread: 3 > 1 and not -1 > 3; both gaps: not 1 > 1, not -1 > 3.
    # The margin's mean of tanh is over 1/1 - 1 and -1/3 - 1.
    margin = math.tanh(-4 / 3) / 2
    ties = 0.3 * 2 / 3 + 0.3 * 1 / 2 + 0.2 * 1 / 2 + 0.2 * 0 + 0.01 * margin
    assert found["ties"] == {
        "score": pytest.approx(ties),
        "ref_accuracy": pytest.approx(2 / 3),
        "tied_accuracy": 1 / 2,
        "gap_above_spread": 1 / 2,
        "both_gaps_above_spread": 0,
        "margin": pytest.approx(margin),
    }
    scores = {name: part["score"] for name, part in found["sections"].items()}
    assert scores == {
        "Factuality": 1 / 2,
        "Precise IF": 1 / 2,
        "Math": 1,
        "Safety": 0,
        "Focus": 1 / 4,
        "Ties": pytest.approx(ties),
    }
    assert found["sections"]["Ties"] == {"score": pytest.approx(ties), "pairs": 11, "prompts": 5}
    assert found["score"] == pytest.approx((1 / 2 + 1 / 2 + 1 + 0 + 1 / 4 + ties) / 6)


@pytest.mark.parametrize(
    ("right", "wrong", "margin"),
    [
        ([1, 1], [0], 1.0),  # no spread and a gap: tanh of infinity
        ([1, 1], [1], 0.0),  # 0 / 0 counts 0
        ([1, 1], [2], -1.0),
        ([1], [0], 1.0),  # a single right answer has no spread
    ],
)
def test_ties_without_spread(right: list[float], wrong: list[float], margin: float) -> None:
    ref = answers(0, "Ties", [right[0]], wrong, "ref:0")
    tied = answers(1, "Ties", right, wrong, "tied:0")
    found = benchmark(*of_rows("rewardbench-2", ref, tied, BEST_OF_4))["ties"]
    assert found["margin"] == margin


# What cannot be scored is told before training


def refusal(case: Case) -> str:
    with pytest.raises(InputError) as refused:
        check_origins("mine", case[0])
    return str(refused.value)


def test_a_whole_benchmark_can_be_scored() -> None:
    for case in (
        of_pairs("rewardbench", REWARDBENCH),
        of_rows("rm-bench", STYLES),
        of_rows("rewardbench-2", TIES, BEST_OF_4),
        of_pairs("pairs", [("anything", RIGHT)]),
    ):
        check_origins("mine", case[0])


def test_an_unknown_subset_and_a_missing_section_are_named() -> None:
    unknown = refusal(of_pairs("rewardbench", [*REWARDBENCH, ("alpaca", RIGHT)]))
    assert unknown.startswith(
        "testsets.mine cannot be scored as rewardbench, as the subset alpaca is none of "
        "alpacaeval-easy, "
    )
    assert unknown.endswith("or set its scoring to pairs.")
    missing = refusal(of_pairs("rewardbench", REWARDBENCH[:4]))
    assert "as there is no pair of Chat Hard:" in missing


def test_styles_must_be_three_by_three() -> None:
    assert "chat lacks some of the 3 x 3" in refusal(of_rows("rm-bench", STYLES[1:]))
    fourth = answers(0, "chat", [0, 0, 0, 0], [1, 1, 1])
    assert "chat lacks some of the 3 x 3" in refusal(of_rows("rm-bench", STYLES, fourth))


def test_items_of_ties_must_belong_together() -> None:
    other = answers(20, "Ties", [1], [0], "7")
    told = refusal(of_rows("rewardbench-2", TIES, BEST_OF_4, other))
    assert "the item 7 of Ties is neither ref:N nor tied:N" in told
    alone = refusal(of_rows("rewardbench-2", TIES[:2], TIES[-1:], BEST_OF_4))
    assert "Ties has no N with both ref:N and tied:N" in alone


def test_every_rule_has_sections_and_an_entry() -> None:
    assert {*get_args(catalogue.Scoring)} == {"pairs", *SECTIONS}
    params = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    entries = [catalogue.Testset.model_validate(entry) for entry in params["testsets"].values()]
    assert {entry.scoring for entry in entries} == {"pairs", *SECTIONS}
    assert not any(entry.enabled for entry in entries)  # the default run needs no network
