"""From texts to vectors, by this project and by sentence-transformers, each at its best setting.

As a program, it runs sentence-transformers with flash attention: whether there is any, libraries ask on their import.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalharness.types import DType

# of which the library's best is taken
_BATCH_SIZES = (128, 512)
_PRECISIONS: tuple[DType, ...] = ("float16", "bfloat16")
# of the process with flash attention, in seconds
_LONGEST = 120
# flash-attn's names over torch's own flash attention, for libraries that know no other
_STAND_IN = """
import inspect

from torch.nn.attention.varlen import varlen_attn

__version__ = "2.8.3"
_TAKES = inspect.signature(varlen_attn).parameters


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, causal=False,
    window_size=(-1, -1), softcap=0.0, deterministic=False, **other
):
    if k.shape[1] != q.shape[1] and "enable_gqa" not in _TAKES:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    options = {"enable_gqa": True} if k.shape[1] != q.shape[1] else {}
    if "window_size" in _TAKES:
        options |= {"window_size": (window_size[0], 0) if causal else tuple(window_size), "scale": softmax_scale}
    else:
        options |= {"is_causal": causal}
    return varlen_attn(
        q, k, v, cu_seqlens_q.int(), cu_seqlens_k.int(), int(max_seqlen_q), int(max_seqlen_k), **options
    )


def flash_attn_func(*given, **named):
    raise NotImplementedError("texts without padding only")


flash_attn_with_kvcache = flash_attn_func
"""
_PADDING = (
    "def pad_input(*given): raise NotImplementedError\ndef unpad_input(*given, **named): raise NotImplementedError\n"
)


@dataclass(frozen=True, slots=True)
class Way:
    """A way from texts to vectors, and how long it took."""

    engine: str
    precision: str
    seconds: float
    notes: str = ""


def timed(encode: Callable[[list[str]], Any], texts: Sequence[str]) -> float:
    """Seconds for all texts, after others of the same lengths."""
    encode([" ".join(reversed(text.split())) for text in texts[: len(texts) // 8]])
    begun = time.perf_counter()
    encode(list(texts))
    return time.perf_counter() - begun


def our_ways(folder: Path, texts: Sequence[str], device: str) -> Iterator[Way]:
    """This project's own, as `--precision` has it run."""
    from evalharness.models.loading import load_model
    from evalharness.models.options import Execution, ModelOptions

    for precision in _PRECISIONS:
        options = ModelOptions(dtype=precision, name="random/weights")
        model = load_model(str(folder), options, execution=Execution(device=device))
        yield Way("ours", precision, timed(model.encode, texts))


def library_ways(folder: Path, texts: Sequence[str], device: str, attention: str = "sdpa") -> Iterator[Way]:
    """sentence-transformers in float16, with batches of several sizes."""
    import torch
    from sentence_transformers import SentenceTransformer

    given: Any = {"dtype": torch.float16, "attn_implementation": attention}
    model = SentenceTransformer(str(folder), device=device, local_files_only=True, model_kwargs=given)
    for size in _BATCH_SIZES:
        seconds = timed(partial(model.encode, batch_size=size, show_progress_bar=False), texts)
        unpadded = "unpadded" if getattr(model[0], "can_flatten_inputs", False) else "padded"
        yield Way("sentence-transformers", "float16", seconds, f"{attention}, {unpadded}, batches of {size} texts")


def separate(folder: Path, texts: Sequence[str], device: str) -> Iterator[Way]:
    """sentence-transformers with flash attention, in a process that has it: see `_STAND_IN`."""
    if not device.startswith("cuda"):
        return
    given = json.dumps(list(texts))
    started = [sys.executable, __file__, str(folder), device]
    done = subprocess.run(started, input=given, capture_output=True, text=True, check=False, timeout=_LONGEST)
    if done.returncode:
        raise RuntimeError(f"with flash attention: {done.stderr[-250:]}")
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield Way(**json.loads(line))


def main() -> None:
    """See `separate`."""
    folder, device = sys.argv[1:]
    texts = json.load(sys.stdin)
    behind = "the flash-attn package"
    with TemporaryDirectory() as place:
        if find_spec("flash_attn") is None:
            behind = "torch's own flash attention under flash-attn's name"
            stand_in(Path(place))
        for way in library_ways(Path(folder), texts, device, "flash_attention_2"):
            print(json.dumps(asdict(replace(way, notes=f"{way.notes}; {behind}"))), flush=True)


def stand_in(place: Path) -> None:
    """A package flash_attn over torch's own kernels, before anybody asks whether there is one."""
    files = {
        "flash_attn/__init__.py": _STAND_IN,
        "flash_attn/bert_padding.py": _PADDING,
        "flash_attn-2.8.3.dist-info/METADATA": "Metadata-Version: 2.1\nName: flash_attn\nVersion: 2.8.3\n",
        "flash_attn-2.8.3.dist-info/top_level.txt": "flash_attn\n",
        "flash_attn-2.8.3.dist-info/RECORD": "flash_attn/__init__.py,,\n",
    }
    for name, content in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(content, encoding="utf-8")
    sys.path.insert(0, str(place))


if __name__ == "__main__":
    main()
