"""Every command of the README runs, as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartHub
from support.processes import Pythons, out_of_reach
from support.quick_hub import write_quick_hub
from support.tiny import save_bert, save_cross_encoder, save_sentence_model

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_readme_is_short_and_starts_with_its_two_commands() -> None:
    assert len(README.splitlines()) <= 150
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_ci_runs_the_readmes_test_command() -> None:
    # `make test` itself runs this file, so what runs it is looked at, not run
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "exec make test"


def test_make_demo_ends_with_scores_and_a_report(tmp_path: Path, common_cache: Path) -> None:
    # in the environment that runs the tests, which `make test` has just made
    environment = {"VENV": str(Path(sys.prefix)), "OUTPUT": str(tmp_path / "demo"), "XDG_CACHE_HOME": str(common_cache)}
    (Path(sys.prefix) / ".installed-demo").touch()
    done = subprocess.run(
        ["make", "-e", "demo"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "StarterRetrievalEng" in done.stdout
    assert "# starter" in done.stdout
    row = next(
        line for line in done.stdout.splitlines() if line.startswith("| sentence-transformers/all-MiniLM-L6-v2 (")
    )
    assert "\u2013" not in row, "no average may be void"
    assert (tmp_path / "demo" / "report.md").read_text(encoding="utf-8") in done.stdout


def write_own_tasks(folder: Path) -> None:
    """A BEIR folder, its two task files and a run, under the names that the README uses."""
    rows = {
        "corpus": [{"_id": f"d{n}", "title": "", "text": f"document number {n}"} for n in range(5)],
        "queries": [{"_id": "q0", "text": "number three?"}],
    }
    (folder / "beir" / "qrels").mkdir(parents=True)
    for name, values in rows.items():
        (folder / "beir" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in values))
    (folder / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td3\t1\n")
    for file, name in (("my_task.toml", "Mine"), ("my_retrieval.toml", "MyRetrieval")):
        head = f'name = "{name}"\ntype = "Retrieval"\nmain_score = "ndcg_at_10"\nlanguages = ["eng-Latn"]\n'
        (folder / file).write_text(f'{head}[data]\nformat = "beir"\npath = "beir"\n')
    (folder / "run.trec").write_text("q0 Q0 d3 1 2.5 mine\nq0 Q0 d1 2 1.5 mine\n")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, start_hub: StartHub) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with a checkpoint, and a Hub with tiny data and a random model under BGE's name."""
    folder = tmp_path_factory.mktemp("readme")
    save_bert(folder / "checkpoints" / "step-2000", max_length=512)
    save_cross_encoder(folder / "checkpoints" / "reranker")
    model = save_sentence_model(folder / "bge", max_length=512)
    root = write_quick_hub(folder / "hub")
    write_own_tasks(folder)
    with start_hub("--root", str(root), "--model", f"BAAI/bge-base-en-v1.5={model}") as address:
        yield (
            folder,
            {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hf-home"), "XDG_CACHE_HOME": str(folder / "cache")},
        )


@pytest.mark.hub
def test_all_other_commands(workplace: tuple[Path, dict[str, str]], pythons: Pythons) -> None:
    folder, environment = workplace
    rest = [command for command in COMMANDS if not command.startswith("make ")]
    assert len(rest) >= 8
    outputs = {}
    for command in rest:
        program, *arguments = shlex.split(command)
        assert (program, *arguments[:2]) == ("python", "-m", "evalharness")
        done = pythons.run(arguments, folder, environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        outputs[command] = done.stdout
    board = outputs["python -m evalharness report results --suite quick-en"]
    assert re.search(r"^\| BAAI/bge-base-en-v1.5 \(a5beb1e3\).* \| \d+\.\d\d[ |]", board, re.MULTILINE)


def test_the_python_example(tmp_path: Path, pythons: Pythons) -> None:
    assert len(PYTHON) == 1
    done = pythons.run(["-c", PYTHON[0]], tmp_path, out_of_reach(tmp_path))
    assert done.returncode == 0, done.stderr
    similarity, title, *tables = done.stdout.splitlines()
    assert float(similarity.strip("[]")) > 0.3
    assert title == "sentence-transformers/all-MiniLM-L6-v2: 1 job"
    assert re.fullmatch(r"StarterSTSEng +test +default +cosine_spearman +0\.\d{4}", tables[1])
    assert tables[2].split() == ["gold", "cosine_similarity"]
    assert len(tables) == 3 + 5
    assert done.stderr == ""
