"""In which precision a model's weights are stored, read from the files' headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalharness.errors import ModelError
from evalharness.reading import NoJsonError, checked, parse_json, read_object

_HALF = {"F16": "float16", "BF16": "bfloat16", "float16": "float16", "bfloat16": "bfloat16"}
# of a safetensors file: first the length of its header, in so many bytes
_LENGTH_BYTES = 8
# more than any library accepts
_LONGEST_HEADER = 100 * 2**20


def half_precisions(transformer: Path, files: Sequence[Path]) -> list[str]:
    """Kinds of half precision that weights are stored in, sorted.

    Pickles have no header; of them, config.json says it.

    Args:
        transformer: the folder of config.json.
        files: with weights.

    Raises:
        ModelError: a file is no safetensors file.
    """
    found = {kind for path in files if path.suffix == ".safetensors" for kind in _kinds(path)}
    if any(path.suffix == ".bin" for path in files):
        config = transformer / "config.json"
        settings = read_object(config, ModelError) if config.is_file() else {}
        found |= {str(settings.get(key)).removeprefix("torch.") for key in ("dtype", "torch_dtype")}
    return sorted({_HALF[kind] for kind in found if kind in _HALF})


def _kinds(path: Path) -> set[str]:
    """Types of a file's tensors, in safetensors' words."""
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(_LENGTH_BYTES), "little")
            content = handle.read(length) if length <= _LONGEST_HEADER else b""
        header = parse_json(content)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except NoJsonError:
        raise ModelError(
            f"{path}: is cut, damaged or no safetensors file (its header cannot be read); fetch it again"
        ) from None
    tensors = checked(header, dict, f"{path}, its header", ModelError)
    return {str(item.get("dtype")) for item in tensors.values() if isinstance(item, dict)}
