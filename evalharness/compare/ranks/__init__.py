"""Where models stand among many: intervals of ranks, and which neighbours are told apart.

| what | file |
| --- | --- |
| boards: models by tasks, and their ranking | `boards` |
| scores of a results folder, with items | `stored` |
| scores of a table that somebody published | `matrix` |
| how it looks | `formats` |
"""

from __future__ import annotations
