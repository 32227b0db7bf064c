"""The page of a report for everyone: by keyboard, aloud, at night, on a phone, on paper; and against hostile names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect
from support.boards import HOSTILE, boards
from support.pages import DESKTOP, PHONE, Opened, chromium, opened, written
from support.stored import random_ndcg, spec_of, write_results

from evalharness.reports.board import Board
from evalharness.reports.building.boards import make_boards
from evalharness.results.stored import read_runs

# beside those of the fixture: what ends scripts, lines and texts, and half of a character
WORSE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "a\u2028b\u2029c",
    "nul\x00bell\x07",
    "\u202eesrever\u202c \u2066x",
    "\ud800half",
    "{{data}}{{script}}",
    "'\"`${alert(1)}",
    "__proto__",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(boards(), tmp_path_factory.mktemp("page") / "kinds.html")


@pytest.fixture(scope="module")
def with_items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with items of two tasks, and a third one with fewer."""
    folder = tmp_path_factory.mktemp("results")
    for number, name in enumerate(("me/one", "me/two", "me/three")):
        jobs = {("Own", "test", "default"): random_ndcg(number), ("Other", "test", "default"): random_ndcg(9 - number)}
        write_results(folder / name, dict(list(jobs.items())[: 1 if number == 2 else 2]), spec_of(name))
    return written(make_boards(read_runs([folder])), folder / "page.html")


@pytest.fixture
def at(browser: Browser, kinds: Path) -> Iterator[Opened]:
    with opened(browser, kinds) as page:
        yield page


def violations(at: Opened) -> list[str]:
    found = Axe().run(at.page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary']}" for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_keeps_anyone_out(
    browser: Browser, with_items: Path, kinds: Path, scheme: str, size: dict[str, int]
) -> None:
    with opened(browser, kinds, "#heat=1", viewport=size, color_scheme=scheme) as at:
        at.page.locator('#grid th[data-key="type:Classification"] .open').click()
        expect(at.page.locator("#scatter .dot").first).to_be_attached()
        # all at once, which no reader can have, for it takes its time to look
        at.page.evaluate("document.querySelectorAll('.menu').forEach((menu) => { menu.open = true; })")
        expect(at.page.get_by_text("Close all")).to_be_attached()
        assert violations(at) == []
        # nothing but the table itself goes beyond the edge
        assert at.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with opened(browser, with_items, viewport=size, color_scheme=scheme) as at:
        at.page.locator("#grid .open").first.click()
        at.cell("task:Own", "two").click()
        expect(at.page.get_by_role("dialog")).to_contain_text("Items")
        assert violations(at) == []


def test_by_keyboard_alone(at: Opened) -> None:
    at.press("Tab")
    assert at.focused("element.id") == "skip"
    at.press("Enter")
    assert at.focused("element.closest('th').dataset.key") == "model"
    # one stop of the Tab key; arrows inside
    assert at.page.locator('#grid [tabindex="0"]').count() == 1
    at.press("ArrowRight", "Enter")
    assert (
        at.focused("element.closest('th').dataset.key + element.closest('th').getAttribute('aria-sort')")
        == "meanascending"
    )
    at.press("Space")
    assert at.page.locator('#grid th[data-key="mean"]').get_attribute("aria-sort") == "descending"
    at.press("ArrowDown", "ArrowDown", "ArrowRight")
    assert at.focused("element.closest('tr').sectionRowIndex + ' ' + element.dataset.c") == "1 2"
    assert at.focused("getComputedStyle(element).outlineStyle") == "solid"
    at.press("Home", "Enter")
    expect(at.page.get_by_role("dialog")).to_contain_text("checkpoint-2000")
    at.press("Escape")
    expect(at.page.get_by_role("dialog")).to_be_hidden()
    assert at.focused("element.closest('tr').sectionRowIndex + element.tagName") == "1TH"
    at.press("Control+End")
    assert at.focused("element.closest('tr').sectionRowIndex") == 19
    at.press("Control+Home", "End", "Shift+Tab")
    assert at.focused("element.id") == "csv"
    at.press("Tab", "Tab")
    assert at.focused("element.closest('section').id") == "scatter"
    for _ in range(2):
        at.press("Tab")
    first = at.focused("element.getAttribute('aria-label')")
    at.press("ArrowRight")
    assert at.focused("element.getAttribute('aria-label')") != first
    at.press("Enter")
    expect(at.page.get_by_role("dialog")).to_be_visible()


def test_the_focus_comes_back_and_nothing_lies_over_it(at: Opened) -> None:
    at.page.locator("#types summary").focus()
    at.press("Enter")
    expect(at.page.locator("#types .sheet")).to_be_visible()
    at.page.locator("#types .sheet button").last.focus()
    at.press("Tab")
    expect(at.page.locator("#types .sheet")).to_be_hidden()
    # a phone is turned while a sheet is open: the table is made anew
    at.cell("type:STS", "partial").click()
    expect(at.page.get_by_role("dialog")).to_be_visible()
    at.page.locator("#grid").evaluate("grid => { grid.tHead.id = 'before'; }")
    at.page.set_viewport_size({"width": 700, "height": 900})
    expect(at.page.locator("#before")).to_have_count(0)
    at.press("Escape")
    expect(at.cell("type:STS", "partial")).to_be_focused()


def test_a_type_by_keyboard(at: Opened) -> None:
    at.page.locator('#grid th[data-key="type:Retrieval"] .sort').focus()
    at.press("ArrowRight", "Enter")
    expect(at.page.locator('#grid th[data-key="task:ArguAna"]')).to_have_count(1)
    assert at.focused("element.className") == "open"
    at.press("ArrowRight", "Enter")
    assert at.page.locator('#grid th[data-key="task:ArguAna"]').get_attribute("aria-sort") == "descending"


def test_it_says_what_it_is(at: Opened) -> None:
    page = at.page
    grid = page.get_by_role("grid", name="Every kind of row")
    expect(grid).to_have_attribute("aria-rowcount", "22")
    expect(page.get_by_role("status")).to_have_text("20 models")
    expect(grid.get_by_role("columnheader", name="Mean 7 tasks")).to_have_attribute("aria-sort", "descending")
    expect(grid.get_by_role("rowheader").first).to_contain_text("checkpoint-2500")
    row = boards()[0].rows[0]
    assert row.mean_task.interval is not None
    low, high = (f"{100 * end:.2f}" for end in (row.mean_task.interval.low, row.mean_task.interval.high))
    expect(grid.locator("tbody td").first).to_contain_text(f"95% interval {low} to {high}")
    lacking = grid.locator("tbody tr", has_text="partial").locator("td").first
    expect(lacking).to_contain_text("void: 6 of 7")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_themes(browser: Browser, kinds: Path, scheme: str) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, kinds, color_scheme=scheme) as at:
        own = at.page.evaluate(ground)
        button = at.page.locator("#theme")
        expect(button).to_have_text("Theme: Auto")
        seen = {}
        for name in ("Light", "Dark"):
            button.click()
            expect(button).to_have_text(f"Theme: {name}")
            seen[name.lower()] = at.page.evaluate(ground)
        assert seen["light"] != seen["dark"]
        assert own == seen[scheme]
        at.page.reload()
        expect(button).to_have_text("Theme: Dark")
        assert at.page.evaluate(ground) == seen["dark"]


def test_where_nothing_can_be_kept(browser: Browser, kinds: Path) -> None:
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })")
    page = context.new_page()
    page.goto(kinds.as_uri())
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Theme: Light")
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Theme: Dark")
    context.close()


def test_on_a_phone(browser: Browser, kinds: Path) -> None:
    with opened(browser, kinds, viewport=PHONE, has_touch=True, is_mobile=True) as at:
        name = at.page.locator("#grid tbody th.model").first
        before = name.bounding_box()
        at.page.locator("#frame").evaluate("frame => frame.scrollTo(300, 0)")
        assert name.bounding_box() == before
        assert at.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        buttons = at.page.locator("#app button:visible, #app summary:visible, #app select:visible").all()
        assert len(buttons) > 10
        assert all(min(box["width"], box["height"]) >= 24 for button in buttons if (box := button.bounding_box()))
        # the end of a name is what tells models of a family apart
        names = "names => names.filter((name) => name.scrollHeight > name.clientHeight + 1).length"
        assert at.page.locator("#grid .name", has_text="checkpoint").evaluate_all(names) == 0
        at.page.locator("#grid tbody td").nth(2).tap()
        box = at.page.get_by_role("dialog").bounding_box()
        assert box is not None
        assert box["width"] == pytest.approx(PHONE["width"])


def test_without_javascript(browser: Browser, kinds: Path) -> None:
    with opened(browser, kinds, java_script_enabled=False) as at:
        tables = at.page.locator("table:visible")
        expect(tables).to_have_count(3)
        expect(tables.first.locator("tbody tr")).to_have_count(20)
        expect(tables.first).to_contain_text("63.59")
        expect(tables.first).to_contain_text(HOSTILE[0])
        expect(at.page.locator("#app")).to_be_hidden()


def test_on_paper(at: Opened) -> None:
    at.page.emulate_media(media="print", color_scheme="dark")
    expect(at.page.locator(".tools")).to_be_hidden()
    assert at.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert at.page.evaluate("getComputedStyle(document.querySelector('#frame')).overflow") == "visible"
    # whole names, and no column cut off where a browser could not know of it
    for _ in range(3):
        at.page.evaluate("document.querySelector('#grid .open[aria-expanded=false]').click()")
    at.page.set_viewport_size({"width": 700, "height": 900})
    width = at.page.locator("#grid").evaluate("grid => Math.floor(grid.getBoundingClientRect().width)")
    assert width > 700
    assert at.page.evaluate("document.documentElement.scrollWidth") >= width
    widths = "names => names.map((name) => name.getBoundingClientRect().width)"
    assert min(at.page.locator("#grid .name", has_text="checkpoint").evaluate_all(widths)) > 50


def test_with_colours_of_the_readers_own(browser: Browser, kinds: Path) -> None:
    with opened(browser, kinds, forced_colors="active") as at:
        expect(at.page.locator("#scatter .dot.front").first).to_be_attached()
        fill = "circle => getComputedStyle(circle).fill"
        # what only widens a dot for fingers is not seen
        assert at.page.locator("#scatter .dot.front .reach").first.evaluate(fill) == "rgba(0, 0, 0, 0)"
        bar = at.page.locator("#grid td.spanned i").first
        assert bar.evaluate("bar => getComputedStyle(bar).backgroundColor") != at.page.evaluate(
            "getComputedStyle(document.querySelector('#frame')).backgroundColor"
        )


def test_those_who_want_no_motion_see_none(browser: Browser, kinds: Path) -> None:
    with opened(browser, kinds, reduced_motion="reduce") as at:
        at.page.locator("#grid tbody td").first.click()
        assert at.page.evaluate("document.getAnimations().length") == 0


def test_hostile_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    (board, *_) = boards()
    names = [*HOSTILE, *WORSE]
    rows = [
        replace(
            row,
            model=name,
            revision=name,
            experiment=name,
            second_stage=name,
            notes=[name],
            facts=replace(row.facts, licence=name, link=f"javascript:alert('{name}')"),
        )
        for row, name in zip(board.rows, names, strict=False)
    ]
    task = "<svg onload=alert(2)>\u202e</td>"
    cells = [{**row.cells, task: row.cells["STS12"]} for row in rows]
    rows = [
        replace(row, cells=found, types={**row.types, task: row.types["STS"]})
        for row, found in zip(rows, cells, strict=True)
    ]
    hostile = Board(WORSE[0], "mteb", {**board.types, task: [task]}, rows, notes=names)
    with opened(browser, written([hostile], tmp_path / "hostile.html")) as at:
        expect(at.page.locator("#count")).to_have_text(f"{len(names)} models")
        assert at.page.locator("img, #grid svg, body > script:not([type])").count() == 1
        text = at.page.locator("body").inner_text()
        assert "<img src=x onerror=alert(1)>" in text
        assert "{{data}}{{script}}" in text
        assert not set("\u202e\u2066\x00\x07\u2028") & set(text)
        for place in range(len(names)):
            at.page.locator("#grid tbody th.model").nth(place).click()
            expect(at.page.get_by_role("dialog").locator("a")).to_have_count(0)
            at.press("Escape")


def scores_of(seed: int) -> dict[str, float]:
    """By id, what `random_ndcg` gives to each item."""
    items = random_ndcg(seed).items
    assert items is not None
    return dict(zip(items.ids, items.columns["ndcg_at_10"], strict=True))


def test_items(browser: Browser, with_items: Path) -> None:
    with opened(browser, with_items) as at:
        page, dialog = at.page, at.page.get_by_role("dialog")
        page.locator("#grid .open").first.click()
        at.cell("task:Own", "two").click()
        expect(dialog).to_contain_text("ndcg_at_10; 60 items")
        scores = [float(text) for text in dialog.locator("tbody td:nth-child(2)").all_inner_texts()]
        own = scores_of(1).values()
        assert scores == sorted(scores)
        assert (scores[0], scores[-1]) == (min(own), max(own))
        dialog.get_by_label("Beside").select_option(label="me/one")
        first, other = scores_of(1), scores_of(0)
        lines = dialog.locator("tbody tr").all_inner_texts()
        assert len(lines) >= 20
        apart = []
        for line in lines:
            name, one, two, difference = line.split("\t")
            assert (float(one), float(two)) == (first[name], other[name])
            apart.append(abs(float(difference.replace("\u2212", "-"))))
        assert apart == sorted(apart, reverse=True)
        assert max(apart) == pytest.approx(max(abs(first[name] - other[name]) for name in first))
        expect(dialog.locator("svg").first).to_have_attribute("aria-label", re.compile("of 60 in the lower half"))
