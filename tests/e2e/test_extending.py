"""docs/extending.md: what it names is there, and its examples do in a copy of the project what they are said to do."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from support.processes import Pythons, out_of_reach

from evalharness.results.items import read_items

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
# two cells of code behind one of words
NAMED = re.findall(r"^\| ([^|]+) \| `(\S+\.py)` \| `(\S+)` \|$", PAGE, re.MULTILINE)
MODEL = "sentence-transformers__all-MiniLM-L6-v2"
# the commands of the page and its Python, in one process, with a line of ours before each; ours is imported anew, from
# the copy, beside libraries that are imported already
PROGRAM = """
import shlex, sys
for name in [name for name in sys.modules if name.partition(".")[0] == "evalharness"]:
    del sys.modules[name]
import evalharness
from evalharness.cli.main import execute
assert evalharness.__path__ == [{house!r}]
for number, (language, text) in enumerate({examples!r}):
    print(f"@{{number}}", flush=True)
    if language == "python":
        exec(text, {{}})
    elif (code := execute(shlex.split(text)[3:])) != 0:
        sys.exit(f"{{text}} ended with {{code}}")
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of the page; with a path it is that file."""

    language: str
    path: str
    text: str


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


@dataclass(frozen=True, slots=True)
class House:
    """A copy of the project with all examples in it.

    Attributes:
        folder: its root.
        shown: command, or the page's own Python -> what it printed.
    """

    folder: Path
    shown: Mapping[str, str]

    def jobs(self, model: str, task: str) -> Path:
        """The folder of a task's records, below a model's or an experiment's folder."""
        found = {path.parent for path in (self.folder / "results").glob(f"{model}/**/jobs/{task}/*.json")}
        (folder,) = found
        return folder

    def metrics(self, model: str, task: str) -> dict[str, Any]:
        (record,) = self.jobs(model, task).glob("*.json")
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))["metrics"]
        return found

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "my" / name).read_text(encoding="utf-8").splitlines()]

    def similarities(self, model: str) -> dict[tuple[str, str], float]:
        """(query, document) -> score, of the page's retrieval task."""
        (path,) = self.jobs(model, "Tyres").glob("*.trec")
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        return {(query, document): float(score) for query, _, document, _, score, _ in lines}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, pythons: Pythons) -> House:
    if shutil.which("git") is None:
        pytest.skip("needs git to apply the changes that the page shows")
    folder = tmp_path_factory.mktemp("house")
    for part in ("evalharness", "tasks", "tests/support"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for block in BLOCKS:
        if block.path:
            assert not (folder / block.path).exists(), f"{block.path}: a change of a file is shown as a diff"
            (folder / block.path).parent.mkdir(exist_ok=True)
            (folder / block.path).write_text(block.text, encoding="utf-8")
        elif block.language == "diff":
            # whatever repository is around the folder
            apply = ["git", "--git-dir", str(folder / "none"), "apply", "-"]
            subprocess.run(apply, input=block.text, text=True, cwd=folder, check=True)
    examples = list(_examples())
    (folder / "program.py").write_text(
        PROGRAM.format(house=str(folder / "evalharness"), examples=examples), encoding="utf-8"
    )
    done = pythons.run(["program.py"], folder, out_of_reach(folder))
    assert done.returncode == 0, done.stderr
    shown = re.split(r"^@\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    return House(folder, {text: output for (_, text), output in zip(examples, shown, strict=True)})


def _examples() -> Iterator[tuple[str, str]]:
    for block in BLOCKS:
        if block.language == "sh":
            yield from (("sh", line) for line in block.text.splitlines())
        elif block.language == "python" and not block.path:
            yield "python", block.text


def definitions(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize(("what", "file", "name"), NAMED)
def test_what_the_page_sends_to_is_there(what: str, file: str, name: str) -> None:
    place: ast.stmt | ast.Module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for part in name.split("."):
        assert isinstance(place, ast.Module | ast.ClassDef), what
        found = dict(definitions(place))
        assert part in found, f"{what}: {file} has no {name}"
        place = found[part]


def test_the_page_answers_a_newcomer_s_questions_and_names_every_room() -> None:
    asked = [what for what, _, _ in NAMED]
    for words in ("put before the query", "name of a shard", "job is done", "OpenVINO"):
        assert any(words in what for what in asked), words
    rooms = {f"evalharness/{path.parent.name}/" for path in (ROOT / "evalharness").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\S+/)` \|", PAGE, re.MULTILINE)) == rooms
    written = {block.path for block in BLOCKS}
    for path in re.findall(r"`((?:evalharness|tasks|tests)/[\w./]*)`", PAGE):
        assert (ROOT / path).exists() or path in written, path


def test_each_way_to_extend_has_an_example_that_runs() -> None:
    titles = re.findall(r"^## (An? .+)$", PAGE, re.MULTILINE)
    assert titles == [
        "A task", "A suite", "A card", "A task type", "A backend", "An engine", "A metric", "A report format",
    ]  # fmt: skip
    for title in titles:
        section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
        assert re.search(r"^```(toml|python|diff)", section, re.MULTILINE), title


def test_the_examples_keep_the_rules_of_the_house(house: House) -> None:
    for rule in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *rule, "--no-cache", "evalharness", "tests"]
        done = subprocess.run(command, cwd=house.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_task_is_read(house: House) -> None:
    shown = house.shown["python -m evalharness check-data my/tyres.toml"]
    assert shown.startswith("Tyres [test]: 2 judged queries, 3 judgements")


def test_a_card_says_what_a_model_is_and_can_be_lent(house: House) -> None:
    own = house.shown["python -m evalharness list models me/gardener-2 --cards my/cards.toml"]
    ours = house.shown["python -m evalharness list models acme/gardener-small-en"]
    assert ours == own.replace("me/gardener-2", "acme/gardener-small-en").replace("128 tokens", "256 tokens") != own
    (record,) = house.jobs(f"{MODEL}/*/experiments/like_*", "Tyres").glob("*.json")
    lent = json.loads(record.read_text(encoding="utf-8"))["facts"]["model"]
    assert lent["max_length"] == 128
    assert lent["prompts"]["Retrieval-query"] == "Find a passage that answers this: "
    # the prompt went through the model
    plain = house.similarities(f"{MODEL}/*/experiments/backend_*")
    prompted = house.similarities(f"{MODEL}/*/experiments/like_*")
    assert max(abs(prompted[pair] - plain[pair]) for pair in plain) > 0.01


def ngrams(text: str) -> Counter[str]:
    letters = f" {text} ".lower()
    return Counter(letters[start : start + 3] for start in range(len(letters) - 2))


def cosine(left: str, right: str) -> float:
    """Of counts of ngrams, each in a dimension of its own: at so many buckets, no two of these texts share one."""
    one, other = ngrams(left), ngrams(right)
    lengths = [sqrt(sum(count**2 for count in counts.values())) for counts in (one, other)]
    return sum(count * other[gram] for gram, count in one.items()) / (lengths[0] * lengths[1])


def test_a_backend_makes_the_vectors_that_it_says(house: House) -> None:
    texts = {row["_id"]: row["text"] for name in ("queries.jsonl", "corpus.jsonl") for row in house.rows(name)}
    found = house.similarities("evalharness__ngrams")
    assert len(found) == 8
    for (query, document), similarity in found.items():
        assert similarity == pytest.approx(cosine(texts[query], texts[document]), abs=1e-6)


def test_a_task_type_scores_what_its_rows_say(house: House) -> None:
    wanted = [
        float(cosine(row["query"], row["positive"]) > cosine(row["query"], row["negative"]))
        for row in house.rows("which.jsonl")
    ]
    assert wanted == [1.0, 0.0]
    (items,) = house.jobs("evalharness__ngrams", "Which").glob("*.parquet")
    assert read_items(items).columns == {"accuracy": wanted}
    assert house.metrics("evalharness__ngrams", "Which") == {"accuracy": 0.5}


def test_a_suite_runs_its_tasks(house: House) -> None:
    for task in ("StarterRetrievalEng", "StarterSTSEng"):
        assert house.metrics("evalharness__ngrams", task)


def test_an_engine_gives_the_vectors_of_torch(house: House) -> None:
    (printed,) = (shown for text, shown in house.shown.items() if "on_torch" in text)
    assert printed == "True\n"
    (record,) = house.jobs(f"{MODEL}/*/experiments/backend_torch-export", "Tyres").glob("*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["facts"]["model"]["backend"] == "torch-export"


def test_a_metric_is_computed_and_its_names_are_values(house: House) -> None:
    found = house.metrics("me__words", "Tyres")
    # q1 finds its documents at the ranks 1 and 3, q2 at the rank 1
    assert found["rbp_at_10"] == pytest.approx(((1 - 0.8) * (1 + 0.8**2) + (1 - 0.8)) / 2, abs=1e-5)
    assert found["rbp_at_1"] == pytest.approx(0.2, abs=1e-5)
    assert {"nauc_rbp_at_10_diff1", "ndcg_at_10"} <= set(found)


def test_a_report_format_writes_what_can_be_read_back(house: House) -> None:
    text = house.shown["python -m evalharness report results --format tsv"]
    lines = [line.split("\t") for line in text.splitlines()]
    scores = {(model, experiment, task): score for _, _, model, _, experiment, task, score in lines}
    assert float(scores["evalharness/ngrams", "", "Which"]) == 0.5
    assert float(scores["me/words", "", "Tyres"]) == house.metrics("me__words", "Tyres")["ndcg_at_10"]
    assert scores["me/words", "", "Which"] == ""
