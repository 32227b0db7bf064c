"""Prompts (instructions): which one a text gets, with all else that determines its vector, and how it is put there.

This is the only place where a prompt is chosen; which field of a card or of a model's files it comes from is settled
before, in its spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalharness.types import Encoding, ModelSpec, Side, TaskContext


def _keys(side: Side, task: TaskContext | None) -> list[str]:
    """Keys of prompts by mteb's precedence: task and side, task, type and side, type; not the side alone."""
    keys: list[str] = []
    for name in (task.name, task.type) if task else ():
        keys += [f"{name}-{side}", name] if side else [name]
    return keys


def _by_key(values: Mapping[str, str], keys: Sequence[str], fallback: str) -> str:
    return next((values[key] for key in keys if key in values), fallback)


def choose_prompt(spec: ModelSpec, side: Side, task: TaskContext | None) -> str:
    """The prompt of a text, by mteb's precedence.

    Keys are tried in the order task and side, task, task type and side, task type; then comes the task's own
    instruction, if the model has a template for it; then the side. Where none fits, a text without a side gets the
    model's default prompt and one with a side gets none.

    >>> spec = ModelSpec(name="a/b", revision="0", fingerprint="0", pooling="cls", normalize=True, max_length=512,
    ...                  prompts={"query": "Q: ", "ArguAna-query": "A: "})
    >>> choose_prompt(spec, "query", TaskContext(name="ArguAna", type="Retrieval"))
    'A: '
    >>> choose_prompt(spec, "document", TaskContext(name="ArguAna", type="Retrieval"))
    ''
    """
    keys = _keys(side, task)
    if found := next((key for key in keys if key in spec.prompts), None):
        return spec.prompts[found]
    if spec.instruction_template and task and task.instruction and side != "document":
        return spec.instruction_template.replace("{instruction}", task.instruction)
    return _by_key(spec.prompts, [side] if side else [], "" if side else spec.default_prompt)


def encoding(spec: ModelSpec, side: Side, task: TaskContext | None) -> Encoding:
    """All that determines the vectors of this side of this task."""
    keys = [*_keys(side, task), *([side] if side else [])]
    return Encoding(
        pooling=spec.pooling,
        normalize=spec.normalize and (task is None or task.type not in spec.unnormalized_types),
        max_length=spec.max_length,
        dtype=spec.dtype,
        prompt=choose_prompt(spec, side, task),
        suffix=_by_key(spec.suffixes, keys, "" if side else spec.suffixes.get("", "")),
        prompt_as_tokens=spec.prompt_as_tokens,
        prompt_within=next((spec.prompt_within[key] for key in keys if key in spec.prompt_within), None),
        pool_prompt=spec.pool_prompt,
        layer_norm=spec.layer_norm,
        dimensions=spec.dimensions,
        adapter=_by_key(spec.adapters, keys, ""),
        outputs=spec.outputs,
        side=side if "side" in spec.encodes_by else None,
        task=task.name if task and "task" in spec.encodes_by else "",
    )


def prompted(text: str, encoding: Encoding, *, bare: bool = False) -> str:
    """A text with its prompt and suffix, for models that read them as one text.

    Args:
        text: what is to be encoded.
        encoding: has both.
        bare: leaves the prompt out, of a text that is too long for it.

    >>> how = Encoding(pooling="cls", normalize=True, max_length=8, dtype="float32", prompt="query: ", suffix=" end")
    >>> prompted("ferns", how), prompted("ferns", how, bare=True)
    ('query: ferns end', 'ferns end')
    """
    return f"{'' if bare else encoding.prompt}{text}{encoding.suffix}"
