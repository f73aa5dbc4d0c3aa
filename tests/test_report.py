"""The report as text, and as a real browser shows it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from reward import figures
from reward.measures import Array, Scored, mcnemar, measure, summary
from reward.report import (
    Evidence,
    Plot,
    Provenance,
    Scale,
    answers,
    baselines,
    draw,
    dvc_hash,
    facts,
    loaded_code,
    quality,
    render,
    subsets,
)

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "reward/page"
TEMPLATES = PROJECT / ".dvc/plots"
NASTY = (
    "</div></td></table></main><script>window.pwned = 1</script>"
    "<img src=http://127.0.0.1:9/leak onerror='window.pwned = 2'>{{ 7 * 7 }}"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


def evidence(scored: Scored, words: Array, **also: dict[str, Any]) -> Evidence:
    """What evaluate would say about these scores and these margins of the bag of words."""
    classes: dict[str, Any] = {
        "rating_gaps": (0.5, 1.0),
        "response_lengths": (128, 384),
        "similar_length": 0.1,
    }
    return Evidence(
        measured=measure(scored, words, confidence=0.95, calibration_bins=10, **classes)
        | {"also": also},
        scored=scored,
        bag_of_words=words,
        pair_ids=np.array([f"{number:032x}" for number in range(len(words))]),
        confidence=0.95,
        **classes,
    )


def made_up(pairs: int) -> Evidence:
    """Random scores; the bag of words is right about half of the time."""
    draws = np.random.default_rng(0)
    chosen, rejected = draws.normal(0.5, 1, pairs), draws.normal(0, 1, pairs)
    chosen_tokens, rejected_tokens = draws.integers(1, 500, (2, pairs))
    gap = draws.choice([0.2, 0.8, 1.6, np.nan], pairs)
    scored = Scored(chosen, rejected, chosen_tokens, rejected_tokens, gap)
    return evidence(scored, draws.normal(0, 1, pairs))


def plots_of(found: Evidence, steps: int = 50) -> list[Plot]:
    scored = found.scored
    step = np.arange(steps)
    curve = {
        "step": step,
        "loss": 1 / (1 + step),
        "accuracy": step / steps,
        "grad_norm": step % 7 + 0.5,
        "learning_rate": step / 1e4,
    }
    tables = {
        "reliability": figures.reliability(scored.margin, 10, 0.95),
        "margins": figures.margins(scored.margin),
        "accuracy_by_gap": figures.accuracy_by_gap(scored, (0.5, 1.0), 0.95),
        "reward_length": figures.reward_length(scored),
        "train_curve": pa.table(curve),
    }
    return [Plot(name, table, TEMPLATES / f"{name}.json") for name, table in tables.items()]


def write_pairs(path: Path, texts: list[tuple[list[dict[str, str]], str, str]]) -> Path:
    rows = [
        {
            "pair_id": f"{number:032x}",
            "prompt": prompt,
            "chosen": chosen,
            "rejected": rejected,
            "chosen_rating": None,
            "rejected_rating": None,
        }
        for number, (prompt, chosen, rejected) in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def provenance(**changes: Any) -> Provenance:
    known = Provenance(
        dataset={
            "source": "someone/pairs",
            "commit": "c0ffee",
            "config": None,
            "candidates": 80,
            "dropped": {"tie": 16, "missing_chosen": 4},
            "kept_with": {"repeats_prompt": 2},
        },
        backbone={"source": "data/sources/tiny", "files": {"config.json": "abc"}},
        near_duplicates={"train_pairs": 6},
        parameters={
            "dataset": "pairs",
            "backbone": "tiny",
            "download": {
                "quality": {"tie": "drop", "repeats_prompt": "count", "duplicate": "ignore"}
            },
            "split": {"near_duplicates": "count"},
            "train": {"learning_rate": None},
        },
        hashes={"data/model": "0123.dir"},
    )
    return replace(known, **changes)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pairs, one of them hostile, one long, one with directions to turn the text around."""
    texts = [
        ([{"role": "user", "content": f"Question {number}?"}], f"Good {number}.", f"Bad {number}.")
        for number in range(60)
    ]
    system = {"role": "<b>system</b>", "content": NASTY}
    texts[7] = ([system, {"role": "user", "content": NASTY}], NASTY, f"needle {NASTY}")
    texts[8] = ([{"role": "user", "content": "long"}], "word " * 5000, "x" * 20_000)
    texts[9] = ([{"role": "user", "content": "a\u202eb\x07"}], "שלום", "\u2066hidden")
    return write_pairs(tmp_path_factory.mktemp("pairs") / "validation.parquet", texts)


@pytest.fixture(scope="module")
def html(pairs: Path) -> str:
    found = made_up(60)
    return render(PAGE, found, plots_of(found), pairs, provenance())


def test_every_pair_and_fact_is_there(html: str) -> None:
    for number in range(60):
        assert f"{number:032x}" in html
    for text in ("someone/pairs", "c0ffee", "0123.dir", "train.learning_rate", "files.config.json"):
        assert text in html
    assert "config</dt>" not in html.replace("files.config", "")  # unset in the record
    assert html.count("<svg xmlns") == 5


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
        "import sys; from pathlib import Path; from tests.test_report import *;"
        "found = made_up(60); sys.stdout.reconfigure(encoding='utf-8');"
        "print(render(PAGE, found, plots_of(found), Path(sys.argv[1]), provenance()), end='')"
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
    dataset = provenance().dataset | {"files": files}
    many = provenance(dataset=dataset, backbone={"files": files})
    page = render(PAGE, found, plots_of(found, steps=20_000), pairs, many)
    assert len(page.encode()) < 2_000_000


def test_pairs_without_ratings_or_correlation_have_a_page(tmp_path: Path) -> None:
    same = np.ones(2)
    found = evidence(
        Scored(same, same, same.astype(int), same.astype(int), np.full(2, np.nan)), same
    )
    turn = [{"role": "user", "content": ""}]
    pairs = write_pairs(tmp_path / "validation.parquet", [(turn, "a", "b"), (turn, "c", "d")])
    page = render(PAGE, found, plots_of(found), pairs, provenance())
    assert "Accuracy by rating gap" not in page
    assert "rating gap up to" not in page
    assert "the model prefers this" not in page
    assert "Pearson –" in page
    assert "(empty prompt)" in page


def test_other_test_sets_have_a_table_of_their_own(pairs: Path, html: str) -> None:
    found, other = made_up(60), made_up(9)
    found = evidence(found.scored, found.bag_of_words, tricky=summary(other.scored, 0.95, 10))
    page = render(PAGE, found, plots_of(found), pairs, provenance())
    row = re.search(r"<th scope=\"row\">tricky</th>(.*?)</tr>", page, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td[^>]*>([^<\s]+)\N{NO-BREAK SPACE}%<", row[1])
    known = other.measured
    assert cells == [
        f"{100 * known['accuracy']:.1f}",
        f"{100 * known['longer_wins']['accuracy']:.1f}",
    ]
    assert "Other test sets" not in html


# What the first screen says


def test_what_was_found_in_the_data(html: str) -> None:
    assert [tuple(row.values()) for row in quality(provenance())] == [
        ("tie", 16, 0.2, "left out"),
        ("repeats prompt", 2, 0.025, "kept"),
        ("duplicate", 0, 0, "not looked for"),
        ("missing chosen", 4, 0.05, "left out"),
        ("training prompt nearly one of validation", 6, 0.075, "kept"),
    ]
    table = re.search(r'<table class="found">.*?</table>', html, re.DOTALL)
    assert table is not None
    assert re.findall(r"<td[^>]*>(.*?)</td>", table[0])[6:9] == ["–", "–", "not looked for"]


def test_a_kind_that_the_format_leaves_out_is_left_out_whatever_the_switch() -> None:
    known = provenance()
    switches = {"download": {"quality": {"tie": "ignore"}}}
    rows = quality(replace(known, parameters=known.parameters | switches))
    assert tuple(rows[0].values()) == ("tie", 16, 0.2, "left out")


def test_baselines_compare_pair_by_pair() -> None:
    found = made_up(300)
    model, words, longer, shorter = baselines(found)
    assert model["rival"] is None
    assert words["accuracy"] == np.mean(found.bag_of_words > 0)
    better, worse, p = mcnemar((found.bag_of_words > 0) * 1.0, (found.scored.margin > 0) * 1.0)
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
    scored = Scored(np.array(margin), np.zeros(len(margin)), tokens, tokens, tokens * 0.4)
    found = evidence(scored, np.array(words))
    return answers(found, baselines(found), subsets(found))[number]


def test_answer_about_the_baselines() -> None:
    right, wrong = [1.0] * 100, [-1.0] * 100
    assert tile(right, wrong, 1)["answer"] == "Yes"
    assert tile(wrong, right, 1)["answer"] == "No, worse"
    # Five more pairs right of five that differ: p = 2 * (1/2)^5 = 0.0625.
    unclear = tile(right, [-1.0] * 5 + [1.0] * 95, 1)
    assert unclear["answer"] == "Not shown"
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


def test_scale_spans_the_intervals_and_a_coin() -> None:
    scale = Scale.around([{"accuracy_low": 0.52, "accuracy_high": 0.81}])
    assert (scale.low, scale.high) == (0.4, 0.9)
    assert (scale.at(0.4), scale.at(0.65), scale.at(0.9)) == ("0.00%", "50.00%", "100.00%")
    assert scale.ticks == [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert Scale.around([{"accuracy_low": 0.0, "accuracy_high": 1.0}]).ticks == [
        0.0, 0.2, 0.4, 0.6, 0.8, 1.0,
    ]  # fmt: skip


# Provenance


def test_facts_are_leaves_with_dotted_names() -> None:
    values = {"a": {"b": 1, "c": {"d": [1, None]}}, "e": None, "f": "text\u202e"}
    assert facts(values) == [
        ("a.b", "1"),
        ("a.c.d", "[1, null]"),
        ("e", "null"),
        ("f", "text⟨U+202E⟩"),
    ]
    assert facts({str(number): 0 for number in range(102)})[-1] == ("…", "2 more")


def test_hash_is_that_of_dvc(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub.txt").write_text("by path, '/' is behind '.'")
    (folder / "sub" / "é.bin").write_bytes(b"\r\n\x00")
    (tmp_path / "file.csv").write_text("a,b\r\n")
    for command in (["init", "--no-scm", "--quiet"], ["add", "--quiet", "folder", "file.csv"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True)
    for name in ("folder", "file.csv"):
        (out,) = yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"]
        assert dvc_hash(tmp_path / name) == out["md5"]


@pytest.mark.slow
def test_loaded_code_is_what_was_imported() -> None:
    program = (
        "from pathlib import Path; import stages.evaluate; from reward.report import loaded_code;"
        "print(*(path.as_posix() for path in loaded_code()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    deps = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["evaluate"]["deps"]
    assert done.stdout.split() == [path for path in deps if re.match(r"reward/.*\.py", path)]
    assert all(path.is_file() for path in loaded_code())


def test_every_drawn_template_is_a_dependency() -> None:
    """DVC takes the folder .dvc/plots for empty, so dvc.yaml names the files."""
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    drawn = [entry for name in ("evaluate", "train") for entry in stages[name]["plots"]]
    templates = {
        f".dvc/plots/{value['template']}.json" for entry in drawn for value in entry.values()
    }
    listed = {path for path in stages["evaluate"]["deps"] if path.startswith(".dvc/")}
    assert listed == templates


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


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=flags)


@pytest.fixture(scope="module")
def address(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        yield page


def margins_shown(page: Page) -> list[float]:
    return page.evaluate(
        "[...document.querySelectorAll('tbody.pair')].filter(pair => pair.checkVisibility())"
        ".map(pair => Number(pair.dataset.margin))"
    )


@in_browser
def test_the_network_log_is_empty(browser: Browser, address: str) -> None:
    with browser.new_context() as context:
        page, asked, complaints = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(address)
        page.click("#unfold")
        page.wait_for_load_state("networkidle")
        assert asked == [address]
        assert complaints == []


@in_browser
def test_the_policy_stops_scripts_and_requests_that_get_in(page: Page) -> None:
    """The second line, should a text ever get through as markup."""
    blocked = page.evaluate(
        """async () => {
            const blocked = [];
            document.addEventListener("securitypolicyviolation",
                (event) => blocked.push(event.effectiveDirective));
            const place = document.querySelector(".turns");
            const script = document.createElement("script");
            script.textContent = "window.pwned = 3";
            place.append(script);
            place.insertAdjacentHTML("beforeend", "<img src=http://127.0.0.1:9/>");
            await fetch("http://127.0.0.1:9/").catch(() => null);
            await new Promise((done) => setTimeout(done, 200));
            return blocked;
        }"""
    )
    assert set(blocked) >= {"script-src-elem", "img-src", "connect-src"}
    assert page.evaluate("typeof window.pwned") == "undefined"


@in_browser
def test_a_hostile_pair_does_nothing(page: Page) -> None:
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert page.locator("table.pairs").count() == page.locator("main").count() == 1
    assert page.locator("tbody.pair").count() == 60
    hostile = page.locator("tbody.pair", has_text="needle")
    hostile.locator("summary").first.click()
    assert NASTY in hostile.locator(".side.rejected .text").inner_text()


@in_browser
def test_sorts_by_keyboard(page: Page) -> None:
    before = margins_shown(page)
    page.focus("#unfold")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "margin"
    page.keyboard.press("Enter")
    heading = page.locator("table.pairs th[aria-sort]")
    assert (heading.inner_text(), heading.get_attribute("aria-sort")) == ("margin", "ascending")
    assert margins_shown(page) == sorted(before)
    page.keyboard.press("Space")
    assert (heading.inner_text(), heading.get_attribute("aria-sort")) == ("margin", "descending")
    assert margins_shown(page) == sorted(before, reverse=True)


@in_browser
def test_pairs_without_a_rating_gap_sort_last(page: Page) -> None:
    for _ in range(2):
        page.get_by_role("button", name="rating gap").click()
        gaps = page.evaluate("[...document.querySelectorAll('.pair')].map(p => p.dataset.gap)")
        rated = [float(gap) for gap in gaps if gap]
        assert gaps[len(rated) :] == [""] * (60 - len(rated))
        assert len(rated) not in (0, 60)


@in_browser
def test_filters_by_keyboard(page: Page) -> None:
    page.focus("#kind")
    page.keyboard.press("ArrowDown")
    wrong = margins_shown(page)
    assert wrong
    assert all(margin < 0 for margin in wrong)
    assert page.inner_text("#count") == f"{len(wrong)} of 60 pairs"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    page.keyboard.type("NEEDLE")
    assert len(margins_shown(page)) == 1
    page.keyboard.press("Enter")  # nothing to send
    assert page.inner_text("#count") == "1 of 60 pairs"


@in_browser
def test_texts_open_by_keyboard_and_long_ones_are_folded(page: Page) -> None:
    pair = page.locator("tbody.pair", has_text="word word")
    answer = pair.locator(".side.chosen .text").first
    assert not answer.is_visible()
    pair.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert answer.is_visible()
    assert len(answer.inner_text()) <= 700
    rest = pair.locator(".side.chosen details .text")
    assert not rest.is_visible()
    pair.locator(".side.chosen details summary").press("Space")
    assert rest.is_visible()
    assert "21\N{NARROW NO-BREAK SPACE}000 more characters are in the dataset" in pair.inner_text()


@in_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_accessible_in_both_schemes_and_on_a_phone(
    browser: Browser, address: str, scheme: Any, width: int
) -> None:
    settings: Any = {"color_scheme": scheme, "viewport": {"width": width, "height": 740}}
    with browser.new_context(**settings) as context:
        page = context.new_page()
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        red, green, blue = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert (red + green + blue > 600) == (scheme == "light")
        fill = "selector => getComputedStyle(document.querySelector(selector)).fill"
        mark = page.evaluate(fill, ".interval circle.model")
        assert page.evaluate(fill, '.margins [fill="var(--mark)"]') == mark


@in_browser
def test_without_scripts_everything_is_there_and_no_dead_control(
    browser: Browser, address: str
) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        assert page.locator("tbody.pair:visible").count() == 60
        assert page.locator("button:visible, input:visible, select:visible").count() == 0


def test_the_hostile_text_is_in_the_data(pairs: Path) -> None:
    """Otherwise the tests above would look for nothing."""
    assert json.dumps(NASTY)[1:-1] in json.dumps(pq.read_table(pairs)["chosen"].to_pylist())
