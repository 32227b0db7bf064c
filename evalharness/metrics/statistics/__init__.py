"""Statistics of paired differences: arrays in, values out. Only what computes differences imports it.

| question | module |
| --- | --- |
| is there a difference? | `paired_tests` |
| how large is it? | `intervals` |
| and if many are asked about? | `multiple` |
| and if one asks again and again? | `spending` |
| what could be shown at all? | `power` |
| where does a model stand among many? | `ranks` |

Units are those of the scores that come in (evalharness' own are 0-1). A decision is never made by a bootstrap, nor by
Wilcoxon's test or the sign test: J. Urbano, H. Lima, A. Hanjalic, "Statistical Significance Testing in Information
Retrieval", SIGIR 2019, measured their false alarms.
"""

from __future__ import annotations

# of every comparison, so that the same results give the same verdict on every machine
SEED = 20_190_721
