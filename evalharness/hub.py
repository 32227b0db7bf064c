"""What data and models share of the Hugging Face Hub: how it fails."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from evalharness.errors import UsageError, clip, without_secrets

_LONGEST_REASON = 300
_PATIENCE_SECONDS = 10
_TOO_MANY, _SERVER_ERROR = 429, 500
# what a page says that stands before the network: fine, forbidden, proxy or network wants you to log in
_PAGES = (200, 403, 407, 511)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PAUSES = (1, 2, 4, 8)

# a folder named relative to the working directory means that one, wherever the process stands later
_FOLDERS = (
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE", "HF_TOKEN_PATH",
    "HF_DATASETS_CACHE", "HF_DATASETS_DOWNLOADED_DATASETS_PATH", "HF_DATASETS_EXTRACTED_DATASETS_PATH",
    "HF_MODULES_CACHE", "XDG_CACHE_HOME", "MTEB_CACHE",
)  # fmt: skip

# the libraries read these when they are imported, and end the program where they are no numbers
_NUMBERS = {
    "HF_HUB_ETAG_TIMEOUT": (r" *[0-9]{1,9} *", "a whole number of seconds"),
    "HF_HUB_DOWNLOAD_TIMEOUT": (r" *[0-9]{1,9} *", "a whole number of seconds"),
    "HF_DATASETS_IN_MEMORY_MAX_SIZE": (r" *[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)? *", "a number of bytes"),
}

Result = TypeVar("Result")


def anchor_cache_folders() -> None:
    """Make the folders of caches that the environment names absolute, before a library reads them."""
    for name in _FOLDERS:
        if (given := os.environ.get(name)) and not given.startswith(("~", "$")) and not Path(given).is_absolute():
            os.environ[name] = str(Path(given).absolute())


def check_environment() -> None:
    """See that the environment gives the Hub's libraries numbers where they need some.

    Raises:
        UsageError: it does not.
    """
    for name, (form, expected) in _NUMBERS.items():
        given = os.environ.get(name)
        if given is not None and not re.fullmatch(form, given):
            raise UsageError(f"the environment has {name}={clip(given)}; expected {expected}, or leave it out")


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep the Hub's client from drawing, unless the environment says what it is to do."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def hub_errors() -> tuple[type[Exception], ...]:
    """Exceptions that mean: the Hub, or a file on it, cannot be had.

    The class of transport errors comes from whichever HTTP library the installed huggingface_hub stands on.
    """
    from huggingface_hub.errors import HfHubHTTPError

    transport = next(base for base in HfHubHTTPError.__bases__ if base.__name__ == "HTTPError")
    return (OSError, transport)


class NoHubError(OSError):
    """The address answers, but it is no Hub."""


def endpoint() -> str:
    """The Hub's address as messages show it: without a user's name and password."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return without_secrets(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())


class PartialSnapshotError(OSError):
    """The Hub failed, and of what was asked for only a part is on disk."""


def disk_full(error: BaseException) -> BaseException | None:
    """The error that says that there was no room, however many libraries wrapped it; None if that is not the cause."""
    seen: BaseException | None = error
    while seen is not None:
        if getattr(seen, "errno", None) in _FULL or any(os.strerror(number) in str(seen) for number in _FULL):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _sends_pages() -> bool:
    """Whether the Hub's address answers with a page of HTML where a Hub answers with JSON."""
    from huggingface_hub import constants, get_session

    try:
        answer = get_session().get(f"{constants.ENDPOINT}/api/models?limit=1", timeout=_PATIENCE_SECONDS)
    except hub_errors():
        return False
    return answer.status_code in _PAGES and "html" in answer.headers.get("content-type", "").lower()


def reason(error: BaseException) -> str:
    """The kind and first line of an error, for a message."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        # the library's own advice is wrong where it was us who saw that the Hub is out of reach
        return "HF_HUB_OFFLINE is set" if "HF_HUB_OFFLINE" in os.environ else f"{endpoint()} does not answer"
    lines = without_secrets(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {clip(lines[0], _LONGEST_REASON)}" if lines else type(error).__name__


def ignore_message(message: str) -> None:
    """For callers that tell nobody."""
    del message


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: the server failed or was busy, or a download broke off."""
    seen: BaseException | None = error
    transport = hub_errors()[1]
    while seen is not None:
        status = getattr(getattr(seen, "response", None), "status_code", None)
        if status is not None:
            return bool(status == _TOO_MANY or status >= _SERVER_ERROR)
        if isinstance(seen, (transport, PartialSnapshotError)) or "Consistency check failed" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def with_retries(action: Callable[[], Result], what: str, say: Callable[[str], None]) -> Result:
    """Do something with the Hub; where it fails in a way that may pass, wait and try again.

    The clients below retry single requests; this is for what they give up.

    Args:
        action: is called up to five times.
        what: for the message.
        say: is told once that something is tried again.

    Raises:
        NoHubError: what answers there is no Hub.
    """
    from huggingface_hub import constants

    failures: tuple[type[Exception], ...] = (*hub_errors(), json.JSONDecodeError)
    for attempt, pause in enumerate((*_PAUSES, None)):
        try:
            return action()
        except failures as error:
            if constants.HF_HUB_OFFLINE:
                raise
            if pause is None or not is_transient(error):
                if _sends_pages():
                    raise NoHubError(
                        f"the address {endpoint()} answers, but it is no Hub: it sends a page where JSON is expected. "
                        "See whether the network wants a login, and check HF_ENDPOINT"
                    ) from error
                raise
            if not attempt:
                say(f"{what} failed ({reason(error)}); trying again")
            time.sleep(pause)
    raise AssertionError("the last attempt ends above")


def work_offline_if_unreachable() -> str | None:
    """See whether the Hub answers at all; if not, make its clients use what is on disk without trying again and again.

    Returns:
        What to tell the user, or None if the Hub answers (any answer counts, also an error).
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_SECONDS)
    except hub_errors() as error:
        constants.HF_HUB_OFFLINE = True
        # its import takes a second, and takes the client's word
        if "datasets.config" in sys.modules:
            sys.modules["datasets.config"].HF_HUB_OFFLINE = True  # type: ignore[attr-defined]  # of the module
        return f"the Hub at {endpoint()} does not answer ({reason(error)}); using what is on disk"
    return None
