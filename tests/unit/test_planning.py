"""Several threads encode with one encoder: plans in turn, each text once, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lookup import smooth, spec, stack
from support.pools import IDENTITY, Company, Pool
from support.side_by_side import no_thread_left, wait_for

from evalharness.errors import StoppedError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.workers import workers_of
from evalharness.store import planning, shards
from evalharness.store.planning import Claim, UnderWay, Wanted, planned
from evalharness.store.shards import store_key, text_digests
from evalharness.store.storing import StoringEncoder
from evalharness.store.unstored import UnstoredEncoder
from evalharness.types import (
    EncodeEvent,
    Encoding,
    ShardsUsed,
    TextColumn,
    TextsEncoded,
    TextsPlanned,
    Waiting,
    ignore_event,
)

HOW = Encoding(pooling="cls", normalize=True, max_length=64, dtype="float32", prompt="")
TEXTS = [f"text {n}" for n in range(20)]
Made = Callable[[Company], Any]


@pytest.fixture(autouse=True)
def check_no_thread_is_left() -> Iterator[None]:
    with no_thread_left():
        yield


@pytest.fixture(params=["store", "no store"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    def make(engine: Company) -> Any:
        if request.param == "store":
            return StoringEncoder(engine, tmp_path / "store", IDENTITY, "cosine")
        return UnstoredEncoder(engine)

    return make


def vectors(found: Any) -> Any:
    return np.asarray(found.vectors)


def test_a_later_plan_waits_for_what_an_earlier_one_is_at(made: Made) -> None:
    begins, may_end = threading.Event(), threading.Event()

    def act(texts: Sequence[str]) -> None:
        if "text 0" in texts:
            begins.set()
            wait_for(may_end)

    engine = Company(act)
    encoder = made(engine)
    events: list[EncodeEvent] = []

    def hear(event: EncodeEvent) -> None:
        events.append(event)
        if sum(isinstance(heard, Waiting) for heard in events) > 2:
            may_end.set()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(encoder.encode, TEXTS[:12], HOW, ignore_event)
        wait_for(begins)
        second = encoder.encode(TEXTS[6:], HOW, hear)
        assert Counter(engine.seen) == Counter(TEXTS)
        assert (vectors(second)[:6] == vectors(first.result())[6:]).all()
    # what comes from others is counted, too
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == 14


def test_a_plan_whose_elder_fails_does_it_itself(made: Made) -> None:
    begins, may_fail = threading.Event(), threading.Event()

    def act(texts: Sequence[str]) -> None:
        if "text 0" in texts:
            begins.set()
            wait_for(may_fail)
            raise KeyError("gone")

    engine = Company(act)
    encoder = made(engine)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(encoder.encode, TEXTS[:12], HOW, ignore_event)
        wait_for(begins)
        second = encoder.encode(TEXTS[6:], HOW, lambda event: may_fail.set() if isinstance(event, Waiting) else None)
        with pytest.raises(KeyError):
            first.result()
    assert len(second) == 14
    assert Counter(engine.seen) == Counter(TEXTS[6:])


def test_who_waits_can_be_stopped(made: Made) -> None:
    begins, may_end = threading.Event(), threading.Event()

    def act(texts: Sequence[str]) -> None:
        begins.set()
        wait_for(may_end)

    def stop(event: EncodeEvent) -> None:
        if isinstance(event, Waiting):
            raise StoppedError("enough")

    encoder = made(Company(act))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(encoder.encode, TEXTS[:12], HOW, ignore_event)
        wait_for(begins)
        with pytest.raises(StoppedError):
            encoder.encode(TEXTS[:6], HOW, stop)
        may_end.set()
        first.result()


def test_many_threads_with_texts_in_common(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_TEXTS", 3)
    engine = Company(lambda _: time.sleep(0.002))
    encoder = made(engine)
    lists = [[f"text {n % 40}" for n in range(start, start + 25)] for start in range(0, 60, 5)]
    hows = [HOW, HOW.model_copy(update={"prompt": "query: "})]
    with ThreadPoolExecutor(8) as pool:
        work = [(texts, how, pool.submit(encoder.encode, texts, how, ignore_event)) for texts in lists for how in hows]
    # what is found belongs to its text, whoever encoded it in which company
    for texts, how, found in work:
        plain = stack(smooth, [how.prompt + text for text in texts])
        assert np.abs(vectors(found.result()) - plain).max() < 0.3
        again = encoder.encode(texts, how, ignore_event)
        assert (vectors(again) == vectors(found.result())).all()
    assert max(Counter(engine.seen).values()) == len(hows)


def test_of_all_columns_is_planned_what_is_missing_before_any_is_encoded(tmp_path: Path) -> None:
    events: list[EncodeEvent] = []
    told_when: list[int] = []
    engine = Company(lambda _: told_when.append(len([e for e in events if isinstance(e, TextsPlanned)])))
    encoder = StoringEncoder(engine, tmp_path, IDENTITY, "cosine")
    facts = spec(prompts={"query": "query: "})
    columns = [
        TextColumn("queries", TEXTS[:5], "query"),
        TextColumn("none", [], None),
        TextColumn("corpus", TEXTS, "document"),
    ]
    found = EmbeddingModel(facts, encoder, device="cpu").encode_columns(columns, None, events.append)
    assert told_when == [1, 1]
    assert [len(found[name]) for name in ("queries", "none", "corpus")] == [5, 0, 20]
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == 25
    assert len([event for event in events if isinstance(event, ShardsUsed)]) == 2


def test_claims_are_given_to_the_oldest_and_end_with_their_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    # each plan as if in a thread of its own
    monkeypatch.setattr(planning, "get_ident", count().__next__)
    under_way = UnderWay()
    digests = text_digests(TEXTS)
    half, whole, other = Claim("a", digests[:10]), Claim("a", digests), Claim("b", digests)
    first_again: list[str] = []
    with under_way.plan([half]) as elder:
        assert elder.is_oldest
        assert elder.mine[0].all()
        with under_way.plan([whole, other], lambda: first_again.append("middle")) as middle:
            assert [mine.tolist() for mine in middle.mine] == [[False] * 10 + [True] * 10, [True] * 20]
            with under_way.plan([whole, other], lambda: first_again.append("young")) as young:
                assert not any(mine.any() for mine in young.mine)
                # an older one never waits for a younger one
                elder.wait_for(other, ignore_event)
                middle.release("b")
                assert young.claim(other).all()
                assert not young.is_oldest
        # both have ended, and the eldest has not
        assert first_again == []
    assert first_again == ["middle", "young"]
    with under_way.plan([whole]) as last:
        assert last.is_oldest
        assert last.mine[0].all()


def test_an_encoder_that_plans_nothing_is_asked_when_its_turn_comes() -> None:
    engine = Company()
    with planned(engine, [Wanted(TEXTS[:3], HOW), Wanted(TEXTS[3:], HOW)], ignore_event) as (one, other):
        assert engine.seen == []
        assert len(one(ignore_event)) == 3
        assert len(other(ignore_event)) == 17


@pytest.mark.parametrize("kind", ["damaged", "removed"])
def test_what_others_spoil_meanwhile_is_encoded_again(tmp_path: Path, kind: str) -> None:
    engine = Company()
    StoringEncoder(engine, tmp_path, IDENTITY, "cosine").encode(TEXTS, HOW, ignore_event)
    path = next((tmp_path / store_key(IDENTITY, HOW)).glob("shards/*.shard"))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    if kind == "damaged":
        path.write_bytes(content)
    else:
        path.unlink()
    encoder = StoringEncoder(engine, tmp_path, IDENTITY, "cosine")
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(encoder.encode, TEXTS, HOW, ignore_event) for _ in range(6)]
    for each in found:
        assert (vectors(each.result()) == vectors(found[0].result())).all()
    assert Counter(engine.seen) == Counter(dict.fromkeys(TEXTS, 2))


@pytest.mark.parametrize("stored", [False, True])
def test_who_is_told_of_texts_may_encode_some_of_them(tmp_path: Path, stored: bool) -> None:
    engine = Company()
    encoder = StoringEncoder(engine, tmp_path, IDENTITY, "cosine") if stored else UnstoredEncoder(engine)
    found: list[Any] = []

    def hear(event: EncodeEvent) -> None:
        if isinstance(event, TextsEncoded) and not found:
            found.append(encoder.encode(TEXTS[:5], HOW, ignore_event))

    # in a thread that no end of the tests waits for, should it wait for itself
    thread = threading.Thread(target=encoder.encode, args=(TEXTS, HOW, hear), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert (vectors(found[0]) == vectors(encoder.encode(TEXTS[:5], HOW, ignore_event))).all()


def test_engines_are_those_of_a_pool_alone() -> None:
    with Pool(Company()) as pool:
        assert workers_of(pool) is pool
    assert workers_of(Company()) is None
