"""The public names: what they are, and that `evaluate` does what `run` does."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Cli, StartHub
from support.lookup import lookup_model, smooth
from support.pairs import reranker_alone
from support.processes import Pythons, out_of_reach
from support.small_runs import save_small_place

import evalharness
from evalharness import Evaluation, Execution, JobResult, ModelOptions, RunOptions, Selection, evaluate, load_model
from evalharness.errors import DataError, EvalHarnessError, UsageError
from evalharness.models import loading as system_module
from evalharness.models import opening, resolving
from evalharness.models.kinds import dense
from evalharness.models.loading import System, open_model, resolve_model
from evalharness.results.items import read_items, with_names
from evalharness.results.records import items_path
from evalharness.run import evaluate as evaluate_module
from evalharness.run.events import JobEnded, JobStarted, RunEvent
from evalharness.types import Notice, TextsEncoded

NAMES = ["CallbackOptions", "Choice", "Comparison", "EvalHarnessCallback", "Evaluation", "Execution", "JobResult"]
NAMES += ["ModelOptions", "Report", "RunOptions", "Selection", "Settings", "__version__", "compare_results", "evaluate"]
NAMES += ["load_model", "report"]
# what two runs of the same differ in
TIMES = ("seconds", "written", "evaluation_time", "date")
CPU = Execution(device="cpu")
Change = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a reranker and three tasks."""
    return save_small_place(tmp_path_factory.mktemp("door"))


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pairs(folder: Path) -> Path:
    return folder / "tasks" / "SmallPairs.toml"


def hopeless(folder: Path) -> Path:
    """A task whose job fails: all gold scores are equal."""
    folder.mkdir()
    rows = [{"sentence1": f"text {number}", "sentence2": "ferns", "score": 1} for number in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "Hopeless.toml"
    path.write_text(
        'name = "Hopeless"\ntype = "STS"\nmain_score = "cosine_spearman"\nlanguages = ["eng-Latn"]\n'
        '[data]\nformat = "jsonl"\nfiles = { test = "rows.jsonl" }\n'
    )
    return path


def test_the_package_shows_its_public_names() -> None:
    assert dir(evalharness) == NAMES == sorted(evalharness.__all__)
    modules = {getattr(evalharness, name).__module__ for name in NAMES if name != "__version__"}
    assert modules == {f"evalharness.{place}" for place in evalharness._PLACES.values()}
    with pytest.raises(AttributeError, match="has no attribute 'evaluated'"):
        evalharness.evaluated  # noqa: B018


def test_a_model_says_what_it_is(folder: Path) -> None:
    model = load_model(folder / "model", ModelOptions(max_length=32, normalize=False), execution=CPU)
    facts = "backend='transformers', pooling='cls', normalize=False, max_length=32, dtype='float32', device='cpu'"
    assert repr(model) == f"LoadedModel('local/model', {facts})"
    assert repr(lookup_model()).startswith("EmbeddingModel('test/lookup', backend=")
    assert repr(reranker_alone(smooth)).startswith("RankingModel(")
    first, second = (resolve_model(str(folder / name)) for name in ("model", "reranker"))
    both = repr(open_model(System(first, second, 7), CPU))
    assert both.startswith("RankingModel('local/model', backend='transformers', pooling='cls', normalize=")
    assert both.endswith("rerank_top_k=7, device='cpu')")
    assert "reranker='local/reranker@" in both


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def written(folder: Path) -> dict[str, Any]:
    """All files of results, to the byte but for times; the log tells only of what a run cost."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.log"]
    assert paths
    return {
        str(path.relative_to(folder)): without_times(json.loads(path.read_text()))
        if path.suffix == ".json"
        else path.read_bytes()
        for path in paths
    }


def test_evaluate_writes_what_run_writes_and_gives_it(folder: Path, here: Cli) -> None:
    tasks = [*sorted((folder / "tasks").glob("*.toml")), hopeless(Path("hopeless").absolute())]
    ran = here(
        "run", "--model", str(folder / "model"), "--output", "ran", "--tasks", *map(str, tasks), "--save-rankings"
    )
    assert ran.returncode == 3
    results = evaluate(folder / "model", tasks, output="called", run=RunOptions(save_rankings=True))
    assert written(Path("called")) == written(Path("ran"))
    assert any(path.suffix == ".trec" for path in Path("called").rglob("*"))
    assert [result.task for result in results] == ["SmallLabels", "SmallPairs", "SmallSearch", "Hopeless"]
    for result in results[:3]:
        place = items_path(result.folder, result.record.job)
        assert result.folder.is_absolute()
        assert result.items == read_items(place)
        pd.testing.assert_frame_equal(result.frame(), pd.DataFrame(with_names(read_items(place))))
        assert result.score == result.metrics[result.main_score] == result.record.metrics[result.record.main_score]
        assert result.error is None
    assert f"{results[1].score:.4f}" in ran.stdout


def test_a_failed_job_is_a_result_without_a_score(folder: Path, pairs: Path) -> None:
    results = evaluate(folder / "model", [hopeless(Path("hopeless").absolute()), pairs])
    failed, done = results
    assert results.failed == [failed]
    assert (failed.score, dict(failed.metrics)) == (None, {})
    assert "a correlation needs at least two different ones" in (failed.error or "")
    with pytest.raises(UsageError, match=r"Hopeless \[test, default\] failed and has no items: .*a correlation needs"):
        failed.frame()
    frame = results.frame()
    assert list(frame.columns) == ["task", "split", "subset", "main_score", "score", "error", "notes"]
    assert frame["score"].isna().tolist() == [True, False]
    assert frame["score"][1] == done.score
    assert frame["error"].tolist() == [failed.error, None]
    title, headings, *rows, why = repr(results).splitlines()
    assert title == "local/model: 2 jobs, 1 failed"
    assert headings.split() == ["task", "split", "subset", "metric", "score"]
    assert [row.split() for row in rows] == [
        ["Hopeless", "test", "default", "cosine_spearman", "failed"],
        ["SmallPairs", "test", "default", "cosine_spearman", f"{done.score:.4f}"],
    ]
    assert why == f"Hopeless [test, default] failed: {failed.error}"


def test_results_are_values(folder: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = evaluate(folder / "model", pairs)
    copy = pickle.loads(pickle.dumps(results))  # noqa: S301 -- made here
    assert isinstance(copy, Evaluation)
    assert (copy, copy.model, repr(copy)) == (results, results.model, repr(results))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pd.testing.assert_frame_equal(copy[0].frame(), results[0].frame())
    assert len(copy[0].items.ids) == 24


def test_items_that_are_not_those_of_the_record_are_refused(folder: Path, pairs: Path) -> None:
    result = evaluate(folder / "model", pairs)[0]
    without = JobResult(replace(result.record, items=None), result.folder)
    assert (without.items.ids, list(without.frame())) == ([], ["item_id"])
    items_path(result.folder, result.record.job).write_bytes(b"of another run")
    with pytest.raises(DataError, match=r"the items of SmallPairs .* are gone: .* is not what was written"):
        result.frame()


def forbid(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(module, name, fail)


def test_done_jobs_are_not_done_again(folder: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(folder / "model", pairs)
    before = written(Path("results"))
    with monkeypatch.context() as patch:
        forbid(patch, evaluate_module, "open_model")
        again = evaluate(str(folder / "model"), [str(pairs)])
    assert (again[0].record.written, again[0].score) == (first[0].record.written, first[0].score)
    assert len(again) == 1
    fresh = evaluate(folder / "model", pairs, run=RunOptions(overwrite=True))
    assert fresh[0].record.written > first[0].record.written
    assert written(Path("results")) == before


def test_a_loaded_model_is_not_loaded_or_looked_for_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks = Selection(tasks=[str(path) for path in sorted((folder / "tasks").glob("*.toml"))])
    options = ModelOptions(max_length=16, name="me/short")
    by_name = evaluate(folder / "model", tasks, output="by name", options=options, execution=CPU)
    model = load_model(folder / "model", options, execution=CPU)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    events: list[RunEvent] = []
    with monkeypatch.context() as patch:
        for module, name in ((system_module, "open_backend"), (resolving, "find_model"), (opening, "_opened")):
            forbid(patch, module, name)
        loaded = evaluate(model, tasks, output="loaded", run=RunOptions(watch=events.append))
    assert written(Path("loaded")) == written(Path("by name"))
    assert [result.score for result in loaded] == [result.score for result in by_name]
    # it goes by the store as any other: what it kept is found, and nothing is encoded a second time
    assert sum(event.count for event in events if isinstance(event, TextsEncoded) and event.tokens) > 0
    events.clear()
    evaluate(model, tasks, output="again", run=RunOptions(watch=events.append))
    assert [event for event in events if isinstance(event, TextsEncoded) and event.tokens] == []


def test_a_loaded_model_may_have_a_second_stage(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = folder / "tasks" / "SmallSearch.toml"
    second = RunOptions(reranker=str(folder / "reranker"), rerank_top_k=4)
    evaluate(folder / "model", search, output="by name", run=second, execution=CPU)
    model = load_model(folder / "model", execution=CPU)
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("another").absolute()))
    forbid(monkeypatch, dense, "open_kind")
    results = evaluate(model, search, output="loaded", run=second)
    assert written(Path("loaded")) == written(Path("by name"))
    title = repr(results).splitlines()[0]
    assert title.startswith("local/model, reranker 'local/reranker@")
    assert title.endswith("', rerank_top_k 4: 1 job")


def test_a_loaded_model_keeps_how_it_was_loaded(folder: Path, pairs: Path) -> None:
    model = load_model(folder / "model")
    for given in ({"options": ModelOptions()}, {"execution": CPU}):
        with pytest.raises(UsageError, match="local/model is loaded already, so options and execution"):
            evaluate(model, pairs, **given)
    with pytest.raises(UsageError, match=r"the kind reranker: it ranks documents .*`evaluate` takes it by its name"):
        load_model(folder / "reranker")


@pytest.mark.parametrize(
    ("flags", "call"),
    [
        (["--model", "no-such-modell"], {"model": "no-such-modell"}),
        (["--tasks", "STS13x", "SmallPairs"], {"tasks": ["STS13x", "SmallPairs"]}),
        (["--tasks", "nowhere/task.toml"], {"tasks": Path("nowhere/task.toml")}),
        (
            ["--model", "nothing", "--tasks", "STSS", "--suite", "fast", "--rerank-top-k", "3"],
            {
                "model": "nothing",
                "tasks": Selection(tasks=["STSS"], suites=["fast"]),
                "run": RunOptions(rerank_top_k=3),
            },
        ),
        (["--cutoff-layer", "3"], {"options": ModelOptions(cutoff_layer=3)}),
        (["--device", "cuda:7"], {"execution": Execution(device="cuda:7")}),
        (["--store", "file/store"], {"run": RunOptions(store=Path("file/store"))}),
        (["--output", "file/results"], {"output": "file/results"}),
        (["--reranker", "MODEL"], {"run": "MODEL"}),
        (["--model", "RERANKER"], {"model": "RERANKER"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_those_of_the_command_line(
    folder: Path, pairs: Path, here: Cli, flags: list[str], call: Change
) -> None:
    Path("file").write_text("in the way")
    places = {"MODEL": str(folder / "model"), "RERANKER": str(folder / "reranker")}
    flags = [places.get(flag, flag) for flag in flags]
    given: Change = {"model": folder / "model", "tasks": [pairs], "output": "results", **call}
    given["model"] = places.get(str(given["model"]), given["model"])
    if given.get("run") == "MODEL":
        given["run"] = RunOptions(reranker=places["MODEL"])
    usual = {"--model": str(folder / "model"), "--tasks": str(pairs)}
    first = [part for flag, value in usual.items() if flag not in flags for part in (flag, value)]
    told = here("run", *first, *flags)
    with pytest.raises(EvalHarnessError) as raised:
        evaluate(**given)
    assert told.returncode == 2
    assert told.stderr.endswith(f"error: {raised.value}\n")
    assert not Path("results").exists()


def test_results_of_another_system_are_not_touched(folder: Path, pairs: Path, here: Cli) -> None:
    named = ModelOptions(name="me/it")
    there = evaluate(folder / "model", pairs, options=named)
    meta = there.folder / "model_meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"name": "somebody/else"}))
    with pytest.raises(UsageError, match="holds results of another system") as raised:
        evaluate(folder / "model", pairs, options=named)
    told = here("run", "--model", str(folder / "model"), "--tasks", str(pairs), "--name", "me/it")
    assert told.stderr.endswith(f"error: {raised.value}\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": 7}, "evaluate got int '7'; expected a model's name, a folder, or what load_model gave"),
        ({"model": lookup_model()}, "evaluate got EmbeddingModel .*or what load_model gave"),
        ({"model": " "}, "evaluate got an empty name"),
        ({"options": {"pooling": "cls"}}, "evaluate got dict .*expected a ModelOptions"),
        ({"execution": "cpu"}, "evaluate got str 'cpu'; expected an Execution"),
        ({"run": {}}, "evaluate got dict .*expected a RunOptions"),
        ({"output": None}, "evaluate got None as output"),
        ({"output": ""}, "evaluate got str '' as output"),
        ({"tasks": []}, "evaluate got an empty list of tasks; name some, or leave them out for the quick suite"),
        ({"tasks": ""}, "evaluate got str '' among the tasks"),
        ({"tasks": [7]}, "evaluate got int 7 among the tasks"),
        ({"tasks": 7}, "evaluate got int 7 as tasks; expected a list of names"),
        ({"tasks": {"STS13": 1}}, "evaluate got dict as tasks"),
        ({"tasks": Selection(tasks="STS13")}, "evaluate got str 'STS13' as tasks; expected a list of names"),
        ({"tasks": Selection(suites=["quick-en", ""])}, "evaluate got str '' among the suites"),
    ],
)
def test_what_is_no_model_task_or_folder_is_refused(given: Change, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(**{"model": "all-MiniLM-L6-v2", **given})


@pytest.mark.parametrize(
    "form",
    [str, lambda path: path, lambda path: [path], lambda path: (str(path),), lambda path: pd.Series([str(path)])],
    ids=("text", "path", "list", "tuple", "column"),
)
def test_tasks_may_be_one_or_several(folder: Path, pairs: Path, form: Callable[[Path], Any]) -> None:
    assert [result.task for result in evaluate(folder / "model", form(pairs))] == ["SmallPairs"]


def test_a_selection_keeps_what_it_says_and_no_tasks_are_the_quick_suite(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [folder / "tasks"]
    kept = Selection(tasks=tasks, types=["sts", "Retrieval"])  # type: ignore[arg-type]
    assert [result.task for result in evaluate(folder / "model", kept)] == ["SmallPairs", "SmallSearch"]
    asked: list[Selection] = []

    def note(request: Any, **_: object) -> None:
        asked.append(request.selection)
        raise UsageError("seen")

    monkeypatch.setattr(evaluate_module, "plan_run", note)
    for nothing in (None, Selection()):
        with pytest.raises(UsageError, match="seen"):
            evaluate(folder / "model", nothing)
    assert asked == [Selection()] * 2


def test_nothing_is_printed_and_who_watches_is_told(
    folder: Path, pairs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    events: list[RunEvent] = []
    run = RunOptions(watch=events.append, store=None)
    evaluate(folder / "model", pairs, run=run)
    evaluate(folder / "model", pairs, run=run)
    assert capfd.readouterr() == ("", "")
    assert [type(event) for event in events if isinstance(event, JobStarted | JobEnded)] == [JobStarted, JobEnded]
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert notices[0].startswith("loading local/model (")
    assert notices[1] == "1 of 1 jobs are done already; --overwrite does them again"
    assert not Path("cache", "evalharness", "store").exists()


@pytest.mark.hub
def test_nothing_is_printed_where_something_is_downloaded(
    folder: Path, start_hub: StartHub, pythons: Pythons, tmp_path: Path
) -> None:
    code = (
        "from evalharness import evaluate\n"
        "results = evaluate('some/model', 'PoemSentimentClassification')\n"
        "assert not results.failed, results\n"
    )
    # libraries draw bars on terminals only
    on_terminal = f"import pty, sys\nraise SystemExit(pty.spawn([sys.executable, '-c', {code!r}]))"
    with start_hub("--model", f"some/model={folder / 'model'}") as address:
        environment = {**out_of_reach(tmp_path), "HF_ENDPOINT": address}
        done = pythons.run(["-c", on_terminal], tmp_path, environment, fresh=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list((tmp_path / "hf" / "hub").glob("*--*"))) == 2  # the model and the data


def test_jobs_that_a_limit_leaves_undone_are_named(folder: Path, pairs: Path) -> None:
    model, labels = load_model(folder / "model"), folder / "tasks" / "SmallLabels.toml"
    nothing = evaluate(model, [pairs, labels], run=RunOptions(time_budget=1e-9))
    assert (len(nothing), [job.task for job in nothing.undone]) == (0, ["SmallPairs", "SmallLabels"])
    assert list(nothing.frame().columns)[:1] == ["task"]
    assert repr(nothing).startswith("local/model: 2 jobs, 2 not done\n")
    first = evaluate(model, [hopeless(Path("hopeless").absolute()), pairs], run=RunOptions(fail_fast=True))
    assert ([result.task for result in first], [job.task for job in first.undone]) == (["Hopeless"], ["SmallPairs"])


def test_a_model_may_rank_without_vectors(folder: Path) -> None:
    results = evaluate("bm25", folder / "tasks" / "SmallSearch.toml")
    assert results[0].main_score == "ndcg_at_10"
