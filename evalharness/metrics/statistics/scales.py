"""One scale for the similarities of two systems, which then may swap those of single items.

A permutation test of systems asks what would be if either had said what the other did. Of a cosine and a dot product,
or of cosines around 0.3 and around 0.8, a swap would mean nothing; scores that only look at an order do not mind if
they are brought to one scale before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalharness.metrics.forms import Codes, Values

# what rounding may do to standardised values
_DIGITS = 9
# at most so many blocks of so many items at least, for one scale; blocks nearer than this are tied
_BLOCKS, _IN_BLOCK, _LEAST = 8, 25, 1e-6


def standardised(values: Values) -> Values:
    """Values less their mean, in units of their standard deviation."""
    spread = values.std()
    return np.asarray((values - values.mean()) / (spread if spread > 0 else 1.0), dtype=np.float64)


def common_codes(*systems: Values) -> list[Codes]:
    """Whole numbers in the order of the values, once these are on one scale.

    Not ranks within each system: of two items that the systems order differently each would have the other's rank,
    so that swapping one of them makes a tie, and swaps would change less than systems differ.
    """
    values = np.concatenate([np.round(own, _DIGITS) for own in on_one_scale([standardised(own) for own in systems])])
    _, codes = np.unique(values, return_inverse=True)
    return np.split(codes.astype(np.int64), len(systems))


def on_one_scale(systems: Sequence[Values]) -> list[Values]:
    """The systems' values, drawn and squeezed so that they are spread alike; no order changes.

    The means of a few blocks of each system's values, in their order, are moved to where both systems' means of
    that block have their mean, and what is between them moves along: enough for another shape (cosines of a trained
    and of an untrained model), too little to move single items to the places of others.
    """
    blocks = int(np.clip(len(systems[0]) // _IN_BLOCK, 2, _BLOCKS))
    means = np.stack([[block.mean() for block in np.array_split(np.sort(own), blocks)] for own in systems])
    # where values are tied, blocks have no distance
    kept = np.append(True, (np.diff(means, axis=1) > _LEAST).all(axis=0))
    if kept.sum() < 2:  # noqa: PLR2004 -- a line needs two points
        return list(systems)
    means = means[:, kept]
    return [_along(own, places, means.mean(axis=0)) for own, places in zip(systems, means, strict=True)]


def _along(values: Values, places: Values, moved: Values) -> Values:
    """Values where a line through points has them, drawn out at both ends."""
    slopes = np.diff(moved) / np.diff(places)
    piece = np.clip(np.searchsorted(places, values) - 1, 0, len(slopes) - 1)
    found: Values = moved[piece] + slopes[piece] * (values - places[piece])
    return found
