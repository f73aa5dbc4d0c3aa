"""The report as a real browser shows it."""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from reward.report.page import render
from tests.support.evidence import (
    CHECKS,
    NASTY,
    PAGE,
    made_up,
    plots_of,
    provenance_of,
    write_hostile_pairs,
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, found = tmp_path_factory.mktemp("report"), made_up(60)
    pairs = write_hostile_pairs(folder / "validation.parquet")
    path = folder / "report.html"
    html = render(PAGE, found, plots_of(found), pairs, provenance_of(), checks=CHECKS)
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


def test_a_hostile_pair_does_nothing(page: Page) -> None:
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert page.locator("table.pairs").count() == page.locator("main").count() == 1
    assert page.locator("tbody.pair").count() == 60
    hostile = page.locator("tbody.pair", has_text="needle")
    hostile.locator("summary").first.click()
    assert NASTY in hostile.locator(".side.rejected .text").inner_text()


def test_what_only_one_answer_says_is_underlined(page: Page) -> None:
    pair = page.locator("tbody.pair", has_text="Question 3?")
    for side, word in (("chosen", "Good"), ("rejected", "Bad")):
        mark = pair.locator(f".side.{side} mark")
        assert mark.all_text_contents() == [word]
        style = mark.evaluate("mark => getComputedStyle(mark).textDecorationLine")
        assert style == "underline"


def test_plots_fill_the_width_of_the_page(page: Page) -> None:
    for place in page.locator(".plot").all():
        inside, around = (place.locator("svg").bounding_box(), place.bounding_box())
        assert inside
        assert around
        assert inside["width"] == pytest.approx(around["width"], abs=1)
    total = page.locator(".plots").bounding_box()
    last = page.locator("figure.margins .plot").bounding_box()
    assert total
    assert last
    assert last["x"] + last["width"] == pytest.approx(total["x"] + total["width"], abs=2)


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


def test_pairs_without_a_rating_gap_sort_last(page: Page) -> None:
    for _ in range(2):
        page.get_by_role("button", name="rating gap").click()
        gaps = page.evaluate("[...document.querySelectorAll('.pair')].map(p => p.dataset.gap)")
        rated = [float(gap) for gap in gaps if gap]
        assert gaps[len(rated) :] == [""] * (60 - len(rated))
        assert len(rated) not in (0, 60)


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


def test_without_scripts_everything_is_there_and_no_dead_control(
    browser: Browser, address: str
) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        assert page.locator("tbody.pair:visible").count() == 60
        assert page.locator("button:visible, input:visible, select:visible").count() == 0
