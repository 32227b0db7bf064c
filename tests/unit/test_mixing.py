"""A row is of one model with one set of settings, whatever cards its tasks were run with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.lookup import lookup_model, spec
from support.odd import VALUES
from support.small_runs import save_small_tasks

from evalharness.catalog.selection import Selection, select
from evalharness.reports.board import Row
from evalharness.reports.building.boards import make_boards
from evalharness.results.stored import read_runs
from evalharness.run.plan import make_plan, run_plan
from evalharness.types import ModelSpec


@pytest.fixture
def tasks(tmp_path: Path) -> dict[str, str]:
    return {Path(path).stem: path for path in save_small_tasks(tmp_path / "tasks")}


def run(output: Path, task: str, model: ModelSpec, *, overwrite: bool = False) -> Path:
    plan = make_plan(select(Selection(tasks=[task])), model, output, overwrite=overwrite)
    assert [record.error for record in run_plan(plan, lookup_model(model_spec=model), lambda _: None)] == [None]
    return plan.folder


def row(output: Path) -> Row:
    (board,) = make_boards(read_runs([output]))
    (found,) = board.rows
    return found


def change_facts(folder: Path, task: str, **facts: Any) -> None:
    (path,) = (folder / "jobs" / task).glob("*.json")
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"facts": {**stored["facts"], **facts}}))


CHANGES: dict[str, dict[str, Any]] = {
    "pooling 'mean' instead of 'cls'": {"pooling": "mean"},
    "max_length 128 instead of 512": {"max_length": 128},
    "default_prompt 'P: ' instead of ''": {"default_prompt": "P: "},
    "prompts {'query': 'Q: '} instead of {}": {"prompts": {"query": "Q: "}},
    "unnormalized_types True instead of False": {"unnormalized_types": ("STS",)},
    "similarity 'dot' instead of 'cosine'": {"similarity": "dot"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_tasks_of_other_settings_than_the_newest_are_void(tmp_path: Path, tasks: dict[str, str], what: str) -> None:
    output = tmp_path / "out"
    run(output, tasks["SmallPairs"], spec(**CHANGES[what]))
    run(output, tasks["SmallSearch"], spec())
    found = row(output)
    assert found.cells["SmallPairs"].score is None
    assert found.cells["SmallSearch"].score is not None
    assert found.mean_task.score is None
    assert found.missing == [
        f"SmallPairs (run with other settings of the model than SmallSearch ({what}); run it again with --overwrite)"
    ]
    run(output, tasks["SmallPairs"], spec(), overwrite=True)
    assert row(output).missing == []


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": {"Retrieval": "R: ", "SmallSearch-query": "S: "}, "unnormalized_types": ("Retrieval",)},
        {"notes": ("so",), "facts_from": "elsewhere", "languages": ("eng-Latn",), "remote_code": True},
    ],
)
def test_what_a_task_cannot_feel_voids_nothing(tmp_path: Path, tasks: dict[str, str], changes: Any) -> None:
    run(tmp_path / "out", tasks["SmallPairs"], spec(**changes))
    run(tmp_path / "out", tasks["SmallSearch"], spec())
    assert row(tmp_path / "out").missing == []


def test_fields_that_came_later_and_odd_facts_are_not_compared(tmp_path: Path, tasks: dict[str, str]) -> None:
    folder = run(tmp_path / "out", tasks["SmallPairs"], spec())
    run(tmp_path / "out", tasks["SmallSearch"], spec())
    right = spec().model_dump(mode="json")
    old = {name: value for name, value in right.items() if name != "pair_instruction"}
    for model in (
        old,
        right | {"of_a_later_version": 5},
        *VALUES.values(),
        *({"pooling": odd} for odd in VALUES.values()),
    ):
        change_facts(folder, "SmallPairs", model=model)
        assert row(tmp_path / "out").missing == []
    change_facts(folder, "SmallPairs", model=right | {"pooling": "mean"})
    assert row(tmp_path / "out").missing != []


def test_local_tasks_stand_under_their_type(tmp_path: Path, tasks: dict[str, str]) -> None:
    for name in tasks.values():
        folder = run(tmp_path / "out", name, spec())
    found = row(tmp_path / "out")
    assert set(found.types) == {"STS", "Retrieval", "Classification"}
    assert found.mean_type.score == pytest.approx(sum(cell.score or 0 for cell in found.cells.values()) / 3)
    change_facts(folder, "SmallLabels", task_type="Triplets")
    assert set(row(tmp_path / "out").types) == {"STS", "Retrieval", "Triplets"}
    for odd in (*VALUES.values(), "a|b"):
        change_facts(folder, "SmallLabels", task_type=odd)
        assert set(row(tmp_path / "out").types) == {"STS", "Retrieval", "Other"}
