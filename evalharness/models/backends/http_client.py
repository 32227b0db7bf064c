"""What the backends for models behind a server share: requests that are tried again, and the secret that is kept."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import re
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from evalharness.errors import ModelError, StoppedError, UsageError, clip, without_secrets
from evalharness.models.backends.http_replies import BadReplyError, json_or_none, result_in
from evalharness.models.backends.waiting import awaited, begun
from evalharness.types import Emit

if TYPE_CHECKING:
    import httpx

OPENAI_URL = "https://api.openai.com/v1"
KEYS = ("EVALHARNESS_API_KEY", "OPENAI_API_KEY")  # the second goes to OpenAI alone
_OK, NOT_FOUND, _TOO_LARGE = 200, 404, 413
_REDIRECTS = range(300, 400)
# too busy, too slow or broken for the moment
_PASSING = (408, 429, 500, 502, 503, 504)
# servers say that a text or a batch is too long with a general status and these words
_SIZE_STATUSES = (400, 422)
_SIZE_WORDS = re.compile(
    r"too (long|large|many)|maximum|exceed|at most|less than|larger than|context length|batch size", re.IGNORECASE
)
_LONGEST_BODY = 300
# of an answer that is no result, so much is read
_LARGEST_REFUSAL = 2**16
_REQUESTS_AT_ONCE = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server, and how often to try.

    Attributes:
        timeout: seconds without a sign of life after which a request has failed.
        deadline: seconds for a whole request, from the connection to the last byte of the answer.
        largest: bytes that an answer may have.
        tries: requests before giving up.
        first_pause: seconds before the second request; doubled for each later one.
        longest_pause: bound of these pauses.
        longest_wish: bound of the pause that a server may ask for.
        random: makes pauses differ, so that requests that failed together do not come back together.
        sleep: waits for so many seconds; None for a wait that ends early when another request has failed for good.
        now: seconds since the epoch, for servers that say until when to wait.
    """

    timeout: float = 30.0
    deadline: float = 120.0
    largest: int = 256 * 2**20
    tries: int = 6
    first_pause: float = 1.0
    longest_pause: float = 30.0
    longest_wish: float = 120.0
    random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 -- no secret
    sleep: Callable[[float], object] | None = None
    now: Callable[[], float] = time.time


class RefusedError(ModelError):
    """The server answered that it will not do this request; the same request would be refused again.

    Attributes:
        status: of the answer.
        body: of the answer, without the key.
    """

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = body

    def is_about_size(self) -> bool:
        """Whether fewer or shorter texts may be accepted."""
        return self.status == _TOO_LARGE or (
            self.status in _SIZE_STATUSES and _SIZE_WORDS.search(self.body) is not None
        )


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer, read to its end or as far as it is of use."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def text(self) -> str:
        """The content, for messages."""
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a request failed, and how long the server wants to be left alone."""

    reason: str
    pause: float | None = None


class HttpClient:
    """Asks one server about one model; failures that may pass are tried again.

    The API key is read from the environment. It is in no text that leaves this class.

    Attributes:
        name: the model's, for messages.
        url: base address of the server.
    """

    def __init__(self, name: str, url: str, patience: Patience) -> None:
        import httpx

        self.name = name
        self.url = url
        self._patience = patience
        self._stopped = threading.Event()
        self._ends: float | None = None
        self._failure: str | None = None
        self._secrets = _spellings(key := _api_key(url))
        if key:
            # its debug messages have whole headers, and a server may repeat the key in one
            logging.getLogger("httpcore").setLevel(logging.INFO)
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._http = httpx.Client(headers=headers, timeout=patience.timeout, follow_redirects=False)
        weakref.finalize(self, self._http.close)

    @contextmanager
    def until(self, ends: float | None) -> Iterator[None]:
        """Wait for the server in this block only until then, by `time.monotonic`; None for as long as it takes."""
        self._ends = ends
        try:
            yield
        finally:
            self._ends = None

    def addresses(self, route: str) -> list[str]:
        """Where a route may be: under the base address, or under its /v1."""
        bases = [self.url] if self.url.endswith("/v1") else [self.url, f"{self.url}/v1"]
        return [f"{base}/{route}" for base in bases]

    def find(self, route: str, probe: Callable[[str], Result]) -> Result:
        """What a probe finds at the first address of a route that is not unknown to the server.

        Args:
            route: the last part of the address.
            probe: asks at an address.

        Raises:
            RefusedError: it is refused at all of them.
        """
        first, *others = self.addresses(route)
        try:
            return probe(first)
        except RefusedError as refusal:
            if refusal.status != NOT_FOUND or not others:
                raise
        return probe(others[0])

    def look_up(self, address: str) -> object:
        """The JSON at an address; None if there is none.

        Raises:
            ModelError: the server failed again and again.
        """
        try:
            return self._asked("GET", address, None, json_or_none)
        except RefusedError:
            return None

    def post(self, address: str, body: Mapping[str, Any], read: Callable[[Any], Result]) -> Result:
        """Ask for something.

        Args:
            address: the whole one.
            body: is sent as JSON.
            read: makes a result of the reply's JSON, or raises BadReplyError; then the request is tried again.

        Raises:
            RefusedError: the server will not do this.
            ModelError: the server failed again and again.
        """
        # escapes, so that a lone surrogate in a text is no error here
        return self._asked("POST", address, json.dumps(body).encode(), partial(result_in, read))

    def each(self, items: Iterable[Item], action: Callable[[Item], Result], emit: Emit) -> Iterator[Result]:
        """Results of an action per item, in order; some run at once. The first error ends all of it.

        Args:
            items: are taken one by one, as there is room.
            action: makes requests.
            emit: is told while an answer is waited for; if it raises, nothing is waited for any longer.
        """
        stopped = self._stopped = threading.Event()
        room = threading.Semaphore(_REQUESTS_AT_ONCE)

        def acted(item: Item) -> Result:
            with room:
                if stopped.is_set():
                    raise CancelledError
                return action(item)

        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                running.append(begun(partial(acted, item)))
                if len(running) == 2 * _REQUESTS_AT_ONCE:
                    yield awaited(running.popleft(), emit)
            while running:
                yield awaited(running.popleft(), emit)
        except StoppedError as ended:
            if self._failure is None:
                raise
            raise StoppedError(f"{ended}; {self.name}: the last request failed with: {self._failure}") from None
        finally:
            stopped.set()

    def _asked(self, method: str, address: str, content: bytes | None, read: Callable[[bytes], Result]) -> Result:
        attempt = 0
        stopped = self._stopped
        while True:
            attempt += 1
            found = self._once(self._http.build_request(method, address, content=content), read)
            self._failure = found.reason if isinstance(found, _Failure) else None
            if not isinstance(found, _Failure):
                return found
            if attempt >= self._patience.tries or stopped.is_set():
                raise ModelError(
                    f"{self.name}: the server at {address} failed {attempt} times, the last time with: {found.reason}. "
                    "See that it runs, then run the same command again; what was done is in the store"
                )
            pause = self._pause(attempt) if found.pause is None else found.pause
            (self._patience.sleep or stopped.wait)(min(pause, self._left()))
            if self._left() <= 0:
                raise StoppedError(
                    f"{self.name}: the time budget is used up, and the server at {address} has not answered: "
                    f"{found.reason}"
                )

    def _once(self, request: httpx.Request, read: Callable[[bytes], Result]) -> Result | _Failure:
        import httpx

        try:
            # in a thread of its own, for a server may take its time at places where no clock is looked at
            response = begun(partial(self._answer, request)).result(min(self._patience.deadline, self._left()))
        except TimeoutError:
            return _Failure(f"no whole answer within {self._patience.deadline:g} s")
        except httpx.RequestError as error:
            return _Failure(f"{type(error).__name__}: {clip(self._clean(str(error)), _LONGEST_BODY)}")
        status = response.status
        body = self._clean(response.text()) if status != _OK else ""
        if status in _PASSING:
            return _Failure(f"status {status}: {clip(body, _LONGEST_BODY)}", self._wish(response.headers))
        if status in _REDIRECTS:
            where = clip(self._clean(response.headers.get("location", "")), _LONGEST_BODY)
            raise RefusedError(
                f"{self.name}: {request.url} sends requests on to {where} (status {status}), which is not followed; "
                "give the final address with --url",
                status,
                body,
            )
        if status != _OK:
            raise RefusedError(
                f"{self.name}: the server at {request.url} refused the request with status {status}: "
                f"{clip(body, _LONGEST_BODY)}. See that --url, the model's name and the key ({KEYS[0]} in the "
                "environment) are right",
                status,
                body,
            )
        try:
            return read(response.content)
        except BadReplyError as error:
            return _Failure(self.wrong_with(error))

    def _left(self) -> float:
        """Seconds until nobody waits any longer."""
        return math.inf if self._ends is None else max(self._ends - time.monotonic(), 0.0)

    def _answer(self, request: httpx.Request) -> _Reply:
        """Send a request and read what comes, as long as somebody may still wait for it.

        Raises:
            httpx.RequestError: the request failed.
            ModelError: the answer is larger than any right one.
            TimeoutError: nobody waits any longer.
        """
        ends, stopped = time.monotonic() + self._patience.deadline, self._stopped
        response = self._http.send(request, stream=True)
        is_result = response.status_code == _OK
        found = bytearray()
        try:
            for part in response.iter_bytes():
                found += part
                if stopped.is_set() or time.monotonic() > ends:
                    raise TimeoutError
                if len(found) > self._patience.largest and is_result:
                    raise ModelError(
                        f"{self.name}: the server at {request.url} sent more than {self._patience.largest:,} bytes for "
                        "one request, which no right answer has; see that --url leads to the model"
                    )
                if len(found) > _LARGEST_REFUSAL and not is_result:
                    break
        finally:
            response.close()
        return _Reply(response.status_code, response.headers, bytes(found))

    def wrong_with(self, error: BadReplyError) -> str:
        """What is wrong with a reply, and what the server says of it."""
        said = f"; the server says: {clip(self._clean(error.said), _LONGEST_BODY)}" if error.said else ""
        return f"{self._clean(str(error))}{said}"

    def _clean(self, text: str) -> str:
        """A text from outside, without the key: servers and libraries repeat what they were sent."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return without_secrets(text)

    def _pause(self, attempt: int) -> float:
        longest = min(self._patience.longest_pause, self._patience.first_pause * 2.0 ** (attempt - 1))
        return longest * (0.5 + self._patience.random.random() / 2)

    def _wish(self, headers: Mapping[str, str]) -> float | None:
        """Seconds that the server asks to wait, which it gives as such or as a date; None if it does not."""
        value = headers.get("retry-after", "")
        try:
            seconds = float(value)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - self._patience.now()
            except (ValueError, OverflowError):
                return None
        return min(max(seconds, 0.0), self._patience.longest_wish) if math.isfinite(seconds) else None


def _api_key(url: str) -> str:
    names = KEYS if url.startswith(OPENAI_URL) else KEYS[:1]
    variable = next((name for name in names if os.environ.get(name, "").strip()), None)
    if variable is None:
        return ""
    key = os.environ[variable].strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise UsageError(f"the key in {variable} has spaces or letters that no HTTP header takes; set it anew")
    return key


def _spellings(key: str) -> list[str]:
    """The key as it may stand in a text: as it is, inside JSON, inside an address; longest first."""
    return sorted({key, json.dumps(key)[1:-1], quote(key, safe="")} - {""}, key=len, reverse=True)
