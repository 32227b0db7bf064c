"""Encoding on a GPU: `python benchmarks/gpu.py [--output FILE] [--seconds 480] [--device cuda] [--tiny]`.

Shapes of known models with random weights, made here: nothing is downloaded. First the vectors are held against
float32 on the CPU; then tokens and floating point operations per second of our batches, without and with padding, and
of sentence-transformers in float16 on the same texts, beside what the card does in a single large product of matrices.
A row that fails says why, and the next one runs. Exits with 1 if a vector is wrong. It needs what `evalharness.models`
needs alone: where the package is not installed, `PYTHONPATH=.` finds it in the checkout.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np
import torch
import transformers
from gpu_libraries import library_ways, our_ways, separate
from gpu_models import Shape, batches, flops, inputs, made, mixed_lengths, save, shapes, texts
from numpy.typing import NDArray

from evalharness.models.engines.torch_attention import Kernel, find_kernel, reference
from evalharness.models.engines.torch_unpadded import Unpadded
from evalharness.models.forward.at_once import worked_ahead
from evalharness.models.forward.devices import moved
from evalharness.models.kinds.dense import pool

Lengths = NDArray[np.int64]
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
# a vector's least cosine to that of the CPU in float32
BOUNDS = {"bfloat16": 0.999, "float16": 0.99999, "float32": 0.999999}
CHECKED = (3, 9, 17, 33, 64, 128, 5, 256)
BUDGET = 131072
# of one measurement
LEAST_SECONDS = 0.5
# work by which it is sized
_PILOT = 2
# seconds without which nothing is compiled
_COMPILING = 90
# steps that are for some models alone
_SOME = {"budgets": ("bge-base",), "compiled": ("bge-base", "Qwen3-Embedding-0.6B")}
HEAD = "| model | from | engine | precision | texts | tokens | tokens/s | TFLOP/s | of peak | notes |"


class TimeUpError(Exception):
    """Where the benchmark ended before its end."""


@dataclass(slots=True)
class Table:
    """Rows, printed and written as they come.

    Attributes:
        ends: `time.monotonic` after which no row is begun.
        peak: TFLOP/s of the card; 0 while it is not known.
    """

    output: Path | None
    ends: float
    facts: list[str]
    peak: float = 0.0
    lines: list[str] = field(default_factory=list)
    wrong: int = 0

    def add(self, *cells: str) -> None:
        """One more row."""
        line = f"| {' | '.join(cells)} |"
        print(line, flush=True)
        self.lines.append(line)
        if self.output is not None:
            rule = "|" + " --- |" * (HEAD.count("|") - 1)
            self.output.write_text("\n".join([*self.facts, "", HEAD, rule, *self.lines, ""]), encoding="utf-8")

    @contextmanager
    def row(self, name: str, what: str) -> Iterator[None]:
        """Whatever goes wrong is a row.

        Raises:
            TimeUpError: no row is to be begun any more.
        """
        if time.monotonic() > self.ends:
            raise TimeUpError(f"{name}: {what}")
        try:
            yield
        except TimeUpError:
            raise
        except Exception as error:  # noqa: BLE001 -- an error in one measurement is no reason to have none
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300].replace("|", "/")
            self.add(name, what, "", "", "", "", "", "", "", reason)
            self.wrong += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def measured(self, row: Row, lengths: Lengths, seconds: float, work: float) -> None:
        """A row of what was measured; `work` in floating point operations."""
        tokens, rate = int(lengths.sum()), work / seconds / 1e12
        share = f"{rate / self.peak:.0%}" if self.peak else ""
        sizes = (f"{row.texts}, {len(lengths):,}", f"{tokens:,}", f"{tokens / seconds:,.0f}", f"{rate:.1f}", share)
        self.add(row.model, row.source, row.engine, row.precision, *sizes, row.notes)


@dataclass(frozen=True, slots=True)
class Row:
    """What a measurement is of."""

    model: str
    source: str
    engine: str
    precision: str
    texts: str
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Runner:
    """A model on the device, with padding or without."""

    shape: Shape
    loaded: Any
    unpadded: Unpadded | None
    device: str
    # as in the product, batches are prepared at once and launched one by one
    turn: Lock = field(default_factory=Lock)

    def rows(self, batch: Any) -> NDArray[np.float32]:  # noqa: ANN401 -- tensors by name
        """Vectors of a padded batch, as the dense kind makes them."""
        with torch.inference_mode():
            if self.unpadded is None:
                here = {name: moved(value, self.device) for name, value in batch.items()}
                with self.turn:
                    hidden = self.loaded(**here).last_hidden_state
            else:
                packed = self.unpadded.packed(batch)
                with self.turn:
                    hidden = self.unpadded.run(batch, packed).last_hidden_state
            pooled = pool(hidden.float(), moved(batch["attention_mask"], self.device), self.shape.pooling)
            found: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
            return found

    def seconds(self, lengths: Lengths, budget: int) -> float:
        """How long all texts take, from token ids; two batches are in work at once, launched one by one."""
        made_inputs = [inputs(part, self.shape.config.pad_token_id) for part in batches(lengths, budget)]
        # CUDA's libraries choose their ways at the first sight of a size
        self.rows(made_inputs[0])
        self.rows(made_inputs[-1])
        synchronize(self.device)
        begun = time.perf_counter()
        for _ in worked_ahead(made_inputs, self.rows, 2):
            pass
        return time.perf_counter() - begun


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak(device: str, size: int) -> float:
    """TFLOP/s of a product of square matrices in bfloat16."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        synchronize(device)
        begun = time.perf_counter()
        for _ in range(10):
            left @ right
        synchronize(device)
        best = min(best, (time.perf_counter() - begun) / 10)
    return 2 * size**3 / best / 1e12


def check(table: Table, name: str, shape: Shape, weights: Any, device: str) -> None:  # noqa: ANN401
    """Vectors on the device in every precision against those of the CPU in float32."""
    on_cpu = deepcopy(weights).cpu()
    batch = inputs(CHECKED, shape.config.pad_token_id)
    wanted = Runner(shape, on_cpu, None, "cpu").rows(batch)
    for precision, dtype in PRECISIONS.items():
        for is_padded in (True, False):
            kernel = kernel_for(device, dtype)
            if kernel is None and not is_padded:
                continue
            engine = "ours, padded" if is_padded else "ours, unpadded"
            with table.row(name, f"check, {engine}, {precision}"):
                copy = deepcopy(weights).to(dtype)
                unpadded = None if is_padded or kernel is None else Unpadded(copy, kernel)
                found = Runner(shape, copy, unpadded, device).rows(batch)
                cosine = float((found.astype(np.float64) * wanted).sum(axis=1).min())
                is_right = bool(np.isfinite(found).all()) and cosine >= BOUNDS[precision]
                table.wrong += not is_right
                verdict = "right" if is_right else "WRONG"
                note = f"{verdict}: least cosine to float32 on the CPU {cosine:.7f}, at least {BOUNDS[precision]}"
                table.add(name, "check", engine, precision, f"{len(CHECKED)}", str(sum(CHECKED)), "", "", "", note)


def kernel_for(device: str, dtype: torch.dtype) -> Kernel | None:
    """The kernel that the product takes; on the CPU, where it takes none, the plain one."""
    return reference if device == "cpu" else find_kernel(device, dtype)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which texts are measured, and how many tokens of them at the most."""

    lengths: tuple[int, ...]
    most_tokens: int


def lengths_of(text: int | None, tokens: int, shape: Shape) -> Lengths:
    """Texts of one length, or of all sorts."""
    if text is None:
        return mixed_lengths(tokens, min(shape.longest, 512))
    return np.full(max(tokens // text, 4), text, dtype=np.int64)


def sized(runner: Runner, text: int | None, plan: Plan, budget: int) -> Lengths:
    """As many texts as take long enough to be measured."""
    tokens = min(_PILOT * budget, plan.most_tokens)
    lengths = lengths_of(text, tokens, runner.shape)
    taken = runner.seconds(lengths, budget)
    times = min(max(LEAST_SECONDS / taken, 1.0), plan.most_tokens / max(tokens, 1))
    return lengths_of(text, max(int(tokens * times), int(lengths.sum())), runner.shape)


def from_ids(table: Table, row: Row, runner: Runner, text: int | None, plan: Plan, budget: int = BUDGET) -> None:
    """A row from token ids: the engine alone."""
    with table.row(row.model, f"{row.engine}, {row.texts}"):
        lengths = sized(runner, text, plan, budget)
        seconds = min(runner.seconds(lengths, budget) for _ in range(2))
        table.measured(row, lengths, seconds, flops(runner.shape, lengths))


def engines(table: Table, name: str, shape: Shape, weights: Any, plan: Plan, device: str) -> None:  # noqa: ANN401
    """Rows from token ids: without padding at all lengths, with it at some."""
    lengths = plan.lengths[:2] if name == "bge-large" else plan.lengths
    chosen = [None, *(length for length in lengths if length <= shape.longest)]
    for precision in ("bfloat16", "float16"):
        with table.row(name, f"from ids in {precision}"):
            loaded = deepcopy(weights).to(PRECISIONS[precision])
            kernel = kernel_for(device, PRECISIONS[precision])
            if kernel is None:
                raise NotImplementedError("no kernel for texts without padding here")
            unpadded = Runner(shape, loaded, Unpadded(loaded, kernel), device)
            for text in chosen if precision == "bfloat16" else chosen[:1]:
                label = "mixed" if text is None else str(text)
                row = Row(name, "ids", "ours, unpadded", precision, label, f"batches of {BUDGET:,}")
                from_ids(table, row, unpadded, text, plan)
            if unpadded.unpadded is not None:
                unpadded.unpadded.take_off()
            padded = Runner(shape, loaded, None, device)
            for text in (None, *chosen[-1:]) if precision == "bfloat16" else ():
                row = Row(name, "ids", "padded", precision, "mixed" if text is None else str(text), "sdpa")
                from_ids(table, row, padded, text, plan)


def budgets(table: Table, name: str, shape: Shape, weights: Any, plan: Plan, device: str) -> None:  # noqa: ANN401
    """Rows of other sizes of batches, and of a compiled model."""
    loaded = deepcopy(weights).to(torch.bfloat16)
    kernel = kernel_for(device, torch.bfloat16)
    if kernel is None:
        return
    runner = Runner(shape, loaded, Unpadded(loaded, kernel), device)
    for budget in (16384, 32768, 65536, 262144):
        row = Row(name, "ids", "ours, unpadded", "bfloat16", "mixed", f"batches of {budget:,}")
        from_ids(table, row, runner, None, plan, budget)


def compiled(table: Table, name: str, shape: Shape, weights: Any, plan: Plan, device: str) -> None:  # noqa: ANN401
    """A row of a compiled model, with what compiling took."""
    if time.monotonic() > table.ends - _COMPILING:
        raise TimeUpError(f"{name}: compiled")
    with table.row(name, "compiled"):
        loaded = deepcopy(weights).to(torch.bfloat16)
        kernel = kernel_for(device, torch.bfloat16)
        if kernel is None:
            return
        runner = Runner(shape, loaded, Unpadded(loaded, kernel), device)
        loaded.forward = torch.compile(loaded.forward, dynamic=True)
        begun = time.perf_counter()
        for part in batches(mixed_lengths(2 * BUDGET, shape.longest), BUDGET // 2):
            runner.rows(inputs(part, shape.config.pad_token_id))
        note = f"torch.compile, dynamic shapes, {time.perf_counter() - begun:.0f} s before the first vector"
        row = Row(name, "ids", "ours, unpadded, compiled", "bfloat16", "mixed", note)
        from_ids(table, row, runner, None, plan)


def from_texts(table: Table, name: str, shape: Shape, weights: Any, plan: Plan, device: str) -> None:  # noqa: ANN401
    """Rows from texts, tokenising and all: ours, and sentence-transformers."""
    lengths = mixed_lengths(plan.most_tokens // 8, min(shape.longest, 512))
    given = texts(lengths)
    with TemporaryDirectory() as folder:
        with table.row(name, "saved"):
            save(shape, deepcopy(weights).to(torch.float16), Path(folder))
        for ways in (our_ways, library_ways, separate):
            with table.row(name, f"{ways.__name__} from texts"):
                for way in ways(Path(folder), given, device):
                    row = Row(name, "texts", way.engine, way.precision, "mixed", way.notes)
                    table.measured(row, lengths, way.seconds, flops(shape, lengths))
                    if time.monotonic() > table.ends:
                        break


STEPS: dict[str, Callable[..., None]] = {
    "engines": engines, "texts": from_texts, "budgets": budgets, "compiled": compiled,
}  # fmt: skip


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Encoding on a GPU.")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    parser.add_argument("--seconds", type=float, default=480, help="after so many no row is begun")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="*", help="some of the shapes")
    parser.add_argument("--steps", nargs="*", default=["check", *STEPS], help="some of check, engines, texts ...")
    parser.add_argument("--tiny", action="store_true", help="narrow models and few texts, to try the benchmark itself")
    given = parser.parse_args()
    device: str = given.device
    chosen = {n: s for n, s in shapes(tiny=given.tiny).items() if not given.models or n in given.models}
    card = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, "
    versions += f"sentence-transformers {version('sentence-transformers')}, Python {platform.python_version()}"
    facts = [f"{datetime.now(UTC):%Y-%m-%d}, {card}; {versions}.", f"`python {' '.join(sys.argv)}`"]
    table = Table(given.output, time.monotonic() + given.seconds, facts)
    print(*facts, HEAD, sep="\n", flush=True)
    with table.row("", "peak"):
        table.peak = peak(device, 512 if given.tiny else 8192)
        table.facts.append(f"A product of matrices of 8,192 x 8,192 in bfloat16: {table.peak:.0f} TFLOP/s.")
        table.add("", "matrices", "torch", "bfloat16", "", "", "", f"{table.peak:.1f}", "100%", "")
    plan = Plan((16, 64), 20000) if given.tiny else Plan((128, 512, 16, 64, 2048, 8192), 6_000_000)
    weights: dict[str, Any] = {}
    try:
        for step in given.steps:
            one_step(step, table, chosen, weights, plan, device)
    except TimeUpError as error:
        table.facts.append(f"The time was up at {error}.")
        table.add("", "", "", "", "", "", "", "", "", f"the time was up at {error}")
    return int(table.wrong > 0)


def one_step(
    step: str, table: Table, chosen: Mapping[str, Shape], weights: dict[str, Any], plan: Plan, device: str
) -> None:
    """One measurement of every model."""
    for name, shape in chosen.items():
        if name not in _SOME.get(step, chosen):
            continue
        with table.row(name, step):
            weights.setdefault(name, made(shape, device))
            if step == "check":
                check(table, name, shape, weights[name], device)
            else:
                STEPS[step](table, name, shape, weights[name], plan, device)


if __name__ == "__main__":
    raise SystemExit(main())
