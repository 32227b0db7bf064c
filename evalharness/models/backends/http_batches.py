"""What goes into one request to a server, and what comes back in which order."""

from __future__ import annotations

from typing import Any

from evalharness.models.backends.http_client import HttpClient
from evalharness.models.backends.http_replies import BadReplyError

# texts and estimated tokens in a request
BATCH_TEXTS = 64
BATCH_TOKENS = 16384
_CHARACTERS_PER_TOKEN = 3


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
