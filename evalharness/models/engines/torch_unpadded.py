"""Batches without padding: the texts of a batch stand end to end as one row, and only attention knows where one ends.

Which models can do so is no matter of belief: a model is tried when it is opened, beside its padded self.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evalharness.models.engines.torch_attention import Kernel, register
from evalharness.models.forward.devices import moved

# the architectures that the tests hold against their padded selves; those in the second count positions from the
# padding token's number on
_FROM_ZERO = ("bert", "electra", "distilbert", "modernbert", "qwen2", "qwen3", "mistral", "llama")
_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")
ARCHITECTURES = _FROM_ZERO + _FROM_PADDING
# as much of a text's states as rounding can change, and as other neighbours or positions change at the least
_EXACT, _ROUNDED = 1e-4, 5e-2
_WORDS = ("How", "do", "ferns", "grow", "in", "the", "shade", "of", "stones", "and", "rivers", "?", "7", "x-ray", "!")
# of words; the longest goes beyond the windows of models that attend to neighbours only
_LENGTHS = (0, 1, 5, 17, 60, 300)
TRIAL_TEXTS = [" ".join(_WORDS[(place * 7 + length) % len(_WORDS)] for place in range(length)) for length in _LENGTHS]


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch end to end, on the device.

    Attributes:
        named: what the transformer takes.
        places: int64, of each token in the padded batch, end to end.
        shape: texts, tokens of the padded batch.
    """

    named: Mapping[str, Any]
    places: torch.Tensor
    shape: torch.Size


class Unpadded:
    """A model whose transformer takes batches without padding, with whatever stands around it as it was."""

    def __init__(self, loaded: Any, kernel: Kernel) -> None:  # noqa: ANN401 -- transformers has no common type
        """See the class; `take_off` undoes it.

        Args:
            loaded: a model of transformers, where it is to run.
            kernel: see `torch_attention`.
        """
        self._loaded = loaded
        self._base = loaded.base_model
        self._takes = set(inspect.signature(self._base.forward).parameters)
        config = loaded.config
        self._padding = config.pad_token_id if config.model_type in _FROM_PADDING else None
        self._device = str(next(loaded.parameters()).device)
        self._before: str = config._attn_implementation  # noqa: SLF001 -- nothing public tells
        loaded.set_attn_implementation(register(kernel))
        self._now: Packed | None = None
        self._hooks = [
            self._base.register_forward_pre_hook(self._pack, with_kwargs=True),
            self._base.register_forward_hook(self._unpack),
        ]

    def take_off(self) -> None:
        """Make the model what it was."""
        for hook in self._hooks:
            hook.remove()
        self._loaded.set_attn_implementation(self._before)

    def run(self, inputs: Mapping[str, torch.Tensor], packed: Packed) -> Any:  # noqa: ANN401 -- as above
        """What the model gives for a padded batch, one at a time; states of padding are 0.

        Args:
            inputs: on the CPU, padded on the right.
            packed: the same end to end.
        """
        # the transformer takes none of them, but what stands around it can
        around = inputs if self._base is self._loaded else {k: moved(v, self._device) for k, v in inputs.items()}
        self._now = packed
        try:
            return self._loaded(**around)
        finally:
            self._now = None

    def packed(self, inputs: Mapping[str, torch.Tensor]) -> Packed:
        """A padded batch end to end, on the model's device; the copies go on after this returns."""
        ids, mask = (inputs[name].numpy() for name in ("input_ids", "attention_mask"))
        is_there = mask != 0
        # a text of no token has one, as numbers can be made of nothing else
        is_there[:, 0] |= ~is_there.any(axis=1)
        lengths = is_there.sum(axis=1)
        ends = np.concatenate([[0], lengths.cumsum()])
        places = np.flatnonzero(is_there)
        columns = {"input_ids": ids.ravel()[places], "position_ids": self._positions(ids, ends, places)}
        if "token_type_ids" in self._takes:
            types = inputs.get("token_type_ids")
            columns["token_type_ids"] = np.zeros_like(places) if types is None else types.numpy().ravel()[places]
        # one copy for all
        whole = moved(torch.from_numpy(np.stack([places, *columns.values()])), self._device)
        spans = moved(torch.from_numpy(ends.astype(np.int32)), self._device)
        longest = int(lengths.max())
        named: dict[str, Any] = {name: whole[number : number + 1] for number, name in enumerate(columns, start=1)}
        # transformers' names
        named |= {"cu_seq_lens_q": spans, "cu_seq_lens_k": spans, "max_length_q": longest, "max_length_k": longest}
        return Packed({**named, "attention_mask": None}, whole[0], inputs["input_ids"].shape)

    def _positions(self, ids: np.ndarray[Any, Any], ends: np.ndarray[Any, Any], places: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401
        if self._padding is None:
            return np.arange(ends[-1]) - np.repeat(ends[:-1], np.diff(ends))
        is_counted = ids != self._padding
        numbers = is_counted.cumsum(axis=1) * is_counted + self._padding
        return numbers.ravel()[places]

    def _pack(self, module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:  # noqa: ANN401
        del module
        # the ids come first wherever they have no name
        if len(given) > 1:
            raise NotImplementedError("a head that gives its transformer more than ids without their names")
        return (), named if self._now is None else {**named, **self._now.named}

    def _unpack(self, module: Any, given: Any, output: Any) -> Any:  # noqa: ANN401
        del given
        if self._now is None:
            return output
        states = output.last_hidden_state[0]
        texts, tokens = self._now.shape
        padded = states.new_zeros(texts * tokens, states.shape[-1])
        padded[self._now.places] = states
        output.last_hidden_state = padded.view(texts, tokens, -1)
        if output.get("pooler_output") is not None:
            output.pooler_output = module.pooler(output.last_hidden_state)
        return output


def tried(loaded: Any, kernel: Kernel, inputs: Mapping[str, torch.Tensor], output: str) -> Unpadded | None:  # noqa: ANN401
    """The model without padding, if that gives what it gives with padding.

    Args:
        loaded: a model of transformers, where it is to run.
        kernel: see `torch_attention`.
        inputs: of `TRIAL_TEXTS`, on the CPU, padded on the right.
        output: the name of what is compared, `last_hidden_state` or `logits`.

    Returns:
        None if it gives something else, fails, or is of an architecture that no test tries; it is then as it was.
    """
    if loaded.config.model_type not in ARCHITECTURES:
        return None
    device = str(next(loaded.parameters()).device)
    with torch.inference_mode():
        unpadded = None
        try:
            wanted = getattr(loaded(**{name: moved(value, device) for name, value in inputs.items()}), output)
            unpadded = Unpadded(loaded, kernel)
            found = getattr(unpadded.run(inputs, unpadded.packed(inputs)), output)
            mask = moved(inputs["attention_mask"], device)
            is_same = bool((_differences(found, wanted, mask) <= _bound(wanted.dtype)).all())
        except Exception:  # noqa: BLE001 -- other versions of libraries, kernels that lack a head size: then padding it is
            is_same = False
        if not is_same and unpadded is not None:
            unpadded.take_off()
        return unpadded if is_same else None


def _differences(found: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Per text, by how much its own states differ, against their length; for scores, against 1 and the score."""
    if wanted.ndim == len(("texts", "numbers")):
        found, wanted = ((torch.nn.functional.pad(part, (0, 1), value=1.0)) for part in (found, wanted))
    else:
        found, wanted = (part * mask[:, :, None] for part in (found, wanted))
    found, wanted = (part.double().flatten(1) for part in (found, wanted))
    differences: torch.Tensor = (found - wanted).norm(dim=1) / wanted.norm(dim=1).clamp(min=1e-12)
    return differences


def _bound(dtype: torch.dtype) -> float:
    return _EXACT if dtype == torch.float32 else _ROUNDED
