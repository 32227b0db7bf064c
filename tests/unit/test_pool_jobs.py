"""What a run asks of a pool: how many jobs keep it busy, and whether its actors share the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.actors import ThreadEmployer, places
from support.lookup import spec
from support.pools import IDENTITY, Company, alone, own_texts

from evalharness.models.computing import NOTHING_SAID
from evalharness.models.config import FileFacts
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.lazy import LazyBackend, Opening
from evalharness.models.options import Execution, ModelOptions
from evalharness.models.pool import asked, worker
from evalharness.models.pool import backend as pool_backend
from evalharness.models.pool.backend import Pool, open_pool
from evalharness.models.registry import ResolvedModel
from evalharness.models.workers import workers_of
from evalharness.run.plan import make_plan, run_plan
from evalharness.store.storing import StoringEncoder

MODEL = ResolvedModel(spec(), FileFacts(), ModelOptions())


class Opened(Company):
    """A backend in an actor."""

    device: str = "cpu"
    identity: Mapping[str, Any] = {}
    computing = NOTHING_SAID


def opened_here(model: ResolvedModel, execution: Execution) -> Opened:
    del model, execution
    return Opened()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setattr("evalharness.store.shards.SHARD_TEXTS", 4)
    monkeypatch.setattr(pool_backend, "_crews", {})
    monkeypatch.setattr("evalharness.models.pool.worker._THREADS", ())
    monkeypatch.setattr(pool_backend, "employ", lambda _: ThreadEmployer(places(3)))
    return open_pool(MODEL, Execution(ray="local"), opened_here)


@pytest.mark.parametrize("sees", [True, False])
def test_jobs_go_at_once_and_give_the_files_of_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool, sees: bool
) -> None:
    monkeypatch.setattr(worker, "_is_seen", lambda _: sees)
    assert workers_of(pool) is pool
    assert pool.at_once == 4
    assert not pool.share_store
    encoder = StoringEncoder(pool, tmp_path / "store", IDENTITY, "cosine")
    model = EmbeddingModel(spec(), encoder, device="cpu", workers=workers_of(pool))
    choices = own_texts(tmp_path / "data", 6)
    run_plan(make_plan(choices, model.spec, tmp_path / "pool"), model, lambda _: None)
    wanted = alone(Company(), tmp_path / "other")
    run_plan(make_plan(choices, wanted.spec, tmp_path / "alone"), wanted, lambda _: None)
    names = sorted(path.name for path in (tmp_path / "store").rglob("*.shard"))
    assert names == sorted(path.name for path in (tmp_path / "other").rglob("*.shard"))
    assert pool.share_store is sees


def known(execution: Execution) -> LazyBackend:
    opening = Opening(
        made_of={}, device="cpu", identity={}, parameters=1, embedding_parameters=None, computing=NOTHING_SAID
    )
    return LazyBackend(MODEL, execution, opening)


def test_a_model_that_is_not_open_may_be_a_pool(monkeypatch: pytest.MonkeyPatch, pool: Pool) -> None:
    assert workers_of(known(Execution(device="cpu"))) is None
    backend = known(Execution(ray="local"))
    workers = workers_of(backend)
    assert workers is not None
    assert (workers.engines, workers.at_once, workers.share_store) == (0, 1, False)
    monkeypatch.setattr(backend, "_opened", pool)
    assert (workers.engines, workers.at_once) == (3, 4)
    # it turned out to be none
    monkeypatch.setattr(backend, "_opened", object())
    assert workers.engines == 1
    monkeypatch.setattr(backend, "_opened", pool)
    monkeypatch.setattr(asked, "_is_installed", lambda: True)
    monkeypatch.setattr(asked, "_has_several", lambda: True)
    assert workers_of(known(Execution())) is not None
    assert workers_of(known(Execution(device="cpu"))) is None
