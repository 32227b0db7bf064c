"""Reports in a real browser, which may not talk to anyone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright

from evalharness.reports.board import Board
from evalharness.reports.formats import render

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OFFLINE = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run")
DESKTOP: Mapping[str, int] = {"width": 1280, "height": 800}
PHONE: Mapping[str, int] = {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without one, the test is skipped, or fails where CI says that there has to be one."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("EVALHARNESS_BROWSER") == "required":
            pytest.fail("no Chromium, and EVALHARNESS_BROWSER says that it is required")
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_OFFLINE))
        yield browser
        browser.close()


@dataclass(frozen=True, slots=True)
class Opened:
    """A page, and what it did that it should not.

    Attributes:
        page: as playwright has it.
        requests: addresses that it asked for, its own apart.
        errors: what it said on the console, and what it threw.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def rows(self) -> list[str]:
        """Names of the models, in the order of the table."""
        return self.page.locator("#grid tbody .name").all_inner_texts()

    def column(self, key: str) -> list[str]:
        """What stands in a column, by its key."""
        place = self.page.locator(f'#grid th[data-key="{key}"]').get_attribute("data-c")
        cells = self.page.locator(f'#grid tbody td[data-c="{place}"]')
        return [text.split("\n")[0].split(",")[0] for text in cells.all_inner_texts()]

    def cell(self, key: str, row: str) -> Locator:
        """The cell of a column in the first row that has this text."""
        place = self.page.locator(f'#grid th[data-key="{key}"]').get_attribute("data-c")
        return self.page.locator("#grid tbody tr", has_text=row).first.locator(f'td[data-c="{place}"]')

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def focused(self, said: str) -> Any:
        """What JavaScript says of the element that has the focus."""
        return self.page.evaluate(f"(() => {{ const element = document.activeElement; return {said}; }})()")


@contextmanager
def opened(browser: Browser, path: Path, fragment: str = "", **options: Any) -> Iterator[Opened]:
    """The page of a file; that it asked for nothing and raised no error is seen to at the end."""
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    page = context.new_page()
    found = Opened(page)

    def refused(route: Route) -> None:
        if route.request.url.partition("#")[0] == path.as_uri():
            route.continue_()
            return
        found.requests.append(route.request.url)
        route.abort()

    context.route("**/*", refused)
    page.on(
        "console", lambda message: found.errors.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("dialog", lambda dialog: found.errors.append(f"a dialog: {dialog.message}"))
    page.goto(path.as_uri() + fragment)
    yield found
    assert found.requests == []
    assert found.errors == []
    context.close()


def written(boards: Sequence[Board], path: Path) -> Path:
    """The page of these boards as a file."""
    path.write_text(render(boards, "html"), encoding="utf-8")
    return path
