"""An exact search whose blocks are small, so that few documents are many blocks."""

from __future__ import annotations

import pytest

from evalharness.ranking import exact


def search_in_small_blocks(patch: pytest.MonkeyPatch, width: int, step: int) -> None:
    """Have documents searched in blocks of so many, and each so manieth first."""
    patch.setattr(exact, "_DOCUMENTS", width)
    patch.setattr(exact, "_FEW_DOCUMENTS", 8)
    patch.setattr(exact, "_QUERIES", 16)
    patch.setattr(exact, "_TOGETHER", 32)
    patch.setattr(exact, "_STEP", step)
