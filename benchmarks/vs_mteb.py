"""Speed against mteb and other engines: `python benchmarks/vs_mteb.py WORK [OUTPUT] [--only SECTION ...]`.

Whole processes (cold, warm), encoding, scoring, search and start-up, each alternating with its peers in one run; equal
scores are asserted. WORK is a folder for stores, results and exports. OUTPUT is the page of figures, by default
results/measured/speed.md; sections that are left out stay there as they were. The data come from the Hub, or from
HF_ENDPOINT, and should be in HF_HOME before: a first round fetches them.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from speeding import alone, encoding, whole
from speeding.tables import with_sections

from evalharness.results.records import installed_version

_PACKAGES = (
    "evalharness", "mteb", "torch", "transformers", "sentence-transformers", "openvino", "onnxruntime", "numpy",
    "scikit-learn", "faiss-cpu",
)  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _head() -> str:
    versions = ", ".join(f"{name} {installed_version(name)}" for name in _PACKAGES)
    return (
        "# Speed\n\nWritten by `python benchmarks/vs_mteb.py WORK`; sections are measured in one run each, their peers "
        f"in turn with us. Last on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {_processor()}; "
        f"{versions}.\n"
    )


def _sections(given: argparse.Namespace) -> Mapping[str, Callable[[], str]]:
    """What can be measured."""
    return {
        "whole": lambda: whole.measure(given.work, given.rounds),
        "scoring": lambda: alone.scoring(given.rounds),
        "rankings": lambda: alone.rankings(given.rounds),
        "search": alone.search,
        "starts": alone.starts,
        "encoding": lambda: encoding.measure(given.work / "encoding", given.rounds, given.peer),
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Speed against mteb and other engines.")
    parser.add_argument("work", type=Path)
    parser.add_argument("output", type=Path, nargs="?", default=Path("results/measured/speed.md"))
    parser.add_argument("--rounds", type=int, default=3, help="of each thing")
    parser.add_argument("--only", nargs="+", help="sections to measure")
    parser.add_argument("--peer", default=sys.executable, help="Python with sentence-transformers[onnx,openvino]")
    given = parser.parse_args()
    sections = _sections(given)
    if unknown := [name for name in given.only or () if name not in sections]:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(sections)}")
    given.work.mkdir(parents=True, exist_ok=True)
    for name in given.only or sections:
        page = with_sections(given.output, _head(), {name: sections[name]()})
        given.output.write_text(page, encoding="utf-8")
        print(f"{given.output}: {name}", flush=True)


if __name__ == "__main__":
    main()
