"""Leaderboards as a page of HTML: one file that asks no network for anything.

| what | file |
| --- | --- |
| the parts put together, and what the page may do (its policy) | `assemble.py` |
| boards as compact JSON, which the page is made of | `data.py` |
| scores of single items, as many as a page may carry | `items.py` |
| the table that is there without JavaScript | `plain.py` |
| the skeleton and the looks | `page.html`, `page.css`, `table.css` |
| the page's own code, in the order of `assemble.SCRIPTS` | `*.js` |

What is in the JSON is told in `data.py` and read in `boards.js` alone.
"""

from __future__ import annotations
