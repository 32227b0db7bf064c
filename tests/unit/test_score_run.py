"""Runs that were made elsewhere, as trec_eval reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Cli

from evalharness.data.trec import decimal, read_run
from evalharness.data.trec import write_run as write_ranking
from evalharness.errors import DataError, UsageError
from evalharness.results.records import ResultsOf, check_name, run_folder

COMMAND = ("score-run", "run.trec", "--task", "StarterRetrievalEng", "--name", "me/x")


def write_run(folder: Path, text: str) -> Path:
    path = folder / "run.trec"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "q Q0 d 1 2.5 tag\n",
        "# made by me\nq Q0 d 1 2.5 tag\n#q Q0 d 2 2 tag\n",
        "q\tQ0\td\t1\t2.5\ttag\r\n\r\n",
        "q Q0 d 1 2.5 a tag of several words\n",
        "q 0 d - +2.5e0 tag more 1 2 3\n",
        "\ufeffq Q0 d 1 2.5 tag",
    ],
)
def test_what_trec_eval_takes(tmp_path: Path, text: str) -> None:
    assert read_run(write_run(tmp_path, text)) == {"q": {"d": 2.5}}


def test_only_the_queries_that_are_wanted_are_read(tmp_path: Path) -> None:
    path = write_run(tmp_path, "q Q0 d 1 2.5 tag\nr Q0 d 1 what tag\n# s\nq Q0 e 2 1.5 tag\n")
    assert read_run(path, {"q", "s"}) == {"q": {"d": 2.5, "e": 1.5}}
    assert read_run(path, {"s"}) == {}
    with pytest.raises(DataError, match="line 2"):
        read_run(path, {"r"})


@pytest.mark.parametrize(
    "score", ["1_0", "0x1", "inf", "-inf", "nan", "NaN", "\u0661", "1,5", "1e999", "", "one", "--1"]
)
def test_what_is_no_score(tmp_path: Path, score: str) -> None:
    with pytest.raises(DataError, match=r"run.trec, line 2: expected `query Q0 document rank score tag`"):
        read_run(write_run(tmp_path, f"q Q0 d 1 2.5 tag\nq Q0 e 2 {score} tag\n"))
    assert decimal(score) is None


def test_a_run_that_shares_no_query_with_the_task(here: Cli, tmp_path: Path) -> None:
    write_run(tmp_path, "1 Q0 d001 1 2.5 tag\n2 Q0 d001 1 2.5 tag\n")
    done = here(*COMMAND)
    assert done.returncode == 2
    assert "run.trec: its queries (1, 2) are none of the judged queries of StarterRetrievalEng" in done.stderr
    assert not (tmp_path / "results").exists()


def test_scores_that_leave_float32(here: Cli, tmp_path: Path) -> None:
    corpus = Path(__file__).parents[2] / "tasks" / "starter" / "retrieval_eng" / "corpus.jsonl"
    document = json.loads(corpus.read_text(encoding="utf-8").splitlines()[0])["_id"]
    write_run(tmp_path, f"q001 Q0 {document} 1 1e39 tag\n")
    done = here(*COMMAND)
    assert done.returncode == 2
    assert f"scores of the query q001 leave float32: those of {document}; scale them" in done.stderr
    write_run(tmp_path, f"# a comment\nq001 Q0 {document} 1 1e38 a tag\nother Q0 {document} 1 1 tag\n")
    done = here(*COMMAND)
    assert done.returncode == 0, done.stderr
    assert "1 queries of the run are not judged and were ignored" in done.stdout


NO_NAMES = [
    "", ".", "..", "/", "a", "a/", "/a", "a/b/c", "./a", "a/..", "../a", ".a/b", "a/-b", "a\n/b", "a/b\n", "a b/c",
    "a\0/b", "a/" + "b" * 199, "a/" + "\u4e2d" * 67, "a\\b/c", "%2e/a",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="not of the form organisation/name"):
        check_name(name)


@pytest.mark.parametrize("name", ["..", "a\n/b"])
def test_what_is_no_name_is_refused_before_anything(here: Cli, tmp_path: Path, name: str) -> None:
    write_run(tmp_path, "q001 Q0 d 1 1 tag\n")
    run = ("run", "--model", "bm25", "--tasks", "StarterRetrievalEng")
    for command in (COMMAND[:-2], run):
        done = here(*command, "--name", name)
        assert done.returncode == 2
        assert "is not of the form organisation/name" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.trec"]


@pytest.mark.parametrize("name", ["a/b", "_a/0.b-c_", "\u4e2d\u6587/\u6a21\u578b", "a/" + "b" * 198])
def test_what_is_a_name(name: str) -> None:
    check_name(name)


def test_a_file_of_the_task_that_was_not_made_here_stays(here: Cli, tmp_path: Path) -> None:
    write_run(tmp_path, "q001 Q0 d 1 1 tag\n")
    folder = run_folder(tmp_path / "results", ResultsOf(name="me/x"))
    folder.mkdir(parents=True)
    (folder / "StarterRetrievalEng.json").write_text("{}")
    done = here(*COMMAND)
    assert done.returncode == 2
    assert "holds results that were not made here" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["StarterRetrievalEng.json"]
    assert (folder / "StarterRetrievalEng.json").read_text() == "{}"


def test_what_a_run_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    with pytest.raises(DataError, match=r"run.trec: the query id '#1' begins with #, which makes a line .* a comment"):
        write_ranking(path, [("q", {"d": 1.0}), ("#1", {"d": 1.0})], "tag")
    assert not path.exists()
    write_ranking(path, [("q#", {"#d": 1.0})], "tag")
    assert read_run(path) == {"q#": {"#d": 1.0}}
