"""Comparison: is a model worse than another one, and is the difference real?

Two sides become pairs of items, pairs become differences with intervals and p-values, those become verdicts, and a
gate makes of the verdicts a yes or a no. A file here with `render` is a format.
"""

from __future__ import annotations
