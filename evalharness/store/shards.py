"""Which shards some texts are, and what they and their folders are called: a pure function of the texts.

Texts are cut into parts of similar length, longest first, whatever of them is in a store already, so that a text has
the same neighbours in a batch; a batch decides the last bits of a vector. Of each part, the texts that are missing go
through the model together and become one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.types import Encoding, content_digest

# raised when the same model, encoding and text would give other vectors
ENCODE_VERSION = 1
# a shard is work that a kill may cost: so many texts, or so many characters, whichever is less
SHARD_TEXTS = 4096
SHARD_CHARACTERS = 1_000_000


def store_key(identity: Mapping[str, Any], encoding: Encoding) -> str:
    """Folder name of all vectors that one model gives under one encoding; the model's name plays no part."""
    content = {name: value for name, value in identity.items() if name != "model"}
    return content_digest({"version": ENCODE_VERSION, **content, "encoding": encoding.facts()})[:32]


def text_digests(texts: Sequence[str]) -> NDArray[np.uint64]:
    """128 bits of BLAKE2b per text, shape (texts, 2)."""
    # one after another: a list of so many small objects would take three times as much memory
    joined = bytearray()
    for text in texts:
        joined += blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)


def shard_name(key: str, digests: NDArray[np.uint64]) -> str:
    """Name of the shard of these texts, without its suffix: the same for the same texts under the same key.

    Args:
        key: name of the folder of all vectors of one model and one encoding.
        digests: see `text_digests`.
    """
    return blake2b(key.encode() + digests.tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """Texts that go through the model together, and into one file where vectors are kept.

    Attributes:
        key: name of the folder of all vectors of one model and one encoding.
        rows: places of its texts among those of the plan.
        texts: in the order of the rows.
    """

    key: str
    rows: NDArray[np.int64]
    texts: Sequence[str]

    @property
    def name(self) -> str:
        """Of its file, without the suffix."""
        return shard_name(self.key, text_digests(self.texts))


def plan_shards(texts: Sequence[str], key: str) -> list[PlannedShard]:
    """Cut texts into shards, longest texts first; each text is in exactly one.

    Args:
        texts: any number.
        key: see `store_key`.
    """
    return [PlannedShard(key, part, [texts[row] for row in part.tolist()]) for part in _parts(texts)]


def missing_shards(texts: Sequence[str], key: str, missing: NDArray[np.bool_]) -> list[PlannedShard]:
    """What is left of the shards of a plan if only some texts are wanted; those of which nothing is left are not there.

    Args:
        texts: all of them, wanted or not.
        key: see `store_key`.
        missing: per text, whether it is wanted.
    """
    wanted = (part[missing[part]] for part in _parts(texts))
    return [PlannedShard(key, part, [texts[row] for row in part.tolist()]) for part in wanted if len(part)]


def _parts(texts: Sequence[str]) -> Iterator[NDArray[np.int64]]:
    """Places of the texts of each shard."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    # of equally long texts, the first first
    order = np.argsort(-lengths, kind="stable")
    characters = np.concatenate([[0], np.cumsum(lengths[order])])
    first = 0
    while first < len(order):
        fitting = int(np.searchsorted(characters, characters[first] + SHARD_CHARACTERS, side="right")) - 1
        end = max(first + 1, min(first + SHARD_TEXTS, fitting))
        yield order[first:end]
        first = end
