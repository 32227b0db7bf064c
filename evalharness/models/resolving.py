"""From a model's name and the user's options to everything that can change its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from evalharness.cards import VECTOR_FACTS, ModelCard
from evalharness.errors import ModelError, UsageError, shorten
from evalharness.hub import ignore_message
from evalharness.models.backends import (
    BACKENDS,
    Backend,
    ResolvedModel,
    check_installed,
    check_used,
    find_backend,
    resolve_elsewhere,
)
from evalharness.models.files import FileFacts, architectures, is_static, read_facts, side_adapters
from evalharness.models.kinds import backend_for
from evalharness.models.layout import Layout, lay_out_folder
from evalharness.models.options import ModelOptions, card_of, check_options, check_protocol, check_remote_code, modes
from evalharness.models.source import (
    FileChoice,
    Lookup,
    ModelFiles,
    check_name,
    find_model,
    fingerprint,
    is_hub_name,
)
from evalharness.models.stored import half_precisions
from evalharness.types import OUTPUTS, ModelSpec, Output, Pooling, Published

_FALLBACK_MAX_LENGTH = 512
_DEFAULT_BACKEND, _STATIC, _PAIRS = "transformers", "static", "cross-encoder"
# of models without a card, whose files tell
_TOLD_BY_FILES = (_DEFAULT_BACKEND, _STATIC, _PAIRS)

# a model of which nothing is known yet
_BLANK = ModelSpec(name="", revision="", fingerprint="", pooling="own", normalize=False, max_length=None)


def named_backend(name: str, options: ModelOptions) -> str | None:
    """The backend that the options, the name or the card ask for; None if only the model's files can tell.

    `python:module:function`, `mteb:NAME` and the bare name `bm25` name their backend.
    """
    if options.backend is not None:
        return options.backend
    prefix = name.partition(":")[0]
    if prefix in BACKENDS and not BACKENDS[prefix].is_files and not Path(name).exists():
        return prefix
    card = card_of(name, options)
    return card.usual_backend if card else None


def check_model(name: str, options: ModelOptions) -> None:
    """Check all names of a model and its options, without asking the Hub.

    Raises:
        UsageError: one does not exist, or they do not go together.
        DataError: the user's file of cards is wrong.
        PrerequisiteError: a package that the backend needs is not there.
    """
    check_options(options)
    backend = named_backend(name, options)
    if backend is None or find_backend(backend).is_files:
        check_name(name, options.cards)
    if (card := card_of(name, options)) and card.unsupported:
        raise UsageError(
            f"{name}: no backend here runs {card.name} as its authors mean it, for {card.unsupported}. Its card is for "
            "reading only"
        )
    able = _TOLD_BY_FILES if backend is None else (backend,)
    usual = card.usual_backend if card else None
    check_used(name, options, {each: backend_for(each, usual, name) for each in able})
    if backend is not None:
        check_installed(backend)
    check_protocol(name, options)


def needs_hub(name: str, options: ModelOptions) -> bool:
    """Whether the model has to be looked for on the Hub."""
    backend = named_backend(name, options)
    return is_hub_name(name) and (backend is None or find_backend(backend).is_files)


def resolve_model(
    name: str,
    options: ModelOptions | None = None,
    *,
    download: bool = True,
    say: Callable[[str], None] = ignore_message,
) -> ResolvedModel:
    """Find a model and settle what it is.

    The user's options come first, then the card named by `like`, then the model's own card, then its own files.

    Args:
        name: see `source.find_model`; also what `named_backend` knows.
        options: what the user changes.
        download: whether the Hub may be asked.
        say: is told if the Hub has to be asked again.

    Raises:
        UsageError, PrerequisiteError, ModelError: as `find_model`; also ModelError if nothing tells the pooling, or
            the model's own code would have to run and may not.
    """
    options = options or ModelOptions()
    check_model(name, options)
    chosen = named_backend(name, options)
    backend = find_backend(chosen or _DEFAULT_BACKEND)
    if not backend.is_files:
        return _of_its_kind(resolve_elsewhere(chosen or _DEFAULT_BACKEND, name, options))
    card = card_of(name, options)
    if card is not None and card.remote_code:
        check_remote_code(card.name, options)
    own_classes = backend.runs_own_classes and options.trust_remote_code
    choice = FileChoice(backend.weights(options), own_classes, options.safetensors_only)
    files = find_model(name, Lookup(options.cards, download, say, choice))
    layout = lay_out_folder(files.folder, choice.weights, own_classes=own_classes)
    facts = read_facts(files.folder, layout)
    card = card_of(files.name, options)
    usual = card.usual_backend if card else _backend_of_files(facts, layout)
    chosen = usual if chosen is None else chosen
    check_used(files.name, options, {chosen: backend_for(chosen, usual, files.name)})
    check_installed(chosen)
    found = _Found(files, facts, layout, card, options, chosen, usual)
    return _of_its_kind(ResolvedModel(_spec(found), facts, options))


def _of_its_kind(model: ResolvedModel) -> ResolvedModel:
    """A reranker without what is said of vectors: the card that was lent to it (`like`) may be an embedder's."""
    if model.spec.kind != "reranker":
        return model
    without = {name: getattr(_BLANK, name) for name in VECTOR_FACTS}
    return replace(model, spec=model.spec.model_copy(update=without))


def _backend_of_files(facts: FileFacts, layout: Layout) -> str:
    """The backend of a model without a card."""
    if is_static(facts.folder, layout.modules):
        return _STATIC
    heads = architectures(facts.transformer)
    return _PAIRS if any(head.endswith("ForSequenceClassification") for head in heads) else _DEFAULT_BACKEND


@dataclass(frozen=True, slots=True)
class _Found:
    """All that is known of a model that is files, from its different sources."""

    files: ModelFiles
    facts: FileFacts
    layout: Layout
    card: ModelCard | None
    options: ModelOptions
    backend_name: str
    usual: str

    @property
    def backend(self) -> Backend:
        return backend_for(self.backend_name, self.usual, self.files.name)


def _spec(found: _Found) -> ModelSpec:
    files, facts, card, options = found.files, found.facts, found.card, found.options
    content = fingerprint(files.folder, facts.files)
    _check_dense_layers(found)
    known = card_facts(card, options) if card else file_facts(facts)
    counted = modes(options)
    return known.model_copy(
        update={
            "name": options.name or files.name,
            # without what only one backend or mode reads, so that all of them are of one revision
            "revision": files.revision or _revision(found, content),
            "fingerprint": content,
            "kind": found.backend.kind,
            "backend": found.backend_name,
            "pooling": _pooling(found),
            "normalize": options.normalize if options.normalize is not None else known.normalize,
            "max_length": _max_length(known.max_length, found),
            "dtype": options.dtype or known.dtype,
            "dimensions": _dimensions(found),
            "adapters": known.adapters or side_adapters(facts.modules),
            "outputs": _outputs(counted),
            "output_weights": {} if set(counted) == {"dense"} else counted,
            "pool_prompt": known.pool_prompt and facts.pool_prompt,
            "prompts": _prompts(known.prompts, options),
            "remote_code": options.trust_remote_code and (facts.own_code or bool(card and card.remote_code)),
            "notes": (*known.notes, *_notes(found)),
            "overrides": _overrides(found),
        }
    )


def _revision(found: _Found, content: str) -> str:
    """What the results call this state of a folder."""
    own_classes = any(not module.is_known for module in found.layout.modules)
    plain = lay_out_folder(found.files.folder, own_classes=own_classes).files
    return (content if plain == found.facts.files else fingerprint(found.files.folder, plain))[:40]


def _pooling(found: _Found) -> Pooling:
    if found.backend.kind == "reranker" or found.backend_name == _STATIC:
        return "own"
    pooling = found.options.pooling or (found.card.pooling if found.card else found.facts.pooling)
    # modules without a Pooling make whole vectors in a way of their own
    if pooling is None and found.backend.runs_own_classes and found.facts.modules:
        return "own"
    if pooling is None:
        raise ModelError(
            f"{found.files.name}: nothing tells how to pool token vectors (no card, no modules.json with a Pooling "
            "module). Give --like BASE for a checkpoint fine-tuned from a model with a card, or "
            "--pooling cls|mean|weightedmean|lasttoken"
        )
    return pooling


def _check_dense_layers(found: _Found) -> None:
    card, layers = found.card, len(found.facts.dense)
    if card is not None and card.dense_layers > layers:
        raise ModelError(
            f"{found.files.name}: the model has {card.dense_layers} dense layers after the pooling, but its "
            f"modules.json names {layers}; without them every vector is wrong. Give the folder with all of its files"
        )


def _outputs(counted: Mapping[Output, float]) -> tuple[Output, ...]:
    """Vectors to make: those that count, and dense ones for the first step that multi-vectors may need."""
    return tuple(name for name in OUTPUTS if name in counted or ("multi-vector" in counted and name == "dense"))


def _overrides(found: _Found) -> dict[str, object]:
    overrides = found.options.overrides()
    usual = found.card.usual_backend if found.card else _DEFAULT_BACKEND
    if overrides.get("backend") == usual:
        del overrides["backend"]
    if found.options.like is not None:
        overrides["like"] = found.card.name if found.card else found.options.like
    return overrides


def card_facts(card: ModelCard, options: ModelOptions) -> ModelSpec:
    """What a card says of a model under a protocol; its identity is left blank."""
    published = card.published if options.protocol == "published" else None
    spec = ModelSpec(
        name=card.name,
        revision=card.revision or "",
        fingerprint="",
        pooling=card.pooling,
        normalize=card.normalize,
        max_length=card.max_length if published else card.mteb_max_length or card.max_length,
        prompts=dict(card.prompts),
        adapters=dict(card.adapters),
        prompt_within=dict(card.prompt_within),
        pool_prompt=card.pool_prompt,
        layer_norm=card.layer_norm,
        default_prompt=card.default_prompt,
        instruction_template=card.instruction_template,
        similarity=card.similarity,
        pair_template=card.pair_template,
        pair_truncation=card.pair_truncation,
        pair_instruction=card.pair_instruction,
        languages=card.languages,
        notes=(card.note,) if card.note else (),
        facts_from=f"card of {card.name}",
    )
    return published_facts(spec, published) if published else spec


def published_facts(spec: ModelSpec, published: Published) -> ModelSpec:
    """A model by its authors' own protocol instead of mteb's."""
    prompts = dict(spec.prompts if published.prompts is None else published.prompts)
    if published.query_prompt_tasks is not None:
        prompts = {f"{task}-query": spec.prompts["query"] for task in published.query_prompt_tasks}
    return spec.model_copy(
        update={
            "normalize": spec.normalize if published.normalize is None else published.normalize,
            "dtype": published.dtype or spec.dtype,
            "unnormalized_types": published.unnormalized_types,
            "prompts": prompts,
            "default_prompt": published.default_prompt,
            "suffixes": dict(published.suffixes),
            "prompt_as_tokens": published.prompt_as_tokens,
            "facts_from": f"{spec.facts_from}, published protocol ({published.source})",
        }
    )


def file_facts(facts: FileFacts) -> ModelSpec:
    """What a model's own files say of it; its identity is left blank."""
    return ModelSpec(
        name="",
        revision="",
        fingerprint="",
        pooling=facts.pooling or "own",
        normalize=bool(facts.normalize),
        max_length=facts.max_length,
        prompts=dict(facts.prompts),
        default_prompt=facts.default_prompt,
        similarity=facts.similarity,
        facts_from="the model's own files",
    )


def _max_length(known: int | None, found: _Found) -> int | None:
    if found.backend_name == _STATIC or found.facts.is_table:  # a mean over token vectors has no limit
        return found.options.max_length
    length, positions = found.options.max_length or known or _FALLBACK_MAX_LENGTH, found.facts.positions
    if positions is not None and length > positions:
        raise ModelError(
            f"{found.files.name}: the model has positions for {positions} tokens, but its maximum length was to be "
            f"{length}; give --max-length {positions} or less"
        )
    return length


def _dimensions(found: _Found) -> int | None:
    if found.backend.kind == "reranker":
        return None
    return found.facts.dimensions if found.options.dimensions is None else found.options.dimensions


def _prompts(prompts: Mapping[str, str], options: ModelOptions) -> dict[str, str]:
    kept = dict(prompts)
    for side, text in (("query", options.query_prompt), ("document", options.document_prompt)):
        if text is not None:
            kept = {key: old for key, old in kept.items() if key != side and not key.endswith(f"-{side}")}
            kept[side] = text
    return kept


def _notes(found: _Found) -> tuple[str, ...]:
    options, facts = found.options, found.facts
    notes: list[str] = []
    if found.backend_name == "onnx" and options.onnx_file not in (None, "export"):
        notes.append(f"ran the ONNX file {options.onnx_file}, which may be quantised")
    if options.trust_remote_code and (facts.own_code or (found.card and found.card.remote_code)):
        elsewhere = f" and of {', '.join(facts.foreign_code)}" if facts.foreign_code else ""
        notes.append(f"ran Python code of {found.files.name}{elsewhere} (--trust-remote-code)")
    if pickles := found.layout.pickles:
        notes.append(f"weights are pickles, read without running code from them ({shorten(pickles)})")
    notes += _precision_notes(found)
    if (kept := _dimensions(found)) is not None:
        # sentence-transformers cuts what its Normalize module gave; by cosine both are the same
        again = ", then scaled to length 1 (sentence-transformers scales before it cuts)"
        scaled = options.dimensions is None and facts.normalize and options.normalize is not False
        notes.append(f"vectors cut to {kept} dimensions{again if scaled else ''}")
    return tuple(notes)


def _precision_notes(found: _Found) -> list[str]:
    """That weights are computed in another precision than they are stored in."""
    dtype = found.options.dtype or (card_facts(found.card, found.options).dtype if found.card else "float32")
    # a table of vectors is used as it is stored
    if dtype != "float32" or found.backend_name == _STATIC:
        return []
    stored = half_precisions(found.facts.transformer, [found.files.folder / name for name in found.layout.weights])
    how = f"weights stored in {' and '.join(stored)}, computed in float32; mteb computes them as stored"
    return [how] if stored else []


def resolve_without_files(name: str, options: ModelOptions, *, backend: str, content: str, revision: str) -> ModelSpec:
    """A model that is not files here: a server, a Python object, a word counter. Its card says the rest, if it has one.

    Args:
        name: as it shall stand in results.
        options: what the user changes; a backend may refuse what it cannot do.
        backend: its backend.
        content: the most that is known of what the model is; becomes the fingerprint.
        revision: what the results call this state of the model.
    """
    card = card_of(name, options)
    known = card_facts(card, options) if card else _BLANK.model_copy(update={"facts_from": "nothing but the options"})
    overrides = options.overrides()
    # a model that is mostly run here has results of its own when a server runs it
    if card is None or backend == card.usual_backend:
        overrides.pop("backend", None)
    if options.like is not None and card is not None:
        overrides["like"] = card.name
    return known.model_copy(
        update={
            "name": options.name or name,
            "revision": revision,
            "fingerprint": sha256(content.encode()).hexdigest(),
            "kind": find_backend(backend).kind,
            "backend": backend,
            "pooling": "own",
            "normalize": options.normalize if options.normalize is not None else known.normalize,
            "max_length": options.max_length or known.max_length,
            "dtype": options.dtype or known.dtype,
            "dimensions": options.dimensions,
            "prompts": _prompts(known.prompts, options),
            "overrides": overrides,
        }
    )
