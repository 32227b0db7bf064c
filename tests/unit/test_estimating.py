"""What a run will cost, from the work of its jobs and a speed that is given."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evalharness.catalog.amounts import Amount, JobAmounts
from evalharness.catalog.tasks import TaskSpec, find_task, local_task
from evalharness.results.records import JobId
from evalharness.run.estimating import speed as speeds
from evalharness.run.estimating.costs import JobCost, Outfit, RunCost, job_cost, start_seconds
from evalharness.run.estimating.devices import Alike, longest_first, shard_costs
from evalharness.run.estimating.memory import Shape, batch_bytes
from evalharness.run.estimating.scripts import ENGLISH, LATIN, OTHER, USUAL, rate_of, samples, scripts_of
from evalharness.run.estimating.speed import Point, Seen, Speed, find_speed, keep_speed, stated_speed
from evalharness.run.estimating.work import JobWork, Texts, as_pairs, work_of
from evalharness.store.shards import plan_shards
from evalharness.types import ModelSpec

CURVE = Speed(points=(Point(tokens=10, seconds=1), Point(tokens=20, seconds=2), Point(tokens=40, seconds=6)))


def model(**changes: Any) -> ModelSpec:
    return ModelSpec(name="a/b", revision="0", fingerprint="0", **{"pooling": "mean", "max_length": 256, **changes})


def spec(name: str = "STS12") -> TaskSpec:
    found = find_task(name)
    assert found is not None
    return found


@pytest.mark.parametrize(("tokens", "seconds"), [(5, 0.5), (10, 1), (15, 1.5), (30, 4), (40, 6), (50, 8)])
def test_seconds_go_in_lines_between_what_was_measured(tokens: float, seconds: float) -> None:
    assert CURVE.seconds(tokens) == pytest.approx(seconds)


def test_a_single_measurement_goes_for_all_lengths_in_proportion() -> None:
    assert stated_speed(100, 4.0, None).seconds(250) == pytest.approx(2.5)


def test_longer_texts_never_take_less_than_shorter_ones() -> None:
    disturbed = Speed(points=(Point(tokens=10, seconds=1), Point(tokens=20, seconds=0.5)))
    assert disturbed.seconds(100) >= 1


def test_texts_are_cut_where_the_model_cuts_them() -> None:
    known = CURVE.changed({"special": 2.0, "rates": {ENGLISH: 0.25, OTHER: 1.0}})
    assert known.tokens(400, (ENGLISH,), None) == 102
    assert known.tokens(400, (ENGLISH,), 64) == 64
    # in two languages, one of which nobody measured
    assert known.tokens(400, (ENGLISH, "Cher"), None) == 2 + 400 * (0.25 + 1.0) / 2


def test_scripts_have_texts_to_measure() -> None:
    assert scripts_of(["eng-Latn", "fra-Latn", "zho-Hant", "kor-Kore"]) == (ENGLISH, LATIN, "Hani", "Hang")
    assert scripts_of([]) == (ENGLISH,)
    assert rate_of((LATIN,), USUAL) == USUAL[LATIN]
    assert all(len("".join(texts)) > 50 for texts in samples().values())
    assert {ENGLISH, LATIN, "Hani", "Arab", "Cyrl"} <= set(samples())


def test_runs_correct_what_is_estimated_and_the_last_ones_most() -> None:
    once = CURVE.learned({"encode": Seen(actual=200, estimated=100)})
    assert once.correction("encode") == pytest.approx(2, rel=0.05)
    assert once.correction("score") == 1
    again = once.learned({"encode": Seen(actual=100, estimated=100)})
    assert 1 < again.correction("encode") < 1.5
    # what was too short to say anything changes nothing much
    assert CURVE.learned({"encode": Seen(actual=0.2, estimated=0.1)}).correction("encode") < 1.05
    # libraries that are imported for the first scores say nothing of scoring that takes long
    assert CURVE.learned({"score": Seen(actual=2.0, estimated=0.1)}).correction("score") < 1.15


@pytest.fixture
def kept(own_cache: Path) -> Speed:
    found = CURVE.changed({"made_of": {"model": "a", "numbers": [1, 2]}, "seen": {"load": Seen(actual=1, estimated=2)}})
    keep_speed(found)
    return found


def test_a_speed_is_found_again_under_its_key_alone(kept: Speed) -> None:
    found = find_speed(kept.made_of)
    assert found is not None
    assert found.changed({"digest": ""}) == kept
    assert find_speed({**kept.made_of, "model": "b"}) is None


@pytest.mark.parametrize("damage", ["{", '{"points": 3}', "other"])
def test_a_file_that_is_not_as_it_was_written_is_not_there(kept: Speed, damage: str) -> None:
    (path,) = speeds.speeds_folder().iterdir()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"seconds": 1.0', '"seconds": 9.0') if damage == "other" else damage)
    assert find_speed(kept.made_of) is None


def test_a_speed_that_cannot_be_kept_is_no_failure(own_cache: Path) -> None:
    own_cache.parent.mkdir()
    own_cache.write_text("no folder", encoding="utf-8")
    keep_speed(CURVE)
    assert find_speed({}) is None


@pytest.mark.parametrize("lengths", [[5] * 9000, [3000] * 900, [30, 2_000_000, 7] * 5, [], [1]])
def test_shards_cost_what_the_stores_shards_would(lengths: list[int]) -> None:
    planned = [sum(len(text) for text in shard.texts) for shard in plan_shards(["x" * n for n in lengths], "key")]
    alike = [Alike(lengths.count(length), length) for length in set(lengths)]
    found = shard_costs(alike, lambda length: length)
    assert sum(found) == pytest.approx(sum(planned))
    assert len(found) == len(planned)
    assert sorted(found) == pytest.approx(sorted(planned))


@pytest.mark.parametrize("seed", range(5))
def test_devices_take_the_longest_first(seed: int) -> None:
    draws = random.Random(seed)
    costs = [draws.uniform(1, 10) for _ in range(draws.randrange(1, 60))]
    devices = draws.randrange(1, 9)
    # by hand
    busy = [0.0] * devices
    for cost in sorted(costs, reverse=True):
        busy[busy.index(min(busy))] += cost
    assert longest_first(costs, devices) == pytest.approx(max(busy))
    assert longest_first(costs, 1) == pytest.approx(sum(costs))
    # more devices than shards cost no memory
    assert longest_first(costs, 10**21) == longest_first(costs, 1000) == max(costs)
    assert longest_first([], 3) == 0


def test_lengths_have_the_mean_that_statistics_say() -> None:
    job = JobId("NFCorpus", "test", "default")
    found = work_of(spec("NFCorpus"), job)
    assert found is not None
    corpus = found.of("corpus")
    assert corpus is not None
    assert corpus.characters == pytest.approx(5715687, rel=0.02)
    assert list(corpus.lengths) == sorted(corpus.lengths, reverse=True)
    assert corpus.lengths[0] <= 10090
    assert corpus.side == "document"


WORK = JobWork([Texts("texts", 100, [80.0, 40.0])], (ENGLISH,))
FLAT = stated_speed(10, 1536.0, 1000).changed({"rates": {ENGLISH: 0.25, OTHER: 1.0}, "special": 0.0})


def test_a_job_costs_its_tokens_and_its_vectors() -> None:
    found = job_cost(spec(), WORK, Outfit(model(), FLAT, Shape(8, 32, 2), batch_tokens=64))
    assert found.tokens == pytest.approx(50 * 20 + 50 * 10)
    assert found.encode == pytest.approx(150)
    assert found.bytes == pytest.approx(100 * (1536 + 18))
    assert found.memory == 4 * 1000 + batch_bytes(Shape(8, 32, 2), 64, "float32")
    assert sum(part.texts for part in found.course) == 100
    # one text is longer than a batch
    longer = job_cost(spec(), WORK, Outfit(model(), FLAT, Shape(8, 32, 2), batch_tokens=4))
    assert longer.memory == 4 * 1000 + batch_bytes(Shape(8, 32, 2), 20, "float32")


def test_a_prompt_costs_its_tokens_and_no_text_is_longer_than_the_model_reads() -> None:
    prompted = model(default_prompt="x" * 40)
    assert job_cost(spec(), WORK, Outfit(prompted, FLAT)).tokens == pytest.approx(1500 + 100 * 10)
    assert job_cost(spec(), WORK, Outfit(model(max_length=12), FLAT)).tokens == pytest.approx(50 * 12 + 50 * 10)


def test_what_the_store_has_costs_nothing_to_encode() -> None:
    two = JobWork([Texts("queries", 10, [40.0]), Texts("corpus", 100, [40.0])], (ENGLISH,))
    sided = model(prompts={"query": "find: "})
    whole = job_cost(spec("NFCorpus"), two, Outfit(sided, FLAT))
    half = job_cost(spec("NFCorpus"), two, Outfit(sided, FLAT, stored={"NFCorpus": {"document"}}))
    assert 0 < half.tokens < whole.tokens / 5
    assert half.bytes == pytest.approx(10 * (1536 + 18))
    nothing = job_cost(spec("NFCorpus"), two, Outfit(sided, FLAT, stored={"NFCorpus": {"document", "query"}}))
    assert nothing.encode == nothing.bytes == 0
    assert nothing.score > 0


def test_no_store_keeps_nothing() -> None:
    assert job_cost(spec(), WORK, Outfit(model(), FLAT, keeps=False)).bytes == 0


def test_several_devices_share_encoding_alone() -> None:
    large = JobWork([Texts("texts", 40 * 4096, [40.0])], (ENGLISH,))
    alone, four = (job_cost(spec(), large, Outfit(model(), FLAT, devices=number)) for number in (1, 4))
    assert four.encode == pytest.approx(alone.encode / 4)
    assert (four.load, four.score) == (alone.load, alone.score)
    both = RunCost({JobId("a", "b", str(number)): four for number in range(3)}, 5.0, devices=4)
    assert both.encode == pytest.approx(3 * alone.encode / 4)
    assert both.seconds == pytest.approx(5 + both.load + both.encode + both.score)


def test_a_second_stage_waits_for_the_first() -> None:
    # of one long shard each
    stage = JobCost(1.0, 10.0, 1.0, [10.0])
    assert RunCost({JobId("a", "b", "c"): stage.then(stage)}, 0.0, devices=2).encode == 20
    jobs = {JobId("a", "b", str(number)): stage.then(stage) for number in range(4)}
    assert RunCost(jobs, 0.0, devices=2).encode == 40


def test_scoring_grows_with_queries_times_documents_and_with_fits() -> None:
    def scored(name: str, work: JobWork) -> float:
        return job_cost(spec(name), work, Outfit(model(), FLAT)).score

    def search(queries: int, corpus: int) -> JobWork:
        return JobWork([Texts("queries", queries, [9.0]), Texts("corpus", corpus, [9.0])], (ENGLISH,))

    assert scored("NFCorpus", search(1000, 4_000_000)) > 1.9 * scored("NFCorpus", search(1000, 2_000_000))
    fitted = JobWork(WORK.texts, (ENGLISH,), JobAmounts(labels=70, fits=10, rows=600))
    assert scored("Banking77Classification", fitted) > scored("STS12", WORK)


def test_jobs_of_unknown_size_are_left_out_of_sums() -> None:
    cost = JobCost(1.0, 2.0, 3.0, [2.0])
    whole = RunCost({JobId("a", "b", "c"): cost, JobId("a", "b", "d"): None}, 4.0)
    assert whole.seconds == 10
    assert whole.memory is None


def test_a_run_that_does_nothing_starts_and_ends() -> None:
    assert start_seconds([], 30.0) < 2
    assert start_seconds([spec()], 30.0) > 32


def test_a_second_stage_reads_pairs() -> None:
    two = JobWork([Texts("queries", 10, [20.0]), Texts("corpus", 1000, [200.0, 100.0])], (ENGLISH,))
    pairs = as_pairs(two, 100)
    assert [(texts.count, list(texts.lengths)) for texts in pairs.texts] == [(1000, [220.0, 120.0])]
    # its own candidates
    given = JobWork(two.texts, two.scripts, JobAmounts({"queries": Amount(10, 200, 20)}, candidates=300))
    assert as_pairs(given, None).texts[0].count == 300
    first = job_cost(spec("NFCorpus"), two, Outfit(model(), FLAT))
    second = job_cost(spec("NFCorpus"), pairs, Outfit(model(kind="reranker"), FLAT))
    assert first.then(second).encode == pytest.approx(first.encode + second.encode)


def rows(path: Path, values: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def local(folder: Path, kind: str, files: Sequence[str], extra: str = "") -> TaskSpec:
    named = ", ".join(f'{name} = "{name}.jsonl"' for name in files)
    text = (
        f'name = "Mine"\ntype = "{kind}"\nlanguages = ["eng-Latn"]\n[data]\nformat = "jsonl"\nfiles = {{ {named} }}\n'
    )
    (folder / "mine.toml").write_text(text + extra, encoding="utf-8")
    return local_task(folder / "mine.toml")


def counts(task: TaskSpec) -> dict[str, int]:
    found = work_of(task, JobId("Mine", "test", "default"))
    assert found is not None
    return {texts.name: texts.count for texts in found.texts}


def test_a_users_pairs_are_counted_once_each(tmp_path: Path) -> None:
    rows(tmp_path / "test.jsonl", [{"sentence1": "a", "sentence2": f"b{n % 7}", "score": 1} for n in range(20)])
    assert counts(local(tmp_path, "STS", ["test"])) == {"test": 8}


def test_a_users_corpus_has_titles_and_its_queries_a_side(tmp_path: Path) -> None:
    rows(tmp_path / "corpus.jsonl", [{"_id": f"d{n}", "title": "head", "text": f"body {n}"} for n in range(10)])
    rows(tmp_path / "queries.jsonl", [{"_id": "q", "text": "what?"}])
    rows(tmp_path / "test.jsonl", [{"query-id": "q", "corpus-id": "d1", "score": 1}])
    task = local(tmp_path, "Retrieval", ["corpus", "queries", "test"])
    assert counts(task) == {"queries": 1, "corpus": 10}
    found = work_of(task, JobId("Mine", "test", "default"))
    assert found is not None
    assert [texts.side for texts in found.texts] == ["query", "document"]
    assert found.texts[1].lengths[0] == len("head body 1")


def test_a_users_classification_draws_from_training(tmp_path: Path) -> None:
    rows(tmp_path / "train.jsonl", [{"text": f"t{n}", "label": f"{n % 2}"} for n in range(1000)])
    rows(tmp_path / "test.jsonl", [{"text": f"u{n}", "label": f"{n % 2}"} for n in range(50)])
    task = local(
        tmp_path, "Classification", ["train", "test"], "[settings]\nn_experiments = 3\nsamples_per_label = 10\n"
    )
    found = work_of(task, JobId("Mine", "test", "default"))
    assert found is not None
    assert (found.amounts.labels, found.amounts.fits, found.amounts.rows) == (2, 3, 20)
    assert {texts.name: texts.count for texts in found.texts} == {"test": 50, "train": 59}


def test_judgements_that_are_missing_are_told_when_they_are_read(tmp_path: Path) -> None:
    rows(tmp_path / "corpus.jsonl", [{"_id": f"d{n}", "text": f"body {n}"} for n in range(10)])
    rows(tmp_path / "queries.jsonl", [{"_id": "q", "text": "what?"}])
    text = 'name = "Mine"\ntype = "Retrieval"\nlanguages = ["eng-Latn"]\n[data]\nformat = "beir"\npath = "."\n'
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert counts(local_task(tmp_path / "mine.toml")) == {"queries": 1, "corpus": 10}


@pytest.mark.parametrize(("format_", "ending"), [("csv", "csv"), ("tsv", "tsv")])
def test_large_tables_are_known_by_their_beginnings(format_: str, ending: str, tmp_path: Path) -> None:
    mark = "," if ending == "csv" else "\t"
    lines = [f"{n:09}{mark}{n + 1:09}{mark}1" for n in range(0, 200_000, 2)]
    table = "\n".join([mark.join(("sentence1", "sentence2", "score")), *lines]) + "\n"
    (tmp_path / f"test.{ending}").write_text(table, encoding="utf-8")
    text = f'name = "Mine"\ntype = "STS"\nlanguages = ["eng-Latn"]\n[data]\nformat = "{format_}"\n'
    (tmp_path / "mine.toml").write_text(f'{text}files = {{ test = "test.{ending}" }}\n', encoding="utf-8")
    assert counts(local_task(tmp_path / "mine.toml"))["test"] == pytest.approx(200_000, rel=0.01)


def test_a_parquet_file_is_known_by_its_first_rows(tmp_path: Path) -> None:
    values = [f"text {n}" for n in range(5000)]
    frame = pd.DataFrame({"sentence1": values, "sentence2": values[::-1], "score": 1.0})
    frame.to_parquet(tmp_path / "test.parquet")
    text = 'name = "Mine"\ntype = "STS"\nlanguages = ["eng-Latn"]\n[data]\nformat = "parquet"\n'
    (tmp_path / "mine.toml").write_text(f'{text}files = {{ test = "test.parquet" }}\n', encoding="utf-8")
    # the first two thousand rows share no text with one another
    assert counts(local_task(tmp_path / "mine.toml"))["test"] == pytest.approx(10_000, rel=0.01)


def test_what_is_summarized_is_not_encoded() -> None:
    found = work_of(spec("StarterSummarizationEng"), JobId("StarterSummarizationEng", "test", "default"))
    assert found is not None
    assert sum(texts.count for texts in found.texts) == 108


def test_a_large_file_is_known_by_its_beginning(tmp_path: Path) -> None:
    draws = random.Random(0)
    sentences = [
        {"sentence1": f"{draws.random()}", "sentence2": f"{draws.random()}", "score": 1} for _ in range(40_000)
    ]
    rows(tmp_path / "test.jsonl", sentences)
    assert (tmp_path / "test.jsonl").stat().st_size > 2_000_000
    assert counts(local(tmp_path, "STS", ["test"]))["test"] == pytest.approx(80_000, rel=0.01)


@pytest.mark.parametrize("content", ["", "no json\n", '["no object"]\n', "\x00\xff"])
def test_files_that_cannot_be_read_are_of_unknown_size(content: str, tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(content.encode("latin-1"))
    assert work_of(local(tmp_path, "STS", ["test"]), JobId("Mine", "test", "default")) is None
