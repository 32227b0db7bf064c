"""How plots look, whatever they show.

| what | file |
| --- | --- |
| fonts, colours, marks, and how a figure is written | `style` |
| panels with a title above and footnotes below, in inches | `sheet` |
| what models and other texts of anyone's are called in a figure | `names` |
| where labels of points go, so that none is on another | `labels` |
| what is drawn of a score, its interval and the axes | `scores` |
"""

from __future__ import annotations
