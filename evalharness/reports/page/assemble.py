"""The page put together: its files inlined, the data beside them, and a policy that lets nothing else in.

Scripts and styles are allowed by their hashes alone, and nothing may be fetched from anywhere, so that no name in the
data, however hostile, can do more than stand there.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from evalharness.reports.board import Board
from evalharness.reports.page.data import as_json
from evalharness.reports.page.items import item_views
from evalharness.reports.page.plain import plain_tables, shown

STYLES = ("page.css", "table.css")
_POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
# each may use what those before it declare
SCRIPTS = (
    "elements.js",
    "boards.js",
    "columns.js",
    "state.js",
    "cells.js",
    "table.js",
    "keys.js",
    "filters.js",
    "items.js",
    "details.js",
    "scatter.js",
    "series.js",
    "download.js",
    "main.js",
)


def page(boards: Sequence[Board]) -> str:
    """A page of these leaderboards: one file, for any browser, without a network."""
    style = "\n".join(map(_file, STYLES))
    # one scope for all files, and nothing of it where other scripts could see it
    script = "(() => {\n" + "\n".join(map(_file, SCRIPTS)) + "})();\n"
    parts = {
        # the empty picture keeps a browser from asking a server for the page's icon
        "policy": f"{_POLICY}; script-src {_hash(script)}; style-src {_hash(style)}",
        "title": shown(" \u00b7 ".join(dict.fromkeys(board.title for board in boards))),
        "style": style,
        "plain": plain_tables(boards),
        "data": as_json(boards, item_views(boards)),
        "script": script,
    }
    text = _file("page.html")
    head, *rest = text.split("{{")
    # in one pass, so that no text of the data is taken for a place of the page
    return head + "".join(parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest))


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
