"""Models that are opened when something is to be encoded: what was kept of an opening is right, or not used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_runs import save_small_place
from support.tiny import save_bert

from evalharness import Execution, ModelOptions, RunOptions, evaluate
from evalharness.errors import EvalHarnessError, ModelError, PrerequisiteError
from evalharness.models import lazy, loading, opening
from evalharness.models.lazy import LazyBackend, known_opening, open_and_keep
from evalharness.models.loading import System, open_model, resolve_model
from evalharness.models.prompts import encoding
from evalharness.models.registry import ResolvedModel
from evalharness.results.records import installed_version
from evalharness.types import Encoding, TaskContext, content_digest, ignore_event

CPU = Execution(device="cpu")
TEXTS = ["ferns grow in the shade", "a", "how do I mend a tyre"]
# what two runs of the same differ in
TIMES = ("seconds", "written", "evaluation_time", "date")
Opened = list[str]


def open_when_needed(model: ResolvedModel, execution: Execution) -> Any:
    known = known_opening(model, execution)
    return open_and_keep(model, execution) if known is None else known


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a reranker and tasks."""
    return save_small_place(tmp_path_factory.mktemp("lazy"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "evalharness" / "openings"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Names of the models that were opened, in order."""
    names: Opened = []

    def noted(model: ResolvedModel, execution: Execution) -> Any:
        names.append(model.spec.name)
        return opening.open_backend(model, execution)

    for module in (lazy, loading):
        monkeypatch.setattr(module, "open_backend", noted)
    return names


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def files(folder: Path) -> dict[str, Any]:
    """All that a run wrote, but its log."""
    return {
        str(path.relative_to(folder)): without_times(json.loads(path.read_text()))
        if path.suffix == ".json"
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".log"
    }


def tasks_of(folder: Path) -> list[str | Path]:
    return [folder / "tasks" / f"{name}.toml" for name in ("SmallPairs", "SmallSearch", "SmallLabels")]


def encode(backend: Any) -> Any:
    how = Encoding(pooling="mean", normalize=True, max_length=64, dtype="float32", prompt="")
    return backend.encode(TEXTS, how, ignore_event).vectors


def kept(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """As somebody would write it who knows the form: with the right digest."""
    content = json.loads(path.read_text())
    change(content)
    content["digest"] = content_digest({name: value for name, value in content.items() if name != "digest"})
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("stages", ["embedder", "reranker", "two stages"])
def test_a_run_whose_vectors_are_stored_opens_no_model_and_writes_the_same(
    folder: Path, tmp_path: Path, cache: Path, opened: Opened, stages: str
) -> None:
    model = folder / ("reranker" if stages == "reranker" else "model")
    tasks_by_stages: dict[str, list[str | Path]] = {
        "embedder": [*tasks_of(folder)],
        "reranker": ["StarterRerankingEng"],
        "two stages": [folder / "tasks" / "SmallSearch.toml"],
    }
    tasks = tasks_by_stages[stages]
    reranker = str(folder / "reranker") if stages == "two stages" else None
    of_system = ["local/model"] if stages == "embedder" else ["local/reranker"]
    of_system += ["local/model"] if stages == "two stages" else []

    def run(output: str) -> dict[str, Any]:
        how = RunOptions(store=tmp_path / "store", reranker=reranker, rerank_top_k=5 if reranker else None)
        done = evaluate(model, tasks, output=tmp_path / output, execution=CPU, run=how)
        assert all(result.record.error is None for result in done)
        return files(tmp_path / output)

    cold = run("cold")
    assert opened == of_system
    assert run("lazy") == cold
    assert opened == of_system
    for path in cache.iterdir():
        path.unlink()
    # opened again, at once
    assert run("eager") == cold
    assert opened == of_system * 2


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_first_opening_that_may_export_says_what_it_took(folder: Path, tmp_path: Path, engine: str) -> None:
    system, told = System(resolve_model(str(folder / "model"))), list[str]()
    execution = Execution.model_validate({"device": "cpu", "engine": engine})
    open_model(system, execution, store=tmp_path / "store", say=told.append)
    assert told[0].startswith("loading local/model (")
    if engine == "torch":
        assert len(told) == 1
        return
    assert told[0].endswith("for the first time here it may be exported and measured, which takes longer")
    assert re.fullmatch(r"loaded on openvino [0-9.]+ in [0-9.]+ s; what was exported and measured is kept", told[1])
    open_model(system, execution, store=tmp_path / "store", say=told.append)
    assert len(told) == 2


def test_a_text_that_is_missing_opens_the_model_once(folder: Path, opened: Opened) -> None:
    resolved = resolve_model(str(folder / "model"))
    expected = encode(open_when_needed(resolved, CPU))
    waiting = open_when_needed(resolved, CPU)
    assert isinstance(waiting, LazyBackend)
    assert (len(opened), waiting.is_open) == (1, False)
    assert np.array_equal(encode(waiting), expected)
    encode(waiting)
    assert (len(opened), waiting.is_open) == (2, True)


def test_what_is_known_of_a_model_is_what_opening_it_finds(folder: Path) -> None:
    for name in ("model", "reranker"):
        resolved = resolve_model(str(folder / name))
        first, waiting = open_when_needed(resolved, CPU), open_when_needed(resolved, CPU)
        assert isinstance(waiting, LazyBackend)
        assert not isinstance(first, LazyBackend)
        for attribute in ("device", "identity", "size", "computing"):
            assert getattr(waiting, attribute) == getattr(first, attribute), attribute


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"device": "cpu"', '"device": "cuda"'),
        lambda text: text.replace("matmul_precision", "matmul_recision"),
        lambda text: text[:0],
        lambda text: f"[{text}]",
    ],
)
def test_a_kept_opening_that_is_not_as_it_was_written_is_not_used(
    folder: Path, cache: Path, damage: Callable[[str], str]
) -> None:
    resolved = resolve_model(str(folder / "model"))
    open_when_needed(resolved, CPU)
    whole = kept(cache).read_text()
    kept(cache).write_text(damage(whole))
    assert not isinstance(open_when_needed(resolved, CPU), LazyBackend)
    assert kept(cache).read_text() == whole


def test_another_model_way_to_run_or_library_is_opened(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = save_bert(tmp_path / "own")
    options = ModelOptions(pooling="mean")
    for resolved in (resolve_model(str(own), options), resolve_model(str(folder / "model"))):
        assert not isinstance(open_when_needed(resolved, CPU), LazyBackend)
    # a checkpoint that is written over is another model
    save_bert(own, seed=1)
    changed = resolve_model(str(own), options)
    for resolved, execution in ((changed, CPU), (changed, CPU.changed({"batch_tokens": 64}))):
        assert not isinstance(open_when_needed(resolved, execution), LazyBackend)
        assert isinstance(open_when_needed(resolved, execution), LazyBackend)
    known = installed_version
    monkeypatch.setattr(lazy, "installed_version", lambda name: "9.9" if name == "transformers" else known(name))
    assert not isinstance(open_when_needed(changed, CPU), LazyBackend)
    monkeypatch.undo()


def test_when_a_run_ends_is_no_part_of_the_key(folder: Path) -> None:
    resolved = resolve_model(str(folder / "model"))
    open_when_needed(resolved, CPU.changed({"ends": 1e9}))
    assert isinstance(open_when_needed(resolved, CPU.changed({"ends": 2e9})), LazyBackend)


def test_what_cannot_be_opened_is_not_kept(folder: Path, tmp_path: Path, cache: Path) -> None:
    resolved = resolve_model(str(folder / "model"))
    for _ in range(2):
        with pytest.raises(PrerequisiteError, match="device"):
            open_when_needed(resolved, Execution(device="cuda:77"))
    own = save_bert(tmp_path / "own")
    wrong = resolve_model(str(own), ModelOptions(pooling="mean"))
    (own / "model.safetensors").write_bytes(b"no weights")
    for _ in range(2):
        with pytest.raises(ModelError):
            open_when_needed(wrong, CPU)
    assert not cache.exists() or not list(cache.iterdir())


def test_nothing_is_kept_where_nothing_can_be(folder: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be")
    resolved = resolve_model(str(folder / "model"))
    for _ in range(2):
        assert not isinstance(open_when_needed(resolved, CPU), LazyBackend)


def test_a_model_that_opens_otherwise_than_was_kept_starts_over(
    folder: Path, tmp_path: Path, cache: Path, opened: Opened
) -> None:
    tasks = tasks_of(folder)
    right = tmp_path / "right"
    evaluate(folder / "model", tasks, output=right, execution=CPU, run=RunOptions(store=tmp_path / "a"))
    rewrite(kept(cache), lambda content: content["identity"].update(backend="another"))
    done = evaluate(
        folder / "model", tasks, output=tmp_path / "found", execution=CPU, run=RunOptions(store=tmp_path / "b")
    )
    assert not done.undone
    assert files(tmp_path / "found") == files(right)
    # no vector is under the key of what was not so
    keys = [{path.parent.parent.name for path in (tmp_path / store).rglob("*.shard")} for store in ("a", "b")]
    assert keys[0] == keys[1]
    assert json.loads(kept(cache).read_text())["identity"]["backend"] == "transformers"


def test_a_model_is_opened_meanwhile_if_the_store_has_nothing_of_a_task(
    folder: Path, tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []
    monkeypatch.setattr(LazyBackend, "begin", lambda self: began.append(self.identity["backend"]))
    system = System(resolve_model(str(folder / "model")))
    evaluate(
        folder / "model", tasks_of(folder)[0], output=tmp_path / "r", execution=CPU,
        run=RunOptions(store=tmp_path / "store"),
    )  # fmt: skip
    for tasks in ([], ["SmallPairs"], ["SmallPairs", "SmallLabels"]):
        assert not began
        wanted = [TaskContext(name=name, type="STS") for name in tasks]
        open_model(system, CPU, store=tmp_path / "store", tasks=wanted)
    assert began == ["transformers"]
    assert len(opened) == 1


def test_what_goes_wrong_meanwhile_is_told_where_vectors_are_wanted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = resolve_model(str(folder / "model"))
    expected = encode(open_when_needed(resolved, CPU))
    waiting = open_when_needed(resolved, CPU)
    assert isinstance(waiting, LazyBackend)
    waiting.begin()
    assert np.array_equal(encode(waiting), expected)

    def failing(model: ResolvedModel, execution: Execution) -> Any:
        raise ModelError(f"{model.spec.name}: no memory on {execution.device}")

    monkeypatch.setattr(lazy, "open_backend", failing)
    waiting = open_when_needed(resolved, CPU)
    assert isinstance(waiting, LazyBackend)
    waiting.begin()
    for _ in range(2):
        with pytest.raises(EvalHarnessError, match="no memory on cpu"):
            encode(waiting)


def test_the_code_of_graphs_imports_no_models_of_transformers() -> None:
    # two seconds, which an engine that has its graph need not wait for
    files = ("forward.pipeline", "kinds.dense", "kinds.cross_encoder", "kinds.m3", "engines.torch")
    code = f"import sys; import {', '.join(f'evalharness.models.{file}' for file in files)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "transformers" in done.stdout.split()
    assert "transformers.modeling_utils" not in done.stdout.split()


def test_a_model_that_changes_before_it_is_opened_gives_no_vectors(tmp_path: Path, own_cache: Path) -> None:
    folder = save_bert(tmp_path / "m")
    resolved = resolve_model(str(folder), ModelOptions(pooling="cls"))
    open_and_keep(resolved, CPU)
    waiting = known_opening(resolved, CPU)
    assert waiting is not None
    save_bert(folder, seed=1)
    with pytest.raises(ModelError, match="its files have changed since the run began"):
        waiting.encode(["a"], encoding(resolved.spec, None, None), ignore_event)
    # the same content, written anew, is the same model
    save_bert(folder)
    again = known_opening(resolved, CPU)
    assert again is not None
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    assert len(again.encode(["a"], encoding(resolved.spec, None, None), ignore_event)) == 1


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, own_cache: Path) -> None:
    resolved = resolve_model(str(save_bert(tmp_path / "m")), ModelOptions(pooling="cls"))
    open_and_keep(resolved, CPU)
    (kept,) = (own_cache / "openings").iterdir()
    kept.unlink()
    os.mkfifo(kept)
    assert known_opening(resolved, CPU) is None
