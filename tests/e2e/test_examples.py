from __future__ import annotations

import json
from pathlib import Path

from conftest import Cli

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_task_runs_without_a_hub(cli: Cli) -> None:
    command = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()[-1].strip()
    assert command.startswith("python -m evalharness run ")
    arguments = command.replace("examples/", f"{EXAMPLES}/").split()[3:]
    done = cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert "MyPairs" in done.stdout


def test_checking_data_counts_or_names_what_is_wrong(here: Cli, tmp_path: Path) -> None:
    done = here("check-data", str(EXAMPLES))
    assert done.returncode == 0, done.stderr
    assert "MyPairs [test]: " in done.stdout
    for name in ("my_task.toml", "my_pairs.jsonl"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "my_pairs.jsonl").write_text('{"question": "a", "other": "b", "rating": 9}\n')
    done = here("check-data", "my_task.toml", "gone.toml")
    assert done.returncode == 2
    assert "my_pairs.jsonl, row 1, column 'rating': expected a number from 1 to 5, got 9 (a number)" in done.stderr
    assert "gone.toml: cannot be read" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_ranking_goes_out_and_comes_back_with_the_same_scores(here: Cli, tmp_path: Path) -> None:
    done = here("run", "--model", "all-MiniLM-L6-v2", "--tasks", "StarterRerankingEng", "--save-rankings")
    assert done.returncode == 0, done.stderr
    ranking = next((tmp_path / "results").rglob("test.default.trec"))
    again = here("score-run", str(ranking), "--task", "StarterRerankingEng", "--name", "me/again")
    assert again.returncode == 0, again.stderr
    first, second = (
        json.loads(next((tmp_path / "results" / folder).rglob("StarterRerankingEng.json")).read_text())["scores"]
        for folder in ("sentence-transformers__all-MiniLM-L6-v2", "me__again")
    )
    assert first == second
    board = here("report", "results", "--suite", "starter").stdout
    assert "me/again" in board


def test_run_files_that_are_wrong(here: Cli, tmp_path: Path) -> None:
    for text, message in (
        ("q1 Q0 d1 1 high tag\n", "run.trec, line 1: expected `query Q0 document rank score tag`"),
        ("q1 Q0 d1 1 2.5\n", "run.trec, line 1: expected"),
        ("q1 Q0 d1 1 2 t\nq1 Q0 d1 2 1 t\n", "run.trec, line 2: d1 is there twice for the query q1"),
        ("test_query0 Q0 nowhere 1 2 t\n", "documents of the query test_query0 are not in the corpus: nowhere"),
        ("", "holds no lines"),
    ):
        (tmp_path / "run.trec").write_text(text)
        done = here("score-run", "run.trec", "--task", "StarterRerankingEng", "--name", "me/x")
        assert done.returncode == 2
        assert message in done.stderr
    done = here("score-run", "run.trec", "--task", "StarterSTSEng", "--name", "me/x")
    assert "StarterSTSEng is of the type STS; a run file can be scored on retrieval and reranking" in done.stderr
    assert not (tmp_path / "results").exists()
