"""Random draws that are the same on every machine: from the raw bits of PCG64, whose stream numpy never changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics import statistics

SEED = statistics.SEED
# no array of draws has more elements: 128 MiB of doubles
MOST_ELEMENTS = 2**24
_IN_A_BYTE = 8


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each name, so that neither order nor other names change its draws.

    Args:
        seed: the same for all of one comparison; `SEED` if nobody asks for another.
        names: of a task, say, and of what is drawn.

    >>> generator(SEED, "NFCorpus").integers(1000) == generator(SEED, "NFCorpus").integers(1000)
    np.True_
    """
    digest = sha256(json.dumps([seed, *names]).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def chunks(draws: int, size: int, limit: int = MOST_ELEMENTS) -> Iterator[slice]:
    """Slices of `draws` rows such that none has more than `limit` elements (one row at least).

    Args:
        draws: how many rows there are.
        size: elements in a row.
        limit: elements.

    >>> list(chunks(5, 10, limit=20))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, limit // max(1, size))
    for start in range(0, draws, step):
        yield slice(start, min(start + step, draws))


def _raw_bytes(generator: np.random.Generator, count: int) -> NDArray[np.uint8]:
    # the byte order is said, for the sake of machines that have the other
    return generator.bit_generator.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)[:count]


def signs(generator: np.random.Generator, draws: int, n: int) -> NDArray[np.int8]:
    """Independent signs -1 and 1, each as likely, shape (draws, n); mind the memory, see `chunks`.

    >>> signs(generator(SEED), 2, 3).shape
    (2, 3)
    """
    bits = np.unpackbits(_raw_bytes(generator, -(-draws * n // _IN_A_BYTE)), count=draws * n)
    return (2 * bits.astype(np.int8) - 1).reshape(draws, n)


def indices(generator: np.random.Generator, draws: int, n: int) -> NDArray[np.int64]:
    """Independent whole numbers below n, shape (draws, n): resamples with replacement; mind the memory, see `chunks`.

    32 random bits times n, the upper half of it: one number is more likely than another by n / 2^32 at most.

    >>> indices(generator(SEED), 2, 3).max() < 3
    np.True_
    """
    words = generator.bit_generator.random_raw(-(-draws * n // 2)).astype("<u8").view(np.uint32)[: draws * n]
    return (words.astype(np.uint64) * np.uint64(n) >> np.uint64(32)).astype(np.int64).reshape(draws, n)


def uniforms(generator: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Independent numbers inside (0, 1), shape (draws,); neither end is ever drawn.

    >>> bool(0 < uniforms(generator(SEED), 1)[0] < 1)
    True
    """
    words = generator.bit_generator.random_raw(draws) >> np.uint64(12)
    return (words.astype(np.float64) + 0.5) * 2.0**-52


def signed_sums(values: NDArray[np.float64], draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Sums of the values under random signs, shape (draws,).

    Eight values at a time have 256 sums, of which a random byte picks one (the "four Russians"): an eighth of the
    additions of a product of matrices, in an order that no library for linear algebra changes.

    Args:
        values: shape (n,).
        draws: how many sums.
        generator: of the signs.

    >>> sorted(set(signed_sums(np.array([1.0, 2.0]), 100, generator(SEED)).tolist()))
    [-3.0, -1.0, 1.0, 3.0]
    """
    blocks = np.zeros((-(-len(values) // _IN_A_BYTE), _IN_A_BYTE))
    blocks.flat[: len(values)] = values
    total = np.zeros(draws)
    for part in chunks(len(blocks), max(draws, 2**_IN_A_BYTE)):
        tables = all_signed_sums(blocks[part])
        picks = _raw_bytes(generator, len(tables) * draws).reshape(len(tables), draws)
        for table, pick in zip(tables, picks, strict=True):
            total += table[pick]
    return total


def all_signed_sums(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every sum of each row's values under signs: shape (rows, n) to (rows, 2^n).

    >>> all_signed_sums(np.array([[1.0, 2.0]])).tolist()
    [[-3.0, -1.0, 1.0, 3.0]]
    """
    sums = np.zeros((len(blocks), 1))
    for column in blocks.T:
        sums = np.concatenate([sums - column[:, None], sums + column[:, None]], axis=1)
    return sums
