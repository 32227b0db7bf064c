"""How fast a page of hundreds of models is in a browser: `python benchmarks/page_speed.py OUTPUT`.

Makes a page of 600 made-up models on 56 tasks, ten of which have eight subsets, opens it in Chromium with nothing in
its cache, and takes the time until it is loaded and shown, and of clicks: sorting with types closed and with all of
them open, a search, opening all types. A click's time ends when what it changed has been laid out and painted. Exits
with 1 if a page takes longer than a second to load, or a sort longer than 200 ms (medians). Writes OUTPUT, markdown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from evalharness.catalog.models import ModelFacts
from evalharness.reports.board import Board, Cell, Mean, Part, Row
from evalharness.reports.formats import render

MODELS, TASKS, TYPES, SUBSETS = 600, 56, 7, 8
MOST_LOAD, MOST_SORT = 1000.0, 200.0
TIMES = 7
# milliseconds from a click to the paint of what it changed
_CLICK = """selector => new Promise((done) => {
  const element = document.querySelector(selector);
  const start = performance.now();
  element.click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""
_SEARCH = """text => new Promise((done) => {
  const box = document.querySelector('#query');
  const start = performance.now();
  box.value = text;
  box.dispatchEvent(new Event('input'));
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))))
    .observe(document.querySelector('#count'), { childList: true, characterData: true, subtree: true });
})"""
_LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def made_up() -> Board:
    """Models of any skill; one in nine lacks a task."""
    random = np.random.default_rng(0)
    types = {f"Type {kind}": [f"Task{number}OfType{kind}" for number in range(TASKS // TYPES)] for kind in range(TYPES)}
    names = [task for tasks in types.values() for task in tasks]
    rows = [_row(f"lab-{number % 40}/model-{number}", number, types, names, random) for number in range(MODELS)]
    rows.sort(key=lambda row: -(row.mean_task.score or 0))
    rows = [replace(row, borda=place) for place, row in enumerate(rows, start=1)]
    return Board(f"{MODELS} models", "mteb", types, rows, dict.fromkeys(names, "main_score"))


def _row(
    model: str, number: int, types: dict[str, list[str]], names: Sequence[str], random: np.random.Generator
) -> Row:
    scores = np.clip(random.normal(0.6, 0.1, len(names)) + random.normal(0, 0.05), 0, 1).tolist()
    cells = {}
    for place, (task, score) in enumerate(zip(names, scores, strict=True)):
        shifts = random.normal(0, 0.03, SUBSETS if place % 6 == 0 else 1)
        parts = [Part("test", f"subset-{n}", (), float(score + shift)) for n, shift in enumerate(shifts)]
        cells[task] = Cell(float(score), parts=parts, is_trained_on=bool(random.random() < 0.1))
    if number % 9 == 0:
        cells[names[number % TASKS]] = Cell(None, "not run")
    means = {kind: _mean([cells[task].score for task in tasks]) for kind, tasks in types.items()}
    facts = ModelFacts(int(64 * random.integers(4, 64)), 512, int(1e6 * 10 ** random.uniform(1, 4)), licence="mit")
    by_task, by_type = _mean([cell.score for cell in cells.values()]), _mean([mean.score for mean in means.values()])
    return Row(model, f"{number:040x}", "", "", cells, means, by_task, by_type, facts=facts)


def _mean(scores: Sequence[float | None]) -> Mean:
    there = [score for score in scores if score is not None]
    return Mean(fmean(there) if len(there) == len(scores) else None, len(there), len(scores))


def measure(browser: Browser, path: Path) -> dict[str, list[float]]:
    """Milliseconds of each thing that a reader does, as often as it was done."""
    found: dict[str, list[float]] = {}

    def note(name: str, milliseconds: float) -> None:
        found.setdefault(name, []).append(milliseconds)

    for _ in range(TIMES):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(path.as_uri())
        page.wait_for_timeout(1500)
        note("loaded", page.evaluate(_LOADED))
        note("first paint", page.evaluate(_PAINTED))
        for key in ("type:Type 3", "model", "parameters", "mean"):
            note("sort, types closed", _sort(page, key))
        note("search", page.evaluate(_SEARCH, "lab-7/"))
        page.evaluate(_SEARCH, "")
        page.locator("#view summary").click()
        note("open all types", page.evaluate(_CLICK, "#view .sheet button"))
        page.wait_for_timeout(1500)
        for key in ("task:Task3OfType3", "type:Type 5", "mean"):
            note("sort, all types open", _sort(page, key))
        page.close()
    return found


def _sort(page: Page, key: str) -> float:
    milliseconds: float = page.evaluate(_CLICK, f'#grid th[data-key="{key}"] .sort')
    # what is made at leisure is no part of the next click
    page.wait_for_timeout(700)
    return milliseconds


def main() -> None:
    """Measure, write, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    output: Path = parser.parse_args().output
    board = made_up()
    start = time.perf_counter()
    text = render([board], "html")
    seconds = time.perf_counter() - start
    empty = len(render([], "html").encode())
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        path.write_text(text, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        version, found = browser.version, measure(browser, path)
        browser.close()
    size, machine = (
        len(text.encode()),
        f"{os.cpu_count()} shared CPU cores, Chromium {version} without a GPU, 1280 x 800",
    )
    head = (
        "# A page of hundreds of models\n\n"
        f"Written by `python benchmarks/page_speed.py OUTPUT` on {datetime.now(UTC):%Y-%m-%d}; {machine}.\n\n"
        f"{MODELS} models x {TASKS} tasks, of which ten have {SUBSETS} subsets: {size / 1000:,.0f} kB, of which "
        f"{empty / 1000:.0f} kB are the page without data; written in {seconds:.2f} s.\n"
    )
    lines = [f"| {name} | {len(values)} | {median(values):.0f} | {max(values):.0f} |" for name, values in found.items()]
    table = ["| what | times | median, ms | slowest, ms |", "| --- | ---: | ---: | ---: |", *lines]
    foot = "A click's time ends when what it changed is painted. Machine and cores had other work at the time."
    output.write_text("\n".join([head, *table, "", foot, ""]), encoding="utf-8")
    print(output.read_text(encoding="utf-8"))
    slow = [name for name, values in found.items() if median(values) > (MOST_SORT if "sort" in name else MOST_LOAD)]
    sys.exit(f"too slow: {', '.join(slow)}" if slow else 0)


if __name__ == "__main__":
    main()
