"""Attention over texts that stand end to end without padding, as transformers calls it.

Each kernel is registered with transformers under a name of its own; a model that is set to one is run by
`torch_unpadded` alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, TypeAlias

import torch

# what flash attention's kernels compute in
_HALF = (torch.bfloat16, torch.float16)
# options of transformers' attention that change numbers and that no kernel here knows
_UNKNOWN = ("softcap", "s_aux", "position_bias")


@dataclass(frozen=True, slots=True)
class Spans:
    """Where texts stand that are end to end.

    Attributes:
        ends: int32, shape (texts + 1,), on the kernel's device: 0, then where each text ends.
        longest: tokens of the longest text.
    """

    ends: torch.Tensor
    longest: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Which tokens of its text a token attends to.

    Attributes:
        scale: of the products of queries and keys.
        before, after: how many tokens on either side; None for all.
    """

    scale: float
    before: int | None
    after: int | None


# from queries, keys and values, shape (tokens, heads, head size), to the same shape; there can be fewer heads of keys
Kernel: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Spans, Seen], torch.Tensor]


def reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, seen: Seen) -> torch.Tensor:
    """Text by text in plain torch, in any precision on any device; slow, to hold the others against."""
    found = torch.empty_like(query)
    ends = spans.ends.tolist()
    for start, end in pairwise(ends):
        part = slice(start, end)
        places = torch.arange(end - start, device=query.device)
        ahead = places[None, :] - places[:, None]
        is_seen = torch.ones_like(ahead, dtype=torch.bool)
        if seen.before is not None:
            is_seen &= ahead >= -seen.before
        if seen.after is not None:
            is_seen &= ahead <= seen.after
        q, k, v = (tensor[part].transpose(0, 1)[None] for tensor in _same_heads(query, key, value))
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=is_seen, scale=seen.scale)
        found[part] = attended[0].transpose(0, 1)
    return found


@dataclass(frozen=True, slots=True)
class Varlen:
    """torch's own flash attention, from 2.10 on.

    Attributes:
        function: `torch.nn.attention.varlen.varlen_attn`.
        takes: names of its parameters, which came one by one.
    """

    function: Any
    takes: frozenset[str]

    def varlen(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, seen: Seen
    ) -> torch.Tensor:
        """See `Kernel`.

        Raises:
            NotImplementedError: this torch has no windows.
        """
        window = _window(seen)
        options: dict[str, Any] = {}
        if "window_size" in self.takes:
            options["window_size"] = window
        elif window in _PLAIN:
            options["is_causal"] = window == _CAUSAL
        else:
            raise NotImplementedError("attention to neighbours only")
        if "scale" in self.takes:
            options["scale"] = seen.scale
        else:
            # its own is that of the head size
            query = query * (seen.scale * query.shape[-1] ** 0.5)
        if "enable_gqa" in self.takes:
            options["enable_gqa"] = query.shape[1] != key.shape[1]
        else:
            query, key, value = _same_heads(query, key, value)
        ends, longest = spans.ends, spans.longest
        found: torch.Tensor = self.function(query, key, value, ends, ends, longest, longest, **options)
        return found


def torch_kernel() -> Kernel:
    """The installed torch's `Varlen`."""
    function: Any = import_module("torch.nn.attention.varlen").varlen_attn
    return Varlen(function, frozenset(inspect.signature(function).parameters)).varlen


def flash_attn(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, seen: Seen) -> torch.Tensor:
    """The flash-attn package."""
    function: Any = import_module("flash_attn").flash_attn_varlen_func
    ends, longest = spans.ends, spans.longest
    window = _window(seen)
    found: torch.Tensor = function(
        query,
        key,
        value,
        ends,
        ends,
        longest,
        longest,
        softmax_scale=seen.scale,
        causal=window[1] == 0,
        window_size=window,
    )
    return found


_EVERYTHING, _CAUSAL = (-1, -1), (-1, 0)
_PLAIN = (_EVERYTHING, _CAUSAL)


def find_kernel(device: str, dtype: torch.dtype) -> Kernel | None:
    """The kernel for a device and precision; None if texts have to be padded there."""
    if not device.startswith("cuda") or dtype not in _HALF or torch.version.cuda is None:
        return None
    if find_spec("torch.nn.attention.varlen") is not None:
        return torch_kernel()
    return flash_attn if find_spec("flash_attn") is not None else None


def register(kernel: Kernel) -> str:
    """Make a kernel known to transformers.

    Returns:
        What `set_attn_implementation` calls it.
    """
    name = f"evalharness_{kernel.__name__}"
    # its import takes seconds, and few models are set to one
    from transformers import AttentionInterface

    AttentionInterface.register(name, Attention(kernel).attend)
    return name


@dataclass(frozen=True, slots=True)
class Attention:
    """A kernel as transformers calls it."""

    kernel: Kernel

    def attend(
        self,
        module: Any,  # noqa: ANN401 -- a layer of any model
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **options: Any,  # noqa: ANN401 -- as many as transformers has models
    ) -> tuple[torch.Tensor, None]:
        """See transformers' AttentionInterface.

        Args:
            module: knows whether it is causal.
            query: shape (1, heads, tokens, head size).
            key: the same, with fewer heads where several queries share one.
            value: as `key`.
            attention_mask: None, for there is no padding.
            options: scaling, sliding_window, and where the texts stand.

        Raises:
            NotImplementedError: something is asked for that no kernel can do.
        """
        if asked := [name for name in _UNKNOWN if options.get(name) is not None]:
            raise NotImplementedError(f"attention with {', '.join(asked)}")
        if attention_mask is not None or value.shape[-1] != query.shape[-1]:
            raise NotImplementedError("attention with a mask or with values of another size")
        spans = Spans(options["cu_seq_lens_q"], options["max_length_q"])
        scale = options.get("scaling")
        window = options.get("sliding_window")
        side = None if window is None else window - 1
        seen = Seen(
            scale=query.shape[-1] ** -0.5 if scale is None else scale,
            before=side,
            after=0 if _is_causal(module, options.get("is_causal")) else side,
        )
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        return self.kernel(q, k, v, spans, seen)[None], None


def _is_causal(module: Any, asked: bool | None) -> bool:  # noqa: ANN401, FBT001 -- as above
    if asked is not None:
        return asked
    return bool(getattr(module, "is_causal", False)) and getattr(module.config, "is_causal", True) is not False


def _window(seen: Seen) -> tuple[int, int]:
    before, after = (-1 if side is None else side for side in (seen.before, seen.after))
    return before, after


def _same_heads(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same with as many heads of keys and values as there are of queries."""
    times = query.shape[1] // key.shape[1]
    if times == 1:
        return query, key, value
    return query, key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
