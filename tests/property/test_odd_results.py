"""Results folders that no program of ours left: each costs its own row or cell, never the table, never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli
from support.lookup import spec
from support.odd import FILES, VALUES, with_each_key_odd
from support.old_files import nested, old, write

from evalharness.results.records import JobId, JobRecord, items_path, model_meta, record_path, run_folder, write_job
from evalharness.results.records import write_model_meta as write_meta
from evalharness.results.views import refresh_view, run_key
from evalharness.types import ItemScores

# commit of the catalogue's STS12
REVISION = "a0d554a64d88156834ff5ae9920b964011b16384"
JOB = JobId("STS12", "test", "default")
LEAST = 150
_NEW_KEYS = ("items", "ranking", "written")
Harm = Callable[[Path], object]


def model_folder(output: Path, name: str, score: float) -> Path:
    model = spec(name=name)
    folder = run_folder(output, model)
    write_meta(folder, model_meta(model))
    record = JobRecord(
        job=JOB,
        key={"model": "f", "mteb": "2"},
        main_score="cosine_spearman",
        languages=["eng-Latn"],
        dataset_revision=REVISION,
        seconds=1.0,
        facts={"model": model.model_dump(mode="json")},
        metrics={"cosine_spearman": score},
    )
    stored = write_job(folder, record, ItemScores(["0", "1"], {"gold": [0.0, 1.0]}))
    refresh_view(folder, JOB.task, run_key(JOB, stored.key))
    return folder


def mteb_folder(output: Path, name: str) -> Path:
    """As mteb leaves it: no records."""
    folder = model_folder(output, name, 0.4)
    shutil.rmtree(folder / "jobs")
    return folder


def replaced(path: str, content: bytes) -> Harm:
    return lambda folder: (folder / path).write_bytes(content)


def odd_object(path: str) -> dict[str, Harm]:
    """Each key of a JSON object of another shape."""

    def change(name: str) -> Harm:
        def harm(folder: Path) -> None:
            odd = with_each_key_odd(json.loads((folder / path).read_text()))[name]
            (folder / path).write_text(json.dumps(odd))

        return harm

    sample = {"model_meta.json": ("name", "revision", "experiment_kwargs"), "STS12.json": ("task_name", "scores")}
    keys = sample.get(path, ("job", "key", "main_score", "metrics", "error", "items", "written", "notes"))
    return {f"{path}: {name}": change(name) for name in with_each_key_odd(dict.fromkeys(keys))}


def entries(*values: object, split: str = "test") -> Harm:
    """Other entries of the split in mteb's file."""

    def harm(folder: Path) -> None:
        path = folder / "STS12.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"scores": {split: list(values)}}))

    return harm


def entry(**changes: object) -> dict[str, object]:
    return {"hf_subset": "default", "main_score": 0.4, "languages": ["eng-Latn"], **changes}


def a_score_twice(folder: Path) -> None:
    """Of one subset, in mteb's file."""
    path = folder / "STS12.json"
    path.write_text(path.read_text().replace('"main_score":', '"main_score": 0.99, "main_score":', 1))


def circle(name: str) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(path)

    return harm


def pipe(name: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return harm


def a_folder(name: str) -> Harm:
    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return harm


RECORD, PARQUET = "jobs/STS12/test.default.json", "jobs/STS12/test.default.parquet"
SCORES: dict[str, object] = {**VALUES, "below": -1.0001, "above": 1.0001, "huge": 10**400, "NaN": float("nan")}
OWN: dict[str, Harm] = {
    **{f"model_meta.json is {name}": replaced("model_meta.json", content) for name, content in FILES.items()},
    **{f"record is {name}": replaced(RECORD, content) for name, content in FILES.items()},
    **{f"Parquet is {name}": replaced(PARQUET, b) for name, b in list(FILES.items())[:4]},
    **odd_object("model_meta.json"),
    **odd_object(RECORD),
    **{f"{name} in a circle": circle(name) for name in ("model_meta.json", RECORD, "jobs/STS12", "jobs")},
    **{f"{name} is a pipe": pipe(name) for name in ("model_meta.json", RECORD, PARQUET)},
    **{
        f"{name} is a folder": a_folder(name) for name in ("model_meta.json", RECORD, "jobs/STS12/test.default.parquet")
    },
}
MTEBS: dict[str, Harm] = {
    **{f"task file is {name}": replaced("STS12.json", content) for name, content in FILES.items()},
    **odd_object("STS12.json"),
    **{f"main_score is {name}": entries(entry(main_score=value)) for name, value in SCORES.items()},
    **{f"hf_subset is {name}": entries(entry(hf_subset=value)) for name, value in VALUES.items()},
    **{f"entry is {name}": entries(value) for name, value in VALUES.items()},
    "two entries": entries(entry(), entry(main_score=0.99)),
    "three entries": entries(entry(), entry(main_score=0.99), entry(main_score=0.98)),
    "another split": entries(entry(), split="../x\n"),
    "in a circle": circle("STS12.json"),
    "a pipe": pipe("STS12.json"),
    "a folder": a_folder("STS12.json"),
    "a copy": lambda folder: shutil.copy(folder / "STS12.json", folder / "STS12 (1).json"),
    "another's name": lambda folder: (folder / "STS12.json").rename(folder / "STS13.json"),
    "a task file of that name": lambda folder: (folder / "my.toml.json").write_text('{"task_name": "my.toml"}'),
    "hidden": lambda folder: (folder / "._STS12.json").write_bytes(b"\0\5\26\7"),
    "no UTF-8 in a name": lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/\xff.json")).write_bytes(b"{}"),
    "other kinds of files": lambda folder: [(folder / n).write_bytes(b"x") for n in ("a.csv", "b.md", "notes.json")],
    "jobs is a file": lambda folder: (folder / "jobs").write_bytes(b"x"),
    "circle of folders": lambda folder: (folder / "again").symlink_to(folder),
}
CASES = [("own", name, harm) for name, harm in OWN.items()] + [("mteb", name, harm) for name, harm in MTEBS.items()]
# what names folders and files, and what cannot be read at all
WHOSE = [
    case for case in CASES if "model_meta" in case[1] or not re.search(r": |(main_score|hf_subset|entry) is", case[1])
]


def lines_of(text: str, model: str) -> list[str]:
    """The model's line of the first table without its footnote marks."""
    return [line for line in text.splitlines() if line.startswith(f"| {model} (")]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    model_folder(folder, "good/one", 0.51)
    model_folder(folder, "good/two", 0.52)
    model_folder(folder / "own", "odd/own", 0.4)
    mteb_folder(folder / "mteb", "odd/mteb")
    return folder


def test_there_are_many() -> None:
    assert len(CASES) >= LEAST


@pytest.mark.parametrize(
    ("kind", "harm"), [(kind, harm) for kind, _, harm in CASES], ids=[f"{kind}-{name}" for kind, name, _ in CASES]
)
def test_an_odd_folder_costs_its_own_row(here: Cli, tmp_path: Path, sound: Path, kind: str, harm: Harm) -> None:
    shutil.copytree(sound, tmp_path / "results", ignore=shutil.ignore_patterns("own" if kind == "mteb" else "mteb"))
    (folder,) = (path.parent for path in (tmp_path / "results" / kind).rglob("model_meta.json"))
    harm(folder)
    for options in ([], ["--benchmark", "MTEB(eng, v1)"]):
        done = here("report", "results", *options)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        text = done.stdout
        summary = text.partition("\n## ")[0]
        row = "51.00" if not options else "– (1 of 56)"
        assert [line.split("|")[2].strip() for line in lines_of(summary, "good/one")] == [row]
        assert len(lines_of(summary, "good/two")) == 1
        tasks = text.partition("## Tasks")[2]
        (cells,) = (line.split("|")[3:-2] for line in tasks.splitlines() if line.startswith("| STS12 | STS |"))
        # without their footnote marks
        values = {cell.strip().partition(" [")[0] for cell in cells}
        # the score that was there, the ones of the others, or none: nothing else
        assert values <= {"51.00", "52.00", "40.00", "–"}
        assert {"51.00", "52.00"} <= values


@pytest.mark.parametrize(
    ("kind", "harm"), [(kind, harm) for kind, _, harm in WHOSE], ids=[name for _, name, _ in WHOSE]
)
def test_an_odd_folder_keeps_no_other_from_being_published(
    here: Cli, tmp_path: Path, sound: Path, kind: str, harm: Harm
) -> None:
    shutil.copytree(sound, tmp_path / "results", ignore=shutil.ignore_patterns("own" if kind == "mteb" else "mteb"))
    (folder,) = (path.parent for path in (tmp_path / "results" / kind).rglob("model_meta.json"))
    harm(folder)
    forms = [
        part for form in ("eval-results", "submit-to", "model-index", "every-eval-ever") for part in (f"--{form}", form)
    ]
    done = here("report", "results", "--no-intervals", *forms)
    assert done.returncode == 0, done.stderr
    for name, score in (("good__one", "51.0"), ("good__two", "52.0")):
        (path,) = (tmp_path / "eval-results" / name).rglob("STS12.yaml")
        assert f"value: {score}\n" in path.read_text()
        assert len(list((tmp_path / "submit-to" / "results" / name).rglob("STS12.json"))) == 1
        assert len(list((tmp_path / "every-eval-ever" / "data").rglob(f"{name.partition('__')[2]}/*.json"))) == 1
    odd = [path for form in ("eval-results", "submit-to") for path in (tmp_path / form).rglob("STS12.*")]
    assert all("good__" in str(path) or "0.4" in path.read_text() or "40.0" in path.read_text() for path in odd)
    places = {path.relative_to(tmp_path / "submit-to" / "results").parts[0] for path in odd if path.suffix == ".json"}
    assert places <= {"good__one", "good__two", f"odd__{kind}"}


def test_what_is_odd_is_said(here: Cli, tmp_path: Path, sound: Path) -> None:
    def told(kind: str, harm: Harm) -> str:
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        shutil.copytree(sound / kind, tmp_path / "results")
        (folder,) = (path.parent for path in (tmp_path / "results").rglob("model_meta.json"))
        harm(folder)
        return here("report", "results", "--benchmark", "MTEB(eng, v1)").stdout

    untouched = told("own", Path.is_dir)
    assert "damaged" not in untouched
    assert "40.00" in untouched
    for kind, harm, wanted in (
        ("own", replaced(RECORD, b"{"), "STS12 (damaged: "),
        ("own", replaced(PARQUET, b""), "test.default.parquet is not what was written"),
        ("own", lambda folder: items_path(folder, JOB).unlink(), "test.default.parquet is missing"),
        ("own", replaced("STS12.json", b"{"), "40.00"),
        (
            "own",
            replaced("model_meta.json", b"[]"),
            "expected a JSON object, found a list; the row is named",
        ),
        ("own", lambda folder: (folder / "model_meta.json").unlink(), "the row is named by its folder"),
        ("mteb", replaced("STS12.json", b"{"), "STS12 (damaged: "),
        ("mteb", entries(entry(main_score="0.9")), "expected a number, found a text"),
        ("mteb", entries(entry(main_score=9000)), "main scores are from -1 to 1, found '9000'"),
        ("mteb", entries(entry(main_score=True)), "expected a number"),
        ("mteb", entries(entry(), entry(main_score=0.9)), "has two entries of the subset 'default'"),
        ("mteb", a_score_twice, "the key 'main_score' is there twice"),
        ("mteb", pipe("STS12.json"), "is no regular file"),
        ("own", circle("jobs/STS12"), "STS12 (damaged: jobs/STS12 cannot be read (Too many levels of symbolic links))"),
        ("own", circle("jobs"), "more (part of its folder cannot be read)"),
        ("mteb", replaced("jobs", b"x"), "40.00"),
    ):
        assert wanted in told(kind, harm), wanted
    later = {"name": "x/y", "revision": "1", "experiment_kwargs": {"protocol": "third"}}
    assert "of an unknown protocol 'third'" in told("mteb", replaced("model_meta.json", json.dumps(later).encode()))


def test_a_damaged_name_does_not_move_scores_into_another_protocol(here: Cli, tmp_path: Path) -> None:
    model_folder(tmp_path / "results", "good/one", 0.51)
    model = spec(name="good/two", overrides={"protocol": "published"})
    folder = run_folder(tmp_path / "results", model)
    source = model_folder(tmp_path / "other", "good/two", 0.6)
    shutil.copytree(source, folder)
    path = record_path(folder, JOB)
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"facts": {"model": model.model_dump(mode="json")}}))
    (folder / "model_meta.json").write_text("{")
    text = here("report", "results").stdout
    board = text.partition("# all stored tasks (protocol: published)")
    assert "51.00" in board[0]
    assert "60.00" not in board[0]
    assert "60.00" in board[2]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_without_permission(here: Cli, tmp_path: Path, sound: Path) -> None:
    shutil.copytree(sound, tmp_path / "results")
    (folder,) = (path.parent for path in (tmp_path / "results" / "own").rglob("model_meta.json"))
    folder.chmod(0)
    try:
        done = here("report", "results")
    finally:
        folder.chmod(0o755)
    assert done.returncode == 0
    assert "Permission denied" in done.stdout


def test_a_folder_whose_name_is_no_utf8(here: Cli, tmp_path: Path, sound: Path) -> None:
    for kind in ("own", "mteb"):
        shutil.copytree(sound / kind, tmp_path / "results" / os.fsdecode(b"\xff" + kind.encode()))
    for folder in (tmp_path / "results").rglob("0*"):
        if folder.name == "0" * 40:
            (folder / "model_meta.json").write_text("{")
            (folder / "Odd.json").write_text("{")
            a_folder("Odd2.json")(folder)
    done = here("report", "results")
    assert done.returncode == 0
    assert "udcffown/" in done.stdout
    assert "40.00" in done.stdout


def test_records_of_before_there_were_digests_are_read(here: Cli, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "results", "good/one", 0.51)
    path = record_path(folder, JOB)
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in _NEW_KEYS}
    path.write_text(json.dumps(old))
    items_path(folder, JOB).unlink()
    assert "51.00" in here("report", "results").stdout


def test_a_folder_without_results_says_what_was_expected(here: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = here("report", "empty")
    assert done.returncode == 2
    assert "no results below empty: expected folders with a model_meta.json" in done.stderr


def test_files_that_mteb_wrote_years_ago_need_nothing_beside_them(here: Cli, tmp_path: Path) -> None:
    model_folder(tmp_path / "results", "good/one", 0.51)
    value = old("STS12", {"test": nested(0.8)}) | {"dataset_revision": REVISION}
    write(tmp_path / "results" / "all-MiniLM-L6-v2", "STS12", value)
    write(tmp_path / "results" / "charts", "STS12", {"x": [1, 2]})
    write(tmp_path / "results" / "charts", "colours", {"test": {"red": 0.5}})
    done = here("report", "results", "--format", "json")
    assert done.returncode == 0
    (board,) = json.loads(done.stdout)["boards"]
    scores = {row["model"]: row["cells"]["STS12"]["score"] for row in board["rows"]}
    assert scores == {"good/one": 0.51, "results/all-MiniLM-L6-v2": 0.8}


@pytest.mark.parametrize("task", ["STS12", "Mine"])
def test_copies_that_synchronising_leaves_beside_a_record_cost_nothing(here: Cli, tmp_path: Path, task: str) -> None:
    folder = model_folder(tmp_path / "results", "good/one", 0.51)
    if task != JOB.task:
        record = json.loads(record_path(folder, JOB).read_text())
        record["job"]["task"] = task
        shutil.copytree(folder / "jobs" / JOB.task, folder / "jobs" / task)
        record_path(folder, JobId(task, "test", "default")).write_text(json.dumps(record))
    place = record_path(folder, JobId(task, "test", "default"))
    for name in ("test.default (1).json", "test.default.sync-conflict-20260102-101010-ABCDEFG.json"):
        shutil.copyfile(place, place.with_name(name))
    done = here("report", "results", "--tasks", task, "--format", "json")
    (board,) = json.loads(done.stdout)["boards"]
    (row,) = board["rows"]
    assert row["cells"][task]["score"] == 0.51
    assert f"jobs/{task}/test.default (1).json is a copy beside the record, and does not count" in str(row["notes"])
    assert done.stderr == ""
