"""From stored runs to boards.

| what | file |
| --- | --- |
| which tasks and rows a board has, and in which order | `boards` |
| a run's row: its cells and their means | `rows` |
| a run's score of a task | `cells` |
| what is known of its model | `facts` |
"""

from __future__ import annotations
