"""Rerankers behind a server, and what no backend for a server can honour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.contract import check_pair_contract
from support.fake_server import MODEL, FakeServer, Fault, running, score

from evalharness.errors import ModelError, UsageError
from evalharness.models.backends.http import HttpBackend
from evalharness.models.backends.http_client import Patience
from evalharness.models.backends.http_rerank import HttpReranker
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.options import Execution
from evalharness.models.rankers import Pair, PairModel
from evalharness.types import EncodeEvent, EncodeNote, Encoding, TextsEncoded, ignore_event

PAIRS = [("ferns", "in shade"), ("ferns", "on stone"), ("rivers", "to the sea"), ("ferns", "中 文"), ("rivers", "")]
OWN = Encoding(pooling="own", normalize=False, max_length=None, dtype="float32", prompt="")


@pytest.fixture(params=["tei", "jina"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    with running(FakeServer(rerank=request.param, prefix="" if request.param == "tei" else "/v1")) as fake:
        yield fake


def reranker(server: FakeServer, execution: Execution | None = None) -> HttpReranker:
    resolved = resolve_model(MODEL, ModelOptions(backend="http-rerank", url=server.root))
    return HttpReranker(resolved, execution or Execution(), patience=Patience(sleep=lambda _: None))


def known(pairs: list[tuple[str, str]]) -> NDArray[np.float32]:
    return np.array([score(query, document) for query, document in pairs], dtype=np.float32)


def test_scores_are_the_servers_in_the_order_of_the_pairs(server: FakeServer) -> None:
    subject = reranker(server)
    server.seen.clear()
    events: list[EncodeEvent] = []
    scores = subject.score(PAIRS, events.append)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, known(PAIRS))
    assert [event.count for event in events if isinstance(event, TextsEncoded)] == [3, 2]
    assert all(event.tokens > 0 for event in events if isinstance(event, TextsEncoded))
    # a request per query
    assert sorted(seen.body["query"] for seen in server.seen) == ["ferns", "rivers"]
    assert subject.identity == {"backend": "http-rerank", "url": server.root, "protocol": server.rerank}
    assert subject.score([], events.append).shape == (0,)


def test_requests_are_as_each_protocol_defines_them(server: FakeServer) -> None:
    reranker(server).score([("q", "d")], ignore_event)
    if server.rerank == "tei":
        wanted: dict[str, Any] = {"texts": ["d"], "raw_scores": True, "truncate": True}
    else:
        wanted = {"documents": ["d"], "raw_scores": True, "return_documents": False}
    assert server.seen[-1].body == {"model": MODEL, "query": "q", **wanted}
    assert server.seen[-1].path == f"{server.prefix}/rerank"


def test_as_an_encoder_of_joined_pairs_it_serves_the_pair_model(server: FakeServer) -> None:
    resolved = resolve_model(MODEL, ModelOptions(backend="http-rerank", url=server.url))
    model = PairModel(resolved.spec, reranker(server), device="http")
    pairs = [Pair(*pair) for pair in (*PAIRS, PAIRS[0])]
    np.testing.assert_array_equal(model.score_pairs(pairs, None, ignore_event), known([*PAIRS, PAIRS[0]]))
    assert (resolved.spec.kind, resolved.spec.pooling) == ("reranker", "own")


def test_the_contract_of_rerankers(server: FakeServer) -> None:
    spec = resolve_model(MODEL, ModelOptions(backend="http-rerank", url=server.url)).spec
    check_pair_contract(lambda run: PairModel(spec, reranker(server, run), device="http"))


@pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
def test_batches_do_not_matter(server: FakeServer, batch_tokens: int) -> None:
    pairs = [(f"query {number % 3}", "word " * (number % 7)) for number in range(200)]
    subject = reranker(server, Execution(batch_tokens=batch_tokens))
    np.testing.assert_array_equal(subject.score(pairs, ignore_event), known(pairs))
    sizes = [len(seen.body.get("texts", seen.body.get("documents"))) for seen in server.seen]
    assert max(sizes) == (1 if batch_tokens == 1 else 5 if batch_tokens == 40 else 64)


def test_a_batch_that_is_too_large_is_halved_and_noted(server: FakeServer) -> None:
    subject = reranker(server)
    server.max_batch = 10
    pairs = [("query", f"document {number}") for number in range(100)]
    events: list[EncodeEvent] = []
    np.testing.assert_array_equal(subject.score(pairs, events.append), known(pairs))
    assert {event.message for event in events if isinstance(event, EncodeNote)} == {
        "pairs in a batch that the server refused for its size, sent 8 at a time",
        "pairs in a batch that the server refused for its size, sent 9 at a time",
    }
    server.max_batch = 0
    with pytest.raises(ModelError, match="refused the request with status 413"):
        subject.score(pairs, ignore_event)


@pytest.mark.parametrize("value", [None, float("nan"), "0.5", True, 10**400])
def test_scores_that_are_no_numbers_are_asked_for_again_and_then_an_error(server: FakeServer, value: Any) -> None:
    def spoilt(reply: Any) -> Any:
        items = reply if server.rerank == "tei" else reply["results"]
        items[0]["score" if server.rerank == "tei" else "relevance_score"] = value
        return reply

    subject = reranker(server)
    server.faults.append(Fault(change=spoilt))
    np.testing.assert_array_equal(subject.score(PAIRS, ignore_event), known(PAIRS))
    server.always = Fault(change=spoilt)
    with pytest.raises(ModelError, match=r"failed 6 times, .*the score of the item with index \d is .*no finite"):
        subject.score(PAIRS, ignore_event)


@pytest.mark.parametrize(
    ("score_sent", "said"),
    [
        ("null", "the score of the item with index 0 is null, no finite number"),
        ("NaN", "the score of the item with index 0 is nan"),
        ('"0.5"', "the score of the item with index 0 is '0.5' .a text., no finite number"),
        ("true", "the score of the item with index 0 is true, no finite number"),
        ("1" + "0" * 400, "the score of the item with index 0 is 1000"),
    ],
)
def test_a_first_answer_with_a_wrong_score_is_told(server: FakeServer, score_sent: str, said: str) -> None:
    key = "score" if server.rerank == "tei" else "relevance_score"
    items = f'[{{"index": 0, "{key}": {score_sent}}}]'
    server.always = Fault(body=items if server.rerank == "tei" else f'{{"results": {items}}}')
    with pytest.raises(ModelError, match=f"{server.rerank}: {said}"):
        reranker(server)


def test_a_reply_without_scores_is_told_in_the_server_s_words(server: FakeServer) -> None:
    server.always = Fault(body='{"error": {"message": "quota used"}}')
    with pytest.raises(ModelError, match=r"no list of items with '(relevance_)?score'; the server says: 'quota used'"):
        reranker(server)
    server.always = Fault(body="[]") if server.rerank == "tei" else Fault(body='{"results": []}')
    with pytest.raises(ModelError, match=rf"{server.rerank}: the reply has 0 items, expected 1"):
        reranker(server)


def test_no_key_is_in_the_server_s_words(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALHARNESS_API_KEY", "sk-secret-7")
    server.always = Fault(body=json.dumps({"error": f"sk-secret-7 {'x' * 276}sk-secret-7"}))
    with pytest.raises(ModelError, match=r"the server says: '.key. xxx") as raised:
        reranker(server)
    assert "sk-" not in str(raised.value)


def test_a_lost_document_is_asked_for_again(server: FakeServer) -> None:
    subject = reranker(server)
    server.faults.append(Fault(change=lambda reply: reply[1:] if server.rerank == "tei" else {"results": []}))
    np.testing.assert_array_equal(subject.score(PAIRS[:2], ignore_event), known(PAIRS[:2]))


def test_failures_that_pass_do_not_change_what_is_detected(server: FakeServer) -> None:
    server.faults.extend([Fault(503, body=""), Fault(keep=-1), Fault(body="<html>")])
    assert reranker(server).identity["protocol"] == server.rerank


def test_a_server_without_reranking_is_an_error(server: FakeServer) -> None:
    server.always = Fault(body='{"results": "none"}')
    with pytest.raises(ModelError, match=r"scores no pairs in any protocol known here; tei: .*; jina: "):
        reranker(server)
    server.always = Fault(401, body="who are you?")
    with pytest.raises(ModelError, match=r"status 401: '(who are you\?)'|status 422"):
        reranker(server)
    server.prefix = "/elsewhere"
    with pytest.raises(ModelError, match=r"/v1/rerank refused the request with status 404"):
        reranker(server)


@pytest.mark.parametrize(
    ("backend", "changes", "flag"),
    [
        ("http", {"pooling": "cls"}, "--pooling"),
        ("http", {"dtype": "bfloat16"}, "--precision"),
        ("http", {"pooling": "mean", "dtype": "float32"}, "--pooling and --precision"),
        ("http-rerank", {"dtype": "float32"}, "--precision"),
        ("http-rerank", {"max_length": 128}, "--max-length"),
        ("http-rerank", {"query_prompt": "q: "}, "--query-prompt"),
        ("http-rerank", {"normalize": True}, "--normalize"),
    ],
)
def test_options_that_a_server_cannot_be_told_are_refused(backend: str, changes: dict[str, Any], flag: str) -> None:
    options = ModelOptions(**({"backend": backend, "url": "http://a/v1"} | changes))
    expected = f"the {backend} backend has no use for {flag}, for the server decides on that; set it up there"
    with pytest.raises(UsageError, match=expected):
        resolve_model(MODEL, options)


def test_a_length_that_nobody_can_cut_to_is_refused() -> None:
    options = ModelOptions(backend="http", url="http://a/v1", max_length=128)
    with pytest.raises(UsageError, match=r"cannot be told --max-length, and only the tokenizer of openai/\* models"):
        resolve_model(MODEL, options)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:7997",
        "ftp://a",
        "http://",
        "http://a:x/",
        "http://me:secret@a/v1",
        "https://a/?key=secret",
        "http://[",
    ],
)
def test_addresses_must_be_plain_and_secrets_in_them_are_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match=r"--url must be a plain address like http://127\.0\.0\.1:7997/v1") as caught:
        resolve_model(MODEL, ModelOptions(backend="http", url=url))
    assert "secret" not in str(caught.value)


def test_without_an_address_there_is_no_server() -> None:
    with pytest.raises(UsageError, match="nothing tells where its server is; give --url, for example http://127"):
        resolve_model(MODEL, ModelOptions(backend="http"))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"pooling": "cls"}, "cls pooling"),
        ({"dtype": "float16"}, "dtype float16"),
        ({"layer_norm": True}, "a layer norm"),
        ({"adapter": "retrieval"}, "the adapter 'retrieval'"),
        ({"side": "query"}, "a way of its own for the side 'query'"),
        ({"task": "ArguAna"}, "a way of its own for the task 'ArguAna'"),
        ({"prompt": "p", "prompt_as_tokens": True}, "prompts as tokens of their own"),
        ({"prompt": "p", "pool_prompt": False}, "prompts left out of the pooling"),
        ({"prompt": "p", "prompt_within": 256}, "prompts left out of long texts"),
    ],
)
def test_encodings_that_a_server_cannot_be_told_are_refused(changes: dict[str, Any], what: str) -> None:
    with running(FakeServer()) as fake:
        subject = HttpBackend(resolve_model(MODEL, ModelOptions(backend="http", url=fake.url)), Execution())
        with pytest.raises(ModelError, match=f"{MODEL}: a server cannot be told {what}, which the model needs"):
            subject.encode(["b"], OWN.model_copy(update=changes), ignore_event)


def test_a_published_protocol_that_needs_a_precision_is_refused(tmp_path: Path) -> None:
    cards = tmp_path / "cards.toml"
    cards.write_text(
        '["acme/embedder"]\nkind = "api"\npublished = {source = "x", dtype = "float16"}\n', encoding="utf-8"
    )
    options = ModelOptions(url="http://a/v1", cards=cards, protocol="published")
    with pytest.raises(
        ModelError, match="the published protocol needs float16, and a server cannot be told its precis"
    ):
        resolve_model(MODEL, options)
