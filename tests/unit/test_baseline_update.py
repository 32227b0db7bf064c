"""Which results make a baseline, what is replaced and kept, and what the commands say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from support.baselines import TASKS, content, put, save_all, saved, score, update_with
from support.lookup import spec

from evalharness.compare.baseline import Manifest, check_baseline, run_of_baseline
from evalharness.compare.saving import save, update
from evalharness.compare.sources import choose, named_runs
from evalharness.errors import DataError, UsageError
from evalharness.results.stored import read_runs


def test_results_of_several_models_are_refused_and_one_can_be_named(tmp_path: Path) -> None:
    put(tmp_path / "results", TASKS)
    put(tmp_path / "results", {"STS12": 0.1}, model=spec(name="me/other"))
    with pytest.raises(UsageError, match=r"of 2 models or settings: me/model \(.*, me/other \(.*FOLDER:MODEL"):
        save_all(tmp_path / "results", tmp_path / "base")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]
    save(choose(named_runs([f"{tmp_path / 'results'}:me/other"])), tmp_path / "base")
    assert check_baseline(tmp_path / "base").model == "me/other"
    with pytest.raises(UsageError, match="unknown model 'me/modl': did you mean me/model"):
        named_runs([f"{tmp_path / 'results'}:me/modl"])
    with pytest.raises(UsageError, match=r"no such folder: .*nowhere"):
        named_runs([f"{tmp_path / 'nowhere'}:me/model"])
    put(tmp_path / "results", {"STS12": 0.1}, model=spec(name="me/other", revision="c" * 40))
    runs = named_runs([f"{tmp_path / 'results'}:me/other"])
    with pytest.raises(UsageError, match=r"of 2 models or settings: me/other \(0.*, me/other \(c"):
        choose(runs)


def test_a_model_may_lie_in_several_folders_but_a_task_in_one(tmp_path: Path) -> None:
    put(tmp_path / "one", {"STS12": 0.5})
    put(tmp_path / "two", {"STS13": 0.25})
    runs = named_runs([str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "two")])
    save(choose(runs), tmp_path / "base")
    assert (score(tmp_path / "base", "STS12"), score(tmp_path / "base", "STS13")) == (0.5, 0.25)
    put(tmp_path / "two", {"STS12": 0.3})
    with pytest.raises(UsageError, match="STS12 is in two folders"):
        choose(named_runs([str(tmp_path / "one"), str(tmp_path / "two")]))


def test_the_newest_settings_count_where_folders_of_one_model_differ(tmp_path: Path) -> None:
    put(tmp_path / "one", {"STS12": 0.5}, model=spec(name="me/model", max_length=8))
    put(tmp_path / "two", {"STS13": 0.25}, model=spec(name="me/model", max_length=16))
    with pytest.raises(DataError, match=r"STS12 cannot stand in one baseline with the other tasks: .*max_length 8"):
        save(choose(named_runs([str(tmp_path / "one"), str(tmp_path / "two")])), tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_only_a_baseline_is_replaced(tmp_path: Path) -> None:
    put(tmp_path / "results", TASKS)
    for name in ("mine/notes.md", "git/.git/config"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("x")
        with pytest.raises(UsageError, match="holds files, and no baseline: "):
            save_all(tmp_path / "results", tmp_path / name.partition("/")[0])
        assert path.read_text() == "x"
    (tmp_path / "empty").mkdir()
    save_all(tmp_path / "results", tmp_path / "empty")
    save_all(tmp_path / "results", tmp_path / "empty")
    (tmp_path / "empty" / ".git").mkdir()
    (tmp_path / "empty" / ".git" / "HEAD").write_text("x")
    with pytest.raises(UsageError, match=r"holds files that are no part of its baseline: .git/HEAD"):
        save_all(tmp_path / "results", tmp_path / "empty")
    with pytest.raises(UsageError, match=r"is in .*, which would be replaced"):
        save_all(tmp_path / "empty", tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is no folder"):
        save_all(tmp_path / "results", tmp_path / "file")


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    base = saved(tmp_path)
    (tmp_path / "link").symlink_to(base)
    put(tmp_path / "results", {"STS12": 0.6})
    save_all(tmp_path / "results", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert score(base, "STS12") == 0.6


def test_update_replaces_these_tasks_and_keeps_the_others(tmp_path: Path) -> None:
    base = saved(tmp_path)
    put(tmp_path / "more", {"STS12": 0.6, "STS14": 0.3})
    done = update_with(base, tmp_path / "more")
    assert done is not None
    assert [(c.task, c.before, c.after) for c in done.changes] == [("STS12", 0.5, 0.6), ("STS14", None, 0.3)]
    assert done.tasks == 4
    assert {name: score(base, name) for name in run_of_baseline(base).tasks} == {**TASKS, "STS12": 0.6, "STS14": 0.3}
    check_baseline(base)
    assert update_with(base, tmp_path / "more") is None


@pytest.mark.parametrize("changes", [{"revision": "c" * 40}, {"name": "me/other"}, {"overrides": {"max_length": 8}}])
def test_update_mixes_no_models_and_no_settings(tmp_path: Path, changes: dict[str, Any]) -> None:
    base = saved(tmp_path)
    before = content(base)
    other = spec(**{"name": "me/model", **changes})
    put(tmp_path / "more", {"STS12": 0.6}, model=other)
    with pytest.raises(UsageError, match=r"2 tasks would stay of the former: .*baseline save RESULTS --to"):
        update_with(base, tmp_path / "more")
    assert content(base) == before
    # where nothing stays, nothing is mixed
    put(tmp_path / "more", TASKS, model=other)
    done = update_with(base, tmp_path / "more")
    assert done is not None
    assert (done.before or done.after).model == "me/model"
    assert check_baseline(base).revision == other.revision


def test_update_refuses_settings_that_only_records_tell(tmp_path: Path) -> None:
    base = saved(tmp_path, model=spec(name="me/model", max_length=8))
    before = content(base)
    put(tmp_path / "more", {"STS12": 0.6}, model=spec(name="me/model", max_length=16))
    with pytest.raises(DataError, match=r"cannot stand in one baseline with the other tasks: .*max_length"):
        update_with(base, tmp_path / "more")
    assert content(base) == before


def test_update_loses_no_score(tmp_path: Path) -> None:
    put(tmp_path / "results", {"STS12": 0.4}, subset="de")
    base = saved(tmp_path)
    put(tmp_path / "more", {"STS12": 0.6})
    with pytest.raises(UsageError, match=r"has scores that the results have not: STS12 \[test, de\]"):
        update_with(base, tmp_path / "more")


def test_a_change_by_somebody_else_meanwhile_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = saved(tmp_path)
    put(tmp_path / "more", {"STS12": 0.6})
    put(tmp_path / "others", {"STS13": 0.9})
    from evalharness.compare import saving

    fill, others = saving._fill, choose(named_runs([str(tmp_path / "others")]))

    def slowly(place: Path, sources: Any) -> Manifest:
        monkeypatch.setattr(saving, "_fill", fill)
        manifest = fill(place, sources)
        update(others, base)
        return manifest

    monkeypatch.setattr(saving, "_fill", slowly)
    with pytest.raises(DataError, match="was changed by another command meanwhile"):
        update_with(base, tmp_path / "more")
    assert (score(base, "STS12"), score(base, "STS13")) == (0.5, 0.9)
    check_baseline(base)


def test_results_that_change_while_they_are_copied_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "results", TASKS)
    sources = choose(named_runs([str(tmp_path / "results")]))
    put(tmp_path / "results", {"STS13": 0.9})
    with pytest.raises(DataError, match=r"STS13 cannot stand .*, or changed while it was copied; try again"):
        save(sources, tmp_path / "base")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


def test_what_the_commands_print(here: Cli, tmp_path: Path) -> None:
    put(tmp_path / "results", TASKS)
    done = here("baseline", "save", "results", "--to", "base")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("base: me/model (")
    assert ", protocol mteb, 3 tasks, " in done.stdout
    shown = here("baseline", "show", "base").stdout.splitlines()
    assert shown[0] == done.stdout.strip()
    assert shown[1] == "computed by evalharness 0.1.0 with mteb 2.26.24"
    assert shown[2].startswith("STS12 [test]: cosine_spearman 0.5000, 2 items, ")
    assert shown[4].startswith("中文 检索 [test]: cosine_spearman 0.7500, 2 items, ")
    put(tmp_path / "more", {"STS12": 0.51, "STS13": 0.25, "STS14": 0.1})
    done = here("baseline", "update", "base", "more")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == [
        "STS12 [test]: 0.5000 -> 0.5100 (+1.00 points)",
        "STS14 [test]: none -> 0.1000",
        "unchanged: 1 score",
    ]
    assert ", 4 tasks, " in done.stdout
    assert here("baseline", "update", "base", "more").stdout == "nothing has changed: base has these very results\n"
    put(tmp_path / "third", {"STS12": 0.5}, model=spec(name="me/other"))
    done = here("baseline", "save", "third", "--to", "base", "--tasks", "STS12")
    assert done.stdout.startswith("was of me/model (")
    assert "STS14 [test]: 0.1000 -> none\n" in done.stdout
    done = here("report", "base")
    assert done.returncode == 0
    assert "me/other" in done.stdout
    assert "damaged" not in done.stdout


def test_a_large_baseline_is_warned_of(here: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "results", TASKS)
    assert here("baseline", "save", "results", "--to", "base").stderr == ""
    monkeypatch.setattr("evalharness.cli.baseline._LARGE", 1000)
    done = here("baseline", "save", "results", "--to", "base")
    assert done.returncode == 0
    assert "more than a repository should hold" in done.stderr


def test_wrong_commands_exit_with_2(here: Cli, tmp_path: Path) -> None:
    put(tmp_path / "results", TASKS)
    for arguments, told in (
        (("save", "results"), "--to"),
        (("save", "nowhere", "--to", "base"), "no such folder: "),
        (("save", "results", "--to", "base", "--suite", "quik-en"), "unknown suite 'quik-en': did you mean quick-en"),
        (("save", "results", "--to", "base", "--suite", "starter"), "14 of 14 tasks cannot be in it: "),
        (("save", "results", "--to", "base", "--tasks", ""), "--tasks is empty"),
        (("save", "results", "--to", ""), "--to is empty"),
        (("show", "results"), "is no baseline"),
        (("update", "nowhere", "results"), "is no baseline: there is no such folder"),
        (("update", "results", "results"), "would be replaced"),
    ):
        done = here("baseline", *arguments)
        assert done.returncode == 2, arguments
        assert told in done.stderr, arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


def test_hidden_folders_hold_no_results(tmp_path: Path) -> None:
    base = saved(tmp_path / "all")
    shutil.copytree(base, base.with_name(".base.abc.tmp"))
    shutil.copytree(base, base / ".before" / "x")
    assert [run.folder for run in read_runs([tmp_path / "all" / "base"])] == [base]
    assert len(read_runs([tmp_path / "all"])) == 2
    assert len(read_runs([base.with_name(".base.abc.tmp")])) == 1
