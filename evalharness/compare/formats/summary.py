"""A comparison as the summary of a step of GitHub Actions: the comment's markdown, in more room."""

from __future__ import annotations

from collections.abc import Sequence

from evalharness.compare.formats.markdown import fitted
from evalharness.compare.judged import Judged

# of all that a step writes to $GITHUB_STEP_SUMMARY, in bytes
SUMMARY_LIMIT = 2**20


def render(series: Sequence[Judged]) -> str:
    """As `markdown.render`, below 1 MiB."""
    return fitted(series, SUMMARY_LIMIT)
