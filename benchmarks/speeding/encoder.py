"""One encoder in a process of its own: `python encoder.py NAME FOLDER` reads requests, a JSON a line, and answers.

It is run by other interpreters, too (`--peer`), so it imports nothing of ours unless the encoder is ours. A request is
`{"texts": FILE, "vectors": FILE, "batch_size": N, "round": N}`; the answer has the seconds, and vectors are in their
file then.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

OURS = "evalharness"


Encode: TypeAlias = "Callable[[list[str], int], np.ndarray[Any, Any]]"


def ours(options: Sequence[str]) -> Encode:
    """Our encoder: an engine, and a precision if it is not float32."""
    from evalharness import load_model
    from evalharness.models.options import Execution, ModelOptions

    engine, precision = options
    execution = Execution.model_validate({"device": "cpu", "engine": engine})
    changes = {} if precision == "float32" else {"dtype": precision}
    model = load_model("all-MiniLM-L6-v2", ModelOptions.model_validate(changes), execution=execution)

    def encode(texts: list[str], batch_size: int) -> np.ndarray[Any, Any]:
        del batch_size  # ours is fitted
        return np.asarray(model.encode(texts))

    return encode


def sentence_transformers(options: Sequence[str], folder: str) -> Encode:
    """sentence-transformers with one of its backends; an exported file is kept in a copy of the model's folder."""
    import sentence_transformers as peer

    precision = options[1]
    backend: Any = options[0]
    given: dict[str, Any] = {}
    if backend == "torch" and precision != "float32":
        given["model_kwargs"] = {"torch_dtype": precision}
    if backend == "openvino":
        given["model_kwargs"] = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16"}}
    model = peer.SentenceTransformer(folder, backend=backend, device="cpu", local_files_only=True, **given)

    def encode(texts: list[str], batch_size: int) -> np.ndarray[Any, Any]:
        return np.asarray(model.encode(texts, batch_size=batch_size, show_progress_bar=False))

    return encode


def main() -> None:
    """See the module."""
    name, folder = sys.argv[1:]
    system, *options = name.split("/")
    answers = sys.stdout
    # libraries write what they like
    sys.stdout = sys.stderr
    encode = ours(options) if system == OURS else sentence_transformers(options, folder)
    encode(["a text to warm up with"] * 64, 32)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        # other texts in each round, or who remembers texts has nothing to do
        texts = [
            f"{text} {request['round']}" for text in json.loads(Path(request["texts"]).read_text(encoding="utf-8"))
        ]
        started = time.perf_counter()
        vectors = encode(texts, request["batch_size"])
        seconds = time.perf_counter() - started
        np.save(request["vectors"], vectors)
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
