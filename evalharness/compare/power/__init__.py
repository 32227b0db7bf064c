"""Before a run: what tasks, types and means can show at all, and which tasks suffice.

| what | file |
| --- | --- |
| rows and how they are made | `outlook` |
| how far apart models' items are: stored, or typical | `spreads`, `typical.toml` |
| the fewest characters that show the tolerance | `cheapest` |
| how it looks | `formats` |
"""

from __future__ import annotations
