"""Results in the forms that others read, each checked by the code of those who read it.

| what | file |
| --- | --- |
| what may be published as one's own, and why the rest may not | `own` |
| how files are written without damage to others' | `writing` |
| `.eval_results/*.yaml` of a model repository on the Hub | `eval_results` |
| the older `model-index`, at the head of a README | `model_index` |
| how it is put there without touching the rest | `front_matter` |
| the layout of mteb's results repository | `submission` |
| a record of Every Eval Ever | `every_eval_ever` |
| its lines per item | `instances` |
| a static Space that shows a leaderboard | `space` |
"""

from __future__ import annotations
