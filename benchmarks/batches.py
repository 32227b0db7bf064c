"""What a text costs beside the engine's own work: CPU seconds per 100,000 texts with an engine that computes nothing.

    OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false python benchmarks/batches.py

Texts are of a few words, of a paragraph, and of 20,000 characters; the tokenizer is that of all-MiniLM-L6-v2, with its
256 tokens. Run it in two checkouts one after the other to compare them.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import torch

from evalharness.catalog.models import NOTHING_KNOWN
from evalharness.models.forward.pipeline import PipelineBackend
from evalharness.models.kinds import dense
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.options import Execution
from evalharness.store.unstored import UnstoredEncoder
from evalharness.types import Encoding, ignore_event

MODEL = "all-MiniLM-L6-v2"
WIDTH = 8
# name -> characters of a text, how many of them are measured
SHAPES = {"short": (60, 100_000), "paragraph": (600, 20_000), "long": (20_000, 1_000)}
PER = 100_000


class IdleEngine:
    """An engine whose hidden states are the token ids, so that rows differ and nothing is computed."""

    device, graph, width, vocabulary, size = "cpu", "Idle", WIDTH, None, NOTHING_KNOWN
    takes, gives, is_exact, is_alone = ("input_ids", "attention_mask", "token_type_ids"), ("hidden",), True, False
    identity: Mapping[str, Any] = {"engine": "idle"}

    def run(self, inputs: Mapping[str, Any], output: str) -> torch.Tensor:
        """See `Engine`."""
        del output
        return cast("torch.Tensor", inputs["input_ids"])[:, :, None].expand(-1, -1, WIDTH).float()

    def check(self, encoding: Encoding) -> None:
        """See `Engine`."""


def opened() -> PipelineBackend:
    """all-MiniLM-L6-v2 on the engine that does nothing."""
    model = resolve_model(MODEL, ModelOptions())
    engine = SimpleNamespace(home=lambda _: "cpu", open_engine=lambda *_: IdleEngine())
    return PipelineBackend(model, Execution(device="cpu", batch_tokens=2048), cast("Any", dense), cast("Any", engine))


def texts_of(characters: int, count: int) -> list[str]:
    """So many different texts of English-like words."""
    rng = random.Random(7)  # noqa: S311 -- no secret
    words = ["the", "of", "river", "stone", "fern", "shade", "grow", "market", "price", "station", "card", "payment"]
    found = []
    for number in range(count):
        size = rng.randint(characters // 2, characters * 3 // 2)
        line = " ".join(rng.choices(words, k=size // 6))
        found.append(f"{number} {line}"[:size])
    return found


def main() -> None:
    """Print CPU seconds per 100,000 texts of each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the texts that are measured")
    parser.add_argument("shapes", nargs="*", default=list(SHAPES), help=", ".join(SHAPES))
    options = parser.parse_args()
    backend = opened()
    how = Encoding(pooling="mean", normalize=True, max_length=256, dtype="float32", prompt="")
    for shape in options.shapes:
        characters, count = SHAPES[shape]
        texts = texts_of(characters, int(count * options.share))
        started = time.process_time()
        UnstoredEncoder(backend).encode(texts, how, ignore_event)
        seconds = (time.process_time() - started) * PER / len(texts)
        print(f"{shape}: {seconds:.2f} CPU seconds per {PER:,} texts")


if __name__ == "__main__":
    main()
