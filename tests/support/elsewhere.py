"""Vectors that do something where they are read in another process than the one that made them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import StorageError

LONG_SECONDS = 120


class OddError(Exception):
    """Cannot be told to another process."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


@dataclass
class OddRows:
    """Rows in memory.

    Attributes:
        home: the process in which they are rows and nothing else.
        kind: what they do in others.
        place: where each try there leaves a letter.
    """

    rows: NDArray[np.float32]
    home: int
    kind: str
    place: Path

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape

    def __getitem__(self, index: Any) -> Any:
        return OddRows(self.rows[index], self.home, self.kind, self.place)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:
        if os.getpid() != self.home:
            with self.place.open("a") as tries:
                tries.write("x")
            self._act(len(self.place.read_text()))
        return self.rows

    def _act(self, tries: int) -> None:
        if self.kind == "dies once" and tries == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "has no files":
            raise StorageError("the file is not here")
        elif self.kind == "fails":
            raise KeyError("gone")
        elif self.kind == "fails oddly":
            raise OddError("this", "that")
        elif self.kind == "takes long":
            time.sleep(LONG_SECONDS)
