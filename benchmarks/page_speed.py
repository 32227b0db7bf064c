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
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of something, each time: by the clock, and of a processor for the page's own thread."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


class Watch:
    """Takes times in a page."""

    def __init__(self, page: Page, found: dict[str, Times]) -> None:
        self._page, self._found = page, found
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def load(self, path: Path) -> None:
        """Open the page."""
        before = self._processor()
        self._page.goto(path.as_uri())
        self._note("load", self._page.evaluate(_LOADED), before)
        self._page.wait_for_timeout(1500)

    def take(self, name: str, script: str, argument: str) -> None:
        """Run a script that gives its milliseconds; what the page then does at leisure is waited for."""
        before = self._processor()
        self._note(name, self._page.evaluate(script, argument), before)
        self._page.wait_for_timeout(1000)

    def _note(self, name: str, clock: float, before: float) -> None:
        times = self._found.setdefault(name, Times())
        times.clock.append(clock)
        times.processor.append(self._processor() - before)

    def _processor(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return 1000 * float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def measure(browser: Browser, path: Path) -> dict[str, Times]:
    """How long a reader waits for each thing."""
    found: dict[str, Times] = {}
    for _ in range(TIMES):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        watch = Watch(page, found)
        watch.load(path)
        for key in ("type:Type 3", "model", "parameters", "mean"):
            watch.take("sort, types closed", _CLICK, f'#grid th[data-key="{key}"] .sort')
        watch.take("search", _SEARCH, "lab-7/")
        page.evaluate(_SEARCH, "")
        page.locator("#view summary").click()
        page.locator("#view .sheet button").first.wait_for()
        watch.take("open all types", _CLICK, "#view .sheet button")
        for key in ("task:Task3OfType3", "type:Type 5", "mean"):
            watch.take("sort, all types open", _CLICK, f'#grid th[data-key="{key}"] .sort')
        page.close()
    return found


def main() -> None:
    """Measure, write, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    output: Path = parser.parse_args().output
    load, board = os.getloadavg()[0], made_up()
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
    size = len(text.encode())
    machine = f"{os.cpu_count()} shared CPU cores, Chromium {version} without a GPU, 1280 x 800"
    head = (
        "# A page of hundreds of models\n\n"
        f"Written by `python benchmarks/page_speed.py OUTPUT` on {datetime.now(UTC):%Y-%m-%d}; {machine}.\n\n"
        f"{MODELS} models x {TASKS} tasks, of which ten have {SUBSETS} subsets: {size / 1000:,.0f} kB, of which "
        f"{empty / 1000:.0f} kB are the page without data; written in {seconds:.2f} s.\n"
    )
    lines = [
        f"| {name} | {len(times.clock)} | {median(times.clock):.0f} | {max(times.clock):.0f} | "
        f"{median(times.processor):.0f} |"
        for name, times in found.items()
    ]
    table = [
        "| what | times | median, ms | slowest, ms | processor, median, ms |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    foot = (
        "A click's time ends when what it changed is painted; that of a search begins with the last letter, "
        "and the page\nwaits 60 ms for another one. The cores had other work, too: the machine's load, "
        f"of processes that ran or\nwaited, was {load:.1f} when this began."
    )
    output.write_text("\n".join([head, *table, *lines, "", foot, ""]), encoding="utf-8")
    print(output.read_text(encoding="utf-8"))
    most = {name: MOST_SORT if "sort" in name else MOST_LOAD for name in found}
    slow = [name for name, times in found.items() if median(times.clock) > most[name]]
    sys.exit(f"too slow: {', '.join(slow)}" if slow else 0)


if __name__ == "__main__":
    main()
