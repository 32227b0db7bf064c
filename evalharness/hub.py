"""What data and models share of the Hugging Face Hub: how it fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from evalharness.errors import clip
from evalharness.masking import without_secrets

_LONGEST_REASON = 300
_PATIENCE_SECONDS = 10
_TOO_MANY, _SERVER_ERROR = 429, 500
_PAUSES = (1, 2, 4, 8)

Result = TypeVar("Result")


def hub_errors() -> tuple[type[Exception], ...]:
    """Exceptions that mean: the Hub, or a file on it, cannot be had.

    The class of transport errors comes from whichever HTTP library the installed huggingface_hub stands on.
    """
    from huggingface_hub.errors import HfHubHTTPError

    transport = next(base for base in HfHubHTTPError.__bases__ if base.__name__ == "HTTPError")
    return (OSError, transport)


def reason(error: Exception) -> str:
    """The kind and first line of an error, for a message."""
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        # the library's own advice is wrong where it was us who saw that the Hub is out of reach
        asked = without_secrets(constants.ENDPOINT)
        return "HF_HUB_OFFLINE is set" if "HF_HUB_OFFLINE" in os.environ else f"{asked} does not answer"
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
        if isinstance(seen, transport) or "Consistency check failed" in str(seen):
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
    """
    from huggingface_hub import constants

    for attempt, pause in enumerate(_PAUSES):
        try:
            return action()
        except hub_errors() as error:
            if constants.HF_HUB_OFFLINE or not is_transient(error):
                raise
            if not attempt:
                say(f"{what} failed ({reason(error)}); trying again")
            time.sleep(pause)
    return action()


def work_offline_if_unreachable() -> str | None:
    """See whether the Hub answers at all; if not, make its clients use what is on disk without trying again and again.

    Returns:
        What to tell the user, or None if the Hub answers (any answer counts, also an error).
    """
    import datasets.config
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_SECONDS)
    except hub_errors() as error:
        constants.HF_HUB_OFFLINE = True
        datasets.config.HF_HUB_OFFLINE = True
        return (
            f"the Hub at {without_secrets(constants.ENDPOINT)} does not answer ({reason(error)}); using what is on disk"
        )
    return None
