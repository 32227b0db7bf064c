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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from evalharness.cards import find_card
from evalharness.errors import ModelError, UsageError, clip
from evalharness.models.backends import ResolvedModel
from evalharness.models.files import FileFacts
from evalharness.models.options import ModelOptions
from evalharness.models.resolving import resolve_without_files

if TYPE_CHECKING:
    import httpx

NO_REVISION = "no_revision_available"
OPENAI = "openai/"
_OPENAI_URL = "https://api.openai.com/v1"
_KEYS = ("EVALHARNESS_API_KEY", "OPENAI_API_KEY")  # the second goes to OpenAI alone
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
# texts and estimated tokens in a request
BATCH_TEXTS = 64
BATCH_TOKENS = 16384
_CHARACTERS_PER_TOKEN = 3
_REQUESTS_AT_ONCE = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server, and how often to try.

    Attributes:
        timeout: seconds without an answer after which a request has failed.
        tries: requests before giving up.
        first_pause: seconds before the second request; doubled for each later one.
        longest_pause: bound of these pauses.
        longest_wish: bound of the pause that a server may ask for.
        random: makes pauses differ, so that requests that failed together do not come back together.
        sleep: waits for so many seconds; None for a wait that ends early when another request has failed for good.
        now: seconds since the epoch, for servers that say until when to wait.
    """

    timeout: float = 30.0
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


class BadReplyError(Exception):
    """A reply that does not hold what was asked for; the message says what is wrong with it."""


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
        self._secrets = _spellings(key := _api_key(url))
        if key:
            # its debug messages have whole headers, and a server may repeat the key in one
            logging.getLogger("httpcore").setLevel(logging.INFO)
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._http = httpx.Client(headers=headers, timeout=patience.timeout, follow_redirects=False)
        weakref.finalize(self, self._http.close)

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
            return self._asked("GET", address, None, _json_or_none)
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
        return self._asked("POST", address, json.dumps(body).encode(), lambda content: read(_parsed(content)))

    def each(self, items: Iterable[Item], action: Callable[[Item], Result]) -> Iterator[Result]:
        """Results of an action per item, in order; some run at once. The first error ends all of it.

        Args:
            items: are taken one by one, as there is room.
            action: makes requests.
        """
        pool = ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="http")
        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                running.append(pool.submit(action, item))
                if len(running) == 2 * _REQUESTS_AT_ONCE:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            self._stopped.set()
            pool.shutdown(cancel_futures=True)
            self._stopped.clear()

    def _asked(self, method: str, address: str, content: bytes | None, read: Callable[[bytes], Result]) -> Result:
        attempt = 0
        while True:
            attempt += 1
            found = self._once(self._http.build_request(method, address, content=content), read)
            if not isinstance(found, _Failure):
                return found
            if attempt >= self._patience.tries or self._stopped.is_set():
                raise ModelError(
                    f"{self.name}: the server at {address} failed {attempt} times, the last time with: {found.reason}. "
                    "See that it runs, then run the same command again; what was done is in the store"
                )
            (self._patience.sleep or self._stopped.wait)(self._pause(attempt) if found.pause is None else found.pause)

    def _once(self, request: httpx.Request, read: Callable[[bytes], Result]) -> Result | _Failure:
        import httpx

        try:
            response = self._http.send(request)
        except httpx.RequestError as error:
            return _Failure(f"{type(error).__name__}: {clip(self._clean(str(error)), _LONGEST_BODY)}")
        status = response.status_code
        body = self._clean(response.text) if status != _OK else ""
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
                f"{clip(body, _LONGEST_BODY)}. See that --url, the model's name and the key ({_KEYS[0]} in the "
                "environment) are right",
                status,
                body,
            )
        try:
            return read(response.content)
        except BadReplyError as error:
            return _Failure(self._clean(str(error)))

    def _clean(self, text: str) -> str:
        """A text from outside, without the key: servers and libraries repeat what they were sent."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text

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


def _parsed(content: bytes) -> Any:  # noqa: ANN401 -- JSON
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadReplyError("the reply is no JSON") from None


def _json_or_none(content: bytes) -> Any | None:  # noqa: ANN401 -- JSON
    with suppress(BadReplyError):
        return _parsed(content)
    return None


def _api_key(url: str) -> str:
    names = _KEYS if url.startswith(_OPENAI_URL) else _KEYS[:1]
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


def batch_limit(client: HttpClient) -> int | None:
    """How many texts text-embeddings-inference says it takes at once; None for other servers."""
    facts = client.look_up(f"{client.url.removesuffix('/v1')}/info")
    limit = facts.get("max_client_batch_size") if isinstance(facts, dict) else None
    return limit if isinstance(limit, int) and limit > 0 else None


def by_index(items: object, count: int, key: str) -> list[Any]:
    """The values of a reply's items, in the order of what was asked.

    Args:
        items: a mapping each, with its place under `index` and its value under `key`.
        count: how many there should be.
        key: see above.

    Raises:
        BadReplyError: it is not so.
    """
    if not isinstance(items, list) or not all(isinstance(item, dict) and key in item for item in items):
        raise BadReplyError(f"the reply has no list of items with {key!r}")
    if len(items) != count:
        raise BadReplyError(f"the reply has {len(items)} items, expected {count}")
    places = [item.get("index") for item in items]
    if not all(type(place) is int for place in places) or sorted(places) != list(range(count)):
        raise BadReplyError(f"the items' indexes are not 0 to {count - 1}, each once")
    values: dict[int, Any] = {item["index"]: item[key] for item in items}
    return [values[place] for place in range(count)]


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has; only batches depend on it."""
    return len(text) // _CHARACTERS_PER_TOKEN + 1


def wire_name(name: str, url: str) -> str:
    """The model's name as the server knows it; OpenAI's own server knows none with its name before it.

    >>> wire_name("openai/text-embedding-3-small", "https://api.openai.com/v1")
    'text-embedding-3-small'
    """
    return name.removeprefix(OPENAI) if urlsplit(url).hostname == urlsplit(_OPENAI_URL).hostname else name


def resolve_server(name: str, options: ModelOptions, *, backend: str) -> ResolvedModel:
    """A model behind a server; the server is not asked.

    Args:
        name: as the user gave it, which is what the server is asked for.
        options: what the user changes.
        backend: its backend.

    Raises:
        UsageError: there is no address or a wrong one.
        ModelError: the protocol needs a precision, which only the server could choose.
    """
    url = _address(name, options)
    card = find_card(name, options.cards)
    revision = card.revision if card and card.revision else NO_REVISION
    content = json.dumps([name, url, revision])
    spec = resolve_without_files(name, options, backend=backend, content=content, revision=revision)
    if spec.dtype != "float32":
        raise ModelError(
            f"{name}: the {options.protocol} protocol needs {spec.dtype}, and a server cannot be told its precision; "
            "give --protocol mteb or run the model here"
        )
    notes = [f"run by the server at {url}, which does not show its weights: known by name and address only"]
    if options.dimensions is not None:
        notes.append(f"vectors cut to {options.dimensions} dimensions")
    # results may know the model by another name, the server may not
    asked = options.model_copy(update={"name": name, "url": url})
    return ResolvedModel(spec.model_copy(update={"notes": (*spec.notes, *notes)}), FileFacts(), asked)


def _address(name: str, options: ModelOptions) -> str:
    url = options.url or (_OPENAI_URL if name.startswith(OPENAI) else None)
    if url is None:
        raise UsageError(f"{name}: nothing tells where its server is; give --url, for example http://127.0.0.1:7997/v1")
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    # neither part is shown: either may be a secret
    if not well_formed or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"{name}: --url must be a plain address like http://127.0.0.1:7997/v1, without user, password, ? or #; a "
            f"key goes into {_KEYS[0]} in the environment"
        )
    return url.rstrip("/")
