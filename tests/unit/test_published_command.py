"""`evalharness report` with public scores."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from conftest import Cli
from support.old_files import nested, old, write
from support.stored import StoredScores, write_results

from evalharness.types import ItemScores


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    items = ItemScores(["0", "1", "2"], {"gold": [0.0, 1.0, 2.0], "cosine": [0.1, 0.2, 0.3]})
    return write_results(
        tmp_path / "mine", {("STS12", "test", "default"): StoredScores(items, "cosine_spearman", score=0.73)}
    )


def test_a_card_needs_no_results(here: Cli) -> None:
    done = here("report", "--published-table", "bge")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n# ") + done.stdout.startswith("# ") == 3
    assert "Classification 73.12 (printed 61.79)" in done.stdout


def test_an_unknown_table_names_those_that_there_are(here: Cli) -> None:
    done = here("report", "--published-table", "bgr")
    assert done.returncode == 2
    assert "bge" in done.stderr


def test_public_models_stand_beside_mine(here: Cli, mine: Path) -> None:
    done = here("report", str(mine), "--tasks", "STS12", "--with-published", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "BAAI/bge-large-en-v1.5" in done.stdout
    assert "me/model" in done.stdout


def test_the_nearest_are_few(here: Cli, mine: Path) -> None:
    done = here("report", str(mine), "--nearest", "2", "--format", "csv")
    assert done.returncode == 0, done.stderr
    models = {line["model"] for line in csv.DictReader(done.stdout.splitlines())}
    assert len(models) == 3
    assert "me/model" in models


def test_public_models_alone(here: Cli) -> None:
    done = here("report", "--tasks", "STS12", "--with-published")
    assert done.returncode == 0, done.stderr
    assert "| BAAI/bge-large-en-v1.5" in done.stdout
    assert "published scores alone" in done.stderr
    done = here("report", "--tasks", "STS12", "--nearest", "3")
    assert done.returncode == 2
    assert "name a folder with your results" in done.stderr


def test_lists_stand_beside_printed_tables(here: Cli, mine: Path) -> None:
    done = here("report", str(mine), "--tasks", "STS12", "--published-table", "bge")
    assert done.returncode == 0, done.stderr
    assert "me/model" in done.stdout
    assert "# Reranking (10 rows as printed" in done.stdout


def test_a_clone_is_read_and_comes_before_the_box(here: Cli, mine: Path, tmp_path: Path) -> None:
    for model, score in (("org__theirs", 0.5), ("BAAI__bge-large-en-v1.5", 0.25)):
        write(
            tmp_path / "clone" / "results" / model / "no_revision_available",
            "STS12",
            old("STS12", {"test": nested(score)}),
        )
    done = here("report", str(mine), "--tasks", "STS12", "--published", str(tmp_path / "clone"))
    assert done.returncode == 0, done.stderr
    assert "org/theirs" in done.stdout
    assert "thenlper/gte-large" not in done.stdout
    done = here("report", str(mine), "--tasks", "STS12", "--published", str(tmp_path / "clone"), "--with-published")
    assert "thenlper/gte-large" in done.stdout
    assert done.stdout.count("| BAAI/bge-large-en-v1.5") == 2
    assert "25.00" in done.stdout


def test_a_clone_that_is_not_there(here: Cli, mine: Path, tmp_path: Path) -> None:
    done = here("report", str(mine), "--published", str(tmp_path / "nowhere"), "--published-table", "x")
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert "published table" in done.stderr


def test_old_files_among_results_are_read(here: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "old" / "org__model" / ("a" * 40)
    write(folder, "model_meta", {"name": "org/model", "revision": "a" * 40})
    write(folder, "STS12", old("STS12", {"test": nested(0.5)}))
    write(folder, "STS13", old("STS13", {"test": nested(0.6)}))
    done = here("report", str(tmp_path / "old"))
    assert done.returncode == 0, done.stderr
    assert "50.00" in done.stdout
    assert "STS12, STS13: written by mteb 0.0.2" in done.stdout
