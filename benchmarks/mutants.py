"""Change the code in one place at a time and see whether a test notices: the share of such mutants that tests kill.

    python benchmarks/mutants.py OUTPUT [MODULE ...] [--most 150] [--seed 0]

The changes are those of mutmut's operators, and each call or `raise` that stands alone is left out in turn. Texts of
errors, annotations, decorators, imports and names of types stay as they are: no test need notice them. pytest collects
the tests named in `TESTS` once for a module, in a copy of the project; for each mutant a fork of that process gets the
changed functions and constants and runs the tests until one fails. Processes that a test starts read the changed file.

OUTPUT/<module>.jsonl tells of each mutant what killed it. Those killed there before are not tried again; others are.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib
import inspect
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType, ModuleType
from typing import Any

import libcst as cst
import pytest
from hypothesis import Phase, settings
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parents[1]
_TYPES, _TASKS = "tests/parity/test_mteb_types.py::test_", "tests/parity/test_mteb_tasks.py::test_"
_SCORES, _M3, _JOURNAL = (
    "tests/property/test_scores.py::test_",
    "tests/unit/test_m3.py::test_",
    "tests/unit/test_journal.py",
)
_METRICS, _RETRIEVAL = "tests/unit/test_metrics.py", f"{_TASKS}retrieval_equals_mteb"
_ELSEWHERE = "tests/unit/test_steps.py::test_"
_RERANKING = f"{_TYPES}reranking_equals_mteb"
_STEPS = f"{_M3}chunks_do_not_matter_and_too_much_goes_in_two_steps"
_STORE = (
    "tests/unit/test_store.py",
    "tests/unit/test_store_faults.py",
    "tests/unit/test_shard_files.py",
    "tests/unit/test_store_folders.py",
    "tests/unit/test_stored_vectors.py",
    # that load a model each
    "--deselect=tests/unit/test_store.py::test_a_changed_checkpoint_or_option_gives_new_vectors",
    "--deselect=tests/unit/test_store.py::test_device_batch_size_and_path_do_not_matter",
)
_AT_ONCE = "tests/property/test_queries_at_once.py"
# of a module, the tests that are about it, quick ones first
TESTS: dict[str, Sequence[str]] = {
    "metrics/abstention": (f"{_SCORES}confidence_equal_to_the_metric_is_an_oracle", _RETRIEVAL, _METRICS),
    "metrics/classification": (
        f"{_TASKS}classification_equals_mteb",
        f"{_TYPES}multilabel_classification_equals_mteb",
        _METRICS,
    ),
    "metrics/correlation": (
        f"{_SCORES}spearman_sees_only_the_order",
        f"{_TASKS}sts_equals_mteb",
        f"{_TYPES}summarization_equals_mteb",
        _METRICS,
    ),
    "metrics/measures": ("tests/unit/test_measures.py",),
    "metrics/pairs": (
        f"{_SCORES}pairs_told_apart_perfectly_score_one_in_any_order",
        f"{_TYPES}pair_classification_equals_mteb",
        f"{_TYPES}pairs_in_a_single_row",
        f"{_TYPES}pairs_with_few_rows",
        _METRICS,
    ),
    "metrics/ragged": (_AT_ONCE,),
    "metrics/ranking": ("tests/parity/test_ranking.py", _AT_ONCE, _RETRIEVAL, _METRICS),
    "metrics/trec_eval": ("tests/unit/test_measures.py", "tests/parity/test_trec_measures.py"),
    "ranking/candidates": ("tests/unit/test_candidates.py", _RERANKING),
    "ranking/judgements": (_AT_ONCE, _RETRIEVAL),
    "ranking/multipart": (
        _STEPS,
        f"{_M3}documents_without_words_or_vectors_score_zero",
        f"{_M3}scores_of_every_mode_equal_compute_score",
        f"{_M3}texts_are_loaded_in_parts_of_so_many_tokens",
        f"{_M3}how_much_a_search_by_multi_vectors_takes",
    ),
    "ranking/records": ("tests/unit/test_ranking_records.py", _RETRIEVAL),
    "ranking/scores": (
        "tests/unit/test_ranking_records.py",
        _AT_ONCE,
        _RETRIEVAL,
        f"{_TYPES}the_maximum_over_sub_queries_equals_mteb",
        _RERANKING,
    ),
    "ranking/search": ("tests/unit/test_ranking_records.py", _RETRIEVAL, _RERANKING, _STEPS),
    "ranking/subqueries": (_AT_ONCE, f"{_TYPES}the_maximum_over_sub_queries_equals_mteb"),
    "ranking/similarity": (
        f"{_TYPES}summarization_equals_mteb",
        f"{_TYPES}bitext_mining_equals_mteb",
        _STEPS,
        "tests/unit/test_similarity.py",
    ),
    "store/filing": _STORE,
    "store/folders": _STORE,
    "store/index": (*_STORE, f"{_ELSEWHERE}stored_rows_are_sent_as_places_of_the_files_that_they_need"),
    "store/journal": (_JOURNAL, f"--deselect={_JOURNAL}::test_killed_within_a_shard", *_STORE),
    "store/keeping": _STORE,
    "store/marks": ("tests/unit/test_portability.py::test_a_mark_dies_with_its_process", *_STORE),
    "store/shards": ("tests/property/test_shards.py", _STORE[0], _STORE[4], *_STORE[-2:]),
    "store/shard_files": (
        "tests/property/test_shard_files.py::test_added_bytes",
        "tests/property/test_shard_files.py::test_arrays_may_stand_in_any_order",
        *_STORE,
    ),
    "store/storing": _STORE,
    "store/text_encoder": ("tests/property/test_shards.py", _STORE[0], _STORE[4], *_STORE[-2:]),
    "store/uses": _STORE,
}
# imported once, before any fork; none of them imports the project
_LIBRARIES = ("torch", "transformers", "mteb", "sklearn.metrics", "scipy.stats", "datasets", "FlagEmbedding", "typer")
_PYTEST = ("-q", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0", "--tb=no")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a module: the line (from 1), the lines that went and came, and all of the changed module."""

    line: int
    change: str
    source: str


def _changes(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """What can be changed in a part of a module, and into what."""
    if isinstance(node, cst.Raise) or (isinstance(node, cst.Expr) and isinstance(node.value, cst.Call)):
        yield node, cst.Pass()
    if isinstance(node, cst.Annotation | cst.Decorator | cst.ImportFrom | cst.Raise) or _is_alias(node):
        return
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            yield from ((node, changed) for changed in operator(node))
    for child in node.children:
        yield from _changes(child)


def _is_alias(node: cst.CSTNode) -> bool:
    """Whether this names a type, as only annotations do."""
    value = node.value if isinstance(node, cst.Assign | cst.AnnAssign) else None
    return isinstance(value, cst.Subscript) and isinstance(value.value, cst.Name) and value.value.value[0].isupper()


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    module = cst.parse_module(source)
    before = source.splitlines()
    found = []
    for node, changed in _changes(module):
        mutated = module.deep_replace(node, changed)
        after = mutated.code.splitlines()
        compared = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        for kind, first, end, start, stop in compared:
            if kind != "equal":
                lines = [*(f"-{line}" for line in before[first:end]), *(f"+{line}" for line in after[start:stop])]
                found.append(Mutant(first + 1, "\n".join(lines), mutated.code))
                break
    return found


def _put(module: ModuleType, source: str) -> None:
    """Make the functions, methods and constants of an imported module those of another source, wherever they are used.

    Functions stay the objects that they are, and get other code.
    """
    made = {"__name__": module.__name__, "__file__": module.__file__}
    # a dataclass looks its module up
    exec(compile(source, str(module.__file__), "exec"), made)  # noqa: S102 -- our own code, changed in a place
    for name, new in made.items():
        old = vars(module).get(name)
        imported = new is old or getattr(new, "__module__", module.__name__) != module.__name__
        if imported or name.startswith("__"):
            continue
        if isinstance(new, type) and isinstance(old, type):
            for part, value in vars(new).items():
                _give_code(vars(old).get(part), value)
        elif not _give_code(old, new):
            users = [user for user in sys.modules.values() if isinstance(user, ModuleType)]
            for user in users:
                if name in vars(user) and vars(user)[name] is old:
                    setattr(user, name, new)


def _give_code(old: Any, new: Any) -> bool:  # noqa: ANN401 -- whatever a module holds
    """Give a function, or what is made of one, the code of another; whether they are functions."""
    old, new = (getattr(value, "fget", None) or inspect.unwrap(value) for value in (old, new))
    if not (isinstance(old, FunctionType) and isinstance(new, FunctionType)):
        return False
    if old.__code__.co_freevars == new.__code__.co_freevars:
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    return True


@dataclass(slots=True)
class _Trial:
    """A plugin of pytest that has collected the tests of a module once and runs them for each mutant, in forks."""

    path: Path
    todo: Sequence[Mutant]
    tell: Callable[[Mutant, str], None]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In the place of pytest's own loop over the tests."""
        module = importlib.import_module(".".join(self.path.with_suffix("").parts))
        start = time.monotonic()
        source = self.path.read_text(encoding="utf-8")
        if killer := _killer(session, 600, partial(_put, module, source)):
            raise pytest.UsageError(f"{self.path}: without any mutant its tests fail: {killer}")
        limit = 5 + 2 * (time.monotonic() - start)
        # each fork would look through all that was imported
        gc.collect()
        gc.freeze()
        for mutant in self.todo:
            self.path.write_text(mutant.source, encoding="utf-8")
            self.tell(mutant, _killer(session, limit, partial(_put, module, mutant.source)))
        return True


def _killer(session: pytest.Session, limit: float, change: Callable[[], None]) -> str:
    """Run tests in a fork of this process; the one that failed, or nothing.

    Args:
        session: has collected them.
        limit: seconds; that they are over counts as a test.
        change: called before, in the fork.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        killer = "its import"
        try:
            change()
            killer = "nothing"
            for item, following in zip_longest(session.items, session.items[1:]):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    killer = item.nodeid
                    break
        finally:
            os.write(writing, f"{killer}\n".encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        found = pipe.readline().strip() if select.select([pipe], [], [], limit)[0] else "the time limit"
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "" if found == "nothing" else found or "its end"


def try_module(name: str, output: Path, *, most: int, seed: int) -> None:
    """Try a sample of a module's mutants, in the copy that is the current folder, and print a row of the table."""
    path = Path("evalharness", f"{name}.py")
    source = path.read_text(encoding="utf-8")
    every = mutants(source)
    # a larger sample goes on where a smaller one ends
    sample = random.Random(f"{seed} {name}").sample(every, len(every))[:most]  # noqa: S311 -- no secret
    report = output / f"{name.replace('/', '.')}.jsonl"
    known = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()] if report.exists() else []
    outcomes = {(row["line"], row["change"]): row["killed by"] for row in known}
    todo = [mutant for mutant in sample if not outcomes.get((mutant.line, mutant.change))]

    def tell(mutant: Mutant, killer: str) -> None:
        outcomes[mutant.line, mutant.change] = killer
        rows = [{"line": line, "change": change, "killed by": killer} for (line, change), killer in outcomes.items()]
        lines = [json.dumps(row, ensure_ascii=False) for row in sorted(rows, key=lambda row: row["line"])]
        report.write_text("\n".join([*lines, ""]), encoding="utf-8")

    with report.with_suffix(".log").open("w", encoding="utf-8") as log, redirect_stdout(log):
        failed = pytest.main([*_PYTEST, *TESTS[name], str(path)], plugins=[_Trial(path, todo, tell)])
    path.write_text(source, encoding="utf-8")
    if failed:
        print(f"| {name} | {len(every)} | 0 | nothing came of it: see {report.with_suffix('.log')} | |")
        return
    count = sum(bool(outcomes.get((mutant.line, mutant.change))) for mutant in sample)
    print(f"| {name} | {len(every)} | {len(sample)} | {count} | {count / len(sample):.1%} |")


def main() -> None:
    """Copy the project and try module by module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("modules", nargs="*", default=[*TESTS], metavar="MODULE", help="such as store/index")
    parser.add_argument("--most", type=int, default=150, help="mutants of a module; a random sample of more")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    given = parser.parse_args()
    output = given.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("pyproject.toml", "README.md", "evalharness", "tests", "tasks", "examples", "benchmarks", "docs"):
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns(".*", "__pycache__"))
            else:
                shutil.copy(ROOT / part, copy)
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        # a mutant of the same length and second would be taken for what was compiled before it
        sys.dont_write_bytecode = True
        # how an example fails is of no interest
        settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], database=None)
        settings.load_profile("mutants")
        for library in _LIBRARIES:
            importlib.import_module(library)
        print("| module | mutants | tried | killed | share |\n| --- | --- | --- | --- | --- |", flush=True)
        for name in given.modules:
            # what it imports of the project is gone after it
            options = {"most": given.most, "seed": given.seed}
            process = get_context("fork").Process(target=try_module, args=(name, output), kwargs=options)
            process.start()
            process.join()
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
