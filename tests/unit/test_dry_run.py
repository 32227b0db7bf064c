"""`run --dry-run`: what a run will cost; measuring a model, and what runs show of it, changes nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli
from support.small_runs import save_small_tasks, state
from support.tiny import save_cross_encoder, save_sentence_model

from evalharness.errors import ModelError
from evalharness.models.loading import resolve_model
from evalharness.models.options import Execution
from evalharness.models.registry import ResolvedModel
from evalharness.run.estimating import calibrating, foreseeing
from evalharness.run.estimating.calibrating import measure
from evalharness.run.estimating.scripts import ENGLISH
from evalharness.run.estimating.speed import Point, Seen, Speed, find_speed, keep_speed, speed_key, speeds_folder
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding, ModelSpec, TextsEncoded

DRY = ("--tasks", "StarterSTSEng", "StarterRetrievalEng", "--dry-run")
CPU = Execution()
# as many seconds for any text
KNOWN = Speed(points=(Point(tokens=1, seconds=0.5),), bytes_per_text=128.0, parameters=1000, batch_tokens=64)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_sentence_model(tmp_path / "m"))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of models that were measured; they are all equally fast."""
    names: list[str] = []

    def noted(model: ResolvedModel, execution: Execution) -> Speed:
        names.append(model.spec.name)
        return KNOWN.changed({"made_of": speed_key(model, execution)})

    monkeypatch.setattr(calibrating, "calibrate", noted)
    return names


def keep(model: str, speed: Speed = KNOWN) -> None:
    keep_speed(speed.changed({"made_of": speed_key(resolve_model(model), CPU)}))


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_dry_run_says_what_each_job_and_all_of_them_cost(here: Cli, model: str, measured: list[str]) -> None:
    done = here("run", "--model", model, *DRY)
    assert done.returncode == 0
    assert "measuring how fast local/m is here: about 5 s" in done.stderr
    for heading in ("seconds", "stored", "memory"):
        assert heading in done.stdout
    told = flat(done.stdout)
    assert re.search(
        r"About .+ on one device \(start .+, data .+, encoding .+, scoring .+\), at the speed measured", told
    )
    # 310 sentences, 100 queries and 126 documents
    assert f"Vectors to store: {(310 + 226) * (128 + 18) / 1000:.1f} kB." in told
    assert "weights and a batch of 64 tokens." in told
    assert "Not counted: downloads" in told
    assert measured == ["local/m"]


def test_a_model_is_measured_once(here: Cli, model: str, measured: list[str]) -> None:
    first, again = here("run", "--model", model, *DRY), here("run", "--model", model, *DRY)
    assert first.stdout == again.stdout
    assert "measuring" not in again.stderr
    assert len(measured) == 1


def test_several_devices_share_encoding(here: Cli, model: str) -> None:
    keep(model, KNOWN.changed({"points": (Point(tokens=1, seconds=5.0),)}))
    told = flat(here("run", "--model", model, *DRY, "--devices", "2").stdout)
    assert "on 2 devices" in told


def test_a_stated_rate_measures_nothing(here: Cli, model: str, measured: list[str]) -> None:
    slow, fast = (flat(here("run", "--model", model, *DRY, "--rate", rate).stdout) for rate in ("10", "100000"))
    assert "at the stated 10 tokens per second and device." in slow
    assert " min " in slow
    assert " min " not in fast
    assert not measured
    assert not speeds_folder().exists()


def test_a_model_that_is_not_here_has_a_cost_at_a_stated_rate(here: Cli, measured: list[str]) -> None:
    name = ("run", "--model", "BAAI/bge-base-en-v1.5", "--tasks", "NFCorpus", "--dry-run")
    plain = flat(here(*name).stdout)
    assert "No seconds: the model is not on disk, so nothing says how fast it is; give --rate." in plain
    told = flat(here(*name, "--rate", "20000", "--devices", "4").stdout)
    assert "on 4 devices" in told
    # 3,916 vectors of 768 numbers
    assert f"Vectors to store: {3916 * (4 * 768 + 18) / 1e6:.1f} MB." in told
    assert "weights and a batch of 32,768 tokens." in told
    assert "The model is not on disk yet" in told
    assert not measured


def test_what_nobody_knows_of_a_model_is_said_to_be_unknown(here: Cli) -> None:
    told = flat(here("run", "--model", "nobody/knows", "--tasks", "NFCorpus", "--dry-run", "--rate", "20000").stdout)
    assert "Vectors to store: of unknown size." in told
    refused = here("run", "--model", "nobody/knows", "--tasks", "NFCorpus", "--dry-run", "--rate", "inf")
    assert refused.returncode == 2
    assert "--rate" in refused.stderr


@pytest.mark.parametrize("option", [("--devices", "2"), ("--rate", "100")])
def test_a_run_refuses_what_only_counts(here: Cli, model: str, option: Sequence[str]) -> None:
    done = here("run", "--model", model, "--tasks", "StarterSTSEng", *option)
    assert done.returncode == 2
    assert "--devices and --rate are for --dry-run" in done.stderr


def test_no_store_stores_nothing(here: Cli, model: str) -> None:
    keep(model)
    assert "Vectors to store: 0 B." in flat(here("run", "--model", model, *DRY, "--no-store").stdout)


def test_a_model_that_is_too_large_to_be_loaded_for_it_is_not(
    here: Cli, model: str, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreseeing, "_free_memory", lambda: 1000)
    told = flat(here("run", "--model", model, *DRY).stdout)
    assert "too much to load them only to measure it; give --rate." in told
    assert not measured


def test_a_model_that_cannot_be_measured_has_a_plan_all_the_same(
    here: Cli, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: ResolvedModel, execution: Execution) -> Speed:
        raise ModelError("the weights are missing")

    monkeypatch.setattr(calibrating, "calibrate", broken)
    done = here("run", "--model", model, *DRY)
    assert done.returncode == 0
    assert "No seconds: local/m could not be measured: the weights are missing." in flat(done.stdout)


def test_what_is_no_file_is_not_measured(here: Cli, measured: list[str], tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text("def encode(texts):\n    return [[1.0, 2.0] for _ in texts]\n")
    told = flat(here("run", "--model", "python:ours:encode", *DRY).stdout)
    assert "No seconds: nothing is measured of" in told
    assert not measured


def test_words_are_counted_at_their_usual_speed_whatever_is_said_of_models(
    here: Cli, measured: list[str], tmp_path: Path
) -> None:
    dry = ("run", "--model", "bm25", "--tasks", "StarterRetrievalEng", "--dry-run")
    told, slow = (flat(here(*dry, *rate).stdout) for rate in ((), ("--rate", "1")))
    assert "at the usual speed of mteb/baseline-bm25s" in told
    assert "Vectors to store: 0 B" in told
    assert "Memory of each device" not in told
    # an hour or so, if they went through a model that slowly
    assert (minutes(told), minutes(slow)) == (0, 0)
    assert not measured
    second = str(save_cross_encoder(tmp_path / "ce"))
    both = flat(here(*dry, "--reranker", second, "--devices", "2").stdout)
    assert measured == ["local/ce"]
    assert "at the speed measured on this machine" in both
    assert "Memory of each device" in both


def test_two_stages_cost_both(here: Cli, model: str, measured: list[str], tmp_path: Path) -> None:
    second = str(save_cross_encoder(tmp_path / "ce"))
    search = ("--tasks", "StarterRetrievalEng", "--dry-run")
    alone = flat(here("run", "--model", model, *search).stdout)
    both = flat(here("run", "--model", model, *search, "--reranker", second, "--rerank-top-k", "50").stdout)
    assert measured == ["local/m", "local/ce"]
    assert minutes(both) > 5 * minutes(alone)


def minutes(told: str) -> float:
    found = re.search(r"About (?:(\d+) h )?(?:(\d+) min)?", told)
    assert found is not None
    return 60 * int(found[1] or 0) + int(found[2] or 0)


def test_what_is_stored_is_not_encoded_again(here: Cli, model: str, tmp_path: Path) -> None:
    keep(model, KNOWN.changed({"seen": {"encode": Seen(actual=100, estimated=100)}}))
    run = ("run", "--model", model, *DRY[:-1], "--store", str(tmp_path / "store"))
    before = flat(here(*run, "--dry-run").stdout)
    assert here(*run).returncode == 0
    after = flat(here(*run, "--dry-run", "--overwrite").stdout)
    assert "Vectors to store: 0 B." not in before
    assert "Vectors to store: 0 B." in after
    assert "encoding 0 s" in after


def test_estimates_change_no_file_of_results(here: Cli, tmp_path: Path, model: str) -> None:
    tasks = save_small_tasks(tmp_path / "tasks")
    plain = ("run", "--model", model, "--tasks", *tasks)
    assert here(*plain, "--output", "unknown", "--store", "a").returncode == 0
    keep(model)
    assert here(*plain, "--output", "known", "--store", "b").returncode == 0
    assert here(*plain, "--output", "known", "--store", "b", "--dry-run", "--overwrite").returncode == 0
    assert state(tmp_path / "unknown") == state(tmp_path / "known")


class Clocked:
    """Takes so many seconds for each token of a text, of which it has one for each letter and two more."""

    device = "cpu"
    identity: Mapping[str, Any] = {"backend": "clocked"}

    def __init__(self, monkeypatch: pytest.MonkeyPatch, each: float = 1e-4) -> None:
        self.now, self.each, self.texts = 0.0, each, 0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        tokens = sum(len(text) + 2 for text in texts)
        self.now, self.texts = self.now + self.each * tokens, self.texts + len(texts)
        assert len(set(texts)) == len(texts)
        emit(TextsEncoded(len(texts), tokens))
        return Dense(np.zeros((len(texts), 8), dtype=np.float32))


SPEC = ModelSpec(name="a/b", revision="0", fingerprint="0", pooling="mean")


def test_a_measurement_finds_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(monkeypatch)
    found = measure(clocked, SPEC)
    assert len(found.points) == 4
    for point in found.points:
        assert point.seconds == pytest.approx(1e-4 * point.tokens)
    assert found.special == 2
    assert found.rates[ENGLISH] == pytest.approx(1)
    assert found.bytes_per_text == 32
    assert clocked.now < 6


@pytest.mark.parametrize("each", [0.01, 0.1, 1.0])
def test_slow_models_are_measured_with_short_texts_alone(each: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clocked = Clocked(monkeypatch, each)
    found = measure(clocked, SPEC)
    assert 1 <= len(found.points) < 4
    assert found.seconds(1000) == pytest.approx(1000 * each, rel=0.1)


def test_what_a_run_shows_is_kept(here: Cli, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalharness.run.estimating import learning

    monkeypatch.setattr(learning, "_LEAST_SECONDS", 0.0)
    # many batches, so that there is a second one
    command = ("run", "--model", model, "--tasks", "StarterClassificationEng", "--batch-tokens", "64")
    assert here(*command, "--output", "one").returncode == 0
    key = speed_key(resolve_model(model), Execution(batch_tokens=64))
    first = find_speed(key)
    assert first is not None
    assert not first.is_calibrated
    assert first.seen_seconds > 0
    assert first.parameters is not None
    assert here(*command, "--output", "two", "--no-store").returncode == 0
    again = find_speed(key)
    assert again is not None
    assert again.points == first.points
    assert again.seen != first.seen
