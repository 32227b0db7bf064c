"""What a comparison's rows say beside their verdicts, and of which items."""

from __future__ import annotations

import json
from pathlib import Path

from support.stored import StoredScores, pairs, random_ndcg, spec_of, write_results

from evalharness.catalog.tasks import Member, TaskList
from evalharness.compare.comparison import Comparison, Finding, Settings, Verdict
from evalharness.compare.judging import compare_results
from evalharness.compare.sides import read_side

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


def test_published_scores_of_who_knows_which_subsets_are_no_scores_of_one(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    scores = {"STS17": {"test": 0.5}, "STSBenchmark": {"test": 0.5}}
    path.write_text(json.dumps({"_about": {"model": "me/it"}, "scores": scores}), encoding="utf-8")
    stored = pairs([0, 1, 2, 3], [0, 2, 1, 3])
    english = {("STS17", "test", "en-en"): stored, ("STSBenchmark", "test", "default"): stored}
    base, other = read_side(str(path)), read_side(str(write_results(tmp_path / "other", english)))
    for sides in ((base, other), (other, base)):
        found = compare_results(*sides, None, FAST)
        assert found["STSBenchmark"].verdict is Verdict.BY_SCORE
        assert found["STS17"].verdict is Verdict.NOT_COMPARED
        assert "do not say which subsets they are of, and the results have 1 of 11" in found["STS17"].why
    named = TaskList(name="mine", tasks=(Member(task="STS17", subsets=("en-en",)),))
    assert only(compare_results(base, other, named, FAST)).verdict is Verdict.BY_SCORE
    assert only(compare_results(base, base, named, FAST)).verdict is Verdict.BY_SCORE
