"""The page of a report in a real browser: what a reader does with its table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from support.boards import HOSTILE, boards, many
from support.pages import Opened, chromium, opened, written

from evalharness.reports.fronts import AGAINST, front_of


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(boards(), tmp_path_factory.mktemp("page") / "kinds.html")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written([many()], tmp_path_factory.mktemp("page") / "large.html")


@pytest.fixture
def at(browser: Browser, kinds: Path) -> Iterator[Opened]:
    with opened(browser, kinds) as page:
        yield page


def sort(at: Opened, key: str) -> str | None:
    at.page.locator(f'#grid th[data-key="{key}"] .sort').click()
    return at.page.locator(f'#grid th[data-key="{key}"]').get_attribute("aria-sort")


def test_it_shows_what_the_board_has(at: Opened) -> None:
    board = boards()[0]
    assert at.page.title().startswith("Every kind of row")
    expect(at.page.locator("#count")).to_have_text("20 models")
    assert at.rows()[:3] == ["checkpoint-2500", "checkpoint-2000", "tuned"]
    means = [row.mean_task.score for row in board.rows]
    lacking = [row.mean_task for row in board.rows if row.mean_task.score is None]
    shown = at.column("mean")
    assert [text for text in shown if not text.startswith("\u2013")] == [
        f"{100 * x:.2f}" for x in means if x is not None
    ]
    assert [text for text in shown if text.startswith("\u2013")] == [f"\u2013{m.present}/{m.expected}" for m in lacking]
    for kind in board.types:
        wanted = [row.types[kind].score for row in board.rows]
        found = at.column(f"type:{kind}")
        assert [f"{100 * x:.2f}" for x in wanted if x is not None] == [x for x in found if not x.startswith("\u2013")]


def test_sorting(at: Opened) -> None:
    assert at.page.locator('#grid th[aria-sort="descending"]').get_attribute("data-key") == "mean"
    assert sort(at, "type:STS") == "descending"
    scores = [float(text) for text in at.column("type:STS") if not text.startswith("\u2013")]
    assert scores == sorted(scores, reverse=True)
    assert sort(at, "type:STS") == "ascending"
    assert at.page.locator("#grid th[aria-sort]").count() == 1
    found = at.column("type:STS")
    scores = [float(text) for text in found if not text.startswith("\u2013")]
    assert scores == sorted(scores)
    # what has no score is last in both directions
    assert sort(at, "mean") == "descending"
    assert at.column("mean")[-1].startswith("\u2013")
    assert sort(at, "mean") == "ascending"
    assert at.column("mean")[-1].startswith("\u2013")
    assert sort(at, "borda") == "ascending"
    assert at.column("borda")[:3] == ["1", "2", "3"]
    assert at.column("these")[:3] == ["1\u20132", "1\u20133", "1\u20134"]
    assert sort(at, "like") == "ascending"
    assert sort(at, "model") == "ascending"
    assert sort(at, "dimensions") == "ascending"


def test_search_and_filters(at: Opened) -> None:
    page = at.page
    page.get_by_label("Search models").fill("TUNED checkpoint")
    expect(page.locator("#count")).to_have_text("6 of 20 models")
    assert all(name.startswith("checkpoint") for name in at.rows())
    page.get_by_label("Search models").fill("nobody has this")
    expect(page.locator("#grid tbody")).to_contain_text("No model fits")
    page.locator("#reset").click()
    expect(page.locator("#count")).to_have_text("20 models")
    page.locator("#models summary").click()
    page.get_by_label("Published scores").check()
    expect(page.locator("#count")).to_have_text("6 of 20 models")
    page.get_by_label("All", exact=True).check()
    page.get_by_label("at most, millions").fill("40")
    page.keyboard.press("Tab")
    sizes = [row.facts.parameters for row in boards()[0].rows]
    small = sum(size is not None and size <= 40e6 for size in sizes)
    expect(page.locator("#count")).to_have_text(f"{small} of 20 models")
    page.get_by_label("at most, millions").fill("")
    page.keyboard.press("Tab")
    page.get_by_label("Zero-shot").select_option("100")
    untouched = sum(row.zero_shot == 100 for row in boards()[0].rows)
    expect(page.locator("#count")).to_have_text(f"{untouched} of 20 models")
    page.get_by_label("Zero-shot").select_option("")
    page.locator("#models .sheet").get_by_text("lab", exact=True).click()
    expect(page.locator("#count")).to_have_text("6 of 20 models")
    page.keyboard.press("Escape")
    expect(page.locator("#models .sheet")).to_be_hidden()
    assert at.focused("element.textContent").startswith("Models")


def test_types_that_are_not_chosen_leave_and_a_mean_of_the_others_comes(at: Opened) -> None:
    page = at.page
    page.locator("#types summary").click()
    expect(page.locator("#types .sheet")).to_have_text("Show tasks ofClassification2Retrieval3STS2AllNone")
    page.locator("#types .sheet").get_by_text("STS", exact=True).click()
    expect(page.locator('#grid th[data-key="type:STS"]')).to_have_count(0)
    head = page.locator("#grid th", has_text="Mean, shown")
    expect(head).to_contain_text("5 tasks")
    board = boards()[0]
    tasks = [task for kind, names in board.types.items() if kind != "STS" for task in names]
    wanted = []
    for row in board.rows:
        scores = [row.cells[task].score for task in tasks]
        there = [score for score in scores if score is not None]
        mean = f"{100 * sum(there) / len(there):.2f}"
        wanted.append(mean if len(there) == len(tasks) else f"\u2013{len(there)}/{len(tasks)}")
    key = head.get_attribute("data-key")
    assert key is not None
    assert at.column(key) == wanted


def test_a_type_opens_to_its_tasks_and_a_task_to_its_subsets(at: Opened) -> None:
    page = at.page
    button = page.locator('#grid th[data-key="type:Classification"] .open')
    expect(button).to_have_attribute("aria-expanded", "false")
    button.click()
    assert at.focused("element.className + ' ' + element.getAttribute('aria-expanded')") == "open true"
    row = boards()[0].rows[0]
    score = row.cells["AmazonPolarityClassification"].score
    assert at.column("task:AmazonPolarityClassification")[0] == f"{100 * (score or 0):.2f}"
    page.locator('#grid th[data-key="task:MassiveIntentClassification"] .open').click()
    parts = {part.subset: part.score for part in row.cells["MassiveIntentClassification"].parts}
    for subset, value in parts.items():
        assert at.column(f"part:MassiveIntentClassification/test/{subset}")[0] == f"{100 * value:.2f}"
    page.locator('#grid th[data-key="type:Classification"] .open').click()
    expect(page.locator('#grid th[data-key="task:AmazonPolarityClassification"]')).to_have_count(0)


def test_what_is_known_of_a_score_and_of_a_model(at: Opened) -> None:
    page = at.page
    page.locator('#grid th[data-key="type:Retrieval"] .open').click()
    place = page.locator('#grid th[data-key="task:NFCorpus"]').get_attribute("data-c")
    page.locator("#grid tbody tr", has_text="tuned").nth(2).locator(f'td[data-c="{place}"]').click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("NFCorpus \u00b7 Retrieval \u00b7 ndcg_at_10")
    expect(dialog).to_contain_text("7 texts cut to 256 tokens")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.locator("#grid tbody th.model", has_text="partial").click()
    expect(dialog).to_contain_text("The mean is void: 6 of 7 tasks have a score.")
    expect(dialog).to_contain_text("SciFact: not run")
    expect(dialog.get_by_role("link")).to_have_attribute("rel", "noreferrer noopener")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_heat_never_says_anything_alone(at: Opened) -> None:
    page = at.page
    before = at.column("mean")
    page.locator("#view summary").click()
    page.get_by_label("Heat map").check()
    best, worst = page.locator("#grid td.h6").first, page.locator("#grid td.h0").first
    colours = {one.evaluate("cell => getComputedStyle(cell).backgroundColor") for one in (best, worst)}
    assert len(colours) == 2
    assert at.column("mean") == before
    page.get_by_label("Intervals").uncheck()
    expect(page.locator("#grid td.spanned")).to_have_count(0)


def test_a_view_can_be_linked(browser: Browser, kinds: Path) -> None:
    with opened(browser, kinds) as at:
        sort(at, "type:STS")
        at.page.get_by_label("Search models").fill("public")
        expect(at.page.locator("#count")).to_have_text("6 of 20 models")
        at.page.locator('#grid th[data-key="type:STS"] .open').click()
        rows, fragment = at.rows(), at.page.evaluate("location.hash")
    with opened(browser, kinds, fragment) as at:
        assert at.rows() == rows
        expect(at.page.locator('#grid th[aria-sort="descending"]')).to_have_attribute("data-key", "type:STS")
        expect(at.page.locator('#grid th[data-key="task:STS12"]')).to_have_count(1)
    nonsense = ("#board=99&sort=-nothing&open=[1&types=7", "#%E0%A4%A", "#least=a&zeroShot=x", "#origin=x")
    for fragment in (*nonsense, '#types=["Gone"]', '#families=["gone"]', "#sort=shown"):
        with opened(browser, kinds, fragment) as at:
            expect(at.page.locator("#title")).to_have_text("Every kind of row")
            expect(at.page.locator("#count")).to_have_text("20 models")
            expect(at.page.locator('#grid th[data-key="type:STS"]')).to_have_count(1)
            expect(at.page.locator("#reset")).to_be_hidden()


def test_what_orders_rows_is_said_where_no_column_shows_it(browser: Browser, kinds: Path) -> None:
    with opened(browser, kinds, "#sort=-task:STS12") as at:
        expect(at.page.locator("#count")).to_have_text("20 models, ordered by STS12")
        at.page.locator('#grid th[data-key="type:STS"] .open').click()
        expect(at.page.locator("#count")).to_have_text("20 models")
        expect(at.page.locator('#grid th[aria-sort="descending"]')).to_have_attribute("data-key", "task:STS12")
    with opened(browser, kinds, '#types=["STS"]&sort=-shown') as at:
        shown = [cell for cell in at.column("shown") if not cell.startswith("\u2013")]
        assert shown == [cell for cell in at.column("type:STS") if not cell.startswith("\u2013")]
        assert shown == sorted(shown, reverse=True)
        # without the column, its order ends
        at.page.locator("#reset").click()
        expect(at.page.locator("#count")).to_have_text("20 models")
        expect(at.page.locator('#grid th[aria-sort="descending"]')).to_have_attribute("data-key", "mean")


def test_places_are_among_all_models_and_only_of_those_with_a_value(at: Opened) -> None:
    page = at.page
    rows = [row for row in boards()[0].rows if row.mean_task.score is not None]
    places = page.locator("#grid tbody .place").all_inner_texts()
    assert [place for place in places if place] == [str(number) for number in range(1, len(rows) + 1)]
    assert not any(places[len(rows) :])
    expect(page.locator("#legend")).not_to_contain_text("filtered out")
    page.get_by_label("Search models").fill("public")
    expect(page.locator("#count")).to_have_text("6 of 20 models")
    kept = [str(number) for number, row in enumerate(rows, start=1) if "public" in row.model]
    assert [place for place in page.locator("#grid tbody .place").all_inner_texts() if place] == kept
    expect(page.locator("#legend")).to_contain_text("among all models, also those that are filtered out")
    # a screen reader hears of the rows that are there
    numbers = page.locator("#grid tbody tr").evaluate_all("rows => rows.map((row) => row.ariaRowIndex)")
    assert numbers == [str(number) for number in range(3, 9)]
    expect(page.locator("#grid")).to_have_attribute("aria-rowcount", "8")


def test_scores_that_look_the_same_are_marked_the_same(browser: Browser, tmp_path: Path) -> None:
    board = boards()[0]
    scores = {"one": 0.612341, "two": 0.612338, "three": 0.61229, "four": 0.61229}
    rows = [
        replace(board.rows[0], model=name, mean_task=replace(board.rows[0].mean_task, score=score, interval=None))
        for name, score in scores.items()
    ]
    with opened(browser, written([replace(board, rows=rows)], tmp_path / "page.html")) as at:
        assert at.column("mean") == ["61.23"] * 4
        assert at.page.locator("#grid tbody .place").all_inner_texts() == ["1", "1", "3", "3"]
        assert all("best" in (at.cell("mean", name).get_attribute("class") or "") for name in scores)


def test_search_knows_no_capitals_accents_or_widths_but_revisions(browser: Browser, tmp_path: Path) -> None:
    board = boards()[0]
    names = ("\u00c9cole/Mod\u00e8le-\uff21", "other/e5")
    rows = [
        replace(row, model=name, experiment="", second_stage="", revision=f"{number}bcdef0{'9' * 33}")
        for number, (row, name) in enumerate(zip(board.rows, names, strict=False))
    ]
    with opened(browser, written([replace(board, rows=rows)], tmp_path / "page.html")) as at:
        for query, found in {
            "ecole modele-a": 1,
            "MODE\u0300LE": 1,
            "1bcdef0": 1,
            "bcdef0": 0,
            "99": 0,
            "E5": 1,
        }.items():
            at.page.get_by_label("Search models").fill(query)
            expect(at.page.locator("#count")).to_have_text(f"{found} of 2 models")


def test_other_boards(at: Opened) -> None:
    at.page.get_by_role("radio", name="Reranking & more").check()
    expect(at.page.locator("#title")).to_have_text("Reranking & more")
    expect(at.page.locator("#about")).to_contain_text("published protocol")
    assert at.rows() == [row.model.removeprefix("lab/") for row in boards()[1].rows]
    at.press("ArrowRight")
    expect(at.page.locator("#title")).to_have_text("Nothing yet")
    expect(at.page.locator("#grid tbody")).to_contain_text("No models yet.")


def test_many_boards_are_picked_from_a_list_and_linked_by_name(browser: Browser, tmp_path: Path) -> None:
    (first, second, _) = boards()
    many_boards = [
        first,
        *(replace(second, title=f"List {number}") for number in range(4)),
        replace(first, protocol="x"),
    ]
    path = written(many_boards, tmp_path / "page.html")
    with opened(browser, path) as at:
        at.page.locator("#boards select").select_option("List 2")
        expect(at.page.locator("#title")).to_have_text("List 2")
        fragment = at.page.evaluate("location.hash")
    with opened(browser, path, fragment) as at:
        expect(at.page.locator("#title")).to_have_text("List 2")
        at.page.locator("#boards select").select_option("Every kind of row (x)")
        expect(at.page.locator("#about")).to_contain_text("x protocol")


def test_without_a_browser_it_is_skipped_but_where_one_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", {}.get)
    monkeypatch.delenv("EVALHARNESS_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs Chromium"), chromium():
        pass
    monkeypatch.setenv("EVALHARNESS_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="is required"), chromium():
        pass


def test_download(at: Opened) -> None:
    at.page.get_by_label("Search models").fill("write18")
    expect(at.page.locator("#count")).to_have_text("1 of 20 models")
    with at.page.expect_download() as download:
        at.page.locator("#csv").click()
    assert download.value.suggested_filename == "Every-kind-of-row.csv"
    head, line = csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"), newline=""))
    told = dict(zip(head, line, strict=True))
    # what a spreadsheet would compute
    assert told["Model"] == f"'{HOSTILE[2]}"
    assert (
        told["Scores"] == "published" if "published" in at.page.locator("#grid tbody .by").inner_text() else "own run"
    )
    row = next(row for row in boards()[0].rows if row.model == HOSTILE[2])
    assert float(told["Mean"]) == pytest.approx(100 * (row.mean_task.score or 0), abs=1e-3)


def test_charts(at: Opened) -> None:
    page = at.page
    expect(page.locator("#scatter .dot").first).to_be_visible()
    assert not {"null", "undefined", "NaN"} & set(re.findall(r"\w+", page.locator("body").inner_text()))
    rows = boards()[0].rows
    for against in AGAINST:
        page.locator("#scatter select").nth(1).select_option(against.name)
        said = re.compile(f"against {against.title.split()[0].lower()}")
        expect(page.locator("#scatter svg")).to_have_attribute("aria-label", said)
        scores = [None if row.mean_task.score is None else round(row.mean_task.score, 5) for row in rows]
        wanted = {rows[place].model for place in front_of(rows, scores, against)}
        told = page.locator("#scatter .dot.front").evaluate_all(
            "dots => dots.map((dot) => dot.getAttribute('aria-label'))"
        )
        assert len(told) == len(front_of(rows, scores, against))
        assert all(any(text.startswith(model) for model in wanted) for text in told)
    expect(page.locator("#series")).to_contain_text("me/tuned, 6 checkpoints. Bands: 95% intervals.")
    assert page.locator("#series svg").count() == 4
    assert page.locator("#series .band").count() == 4
    page.locator("#series .dot").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("checkpoint-0")


def test_hundreds_of_models(browser: Browser, large: Path) -> None:
    with opened(browser, large) as at:
        expect(at.page.locator("#count")).to_have_text("600 models")
        loaded = at.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        # CI is slow at times; benchmarks/page_speed.py measures
        assert loaded < 3000
        clicked = """key => new Promise((done) => {
          const start = performance.now();
          document.querySelector(`#grid th[data-key="${key}"] .sort`).click();
          requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
        })"""
        assert min(at.page.evaluate(clicked, key) for key in ("type:STS", "model", "mean")) < 600
        # rows come as they are scrolled to, or gone to
        at.page.locator("#grid th[aria-sort] .sort").focus()
        at.press("ArrowDown", "Control+End")
        expect(at.page.locator("#grid tbody tr")).to_have_count(600)
        at.page.get_by_label("Search models").fill("lab7/")
        expect(at.page.locator("#count")).to_have_text("15 of 600 models")
