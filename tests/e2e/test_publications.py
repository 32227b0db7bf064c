"""A run's own results, published by the command line."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from conftest import Cli
from support.small_runs import small_command


def test_a_run_is_published(cli: Cli, tmp_path: Path) -> None:
    done = cli(*small_command(tmp_path), "--name", "me/tiny")
    assert done.returncode == 0, done.stderr
    done = cli("report", "results", "--every-eval-ever", "eee", "--no-intervals")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "eee" / "data" / "evalharness" / "me" / "tiny").glob("*.json")
    record = json.loads(path.read_text())
    detail = record["detailed_evaluation_results"]
    samples = (tmp_path / "eee" / detail["file_path"]).read_bytes()
    assert (sha256(samples).hexdigest(), samples.count(b"\n")) == (detail["checksum"], detail["total_rows"])
    names = {result["evaluation_name"] for result in record["evaluation_results"]}
    assert {json.loads(line)["evaluation_name"] for line in samples.splitlines()} == names
    assert {name.partition("_")[0] for name in names} == {"SmallPairs", "SmallSearch", "SmallLabels"}
    assert record["model_info"]["inference_engine"]["name"] == "transformers"
    assert record["model_info"]["inference_engine"]["version"][0].isdigit()
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    again = cli("report", "results", "--every-eval-ever", "eee", "--no-intervals")
    assert again.stdout == done.stdout
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_what_cannot_be_published_is_told(cli: Cli, tmp_path: Path) -> None:
    done = cli(*small_command(tmp_path))
    assert done.returncode == 0, done.stderr
    for flag in ("--eval-results", "--model-index"):
        done = cli("report", "results", flag, "out")
        assert done.returncode == 2
        assert "SmallLabels, SmallPairs, SmallSearch: mteb names no data set of it on the Hub" in done.stderr
    done = cli("report", "results", "--submit-to", "out")
    assert done.returncode == 2
    assert (
        "local/model: of a folder of this machine; put the model on the Hub and evaluate it from there" in done.stderr
    )
    assert not (tmp_path / "out").exists()
