"""An embeddings and reranking server on this machine that fails in the ways that real ones do."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "acme/embedder"
DIMENSIONS = 16


def vector(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Numbers between -1 and 1 that depend on the text and nothing else."""
    numbers = (f"{number}:{text}".encode("utf-8", "surrogatepass") for number in range(dimensions))
    return [int.from_bytes(hashlib.sha256(number).digest()[:4], "big") / 2**31 - 1 for number in numbers]


def score(query: str, document: str) -> float:
    """A raw score of a pair, as of a reranker without its sigmoid."""
    return 8 * vector(f"{query}|{document}", 1)[0]


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    Attributes:
        status, headers, body: of the answer; a body of None is the right one.
        change: makes another reply of the right one.
        keep: bytes of the answer's body that are sent before the connection is dropped; None for all, -1 to drop it
            without any answer.
        honest: whether the answer announces its length, so that a client can see that it was cut.
        delay: seconds before the answer.
        drip: seconds before each byte of the answer's body.
        endless: whether the body has no end.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    change: Callable[[Any], Any] | None = None
    keep: int | None = None
    honest: bool = True
    delay: float = 0
    drip: float = 0
    endless: bool = False


FINE = Fault()


@dataclass(frozen=True)
class Seen:
    """A request: its path, headers in lower case, and JSON."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class FakeServer:
    """What the server does, and what it has seen.

    Attributes:
        prefix: before all of its paths.
        rerank: the dialect of reranking, `tei` or `jina`.
        info: what it tells at /info; None for an unknown path.
        dimensions: of its vectors.
        knows_dimensions: whether it obeys the field of that name.
        max_batch, max_characters: more are refused with `too_many` and `too_long`.
        embed: gives the vectors of texts; without it they come from hashes.
        faults: one per request, first the next; then comes `always`.
        seen: requests to routes that it has.
    """

    prefix: str = "/v1"
    rerank: str = "tei"
    info: Mapping[str, Any] | None = None
    dimensions: int = DIMENSIONS
    knows_dimensions: bool = True
    max_batch: int = 1000
    max_characters: int = 1_000_000
    too_many: Fault = Fault(413, body='{"error": "batch size is larger than the maximum"}')
    too_long: Fault = Fault(400, body='{"error": "this model has a maximum context length"}')
    embed: Callable[[Sequence[str]], list[list[float]]] | None = None
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault = FINE
    seen: list[Seen] = field(default_factory=list)
    root: str = ""

    @property
    def url(self) -> str:
        """The base address."""
        return f"{self.root}{self.prefix}"

    def inputs(self) -> list[list[str]]:
        """The texts of each request for vectors."""
        return [seen.body["input"] for seen in self.seen if seen.path.endswith("/embeddings")]

    def reply(self, path: str, body: Mapping[str, Any]) -> tuple[Fault, Any]:
        """What is to happen, and the right reply."""
        texts: Sequence[str] = body["input"] if path == "/embeddings" else body.get(self._documents(), [])
        if not texts:
            return Fault(422, body='{"error": "missing field"}'), None
        if len(texts) > self.max_batch:
            return self.too_many, None
        if max(map(len, texts)) > self.max_characters:
            return self.too_long, None
        if path == "/rerank":
            return FINE, self._scores(body["query"], texts)
        wanted = body.get("dimensions") if self.knows_dimensions else None
        vectors = self.embed(texts) if self.embed else [vector(text, self.dimensions)[:wanted] for text in texts]
        data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(vectors)]
        return FINE, {"object": "list", "data": data, "usage": {"prompt_tokens": 2 * len(texts)}}

    def _documents(self) -> str:
        return "texts" if self.rerank == "tei" else "documents"

    def _scores(self, query: str, texts: Sequence[str]) -> Any:
        key = "score" if self.rerank == "tei" else "relevance_score"
        items = [{"index": place, key: score(query, text)} for place, text in enumerate(texts)]
        items.sort(key=lambda item: -item[key])
        return items if self.rerank == "tei" else {"results": items}


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    fake: FakeServer
    protocol_version = "HTTP/1.1"
    # else the body waits 40 ms for the client to acknowledge the headers
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name in the base class
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer at /info."""
        known = self.path == "/info" and self.fake.info is not None
        self._send(FINE if known else Fault(404, body="Not Found"), self.fake.info)

    def do_POST(self) -> None:
        """Answer at /embeddings and /rerank, if no fault is next."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        route = self.path.removeprefix(self.fake.prefix)
        if route not in ("/embeddings", "/rerank") or not self.path.startswith(self.fake.prefix):
            self._send(Fault(404, body="Not Found"), None)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.fake.seen.append(Seen(self.path, headers, body))
        refusal, reply = self.fake.reply(route, body)
        try:
            fault = self.fake.faults.popleft()
        except IndexError:
            fault = self.fake.always
        self._send(fault if refusal is FINE else refusal, reply)

    def _send(self, fault: Fault, reply: Any) -> None:
        time.sleep(fault.delay)
        if fault.change is not None:
            reply = fault.change(reply)
        content = (json.dumps(reply) if fault.body is None else fault.body).encode()
        # a client that has given up is no error here
        with suppress(ConnectionError):
            if fault.keep != -1:
                self.send_response(fault.status)
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                if fault.honest and not fault.endless:
                    self.send_header("content-length", str(len(content)))
                self.end_headers()
                self._write(content[: fault.keep], fault)
        self.close_connection = fault.keep is not None or not fault.honest or fault.endless

    def _write(self, content: bytes, fault: Fault) -> None:
        step = 1 if fault.drip else len(content) or 1
        for first in range(0, len(content), step):
            time.sleep(fault.drip)
            self.wfile.write(content[first : first + step])
            self.wfile.flush()
        while fault.endless:
            self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    """A server whose connections do not outlive it."""

    daemon_threads = True
    block_on_close = False


@contextmanager
def running(fake: FakeServer) -> Iterator[FakeServer]:
    """The server, at work; `root` is its address."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    # the default would make every test half a second longer
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    fake.root = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        # connections that are still open lead nowhere, as if the process had died
        fake.always = Fault(keep=-1)
        server.shutdown()
        server.server_close()
