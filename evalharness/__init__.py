"""Evaluate text embedding models and rerankers the way MTEB and C-MTEB do.

The number is right, and one can see why. Start with `load_model` and `evaluate` from Python or with
`python -m evalharness run --model BAAI/bge-base-en-v1.5` from a shell.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalharness.catalog.selection import Selection as Selection
    from evalharness.compare.comparison import Comparison as Comparison
    from evalharness.compare.comparison import Settings as Settings
    from evalharness.compare.judging import compare_results as compare_results
    from evalharness.models.loading import load_model as load_model
    from evalharness.models.options import Execution as Execution
    from evalharness.models.options import ModelOptions as ModelOptions
    from evalharness.reports.building.choosing import Choice as Choice
    from evalharness.reports.reporting import Report as Report
    from evalharness.reports.reporting import report as report
    from evalharness.results.evaluation import Evaluation as Evaluation
    from evalharness.results.evaluation import JobResult as JobResult
    from evalharness.run.callback import CallbackOptions as CallbackOptions
    from evalharness.run.callback import EvalHarnessCallback as EvalHarnessCallback
    from evalharness.run.evaluate import RunOptions as RunOptions
    from evalharness.run.evaluate import evaluate as evaluate

__version__ = "0.1.0"
__all__ = [
    "CallbackOptions", "Choice", "Comparison", "EvalHarnessCallback", "Evaluation", "Execution", "JobResult",
    "ModelOptions", "Report", "RunOptions", "Selection", "Settings", "__version__", "compare_results", "evaluate",
    "load_model", "report",
]  # fmt: skip
_PLACES = {
    "CallbackOptions": "run.callback",
    "Choice": "reports.building.choosing",
    "Comparison": "compare.comparison",
    "EvalHarnessCallback": "run.callback",
    "Evaluation": "results.evaluation",
    "Execution": "models.options",
    "JobResult": "results.evaluation",
    "ModelOptions": "models.options",
    "Report": "reports.reporting",
    "RunOptions": "run.evaluate",
    "Selection": "catalog.selection",
    "Settings": "compare.comparison",
    "compare_results": "compare.judging",
    "evaluate": "run.evaluate",
    "load_model": "models.loading",
    "report": "reports.reporting",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- the module protocol says so
    """Import the public names on first use, so that `import evalharness` stays free of torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'evalharness' has no attribute {name!r}")
    return getattr(import_module(f"evalharness.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
