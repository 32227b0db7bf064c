"""A second engine: torch's own under another name, which says nothing of itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from evalharness.models.engines import torch as torch_engine
from evalharness.models.registry import BACKENDS, KINDS, Backend

SECOND = "second"


class SecondEngine(torch_engine.TorchEngine):
    """Computes as torch does."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.identity = {}


def add_second_engine(patch: pytest.MonkeyPatch) -> None:
    """A row of BACKENDS whose engine holds every kind."""
    module: Any = ModuleType(f"evalharness.models.engines.{SECOND}")
    module.home, module.open_engine = torch_engine.home, SecondEngine
    patch.setitem(sys.modules, module.__name__, module)
    uses = tuple({option: None for backend in KINDS.values() for option in BACKENDS[backend].uses})
    row = Backend(uses=uses, why="", weights=BACKENDS["m3"].weights, engine=SECOND, holds=tuple(KINDS))
    patch.setitem(BACKENDS, SECOND, row)
