"""Published scores as one file: `python benchmarks/published.py FOLDER [OUTPUT]`, or `... --check CLONE COMMIT`.

FOLDER holds `published_scores.csv` and `published_alternatives.csv`, facts from the public results repository that
results/published/README.md names; OUTPUT is results/published/scores.parquet unless another is given. A row a task,
subset and published run of a model: nothing is computed, rounded or left out, a score that two benchmarks list is there
once. What is known of single entries is added from known.toml. Two runs write the same bytes. With `--check`, nothing
is written: all preferred scores of a commit are read from a clone that is checked out there, and compared.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evalharness.catalog.tasks import Member
from evalharness.reading import read_toml
from evalharness.reports.building.cells import member_cell
from evalharness.results.clone import read_clone
from evalharness.results.legacy import SPLITS
from evalharness.results.published import COLUMNS, published_folder, published_scores

_NUMBERS = ("score", "cosine_ap")
_NOTHING = ("", "None")
# points; four decimals are published, and a mean may be a half of the last one off
LAST_DIGIT = 6e-5


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """All published scores, the preferred ones first, each once."""
    seen: set[tuple[Any, ...]] = set()
    for name, preferred in (("published_scores.csv", True), ("published_alternatives.csv", False)):
        with (folder / name).open(encoding="utf-8", newline="") as handle:
            for line in csv.DictReader(handle):
                row = {key: None if line[key] in _NOTHING else line[key] for key in COLUMNS if key in line}
                if (facts := tuple(row.values())) not in seen:
                    seen.add(facts)
                    numbers = {key: float(line[key]) if row[key] is not None else None for key in _NUMBERS}
                    yield {**row, **numbers, "preferred": preferred, "unusable": None}


def _is_of(row: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    named = row["model"] == entry["model"] and row["source"] == entry["source"] and row["task"] in entry["tasks"]
    return named and row["subset"] in entry.get("subsets", [row["subset"]])


def table(folder: Path) -> pa.Table:
    """The scores with what is known of them.

    Raises:
        SystemExit: an entry of known.toml is of no score.
    """
    entries = read_toml(published_folder() / "known.toml")["entry"]
    found = list(rows(folder))
    for entry in entries:
        members = [row for row in found if _is_of(row, entry)]
        if {row["task"] for row in members} != set(entry["tasks"]):
            raise SystemExit(f"known.toml: not all of these are published: {entry}")
        for row in members:
            if entry.get("unusable"):
                row["unusable"] = entry["why"]
            else:
                row["note"] = "; ".join(filter(None, (row["note"], entry["why"])))
    kinds = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    order = [name for name in COLUMNS if name not in _NUMBERS]
    found.sort(key=lambda row: tuple(str(row[name]) for name in ("model", "task", "subset", "split", *order)))
    return pa.Table.from_pylist(found, schema=schema)


def disagreements(clone: Path, commit: str) -> tuple[int, list[str]]:
    """How many preferred scores of a commit a clone has as the box has them, and those that it has otherwise.

    Args:
        clone: a checkout of it.
        commit: its first digits.
    """
    wanted = [row for row in published_scores() if row.preferred and row.commit == commit[: len(row.commit)]]
    cloned = read_clone(clone, {row.task for row in wanted}, {row.model for row in wanted})
    rows = {run.model: run for run in cloned}
    same, wrong = 0, []
    for row in wanted:
        split = SPLITS.get(row.task, {}).get(row.split, row.split)
        member = Member(task=row.task, splits=tuple(split.split("+")), subsets=(row.subset,))
        run = rows.get(row.model)
        cell = None if run is None else member_cell(run, member, "", strict=False)
        if cell is not None and (cell.score is None) == (row.unusable is not None) and _is_near(cell.score, row.score):
            same += 1
        else:
            wrong.append(f"{row.model} {row.task} [{row.split}, {row.subset}]: {row.score}, the clone has {cell}")
    return same, wrong


def _is_near(score: float | None, published: float) -> bool:
    """Whether it is the same to the four decimals that are published, or none."""
    return score is None or abs(100 * score - published) < LAST_DIGIT


def main() -> None:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("output", type=Path, nargs="?", default=published_folder() / "scores.parquet")
    parser.add_argument("--check", nargs=2, metavar=("CLONE", "COMMIT"))
    arguments = parser.parse_args()
    if arguments.check:
        same, wrong = disagreements(Path(arguments.check[0]), arguments.check[1])
        print(
            "\n".join([*wrong, f"{same:,} preferred scores of {arguments.check[1]} are alike, {len(wrong):,} are not"])
        )
        raise SystemExit(bool(wrong))
    if arguments.folder is None:
        parser.error("FOLDER is missing")
    found = table(arguments.folder)
    pq.write_table(found, arguments.output, compression="zstd", compression_level=19, store_schema=False)
    print(f"{arguments.output}: {found.num_rows:,} scores, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
