"""`power`: what tasks can show before they are run, from stored items or typical ones."""

from __future__ import annotations

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
from conftest import Cli
from support.stored import pairs, random_ndcg, spec_of, write_results

from evalharness.catalog.tasks import Member, TaskList, mteb_task
from evalharness.compare.comparison import OVER_TASKS, OVER_TYPES
from evalharness.compare.judging import compare_results
from evalharness.compare.power.outlook import DROPS, Outlook, Prospect, look_ahead
from evalharness.compare.power.spreads import Source
from evalharness.compare.power.typical import typical_of, typical_values
from evalharness.compare.sides import read_all, read_side
from evalharness.metrics.statistics.power import power_of, smallest_detectable

MINE = ("Mine", "test", "default")
ONE, OTHER = spec_of("me/one"), spec_of("me/other")
TOLERANCE = 0.003


def listed(*names: str, splits: tuple[str, ...] | None = None) -> TaskList:
    return TaskList(name="these", tasks=tuple(Member(task=name, splits=splits) for name in names))


def of(outlook: Outlook, name: str) -> Prospect:
    return next(row for row in (*outlook.means, *outlook.types, *outlook.tasks) if row.name == name)


def test_stored_pairs_show_what_their_comparison_says(tmp_path: Path) -> None:
    folders = [
        write_results(tmp_path / "one", {MINE: random_ndcg(1)}, ONE),
        write_results(tmp_path / "other", {MINE: random_ndcg(2)}, OTHER),
    ]
    row = of(look_ahead(listed("Mine"), read_all([str(folder) for folder in folders]), TOLERANCE), "Mine")
    compared = compare_results(read_side(str(folders[0])), read_side(str(folders[1])))["Mine"]
    assert row.source is Source.PAIRS
    assert row.smallest == pytest.approx(compared.smallest)
    assert row.items == compared.clusters == 60
    assert row.needed == compared.needed
    assert row.type == "Retrieval"
    assert row.metric == "ndcg_at_10"
    assert row.sd is not None
    error = row.sd / sqrt(60)
    assert row.chances == pytest.approx([power_of(drop, error, 59) for drop in DROPS])


def test_of_several_pairs_it_is_the_median(tmp_path: Path) -> None:
    every = [random_ndcg(1), random_ndcg(1, lower=0.1), random_ndcg(2)]
    for number, scores in enumerate(every):
        write_results(tmp_path / str(number), {MINE: scores}, spec_of(f"me/{number}"))

    def sd(*numbers: int) -> float:
        found = of(look_ahead(listed("Mine"), read_all([str(tmp_path / str(n)) for n in numbers]), TOLERANCE), "Mine")
        assert found.source is Source.PAIRS
        assert found.sd is not None
        return found.sd

    assert sd(0, 1, 2) == pytest.approx(sorted([sd(0, 1), sd(0, 2), sd(1, 2)])[1])


@pytest.mark.parametrize("copies", [1, 2])
def test_of_one_model_it_is_a_share_of_its_items_spread(tmp_path: Path, copies: int) -> None:
    # a model and its copy are one model
    scores = pairs([0.1, 0.9, 0.4, 0.6, 0.3, 0.8] * 5, [0.2, 0.7, 0.5, 0.5, 0.1, 0.9] * 5)
    for number in range(copies):
        write_results(tmp_path / str(number), {MINE: scores}, spec_of(f"me/{number}"))
    row = of(look_ahead(listed("Mine"), read_all([str(tmp_path)]), TOLERANCE), "Mine")
    typical = typical_of("STS", "cosine_spearman")
    assert typical is not None
    assert row.source is Source.ONE
    assert row.items == 30
    assert row.sd is not None
    assert 0 < row.sd < typical.ratio * 2


def test_without_results_it_is_typical_of_the_catalogues_items() -> None:
    row = of(look_ahead(listed("STSBenchmark"), [], TOLERANCE), "STSBenchmark")
    typical = typical_of("STS", "cosine_spearman")
    assert typical is not None
    assert (row.source, row.items, row.characters) == (Source.TYPICAL, 1379, 147_886)
    assert row.sd == pytest.approx(typical.sd)
    assert row.smallest == pytest.approx(smallest_detectable(typical.sd / sqrt(1379), 1378))


def test_subsets_are_each_a_part_of_the_score() -> None:
    spec = mteb_task("STS22")
    assert spec is not None
    counts = list(spec.items["test"].values())
    row = of(look_ahead(listed("STS22"), [], TOLERANCE), "STS22")
    typical = typical_of("STS", "cosine_spearman")
    assert typical is not None
    error = sqrt(sum(typical.sd**2 / count for count in counts)) / len(counts)
    assert row.items == sum(counts)
    assert row.sd == pytest.approx(error * sqrt(sum(counts)))


def test_a_mean_is_over_independent_tasks() -> None:
    outlook = look_ahead(listed("STSBenchmark", "STS12"), [], TOLERANCE)
    sds = [of(outlook, name).sd or 0 for name in ("STSBenchmark", "STS12")]
    error = sqrt(sds[0] ** 2 / 1379 + sds[1] ** 2 / 3108) / 2
    for name in (OVER_TASKS, "STS"):
        row = of(outlook, name)
        assert row.sd == pytest.approx(error * sqrt(2))
        assert row.items == 2
        assert row.smallest == pytest.approx(smallest_detectable(error, 3000), rel=0.001)
    # of one type, that mean says nothing else
    assert OVER_TYPES not in [row.name for row in outlook.means]


def test_what_nobody_knows_is_said_and_not_guessed() -> None:
    outlook = look_ahead(listed("STSBenchmark", "MindSmallReranking", "NoSuchTask"), [], TOLERANCE)
    for name in ("MindSmallReranking", "NoSuchTask"):
        row = of(outlook, name)
        assert row.source is Source.UNKNOWN
        assert row.smallest is None
        assert row.said
    mean = of(outlook, OVER_TASKS)
    assert mean.without == ("MindSmallReranking", "NoSuchTask")
    assert mean.smallest == of(outlook, "STSBenchmark").smallest
    assert set(outlook.not_chosen) == {"MindSmallReranking", "NoSuchTask"}


def test_results_that_do_not_compare_leave_what_is_typical(tmp_path: Path) -> None:
    name = ("STSBenchmark", "test", "default")
    one = pairs([0.1, 0.9, 0.4], [0.2, 0.7, 0.5])
    for number, revision in enumerate(("1", "2")):
        stored = replace(one, items=None, score=0.5, key={"dataset_revision": revision})
        write_results(tmp_path / str(number), {name: stored}, spec_of(f"me/{number}"))
    row = of(look_ahead(listed("STSBenchmark"), read_all([str(tmp_path)]), TOLERANCE), "STSBenchmark")
    assert row.source is Source.TYPICAL
    assert "revision" in row.said


def test_the_cheapest_of_a_benchmark_is_a_part_of_it() -> None:
    outlook = look_ahead(listed("STSBenchmark", "STS12", "SICK-R"), [], 0.5)
    assert outlook.cheapest is not None
    assert outlook.cheapest.names == ("STSBenchmark",)
    assert outlook.cheapest.cost == 147_886
    none = look_ahead(listed("STSBenchmark", "STS12"), [], 1e-6)
    assert none.cheapest is None
    assert none.most_telling is not None
    assert none.most_telling.smallest > 1e-6


def test_an_aggregate_is_made_of_its_parts() -> None:
    spec = mteb_task("CQADupstackRetrieval")
    assert spec is not None
    row = of(look_ahead(listed("CQADupstackRetrieval"), [], TOLERANCE), "CQADupstackRetrieval")
    parts = [mteb_task(name) for name in spec.parts]
    assert row.characters == sum(part.sizes["test"]["default"][1] for part in parts if part is not None)
    assert row.items == sum(part.items["test"]["default"] for part in parts if part is not None)


def test_typical_values_are_as_they_are_measured() -> None:
    kinds = [(value.type, value.metric) for value in typical_values()]
    assert len(set(kinds)) == len(kinds)
    assert all(0 < value.sd < 1 and 0 < value.ratio < 2 for value in typical_values())
    assert typical_of("no such type", "accuracy") is None


def test_the_command(here: Cli, tmp_path: Path) -> None:
    write_results(tmp_path / "one", {MINE: random_ndcg(1)}, ONE)
    write_results(tmp_path / "other", {MINE: random_ndcg(2)}, OTHER)
    done = here("power", "one", "other")
    assert done.returncode == 0, done.stderr
    assert "stored pairs" in done.stdout
    assert "Mine" in done.stdout
    assert "of none of these it is known how long their texts are" in done.stdout
    found = json.loads(here("power", "one", "other", "--format", "json", "--tolerance", "2").stdout)
    assert found[0]["tolerance"] == 0.02
    assert found[0]["tasks"][0]["items"] == 60
    done = here("power", "--tasks", "STS12,SICK-R", "--suite", "quick-en", "--format", "md")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("# What ") == 2
    assert "| STS12 | 3,108 |" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name tasks (--tasks), a suite, a benchmark, or folders with results"),
        (["--tasks", "STS12x"], "unknown task 'STS12x'"),
        (["--suite", "quik-en"], "unknown suite 'quik-en': did you mean quick-en"),
        (["--tasks", "STS12", "--format", "xml"], "unknown format 'xml'"),
        (["--tasks", "STS12", "--tolerance", "0"], "a difference of nothing cannot be shown"),
        (["nowhere", "nor here"], "no such folder"),
    ],
)
def test_what_is_wrong_is_said(here: Cli, arguments: list[str], said: str) -> None:
    done = here("power", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
