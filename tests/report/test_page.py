"""The report as text: every fact is there, and nothing of it but facts."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from scipy import stats

from reward.evaluation.metrics import mcnemar, summary
from reward.evaluation.scores import Scored
from reward.report.page import render
from reward.report.plots import Scale, draw
from reward.report.provenance import quality_table
from reward.report.verdicts import baselines, subsets, verdicts
from tests.support.evidence import (
    NASTY,
    PAGE,
    PROJECT,
    evidence,
    made_up,
    plots_of,
    provenance_of,
    write_hostile_pairs,
    write_pairs,
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hostile_pairs(tmp_path_factory.mktemp("pairs") / "validation.parquet")


@pytest.fixture(scope="module")
def html(pairs: Path) -> str:
    found = made_up(60)
    return render(PAGE, found, plots_of(found), pairs, provenance_of())


def test_every_pair_and_fact_is_there(html: str) -> None:
    for number in range(60):
        assert f"{number:032x}" in html
    for text in ("someone/pairs", "c0ffee", "0123.dir", "train.learning_rate", "files.config.json"):
        assert text in html
    assert "config</dt>" not in html.replace("files.config", "")  # unset in the record
    assert html.count("<svg xmlns") == 6


def test_text_of_the_dataset_stays_text(html: str) -> None:
    assert html.count("<script>") == 1
    assert "<img" not in html
    assert "&lt;script&gt;window.pwned" in html
    assert "{{ 7 * 7 }}" in html
    assert "\u202e" not in html
    assert "\u2066" not in html
    assert "a⟨U+202E⟩b⟨U+0007⟩" in html


def test_nothing_on_the_page_points_elsewhere(html: str) -> None:
    assert set(re.findall(r"\s(?:src|href|action|poster|srcset)=\"?([^\s\">]*)", html)) <= {
        "data:,",
        *(
            f"#{part}"
            for part in ("baselines", "groups", "plots", "pairs", "quality", "provenance")
        ),
        "http://127.0.0.1:9/leak",  # the hostile pair's, escaped
    }
    outside = html.replace("http://127.0.0.1:9/leak", "").replace("http://www.w3.org/", "")
    assert not re.search(r"https?://|@import|url\(", outside)


def test_same_inputs_give_the_same_bytes(pairs: Path, html: str) -> None:
    """In another process, with another order of Python's sets."""
    program = (
        "import sys; from tests.support.evidence import *; from reward.report.page import render;"
        "found = made_up(60); sys.stdout.reconfigure(encoding='utf-8');"
        "print(render(PAGE, found, plots_of(found), Path(sys.argv[1]), provenance_of()), end='')"
    )
    again = subprocess.run(
        [sys.executable, "-c", program, str(pairs)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        capture_output=True,
        check=True,
    )
    assert again.stdout.decode() == html


def test_the_page_stays_small_whatever_the_data(tmp_path: Path) -> None:
    found = made_up(120)
    turns = [{"role": "<" * 100, "content": text} for text in ['"' * 9000, *["&"] * 60]]
    hostile = [(turns, '"' * 9000, "\u202e" * 9000)] * 120
    pairs = write_pairs(tmp_path / "validation.parquet", hostile)
    files = {f"{'é' * 300}{number}": "'" * 999 for number in range(500)}
    dataset = provenance_of().dataset | {"files": files}
    many = provenance_of(dataset=dataset, backbone={"files": files})
    page = render(PAGE, found, plots_of(found, steps=20_000), pairs, many)
    assert len(page.encode()) < 2_000_000


def test_pairs_without_ratings_or_correlation_have_a_page(tmp_path: Path) -> None:
    same = np.ones(2)
    whole = same.astype(int)
    found = evidence(Scored(same, same, whole, whole, np.full(2, np.nan), same, np.arange(2)))
    turn = [{"role": "user", "content": ""}]
    pairs = write_pairs(tmp_path / "validation.parquet", [(turn, "a", "b"), (turn, "c", "d")])
    page = render(PAGE, found, plots_of(found), pairs, provenance_of())
    assert "Accuracy by rating gap" not in page
    assert "rating gap up to" not in page
    assert "the model prefers this" not in page
    assert "Pearson –" in page
    assert "(empty prompt)" in page


def test_further_test_sets_have_a_table_of_their_own(pairs: Path, html: str) -> None:
    found, other = made_up(60), made_up(9)
    known = summary(other.scored, 0.95, 10) | {"prompt_in_training": 4, "dropped": {}}
    found = evidence(found.scored, tricky=known)
    page = render(PAGE, found, plots_of(found), pairs, provenance_of())
    assert "Further test sets" in page
    row = re.search(r"<th scope=\"row\">tricky</th>(.*?)</tr>", page, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td[^>]*>([^<\s]+)\N{NO-BREAK SPACE}%<", row[1])
    assert cells == [
        f"{100 * known['accuracy']:.1f}",
        f"{100 * known['longer_wins']['accuracy']:.1f}",
    ]
    assert re.findall(r"<td class=\"figure\">(\d+)</td>", row[1]) == ["9", "4"]
    assert "Further test sets" not in html
    assert "<details>" not in page[page.index("Further test sets") : page.index(">Plots</h2>")]


def interval(pairs: int, accuracy: float) -> dict[str, float]:
    return {
        "weaker_p": 0.25,
        "pairs": pairs,
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.25,
        "accuracy_high": accuracy + 0.2,
    }


def test_a_test_set_shows_its_subsets_score_and_best_of_n(pairs: Path) -> None:
    found = made_up(60)
    sections = {
        "chat": {"score": 0.5, "prompts": 3, "pairs": 27},
        "<b>": {"score": 0.75, "prompts": 4, "pairs": 36},
    }
    benchmark = {
        "scoring": "rm-bench",
        "score": 0.625,
        "sections": sections,
        "styles": {"hard": 0.3125, "normal": 0.5, "easy": 0.875},
    }
    known = summary(found.scored, 0.95, 10) | {
        "prompt_in_training": 4,
        "dropped": {"duplicate": 2, "tie": 1},
        "subsets": {"law": interval(12, 0.75), "<i>": interval(4, 0.25)},
        "best_of_n": {"prompts": 7, "chance": 1 / 3, **interval(7, 0.4375)},
        "benchmark": benchmark,
    }
    page = render(
        PAGE, evidence(found.scored, hard=known), plots_of(found), pairs, provenance_of()
    ).replace("\N{NO-BREAK SPACE}", " ")
    part = re.search(r"<summary>hard: score 62.5 %</summary>.*?</details>", page, re.DOTALL)
    assert part is not None
    rows = re.findall(
        r'<th scope="row">(.*?)</th>\s*<td class="figure">(.*?)</td>', part[0], re.DOTALL
    )
    assert rows == [
        ("<b>score</b>", "<b>62.5 %</b>"),
        ("chat", "50.0 %"),
        ("&lt;b&gt;", "75.0 %"),
        ("law", "75.0 %"),
        ("&lt;i&gt;", "25.0 %"),
    ]
    text = " ".join(part[0].split())
    assert "by the rule of RM-Bench, without 3 pairs that" in text
    assert re.findall(r'<td class="figure">(\d+)</td>', part[0]) == [
        *("7", "63", "3", "27", "4", "36"),
        *("12", "4"),
    ]
    assert "50.0 % to 95.0 %" in text  # the interval of law
    assert "31.2 % where the rejected one has the more elaborate style (hard)" in text
    assert "Best of n: 43.8 % of 7 prompts" in text
    assert "Choosing blindly gets 33.3 %." in text
    assert "Of 2 subsets some are high or low by luck alone" in text


def test_the_datasets_of_a_mix_are_groups(pairs: Path) -> None:
    found = made_up(60)
    parts = {"datasets": {"one": interval(20, 0.5), "two": interval(40, 0.75)}}
    best = {"best_of_n": {"prompts": 5, "chance": 0.25, **interval(5, 0.5)}}
    mixed = replace(found, measured=found.measured | parts | best)
    last = subsets(mixed)[-2:]
    assert [row["name"] for row in last] == ["dataset one", "dataset two"]
    for row, part in zip(last, parts["datasets"].values(), strict=True):
        assert part.items() <= row.items() | {("weaker_p", 0.25)}
    page = render(PAGE, mixed, plots_of(found), pairs, provenance_of())
    assert '<th scope="row">dataset two</th>' in page
    assert "of 5 prompts with three or more answers" in page


def test_depths_have_a_section_where_they_were_tried(pairs: Path, html: str) -> None:
    found = made_up(60)
    interval = {"accuracy_low": 0.5, "accuracy_high": 0.9, "pairs": 1234}
    depths = [
        {"depth": 4, "accuracy": 0.625} | interval,
        {"depth": 8, "accuracy": 0.75} | interval,
    ]
    page = render(PAGE, found, plots_of(found), pairs, provenance_of(), depths)
    section = re.search(r'<section aria-labelledby="depths">.*?</section>', page, re.DOTALL)
    assert section is not None
    assert ">Which layer</h2>" in section[0]
    rows = re.findall(
        r'<th scope="row">(.*?)</th>\s*<td class="figure">(.*?)</td>', section[0], re.DOTALL
    )
    assert rows == [
        ("4 layers", "62.5\N{NO-BREAK SPACE}%"),
        ("8 layers", "75.0\N{NO-BREAK SPACE}%"),
    ]
    assert section[0].count("1\N{NARROW NO-BREAK SPACE}234") == 2
    assert "Which layer" not in html


# What the first screen says


def test_what_was_found_in_the_data(html: str) -> None:
    assert [tuple(row.values()) for row in quality_table(provenance_of())] == [
        ("tie", 16, 0.2, "left out"),
        ("repeats prompt", 2, 0.025, "kept"),
        ("duplicate", 0, 0, "not looked for"),
        ("missing chosen", 4, 0.05, "left out"),
        ("training prompt nearly one of validation", 6, 0.075, "kept"),
    ]
    table = re.search(r'<table class="found">.*?</table>', html, re.DOTALL)
    assert table is not None
    assert re.findall(r"<td[^>]*>(.*?)</td>", table[0])[6:9] == ["–", "–", "not looked for"]


def test_baselines_compare_pair_by_pair() -> None:
    found = made_up(300)
    model, words, longer, shorter = baselines(found)
    assert model["rival"] is None
    assert words["accuracy"] == np.mean(found.scored.bag_of_words > 0)
    better, worse, p = mcnemar(
        (found.scored.bag_of_words > 0) * 1.0,
        (found.scored.margin > 0) * 1.0,
        found.scored.prompt,
    )
    assert words["rival"] == {"better": better, "worse": worse, "p": p}
    # Accuracies differ by exactly what the pairs on which the two differ add up to.
    for row in (words, longer, shorter):
        gained = model["accuracy"] - row["accuracy"]
        if row is words:  # no ties
            assert (row["rival"]["better"] - row["rival"]["worse"]) / 300 == pytest.approx(gained)
    assert longer["accuracy"] + shorter["accuracy"] == pytest.approx(1)


def tile(margin: list[float], words: list[float], number: int) -> dict[str, str]:
    """The answer to one of the four questions, for these margins of the model and the words."""
    tokens = np.ones(len(margin), int)
    zeros = np.zeros(len(margin))
    prompts = np.arange(len(margin))
    found = evidence(
        Scored(np.array(margin), zeros, tokens, tokens, tokens * 0.4, np.array(words), prompts)
    )
    return verdicts(found, baselines(found), subsets(found))[number]


def test_answer_about_the_baselines() -> None:
    right, wrong = [1.0] * 100, [-1.0] * 100
    assert tile(right, wrong, 1)["answer"] == "Yes"
    assert tile(wrong, right, 1)["answer"] == "No, worse"
    # Five more pairs right of five that differ: p = 2 * (1/2)^5 = 0.0625.
    unclear = tile(right, [-1.0] * 5 + [1.0] * 95, 1)
    assert unclear["answer"] == "Not demonstrated"
    assert (
        "better on 5 pairs and worse on 0 (p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.06"
        in (unclear["reason"])
    )


def test_answer_about_calibration() -> None:
    half = [3.0, -3.0] * 50  # claims sigmoid(3) = 95.3 % and gets 50 %
    assert tile(half, half, 2)["answer"] == "Overconfident"
    assert tile([0.1] * 100, half, 2)["answer"] == "Underconfident"
    fair = [np.log(3)] * 75 + [-np.log(3)] * 25  # claims and gets 75 %
    assert tile(fair, fair, 2)["answer"] == "On average, yes"


def test_answer_about_the_groups() -> None:
    # Rating gaps up to 0.5: 10 of 40 right; over 1: 60 of 60. All tokens are alike, so that the
    # other groups hold all pairs, which cannot be weaker than none.
    margin = np.array([1.0] * 10 + [-1.0] * 30 + [1.0] * 60)
    gap = np.array([0.4] * 40 + [2.0] * 60)
    tokens, zeros = np.ones(100, int), np.zeros(100)
    found = evidence(Scored(margin, zeros, tokens, tokens, gap, zeros, np.arange(100)))
    groups = subsets(found)
    assert [row["name"] for row in groups if row["p"] < 1] == ["rating gap up to 0.5"]
    assert len(groups) == 4
    worst = verdicts(found, baselines(found), groups)[3]
    assert (worst["answer"], worst["tone"]) == ("Weaker: 25.0\xa0%", "warn")
    assert "p\xa0<\xa00.001, corrected for 4 groups" in worst["reason"]


def test_the_lowest_of_several_groups_may_be_the_lowest_by_luck() -> None:
    # 6 of 10 right against 80 of 90: p = 0.034 by itself, and above 0.05 as one of four.
    margin = np.array([1.0] * 6 + [-1.0] * 4 + [1.0] * 80 + [-1.0] * 10)
    gap = np.array([0.4] * 10 + [2.0] * 90)
    tokens, zeros = np.ones(100, int), np.zeros(100)
    found = evidence(Scored(margin, zeros, tokens, tokens, gap, zeros, np.arange(100)))
    alone = stats.fisher_exact([[6, 4], [80, 10]], alternative="less").pvalue
    assert alone < 0.05
    groups = subsets(found)
    assert groups[0]["p"] == pytest.approx(min(1, 4 * alone))
    lowest = verdicts(found, baselines(found), groups)[3]
    assert (lowest["answer"], lowest["tone"]) == ("Not demonstrated", "")
    assert "60.0\xa0% on the 10 pairs with rating gap up to 0.5" in lowest["reason"]


def test_a_model_that_was_chosen_by_these_pairs_is_said_to_be(html: str, pairs: Path) -> None:
    sentence = "training chose the model by these very pairs"
    assert sentence not in html
    found, known = made_up(60), provenance_of()
    chosen = replace(known, parameters=known.parameters | {"train": {"evaluate_steps": 5}})
    assert sentence in render(PAGE, found, plots_of(found), pairs, chosen)


def test_chosen_shares_are_written_as_they_are(pairs: Path) -> None:
    found = made_up(60)
    settings = found.settings | {"confidence": 0.975, "similar_length": 0.125}
    page = render(
        PAGE, replace(found, settings=settings), plots_of(found), pairs, provenance_of()
    ).replace("\xa0", " ")
    assert "with 97.5 % intervals" in page
    assert "validation pairs; 97.5 % interval" in page
    assert "lengths within 12.5 % of each other" in page


def test_scale_spans_the_intervals_and_a_coin() -> None:
    scale = Scale.around([{"accuracy_low": 0.52, "accuracy_high": 0.81}])
    assert (scale.low, scale.high) == (0.4, 0.9)
    assert (scale.at(0.4), scale.at(0.65), scale.at(0.9)) == ("0.00%", "50.00%", "100.00%")
    assert scale.ticks == [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert Scale.around([{"accuracy_low": 0.0, "accuracy_high": 1.0}]).ticks == [
        0.0, 0.2, 0.4, 0.6, 0.8, 1.0,
    ]  # fmt: skip


# Provenance


def test_every_drawn_template_is_a_dependency() -> None:
    """DVC takes the folder .dvc/plots for empty, so dvc.yaml names the files."""
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    drawn = [entry for name in ("evaluate", "train") for entry in stages[name]["plots"]]
    templates = {
        f".dvc/plots/{value['template']}.json"
        for entry in drawn
        for path, value in entry.items()
        if path in stages["report"]["deps"]
    }
    listed = {path for path in stages["report"]["deps"] if path.startswith(".dvc/")}
    assert listed == templates
    assert len(listed) == 6


def test_the_machine_that_trained_the_model_is_named(html: str) -> None:
    named = html.split("<summary>Machine that trained the model</summary>")[1].split("</dl>")[0]
    assert "<dt>device</dt><dd>CPU, 2 cores</dd>" in named
    assert "<dt>threads</dt><dd>2</dd>" in named


def test_a_long_curve_is_thinned() -> None:
    found = made_up(60)
    short, long = (
        next(plot for plot in plots_of(found, steps) if plot.name == "train_curve")
        for steps in (300, 30_000)
    )
    assert len(draw(long)) < 1.3 * len(draw(short))


def test_plots_leave_their_colours_to_the_page() -> None:
    for plot in plots_of(made_up(60)):
        colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', draw(plot)))
        named = {"var(--mark)", "var(--muted)", "var(--line)"}
        assert colours <= named | {"none", "transparent"}, plot.name


def test_the_hostile_text_is_in_the_data(pairs: Path) -> None:
    """Otherwise its tests would look for nothing."""
    assert json.dumps(NASTY)[1:-1] in json.dumps(pq.read_table(pairs)["chosen"].to_pylist())
