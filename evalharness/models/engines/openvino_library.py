"""OpenVINO, imported without what reports its use to a server; every other file of this room takes it from here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_REPORTER = "openvino_telemetry"


@contextmanager
def unreported() -> Iterator[None]:
    """Let a library be imported as if what reports its use were not installed; OpenVINO and nncf bear that."""
    there = sys.modules.get(_REPORTER)
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # which is how Python says that there is none
    try:
        yield
    finally:
        if there is None:
            del sys.modules[_REPORTER]
        else:
            sys.modules[_REPORTER] = there


with unreported():
    import openvino

__all__ = ["openvino", "unreported"]
