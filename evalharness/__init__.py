"""Evaluate text embedding models and rerankers the way MTEB and C-MTEB do.

The number is right, and one can see why. Start with `load_model` from Python or with
`python -m evalharness run --model BAAI/bge-base-en-v1.5` from a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalharness.models.system import load_model as load_model

__version__ = "0.1.0"
__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- the module protocol says so
    """Import the public names on first use, so that `import evalharness` stays free of torch."""
    if name == "load_model":
        from evalharness.models.system import load_model

        return load_model
    raise AttributeError(f"module 'evalharness' has no attribute {name!r}")
