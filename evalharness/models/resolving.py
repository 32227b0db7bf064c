"""From a model's name and the user's options to everything that can change its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evalharness.errors import ModelError, UsageError, shorten
from evalharness.hub import ignore_message
from evalharness.models.config import FileFacts, architectures, is_static, read_facts, sends_sides_apart
from evalharness.models.folding import (
    FILES,
    Folded,
    fold_options,
    told_by_backend,
    told_by_card,
    told_by_files,
)
from evalharness.models.layout import Layout, lay_out_folder
from evalharness.models.named import DEFAULT_BACKEND, PAIRS, STATIC, Named, name_model
from evalharness.models.opening import resolve_elsewhere
from evalharness.models.options import ModelOptions, check_remote_code, modes
from evalharness.models.precision import half_precisions
from evalharness.models.registry import (
    BACKENDS,
    Backend,
    ResolvedModel,
    backend_for,
    check_installed,
    check_used,
    find_backend,
)
from evalharness.models.source import FileChoice, Lookup, ModelFiles, find_model, fingerprint
from evalharness.types import OUTPUTS, Facts, ModelSpec, Output


def resolve_model(
    name: str,
    options: ModelOptions | None = None,
    *,
    download: bool = True,
    say: Callable[[str], None] = ignore_message,
) -> ResolvedModel:
    """Check a model's name and options (`name_model`), find the model and settle what it is (`resolve`)."""
    return resolve(name_model(name, options or ModelOptions()), download=download, say=say)


def resolve(named: Named, *, download: bool = True, say: Callable[[str], None] = ignore_message) -> ResolvedModel:
    """Find a model and settle what it is.

    The user's options come first, then the card named by `like`, then the model's own card, then its own files.

    Args:
        named: the model, checked.
        download: whether the Hub may be asked.
        say: is told if the Hub has to be asked again.

    Raises:
        UsageError, PrerequisiteError, ModelError: as `find_model`; also ModelError if nothing tells the pooling, or
            the model's own code would have to run and may not.
    """
    options, chosen, card = named.options, named.backend, named.card
    backend = find_backend(chosen or DEFAULT_BACKEND)
    if not backend.is_files:
        return resolve_elsewhere(chosen or DEFAULT_BACKEND, named)
    if card is not None and card.remote_code:
        check_remote_code(card.name, options)
    own_classes = backend.runs_own_classes and options.trust_remote_code
    choice = FileChoice(backend.weights(options), own_classes, options.safetensors_only)
    files = find_model(named.name, Lookup(named.own_card, options.cards, download, say, choice))
    layout = lay_out_folder(files.folder, choice.weights, own_classes=own_classes)
    facts = read_facts(files.folder, layout)
    usual = card.usual_backend if card else _backend_of_files(facts, layout)
    # what a card says of the model has been checked with its name
    if card is None:
        check_used(files.name, options, {chosen or usual: backend_for(chosen or usual, usual, files.name)})
    if chosen is None:
        check_installed(usual)
        chosen = usual
    spec = _spec(_Found(files, facts, layout, named, chosen, usual))
    return ResolvedModel(spec, facts, options, usual=usual, about=files.about)


def _backend_of_files(facts: FileFacts, layout: Layout) -> str:
    """The backend of a model without a card."""
    if is_static(facts.folder, layout.modules):
        return STATIC
    heads = architectures(facts.transformer)
    return PAIRS if any(head.endswith("ForSequenceClassification") for head in heads) else DEFAULT_BACKEND


@dataclass(frozen=True, slots=True)
class _Found:
    """All that is known of a model that is files, from its different sources."""

    files: ModelFiles
    facts: FileFacts
    layout: Layout
    named: Named
    backend_name: str
    usual: str

    @property
    def backend(self) -> Backend:
        return backend_for(self.backend_name, self.usual, self.files.name)

    @property
    def is_table(self) -> bool:
        """Whether it takes the mean of token vectors."""
        return self.backend_name == STATIC or self.facts.is_table


def _spec(found: _Found) -> ModelSpec:
    files, card, options = found.files, found.named.card, found.named.options
    content = fingerprint(files.folder, found.facts.files)
    _check_dense_layers(found)
    _check_precision(found)
    counted = modes(options)
    told = [*told_by_files(found.facts, card), *told_by_card(card, options.protocol)]
    folded = fold_options([*told, told_by_backend(found.backend_name, found.backend, table=found.is_table)], options)
    _check_pooling(found, folded)
    _check_length(found, folded.facts)
    own_code = options.trust_remote_code and (found.facts.own_code or bool(card and card.remote_code))
    return ModelSpec.model_validate(
        {
            **folded.facts.stated(),
            "name": options.name or files.name,
            # without what only one backend or mode reads, so that all of them are of one revision
            "revision": files.revision or _revision(found, content),
            "fingerprint": content,
            "kind": found.backend.kind,
            "backend": found.backend_name,
            "encodes_by": ("side",) if sends_sides_apart(found.facts.modules) and not folded.facts.adapters else (),
            "outputs": _outputs(counted),
            "output_weights": {} if set(counted) == {"dense"} else counted,
            "remote_code": own_code,
            "facts_from": folded.read_from,
            "origins": folded.origins,
            "notes": (*([card.note] if card and card.note else []), *_notes(found, folded)),
            "overrides": found.named.overrides(DEFAULT_BACKEND),
        }
    )


def _revision(found: _Found, content: str) -> str:
    """What the results call this state of a folder."""
    own_classes = any(not module.is_known for module in found.layout.modules)
    plain = lay_out_folder(found.files.folder, own_classes=own_classes).files
    return (content if plain == found.facts.files else fingerprint(found.files.folder, plain))[:40]


def _check_pooling(found: _Found, folded: Folded) -> None:
    # modules without a Pooling make whole vectors in a way of their own
    by_modules = found.backend.runs_own_classes and found.facts.modules
    if found.named.card is None and "pooling" not in folded.origins and not by_modules:
        raise ModelError(
            f"{found.files.name}: nothing tells how to pool token vectors (no card, no modules.json with a Pooling "
            "module). Give --like BASE for a checkpoint fine-tuned from a model with a card, or "
            "--pooling cls|mean|weightedmean|lasttoken"
        )


def _check_precision(found: _Found) -> None:
    wanted, known = found.named.options.dtype, found.backend.precisions
    if wanted is not None and wanted not in known:
        able = [name for name, backend in BACKENDS.items() if wanted in backend.precisions]
        raise UsageError(
            f"{found.files.name}: the {found.backend_name} backend computes in {' or '.join(known)}, {wanted} is "
            f"wanted; what does is --backend {shorten(able)}"
        )


def _check_dense_layers(found: _Found) -> None:
    card, layers = found.named.card, len(found.facts.dense)
    if card is not None and card.dense_layers > layers:
        raise ModelError(
            f"{found.files.name}: the model has {card.dense_layers} dense layers after the pooling, but its "
            f"modules.json names {layers}; without them every vector is wrong. Give the folder with all of its files"
        )


def _outputs(counted: Mapping[Output, float]) -> tuple[Output, ...]:
    """Vectors to make: those that count, and dense ones for the first step that multi-vectors may need."""
    return tuple(name for name in OUTPUTS if name in counted or ("multi-vector" in counted and name == "dense"))


def _check_length(found: _Found, facts: Facts) -> None:
    length, positions = facts.max_length, found.facts.positions
    if not found.is_table and positions is not None and length is not None and length > positions:
        raise ModelError(
            f"{found.files.name}: the model has positions for {positions} tokens, but its maximum length was to be "
            f"{length}; give --max-length {positions} or less"
        )


def _notes(found: _Found, folded: Folded) -> tuple[str, ...]:
    options, facts, card = found.named.options, found.facts, found.named.card
    notes: list[str] = []
    if found.backend_name == "onnx" and options.onnx_file not in (None, "export"):
        notes.append(f"ran the ONNX file {options.onnx_file}, which may be quantised")
    if options.trust_remote_code and (facts.own_code or (card and card.remote_code)):
        elsewhere = f" and of {', '.join(facts.foreign_code)}" if facts.foreign_code else ""
        notes.append(f"ran Python code of {found.files.name}{elsewhere} (--trust-remote-code)")
    if pickles := found.layout.pickles:
        notes.append(f"weights are pickles, read without running code from them ({shorten(pickles)})")
    notes += _precision_notes(found, folded.facts)
    if (kept := folded.facts.dimensions) is not None:
        # sentence-transformers cuts what its Normalize module gave; by cosine both are the same
        again = ", then scaled to length 1 (sentence-transformers scales before it cuts)"
        by_files = folded.origins["dimensions"] == FILES
        scaled = by_files and facts.said.normalize and options.normalize is not False
        notes.append(f"vectors cut to {kept} dimensions{again if scaled else ''}")
    return tuple(notes)


def _precision_notes(found: _Found, facts: Facts) -> list[str]:
    """That weights are computed in another precision than they are stored in."""
    # a table of vectors is used as it is stored
    if facts.dtype != "float32" or found.backend_name == STATIC:
        return []
    stored = half_precisions(found.facts.transformer, [found.files.folder / name for name in found.layout.weights])
    how = f"weights stored in {' and '.join(stored)}, computed in float32; mteb computes them as stored"
    return [how] if stored else []
