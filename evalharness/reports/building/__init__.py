"""From stored runs to boards.

| what | file |
| --- | --- |
| which lists, tasks and rows were asked for | `choosing` |
| a board of them | `boards` |
| a run's row: its cells and their means | `rows` |
| a run's score of a task | `cells` |
| Borda ranks, common tasks, the order of rows | `standing` |
| what is known of its model | `facts` |
| how fast it was | `speed` |
| how well scores, means and ranks are known | `uncertainty` |
| which published rows stand beside results | `public` |
"""

from __future__ import annotations
