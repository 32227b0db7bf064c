"""What data and models share of the Hugging Face Hub: how it fails."""

from __future__ import annotations

from evalharness.errors import clip

_LONGEST_REASON = 300
_PATIENCE_SECONDS = 10


def hub_errors() -> tuple[type[Exception], ...]:
    """Exceptions that mean: the Hub, or a file on it, cannot be had.

    The class of transport errors comes from whichever HTTP library the installed huggingface_hub stands on.
    """
    from huggingface_hub.errors import HfHubHTTPError

    transport = next(base for base in HfHubHTTPError.__bases__ if base.__name__ == "HTTPError")
    return (OSError, transport)


def reason(error: Exception) -> str:
    """The kind and first line of an error, for a message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {clip(lines[0], _LONGEST_REASON)}" if lines else type(error).__name__


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
        return f"the Hub at {constants.ENDPOINT} does not answer ({reason(error)}); using what is on disk"
    return None
