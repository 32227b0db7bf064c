"""The ONNX files of a model's folder: which of them runs, and what can be read of one without loading it."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evalharness.errors import ModelError, shorten
from evalharness.models.registry import ONNX_PLAIN_FILES, ResolvedModel

# what these scale by is taken from the whole batch, padding included
BATCH_OPERATORS = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
QUANTISED_OPERATORS = (
    *BATCH_OPERATORS, "DequantizeLinear", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "MatMulBnb4",
    "QAttention", "QGemm", "QLinearMatMul",
)  # fmt: skip
# of a protobuf string field: the key of external data that names its file, then that name's length and text
_DATA_FILE = re.compile(rb"\x0a\x08location\x12(.)", re.DOTALL)


def chosen_file(model: ResolvedModel) -> str:
    """The ONNX file to run, by its path in the model's folder; nothing but a plain one unless it is named."""
    name, folder, chosen = model.spec.name, model.facts.folder, model.options.onnx_file
    there = model.facts.onnx_files
    plain = [file for file in ONNX_PLAIN_FILES if file in there]
    listed = shorten(there) or "none"
    if chosen is not None and chosen not in there:
        raise ModelError(f"{name}: has no file {chosen}; its ONNX files are: {listed}")
    if chosen is None and len(plain) != 1:
        raise ModelError(
            f"{name}: {'more than one' if plain else 'no'} plain ONNX file ({' or '.join(ONNX_PLAIN_FILES)}); its ONNX "
            f"files are: {listed}. Name one with --onnx-file, or make one with --onnx-file export"
        )
    file = chosen or plain[0]
    if chosen is None and has_operators(folder / file, QUANTISED_OPERATORS):
        raise ModelError(
            f"{name}: {file} is quantised, so its vectors are not the model's; if that is what you want to measure, "
            f"name it: --onnx-file {file}"
        )
    _check_data_files(name, folder / file)
    return file


def data_files(path: Path) -> list[str]:
    """Names of the files that an ONNX file keeps its numbers in, beside itself."""
    with _content(path) as content:
        found = {content[hit.end() : hit.end() + hit[1][0]] for hit in _DATA_FILE.finditer(content)}
    return sorted(file.decode(errors="replace") for file in found)


def _check_data_files(name: str, path: Path) -> None:
    """See that the files of an ONNX file's numbers are there, and are among those that the fingerprint counts."""
    wanted = data_files(path)
    own = (f"{path.name}_data", f"{path.name}.data")
    if foreign := [file for file in wanted if not file.startswith(own) or "/" in file]:
        raise ModelError(
            f"{name}: {path.name} keeps its numbers in {shorten(foreign)}, which is not known to belong to it; "
            f"expected {' or '.join(own)}"
        )
    if missing := [file for file in wanted if not (path.parent / file).is_file()]:
        raise ModelError(
            f"{name}: {path.name} keeps its numbers in {shorten(missing)}, which is missing; fetch it, too"
        )


@contextmanager
def _content(path: Path) -> Iterator[bytes | mmap.mmap]:
    with path.open("rb") as handle:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def has_operators(path: Path, operators: Sequence[str]) -> bool:
    """Whether an ONNX file has a node of one of these types."""
    with _content(path) as content:
        # in protobuf: the field of a node's type, the name's length, the name
        return any(content.find(bytes([0x22, len(name)]) + name.encode()) >= 0 for name in operators)
