"""The backends for models behind a server, against a server on this machine that fails as real ones do."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.contract import PROMPT, check_contract
from support.fake_server import DIMENSIONS, MODEL, FakeServer, Fault, running, vector

from evalharness.errors import ModelError, PrerequisiteError, UsageError
from evalharness.models.backends.http import HttpBackend
from evalharness.models.backends.http_client import Patience
from evalharness.models.backends.http_resolving import wire_name
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.options import Execution
from evalharness.types import EncodeEvent, EncodeNote, Encoding, TextsEncoded

KEY = 'sk-secret/"7"'
TEXTS = ["How do ferns grow?", "a", "in shade, " * 20, "中 文", " padded ", "stone and river"]
BUSY = Fault(429, headers={"retry-after": "7"}, body="slow down")
BROKEN = Fault(500, body="out of order")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALHARNESS_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with running(FakeServer()) as fake:
        yield fake


def options(server: FakeServer, **changes: Any) -> ModelOptions:
    return ModelOptions(**({"backend": "http", "url": server.url} | changes))


def patient(waits: list[float], **changes: Any) -> Patience:
    return replace(Patience(sleep=waits.append, random=Random(1)), **changes)


def backend(server: FakeServer, waits: list[float] | None = None, **changes: Any) -> HttpBackend:
    waited = [] if waits is None else waits
    return HttpBackend(resolve_model(MODEL, options(server, **changes)), Execution(), patience=patient(waited))


def encoding(**changes: Any) -> Encoding:
    facts: dict[str, Any] = {"pooling": "own", "normalize": False, "max_length": None, "dtype": "float32", "prompt": ""}
    return Encoding(**(facts | changes))


def known(texts: list[str], dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    return np.array([vector(text)[:dimensions] for text in texts], dtype=np.float32)


def encoded(subject: HttpBackend, texts: list[str], **changes: Any) -> tuple[NDArray[np.float32], list[EncodeEvent]]:
    events: list[EncodeEvent] = []
    return subject.encode(texts, encoding(**changes), events.append).vectors, events


def notes(events: list[EncodeEvent]) -> list[EncodeNote]:
    return [event for event in events if isinstance(event, EncodeNote)]


def test_vectors_are_the_servers_and_requests_are_as_openai_defines_them(server: FakeServer) -> None:
    vectors, events = encoded(backend(server), TEXTS)
    np.testing.assert_array_equal(vectors, known(TEXTS))
    assert events == [TextsEncoded(len(TEXTS), 2 * len(TEXTS))]
    assert [sorted(texts) for texts in server.inputs()] == [["a"], sorted(TEXTS)]
    last = server.seen[-1]
    assert last.path == "/v1/embeddings"
    assert last.body | {"input": []} == {"model": MODEL, "encoding_format": "float", "input": []}
    assert last.headers["authorization"] == f"Bearer {KEY}"


def test_the_contract_of_all_backends_is_kept(server: FakeServer) -> None:
    resolved = resolve_model(MODEL, options(server, query_prompt=PROMPT, normalize=True))

    def opened(execution: Execution) -> EmbeddingModel:
        return EmbeddingModel(resolved.spec, HttpBackend(resolved, execution), device="http")

    check_contract(opened)


@pytest.mark.parametrize(("prefix", "given"), [("", ""), ("/v1", ""), ("/v1", "/v1"), ("/v1", "/v1/")])
def test_the_address_is_settled_when_the_model_is_opened(prefix: str, given: str) -> None:
    with running(FakeServer(prefix=prefix)) as fake:
        resolved = resolve_model(MODEL, options(fake, url=fake.root + given))
        assert encoded(HttpBackend(resolved, Execution()), ["b"])[0].shape == (1, DIMENSIONS)
        assert [seen.path for seen in fake.seen] == [f"{prefix}/embeddings"] * 2


def test_an_address_without_the_protocol_is_an_error(server: FakeServer) -> None:
    with pytest.raises(ModelError, match=r"elsewhere/v1/embeddings refused the request with status 404: 'Not Found'"):
        backend(server, url=f"{server.root}/elsewhere")


def shuffled(reply: Any) -> Any:
    return reply | {"data": [reply["data"][place] for place in Random(3).sample(range(6), 6)]}


def test_a_shuffled_reply_is_put_in_order(server: FakeServer) -> None:
    subject = backend(server)
    server.faults.append(Fault(change=shuffled))
    np.testing.assert_array_equal(encoded(subject, TEXTS)[0], known(TEXTS))


def changed(place: int, **values: Any) -> Callable[[Any], Any]:
    def change(reply: Any) -> Any:
        data = [item | values if number == place else item for number, item in enumerate(reply["data"])]
        return reply | {"data": data}

    return change


PASSING = {
    "status 500: 'out of order'": BROKEN,
    "status 503": Fault(503, body=""),
    "RemoteProtocolError: 'Server disconnected": Fault(keep=-1),
    "RemoteProtocolError: 'peer closed connection": Fault(keep=100),
    "the reply is no JSON": Fault(keep=100, honest=False),
    "reply is no JSON": Fault(body="<html>please wait</html>"),
    "no JSON object": Fault(body="[]"),
    "no list of items with 'embedding'": Fault(body='{"data": [{"index": 0}]}'),
    "'embedding'; the server says: 'quota": Fault(body='{"error": {"message": "quota used up"}}'),
    "of 3 and of 16 dimensions": Fault(change=changed(2, embedding=[1.0, 2.0, 3.0])),
    "5 items, expected 6": Fault(change=lambda reply: reply | {"data": reply["data"][1:]}),
    "indexes are not 0 to 5, each once": Fault(change=changed(2, index=1)),
    "indexes are not 0 to 5": Fault(change=changed(2, index=None)),
    "has NaN or infinite": Fault(change=changed(2, embedding=[float("nan")] * DIMENSIONS)),
    "NaN or infinite numbers": Fault(change=changed(2, embedding=[1e60] * DIMENSIONS)),
    "no list of numbers": Fault(change=changed(2, embedding=[None] * DIMENSIONS)),
    "is no list of numbers": Fault(change=changed(2, embedding=["1.5"] * DIMENSIONS)),
    "an item of the reply is no list": Fault(change=changed(2, embedding=[])),
    "base64 text": Fault(change=changed(2, embedding="AACAPw==")),
}


@pytest.mark.parametrize(("reason", "fault"), PASSING.items(), ids=PASSING)
def test_failures_that_pass_leave_no_trace_and_others_are_named(server: FakeServer, reason: str, fault: Fault) -> None:
    waits: list[float] = []
    subject = backend(server, waits)
    server.faults.extend([fault, fault])
    np.testing.assert_array_equal(encoded(subject, TEXTS)[0], known(TEXTS))
    assert len(waits) == 2
    server.always = fault
    with pytest.raises(ModelError, match=f"{MODEL}: the server at {server.url}/embeddings failed 6 times, .*{reason}"):
        encoded(subject, TEXTS)
    assert len(waits) == 2 + 5
    # each pause is between a half and the whole of twice the one before
    assert all(2**power / 2 <= wait <= 2**power for power, wait in enumerate(waits[2:]))


@pytest.mark.parametrize(
    ("header", "wait"),
    [("7", 7.0), ("0.5", 0.5), ("100000", 120.0), ("Thu, 01 Jan 1970 00:01:10 GMT", 10.0), ("-3", 0.0)],
)
def test_a_busy_server_says_how_long_to_wait(server: FakeServer, header: str, wait: float) -> None:
    waits: list[float] = []
    server.faults.append(replace(BUSY, headers={"retry-after": header}))
    HttpBackend(resolve_model(MODEL, options(server)), Execution(), patience=patient(waits, now=lambda: 60.0))
    assert waits == [wait]


@pytest.mark.parametrize("header", ["soon", "nan", "", "Thu, 99 Foo 1970"])
def test_a_busy_server_that_does_not_say_it_properly_gets_the_usual_pause(server: FakeServer, header: str) -> None:
    waits: list[float] = []
    server.faults.append(replace(BUSY, headers={"retry-after": header}))
    backend(server, waits)
    assert [0.5 <= wait <= 1 for wait in waits] == [True]


def test_a_slow_server_is_asked_again(server: FakeServer) -> None:
    waits: list[float] = []
    server.faults.append(Fault(delay=1))
    HttpBackend(resolve_model(MODEL, options(server)), Execution(), patience=patient(waits, timeout=0.5))
    assert len(waits) == 1
    assert Patience().timeout == 30


def test_a_server_that_dies_for_good_ends_it_with_the_way_out() -> None:
    with running(FakeServer()) as fake:
        subject = backend(fake)
    wanted = "failed 6 times, .*ConnectError.* run the same command again; what was done is in the store"
    with pytest.raises(ModelError, match=wanted):
        encoded(subject, TEXTS)
    with pytest.raises(ModelError, match=wanted):
        backend(fake)


def test_after_an_error_no_other_request_waits_for_its_next_try(server: FakeServer) -> None:
    subject = HttpBackend(resolve_model(MODEL, options(server)), Execution(batch_tokens=1))
    server.max_characters, server.too_long, server.always = 50, Fault(401, body="no"), BROKEN
    subject._client._patience = Patience(first_pause=60, longest_pause=60)
    started = time.monotonic()
    with pytest.raises(ModelError, match="status 401"):
        encoded(subject, ["x" * 60, *map(str, range(100))])
    assert time.monotonic() - started < 20
    server.always = Fault()
    np.testing.assert_array_equal(encoded(subject, ["b"])[0], known(["b"]))


@pytest.mark.parametrize("status", [400, 401, 403, 409, 418])
def test_other_refusals_surface_at_once(server: FakeServer, status: int) -> None:
    waits: list[float] = []
    server.always = Fault(status, body="no " * 500)
    with pytest.raises(ModelError, match=rf"refused the request with status {status}: '(no )+\.\.\.'") as caught:
        backend(server, waits)
    assert waits == []
    assert len(str(caught.value)) < 700


def test_redirects_are_not_followed(server: FakeServer) -> None:
    server.always = Fault(307, headers={"location": f"{server.url}/embeddings"}, body="")
    with pytest.raises(ModelError, match=r"sends requests on to 'http://.*' \(status 307\), which is not followed"):
        backend(server)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [307, 401, 500])
def test_the_key_is_nowhere(server: FakeServer, caplog: pytest.LogCaptureFixture, status: int) -> None:
    caplog.set_level(logging.DEBUG)
    subject = backend(server)
    resolved = resolve_model(MODEL, options(server))
    spelt = ('sk-secret/"7"', r"sk-secret/\"7\"", "sk-secret%2F%227%22")
    # the last one is where a message is cut, which must not leave a piece of it
    server.always = Fault(status, {"location": f"/?{KEY}"}, f"{'|'.join(spelt):x<294}{KEY}")
    with pytest.raises(ModelError) as caught:
        encoded(subject, TEXTS)
    said = "".join(traceback.format_exception(caught.value))
    record = resolved.spec.model_dump_json() + resolved.options.model_dump_json() + repr(subject.identity)
    for text in (said, str(caught.value), caplog.text, repr(subject._client), repr(subject._client._http), record):
        assert "sk-s" not in text
    assert server.seen[-1].headers["authorization"] == f"Bearer {KEY}"


def test_the_key_comes_from_the_environment_only(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALHARNESS_API_KEY", " ")
    backend(server)
    # OpenAI's own key goes to OpenAI alone
    assert "authorization" not in server.seen[-1].headers
    monkeypatch.setenv("EVALHARNESS_API_KEY", "sk-a\nb")
    with pytest.raises(UsageError, match=r"^the key in EVALHARNESS_API_KEY has spaces or letters that no HTTP"):
        backend(server)


def test_requests_at_once_keep_the_order(server: FakeServer) -> None:
    texts = [f"{'word ' * (number % 9)}{number}" for number in range(200)]
    subject = HttpBackend(resolve_model(MODEL, options(server)), Execution(batch_tokens=40))
    delays = Random(5)
    server.faults.extend(Fault(delay=delays.random() / 100) for _ in range(200))
    vectors, events = encoded(subject, texts)
    np.testing.assert_array_equal(vectors, known(texts))
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == 200
    assert 20 < len(server.inputs()) < 200


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_that_is_too_large_is_halved_and_noted(server: FakeServer, status: int) -> None:
    server.max_batch, server.too_many = 20, replace(server.too_many, status=status)
    texts = [f"text {number}" for number in range(1000)]
    vectors, events = encoded(backend(server), texts)
    np.testing.assert_array_equal(vectors, known(texts))
    assert {(note.kind, note.message) for note in notes(events)} == {
        ("batch_shrunk", "texts in a batch that the server refused for its size, sent 16 at a time")
    }
    # those that were under way when the first was refused
    assert sum(len(batch) > 20 for batch in server.inputs()) <= 3 * 8
    assert len(server.inputs()[-1]) <= 16


def test_a_text_that_is_too_long_is_cut_until_it_is_accepted(server: FakeServer) -> None:
    server.max_characters = 70
    long, other = "x" * 100, "y" * 80
    subject = backend(server)
    events: list[EncodeEvent] = []
    found = subject.encode(["b", long, other], encoding(), events.append)
    np.testing.assert_array_equal(found.vectors, known(["b", long[:64], other[:64]]))
    assert found.truncated is not None
    assert found.truncated.tolist() == [False, True, True]
    assert notes(events) == [EncodeNote("truncated", "texts cut because the server refused their length", 2)]
    assert subject.encode(["b"], encoding(), events.append).truncated is None


def test_a_server_that_finds_every_text_too_long_is_an_error(server: FakeServer) -> None:
    subject = backend(server)
    server.max_characters = 0
    with pytest.raises(ModelError, match=r"finds every text too long, even the start of 'xxx'"):
        encoded(subject, ["xxx"])


@pytest.mark.parametrize("limit", [5, 1000])
def test_tei_is_asked_to_cut_and_gets_no_more_texts_than_it_takes(server: FakeServer, limit: int) -> None:
    server.info = {"model_id": "x", "max_client_batch_size": limit}
    server.max_batch = min(limit, 64)
    texts = [f"text {number}" for number in range(100)]
    vectors, events = encoded(backend(server), texts)
    np.testing.assert_array_equal(vectors, known(texts))
    assert notes(events) == []
    assert server.seen[-1].body["truncate"] is True
    assert max(map(len, server.inputs())) == server.max_batch


def test_empty_texts_are_not_sent_and_get_a_zero_vector(server: FakeServer) -> None:
    vectors, events = encoded(backend(server), ["", "b", " \n"], normalize=True)
    assert not vectors[[0, 2]].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[1]), 1, atol=1e-6)
    assert notes(events) == [EncodeNote("empty", "empty texts got a zero vector", 2)]
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == 3
    assert server.inputs() == [["a"], ["b"]]
    np.testing.assert_array_equal(encoded(backend(server), ["", ""], dimensions=4)[0], np.zeros((2, 4)))
    assert encoded(backend(server), [])[0].shape == (0, DIMENSIONS)
    # with a prompt it is no empty text
    np.testing.assert_array_equal(encoded(backend(server), [""], prompt="q: ", suffix="?")[0], known(["q: ?"]))


@pytest.mark.parametrize("knows_dimensions", [True, False])
def test_dimensions_are_asked_for_and_cut_before_the_length_becomes_1(
    server: FakeServer, knows_dimensions: bool
) -> None:
    server.knows_dimensions = knows_dimensions
    wanted = known(TEXTS, 6)
    subject = backend(server)
    np.testing.assert_array_equal(encoded(subject, TEXTS, dimensions=6)[0], wanted)
    assert server.seen[-1].body["dimensions"] == 6
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(encoded(subject, TEXTS, dimensions=6, normalize=True)[0], wanted, atol=1e-7)
    with pytest.raises(ModelError, match="has vectors of 16 dimensions, 17 are to be kept; give --dimensions 16 or"):
        encoded(subject, TEXTS, dimensions=17)


def test_a_model_that_changes_its_dimensions_is_an_error(server: FakeServer) -> None:
    subject = backend(server)
    # between the halves of a batch, the whole of which is refused
    server.max_batch = 1
    server.faults.extend([Fault(), Fault(), Fault(change=changed(0, embedding=[1.0] * 9))])
    with pytest.raises(ModelError, match="sent vectors of 16 dimensions before and of 9 now"):
        encoded(subject, TEXTS[:2])
    server.max_batch = 100
    server.dimensions = 8
    with pytest.raises(ModelError, match="sent vectors of 16 dimensions before and of 8 now"):
        encoded(subject, TEXTS)
    with pytest.raises(ModelError, match="was asked for 12 dimensions and sent 8"):
        encoded(subject, TEXTS, dimensions=12)


def test_openai_models_are_cut_by_their_tokenizer(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # a token is a character
    characters = SimpleNamespace(encode=lambda text, **_: list(text), decode="".join)
    found = SimpleNamespace(get_encoding={"cl100k_base": characters}.__getitem__)
    monkeypatch.setitem(sys.modules, "tiktoken", found)
    resolved = resolve_model("openai/text-embedding-3-small", options(server, max_length=8))
    subject = HttpBackend(resolved, Execution())
    assert subject.identity == {"backend": "http", "url": server.url, "tokenizer": "cl100k_base"}
    dense = subject.encode(["12345", "123456789"], encoding(max_length=8, prompt="p: "), lambda _: None)
    np.testing.assert_array_equal(dense.vectors, known(["p: 12345", "p: 12345"]))
    assert dense.truncated is not None
    assert dense.truncated.tolist() == [False, True]
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(PrerequisiteError, match=r"to cut texts to 8 tokens, tiktoken .* pip install tiktoken"):
        HttpBackend(resolved, Execution())


def test_what_a_result_says_of_a_model_behind_a_server(server: FakeServer) -> None:
    resolved = resolve_model(MODEL, options(server, name="us/ours", dimensions=4))
    spec = resolved.spec
    assert (spec.name, spec.revision, spec.backend, spec.kind) == (
        "us/ours",
        "no_revision_available",
        "http",
        "embedder",
    )
    assert (spec.pooling, spec.normalize, spec.max_length, spec.dimensions) == ("own", False, None, 4)
    assert spec.notes == (
        f"run by the server at {server.url}, which does not show its weights: known by name and address only",
        "vectors cut to 4 dimensions",
    )
    # results call it by the user's name, the server by its own
    HttpBackend(resolved, Execution())
    assert server.seen[-1].body["model"] == MODEL
    assert HttpBackend(resolved, Execution()).identity == {"backend": "http", "url": server.url}
    others = [resolve_model("acme/other", options(server)), resolve_model(MODEL, options(server, url="http://b/v1"))]
    assert len({spec.fingerprint, *(other.spec.fingerprint for other in others)}) == 3
    openai = resolve_model("openai/text-embedding-3-small")
    assert (openai.spec.revision, openai.options.url) == ("3", "https://api.openai.com/v1")
    assert wire_name("openai/x", "http://127.0.0.1:1/v1") == "openai/x"
