"""What a comparison's rows say beside their verdicts, and of which items."""

from __future__ import annotations

from pathlib import Path

from support.stored import StoredScores, random_ndcg, spec_of, write_results

from evalharness.compare.comparison import Comparison, Finding, Settings
from evalharness.compare.judging import compare_results

MINE = ("Mine", "test", "default")
FAST = Settings(draws=2_000)


def only(comparison: Comparison) -> Finding:
    (found,) = comparison.tasks
    return found


def compared(
    folder: Path, base: dict[tuple[str, str, str], StoredScores], candidate: dict[tuple[str, str, str], StoredScores]
) -> Finding:
    """The one task of both."""
    one = write_results(folder / "base", base, spec_of("me/base"))
    other = write_results(folder / "candidate", candidate, spec_of("me/candidate"))
    return only(compare_results(str(one), str(other), None, FAST))


def test_rows_of_two_splits_have_nothing_in_common(tmp_path: Path) -> None:
    # row 3 of one split is no translation of row 3 of the other
    jobs = {("Mine", split, "default"): random_ndcg(seed, 60) for seed, split in enumerate(("train", "test"))}
    moved = {("Mine", split, "default"): random_ndcg(seed + 2, 60) for seed, split in enumerate(("train", "test"))}
    found = compared(tmp_path, jobs, moved)
    assert (found.items, found.clusters) == (120, 120)
