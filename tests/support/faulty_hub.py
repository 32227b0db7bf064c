"""A proxy before the stand-in Hub that spoils what passes through it, and this process's clients pointed at it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

PAGE = b"<!DOCTYPE html><html><body>Sign in to the network</body></html>"
_PASSED_ON = ("Content-Type", "ETag", "X-Repo-Commit", "X-Linked-Size", "X-Linked-ETag", "Content-Range",
              "Accept-Ranges", "X-Error-Code", "X-Error-Message", "Location")  # fmt: skip


class Faults:
    """What the proxy does; all of it may be changed while it runs.

    Attributes:
        files: ending of the files that are spoilt.
        flips: so many bodies of these files get one bit flipped.
        spoil: (body) -> body, instead of a flipped bit.
        pages_for: a request whose path has this in it is answered by a page of HTML; "" for all.
        wrong_hash: whether these files are announced under a hash that is not theirs.
        status: of the page.
    """

    def __init__(self) -> None:
        self.files = ".parquet"
        self.flips = 0
        self.spoil: Callable[[bytes], bytes] = flip_last_bit
        self.pages_for: str | None = None
        self.wrong_hash = False
        self.status = 200


def flip_last_bit(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


def flip_in_the_middle(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 0x10]) + body[middle + 1 :]


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on to the Hub behind it, and answers back with the server's faults."""

    protocol_version = "HTTP/1.1"
    faults: Faults
    behind: str

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name of the method's parameter
        del format, args

    def do_GET(self) -> None:
        self.pass_on(b"")

    do_HEAD = do_GET  # noqa: N815 -- the name that the server calls

    def do_POST(self) -> None:
        self.pass_on(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def pass_on(self, sent: bytes) -> None:
        faults = self.faults
        if faults.pages_for is not None and faults.pages_for in self.path:
            self.answer(faults.status, {"Content-Type": "text/html; charset=utf-8"}, PAGE)
            return
        connection = HTTPConnection(self.behind)
        headers = {name: self.headers[name] for name in ("Range", "Content-Type") if name in self.headers}
        connection.request(self.command, self.path, sent, headers)
        reply = connection.getresponse()
        body, kept = reply.read(), {name: value for name in _PASSED_ON if (value := reply.getheader(name))}
        if self.command == "HEAD":
            kept["Content-Length"] = reply.getheader("Content-Length") or "0"
        if self.path.endswith(faults.files):
            if faults.wrong_hash:
                kept["ETag"] = f'"{hashlib.sha1(kept["ETag"].encode()).hexdigest()}"'  # noqa: S324 -- as git
            body = self.spoilt(body)
        self.answer(reply.status, kept, body)

    def spoilt(self, body: bytes) -> bytes:
        if self.command != "GET" or not self.faults.flips:
            return body
        self.faults.flips -= 1
        return self.faults.spoil(body)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def faulty_hub(upstream: str) -> Iterator[tuple[str, Faults]]:
    """The proxy on a free port: its address, and what it does."""
    faults = Faults()
    handler = type("Handler", (Proxy,), {"faults": faults, "behind": urlsplit(upstream).netloc})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        server.shutdown()
        server.server_close()


def point_clients_at(address: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub and datasets of this process use another Hub and an empty cache."""
    import datasets.config
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", home / "datasets" / "downloads")
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", home / "datasets" / "downloads" / "extracted")
