"""docs/plots_page.py and dvc.yaml's plots: pages that need no network, with everything named."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from playwright.sync_api import Browser

from tests.support.clones import copy_of_project, dvc, execute, git
from tests.support.pipeline import PIPELINE, PROJECT, listed

PLOTS = {path: entry for name in PIPELINE for path, entry in listed(name, "plots").items()}
AXES = {
    "metrics/token_lengths.csv": {
        "share of pairs",
        "tokens (the last bar counts all longer texts)",
        *("prompt", "chosen", "rejected"),
    },
    "metrics/train_curve.csv": {
        "optimiser step",
        *("loss", "share of pairs ranked right", "norm of the gradient", "learning rate"),
    },
    "metrics/groups.csv": {"pairs that the model got right", "rating gap", "longer response"},
    "metrics/reliability.csv": {"confidence of the model", "pairs that it got right"},
    "metrics/accuracy_by_confidence.csv": {
        "share of the pairs, the surest first",
        "pairs that the model got right",
    },
    "metrics/margins.csv": {
        "margin: chosen score − rejected score",
        "share of pairs per unit of margin",
    },
    "metrics/accuracy_by_gap.csv": {
        "rating gap between the two answers",
        "pairs that the model got right",
    },
    "metrics/reward_length.csv": {
        "tokens of the response before truncation",
        "reward, less the mean of all (band: 2 standard errors)",
    },
}


@pytest.fixture(scope="module")
def filled() -> dict[str, Any]:
    """What DVC makes of the results in git, by plot: Vega-Lite."""
    shown = json.loads(dvc(PROJECT, "plots", "show", "--json"))["data"]
    return {path: rendered[0]["content"] for path, rendered in shown.items()}


@pytest.mark.parametrize("path", PLOTS)
def test_title_and_axes_are_named(filled: dict[str, Any], path: str) -> None:
    drawn = vl_convert.vegalite_to_svg(filled[path], allowed_base_urls=[])
    for name in (PLOTS[path]["title"], *AXES[path]):
        assert f">{name}<" in drawn


class Links(HTMLParser):
    """Collects what a page would fetch, and its scripts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links = list[str]()
        self.scripts = 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.scripts += tag == "script"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The pages of `show` and `diff` in a clone, and before them one from before the script ran."""
    folder = copy_of_project(tmp_path_factory.mktemp("plots") / "project")
    dvc(folder, "plots", "show", "metrics/margins.csv", "--out", "usual")
    assert execute(folder, "python", "-m", "docs.plots_page").returncode == 0
    assert "plots.html" not in git(folder, "status", "--porcelain")
    metrics = folder / "metrics/margins.csv"
    metrics.write_text(metrics.read_text(encoding="utf-8").replace("-3.5,", "-3.4,"))
    dvc(folder, "plots", "show")
    dvc(folder, "plots", "diff", "HEAD", "--out", "differences")
    return [folder / name / "index.html" for name in ("usual", "dvc_plots", "differences")]


def test_pages_have_nothing_to_fetch(pages: list[Path]) -> None:
    for page in pages[1:]:
        found = Links(page)
        assert found.links == []
        assert found.scripts == 1 + len(PLOTS)
        assert "default-src 'none'" in page.read_text(encoding="utf-8")


def test_before_the_script_dvc_writes_its_usual_page(pages: list[Path]) -> None:
    assert len(Links(pages[0]).links) == 3  # Vega, Vega-Lite and Vega-Embed


@pytest.mark.parametrize("name", ["dvc_plots", "differences"])
def test_a_browser_shows_every_plot_and_asks_for_nothing(
    browser: Browser, pages: list[Path], name: str
) -> None:
    (path,) = [page for page in pages if page.parent.name == name]
    with browser.new_context() as context:
        page, asked, errors = context.new_page(), list[str](), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        page.locator("svg.marks").nth(len(PLOTS) - 1).wait_for()
        assert asked == [path.as_uri()]
        assert errors == []
        shown = page.inner_text("body")
        assert all(entry["title"] in shown for entry in PLOTS.values())
        assert ("HEAD" in shown) == (name == "differences")
