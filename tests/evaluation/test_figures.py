import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import vl_convert
from dvc_render.vega import VegaRenderer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from reward.evaluation.figures import (
    accuracy_by_confidence,
    accuracy_by_gap,
    groups,
    margins,
    reliability,
    reward_length,
)
from reward.evaluation.metrics import calibration_error, credit, estimate, measure
from reward.evaluation.scores import Scored
from reward.report.plots import Plot
from reward.report.plots import draw as svg_of
from tests.support.evidence import SETTINGS

TEMPLATES = Path(__file__).parents[2] / ".dvc" / "plots"
LN3 = math.log(3)  # the margin at which the chosen response has probability 3/4


def scored(chosen, rejected, chosen_tokens, rejected_tokens, gap):
    zeros, prompts = np.zeros(len(gap)), np.arange(len(gap))
    columns = (chosen, rejected, chosen_tokens, rejected_tokens, gap, zeros, prompts)
    return Scored(*(np.array(list(column)) for column in columns))


def of_margins(margin):
    """Pairs of as many prompts."""
    zeros = np.zeros(len(margin))
    return scored(margin, zeros, zeros, zeros, zeros)


def test_reliability_by_hand():
    # The edges are 0.5, 0.75 and 1; the three are sure by a little more than 3/4, the tie by 1/2.
    table = reliability(of_margins([LN3 + 0.1, LN3 + 0.1, -LN3 - 0.1, 0.0]), 2, 0.95)
    low, high = table.to_pylist()
    sure = 1 / (1 + math.exp(-LN3 - 0.1))
    assert (low["bin_start"], low["bin_end"], low["pairs"]) == (0.5, 0.75, 1)
    assert (low["confidence"], low["accuracy"]) == (0.5, 0.5)
    assert (high["bin_start"], high["bin_end"], high["pairs"]) == (0.75, 1.0, 3)
    assert high["confidence"] == pytest.approx(sure, abs=1e-15)
    assert high["accuracy"] == pytest.approx(2 / 3)


finite = arrays.arrays(float, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32))


@given(finite, st.integers(1, 20))
def test_reliability_holds_the_calibration_error(margin, bins):
    rows = reliability(of_margins(margin), bins, 0.95).to_pylist()
    total = sum(row["pairs"] * abs(row["accuracy"] - row["confidence"]) for row in rows)
    assert total / len(margin) == pytest.approx(calibration_error(margin, bins), abs=1e-12)


def test_accuracy_by_confidence_by_hand():
    # Twenty cut-offs of four pairs: each of them is reached, but two pairs are equally sure.
    rows = accuracy_by_confidence(of_margins([LN3, -1.0, 0.5, 1.0]), 0.95).to_pylist()
    assert [(row["share"], row["pairs"], row["accuracy"]) for row in rows] == [
        (0.25, 1, 1.0),
        (0.75, 3, pytest.approx(2 / 3)),
        (1.0, 4, 0.75),
    ]
    assert rows[0]["cut_off"] == pytest.approx(0.75)
    assert rows[1]["cut_off"] == pytest.approx(1 / (1 + math.exp(-1)))
    # Wilson's interval of one right of one is from 1 / (1 + z^2) to 1.
    assert rows[0]["accuracy_low"] == pytest.approx(1 / (1 + 1.959964**2), abs=1e-6)


@given(finite)
def test_accuracy_by_confidence_ends_with_all_pairs(margin):
    rows = accuracy_by_confidence(of_margins(margin), 0.95).to_pylist()
    assert 1 <= len(rows) <= 20
    assert rows[-1]["share"] == 1
    assert rows[-1]["accuracy"] == credit(margin).mean()
    for before, after in itertools.pairwise(rows):
        assert before["cut_off"] > after["cut_off"]
        assert before["pairs"] < after["pairs"]
    backwards = accuracy_by_confidence(of_margins(margin[::-1]), 0.95)
    # Whatever the order of the pairs.
    assert backwards == accuracy_by_confidence(of_margins(margin), 0.95)


def test_margins_by_hand():
    # The range 0 to 100 over 40 bars asks for 2.5, so the width is 5; the tie is on the right of 0.
    table = margins(np.array([0.0, 4.9, 5.0, 100.0])).to_pylist()
    assert table[:2] == [
        {"bin_start": 0.0, "bin_end": 5.0, "pairs": 2, "density": 0.1},
        {"bin_start": 5.0, "bin_end": 10.0, "pairs": 1, "density": 0.05},
    ]
    assert table[-1] == {"bin_start": 100.0, "bin_end": 105.0, "pairs": 1, "density": 0.05}
    assert len(table) == 21
    assert margins(np.array([-0.5, -0.5])).to_pylist() == [
        {"bin_start": -1.0, "bin_end": 0.0, "pairs": 2, "density": 1.0}
    ]


@given(finite)
def test_margins_keep_every_pair_and_part_wrong_from_right(margin):
    table = margins(margin)
    assert table.num_rows <= 42
    rows = table.to_pylist()
    assert sum(row["pairs"] for row in rows if row["bin_end"] <= 0) == (margin < 0).sum()
    assert sum(row["pairs"] for row in rows) == len(margin)
    area = sum(row["density"] * (row["bin_end"] - row["bin_start"]) for row in rows)
    assert area == pytest.approx(1)


def test_margins_have_no_bar_too_many():
    # 40 bars of width 1 would span 40, but from 0.5 on they need 41: the next width is 2.
    table = margins(np.array([0.5, 20.0, 40.5])).to_pylist()
    assert len(table) == 21
    assert table[0]["bin_end"] - table[0]["bin_start"] == 2.0


def test_groups_are_those_of_measure_that_hold_a_pair():
    pairs = scored([1, 0, 1], [0, 1, 1], [10, 10, 400], [10, 90, 400], [0.2, 0.8, math.nan])
    found = {
        (row["kind"], row["group"]): row for row in groups(measure(pairs, **SETTINGS)).to_pylist()
    }
    assert {key: (row["pairs"], row["accuracy"]) for key, row in found.items()} == {
        ("rating gap", "small"): (1, 1.0),
        ("rating gap", "medium"): (1, 0.0),
        ("longer response", "short"): (2, 0.5),
        ("longer response", "long"): (1, 0.5),
        ("lengths", "similar"): (2, 0.75),
    }


def test_the_datasets_of_a_mix_are_groups():
    measured = measure(scored([1, 0], [0, 1], [10, 10], [10, 90], [0.2, 0.8]), **SETTINGS)
    measured["datasets"] = {"one": estimate(np.array([1.0]), np.zeros(1), 0.95)}
    last = groups(measured).to_pylist()[-1]
    assert (last["kind"], last["group"], last["pairs"]) == ("dataset", "one", 1)


def test_accuracy_by_gap_names_its_bounds_and_leaves_empty_classes_out():
    table = accuracy_by_gap(
        scored([1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 1, 1], [0.5, 0.2, 3]), (0.5, 1.0), 0.95
    )
    assert table["gap"].to_pylist() == ["small (≤ 0.5)", "large (> 1)"]
    assert table["pairs"].to_pylist() == [2, 1]
    assert table["accuracy"].to_pylist() == [0.5, 1.0]
    unrated = accuracy_by_gap(scored([1], [0], [1], [1], [math.nan]), (0.5, 1.0), 0.95)
    assert unrated.num_rows == 0
    assert unrated.column_names == ["gap", "pairs", "accuracy", "accuracy_low", "accuracy_high"]


def test_reward_length_by_hand():
    # Lengths 1..20 in ten bins of two.
    table = reward_length(
        scored(range(10), range(10, 20), range(1, 11), range(11, 21), [math.nan] * 10)
    )
    assert table["responses"].to_pylist() == [2] * 10
    assert table.slice(0, 1).to_pylist() == [
        {
            "tokens": 1.5,
            "bin_start": 1,
            "bin_end": 2,
            "reward": 0.5,
            "reward_std": 0.5,
            "responses": 2,
        }
    ]


def test_reward_length_keeps_equal_lengths_together():
    table = reward_length(scored([1, 2, 6], [3, 4, 5], [7, 7, 9], [7, 7, 7], [math.nan] * 3))
    assert table["responses"].to_pylist() == [5, 1]
    assert table["reward"].to_pylist() == [3.0, 6.0]


def tables(seed):
    random = np.random.default_rng(seed)
    chosen, rejected = random.normal(1, 1, 200), random.normal(0, 1, 200)
    lengths = random.integers(5, 600, (2, 200))
    gap = random.integers(1, 15, 200) / 5
    pairs = scored(chosen, rejected, lengths[0], lengths[1], gap)
    steps = np.arange(1, 61)
    curve = {
        "step": steps,
        "loss": np.exp(-steps / 30),
        "accuracy": 1 - np.exp(-steps / 30) / 2,
        "learning_rate": 1e-3 * (1 - steps / 61),
        "grad_norm": random.uniform(0.5, 1.5, 60),
    }
    return {
        "reliability": reliability(pairs, 10, 0.95),
        "margins": margins(pairs.margin),
        "accuracy_by_gap": accuracy_by_gap(pairs, (0.5, 1.0), 0.95),
        "accuracy_by_confidence": accuracy_by_confidence(pairs, 0.95),
        "groups": groups(measure(pairs, **SETTINGS)),
        "reward_length": reward_length(pairs),
        "train_curve": pa.table(curve),
    }


def draw(name, revisions):
    """The SVG of a template as DVC fills it: every value of a CSV is a string there."""
    points = [
        {key: str(value) for key, value in row.items()} | {"rev": revision}
        for seed, revision in enumerate(revisions)
        for row in tables(seed)[name].to_pylist()
    ]
    source = [{"filename": f"{name}.csv", "field": "y"}]
    renderer = VegaRenderer(
        points,
        name,
        template=name,
        template_dir=str(TEMPLATES),
        anchors_y_definitions=source,
        revs_with_datapoints=revisions,
        title="a title",
    )
    specification = json.dumps(renderer.get_filled_template())
    assert "DVC_METRIC" not in specification
    return vl_convert.vegalite_to_svg(specification)


MARKS = {
    "reliability": ("point", lambda table: table.num_rows),
    "margins": ("bar", lambda table: table.num_rows),
    "accuracy_by_gap": ("point", lambda table: table.num_rows),
    "accuracy_by_confidence": ("point", lambda table: table.num_rows),
    "groups": ("point", lambda table: table.num_rows),
    "reward_length": ("point", lambda table: table.num_rows),
    "train_curve": ("line mark", lambda _: 8),  # raw and smoothed, of four measures
}


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("revisions", [["workspace"], ["workspace", "main"]])
def test_templates_draw_every_row_of_every_revision(name, revisions):
    kind, count = MARKS[name]
    svg = draw(name, revisions)
    expected = sum(count(tables(seed)[name]) for seed in range(len(revisions)))
    assert svg.count(f'aria-roledescription="{kind}"') == expected
    assert "NaN" not in svg
    assert all(f">{revision}<" in svg for revision in revisions)


def dots(svg: str) -> int:
    groups = re.findall(r'<g class="mark-symbol[^>]*>(.*?)</g>', svg)
    return sum(group.count("<path") for group in groups)


def test_evaluations_on_the_validation_pairs_are_dots_and_not_part_of_the_lines():
    steps = [{"step": step, "split": "train", "loss": 1.0, "accuracy": 0.5} for step in range(9)]
    evaluations = [
        {"step": step, "split": "validation", "loss": loss, "accuracy": 0.6}
        for step, loss in ((3, 40.0), (6, 50.0))
    ]
    plot = Plot(
        "train_curve", pa.Table.from_pylist(steps + evaluations), TEMPLATES / "train_curve.json"
    )
    svg = svg_of(plot)
    assert dots(svg) == 4  # two evaluations, of two measures
    assert svg.count('aria-roledescription="line mark"') == 4
    (path, *_) = re.findall(r'aria-roledescription="line mark"[^>]* d="([^"]*)"', svg)
    heights = {point.split(",")[1] for point in re.findall(r"[ML]([^ML]+)", path)}
    assert len(heights) == 1  # a mean of both would not be level
    many = [{**steps[0], "step": step} for step in range(3000)]
    evaluations = [{**evaluations[0], "step": step} for step in range(1, 3000, 100)]
    plot = Plot(
        "train_curve", pa.Table.from_pylist(many + evaluations), TEMPLATES / "train_curve.json"
    )
    assert dots(svg_of(plot)) == 2 * len(evaluations)


def test_tables_do_not_depend_on_the_order_of_the_pairs():
    random = np.random.default_rng(1)
    columns = [random.normal(size=50), random.normal(size=50), *random.integers(5, 90, (2, 50))]
    columns += [random.integers(1, 15, 50) / 5, np.zeros(50), random.integers(0, 20, 50)]
    order = random.permutation(50)
    straight, shuffled = Scored(*columns), Scored(*(column[order] for column in columns))
    assert credit(straight.margin).sum() == credit(shuffled.margin).sum()
    for draw_table in (reward_length, lambda pairs: reliability(pairs, 10, 0.95)):
        first, second = draw_table(straight).to_pydict(), draw_table(shuffled).to_pydict()
        for name, values in first.items():
            assert second[name] == pytest.approx(values, abs=1e-12)
