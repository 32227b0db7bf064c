"""What a model is, folded from all who say something of it: defaults, its files, its card, its backend, the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from evalharness.models.cards import ModelCard, Published
from evalharness.models.config import FileFacts
from evalharness.models.named import STATIC, Named
from evalharness.models.options import ModelOptions
from evalharness.models.registry import Backend, find_backend
from evalharness.types import Facts, ModelSpec, Protocol, VectorFacts

# what results of a model without one say in its place, as mteb
NO_REVISION = "no_revision_available"
FILES, BACKEND = "the model's own files", "its backend"
_DEFAULT, _OPTIONS = "default", "the options"
_USUAL_LENGTH = 512
_SILENT = Facts()
# where a card is silent on them, the model's files still hold
_BESIDE_A_CARD = ("dimensions", "pool_prompt")


@dataclass(frozen=True, slots=True)
class Stated:
    """What one source says: `facts` has only those fields set that it speaks of."""

    source: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Folded:
    """All facts of a model.

    Attributes:
        facts: those that were stated are set.
        origins: fact -> who stated it.
        sources: all who were asked, the last word last.
    """

    facts: Facts
    origins: Mapping[str, str]
    sources: tuple[str, ...]

    @property
    def read_from(self) -> str:
        """Where to read what the model is: the strongest source that is more than a change."""
        found = [source for source in self.sources if source not in (_DEFAULT, BACKEND, _OPTIONS)]
        return found[-1] if found else "nothing but the options"


def fold(stated: Sequence[Stated]) -> Folded:
    """Put what several sources say together; who comes later has the last word.

    >>> found = fold([Stated("files", Facts(max_length=512, normalize=True)), Stated("you", Facts(max_length=64))])
    >>> found.facts.max_length, found.facts.normalize, found.origins
    (64, True, {'normalize': 'files', 'max_length': 'you'})
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for said in stated:
        values |= said.facts.stated()
        origins |= dict.fromkeys(said.facts.stated(), said.source)
    return Folded(Facts.model_validate(values), origins, tuple(said.source for said in stated))


def fold_options(stated: Sequence[Stated], options: ModelOptions) -> Folded:
    """As `fold`, with the user's options in the end: a prompt of theirs replaces all prompts of its side."""
    chosen: dict[str, Any] = {
        name: value for name in Facts.model_fields if (value := getattr(options, name, None)) is not None
    }
    sides = {"query": options.query_prompt, "document": options.document_prompt}
    if given := {side: text for side, text in sides.items() if text is not None}:
        known = fold(stated).facts.prompts
        kept = {key: text for key, text in known.items() if key.rpartition("-")[2] not in given}
        chosen["prompts"] = kept | given
    return fold([*stated, Stated(_OPTIONS, Facts.model_validate(chosen))])


def told_by_files(facts: FileFacts, card: ModelCard | None) -> list[Stated]:
    """What a model's own files say, and what holds where they are silent; little of it counts beside a card."""
    said = facts.said.stated()
    if card is not None:
        said = {name: value for name, value in said.items() if name in _BESIDE_A_CARD}
    usual = Facts(max_length=_USUAL_LENGTH)
    return [Stated(_DEFAULT, usual), Stated(FILES, Facts.model_validate(said))]


def told_by_card(card: ModelCard | None, protocol: Protocol) -> list[Stated]:
    """What a card says of a model under a protocol."""
    if card is None:
        return []
    published = card.published if protocol == "published" else None
    said = {name: value for name, value in card.stated().items() if value != getattr(_SILENT, name)}
    if published is None and card.mteb_max_length is not None:
        said["max_length"] = card.mteb_max_length
    source = f"card of {card.name}"
    found = [Stated(source, Facts.model_validate(said))]
    if published is not None:
        by_authors = _published_facts(card, published)
        found.append(Stated(f"{source}, published protocol ({published.source})", by_authors))
    return found


def _published_facts(card: ModelCard, published: Published) -> Facts:
    # the card's default prompt is mteb's
    said = {"default_prompt": "", **published.stated()}
    if published.query_prompt_tasks is not None:
        said["prompts"] = {f"{task}-query": card.prompts["query"] for task in published.query_prompt_tasks}
    return Facts.model_validate(said)


def told_by_backend(name: str, backend: Backend, *, table: bool = False) -> Stated:
    """What follows from what a backend makes, whatever a card says that was lent to the model.

    Args:
        name: of the backend.
        backend: as it runs the model.
        table: whether the model is a table of token vectors, a mean of which has no limit of length.
    """
    said: dict[str, Any] = {}
    if backend.kind == "reranker":
        said |= dict(VectorFacts())
    if backend.kind == "reranker" or name == STATIC or not backend.is_files:
        said["pooling"] = "own"
    if table:
        said["max_length"] = None
    return Stated(BACKEND, Facts.model_validate(said))


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a model that is no files here from others: a server, a Python object, a word counter.

    Attributes:
        name: as it shall stand in results.
        revision: what the results call this state of the model.
        content: the most that is known of what the model is; becomes the fingerprint.
        notes: what a reader of any of its numbers must know.
    """

    name: str
    revision: str
    content: str
    notes: tuple[str, ...] = ()


def spec_without_files(named: Named, backend: str, identity: Identity, said: Stated | None = None) -> ModelSpec:
    """A model that is not files here. Its card says the rest, if it has one.

    Args:
        named: the model, by the name that its backend knows it by.
        backend: its backend.
        identity: which it is.
        said: what the backend says of its facts, against the card.
    """
    options, card = named.options, named.card
    told = [*told_by_card(card, options.protocol), *([] if said is None else [said])]
    folded = fold_options([*told, told_by_backend(backend, find_backend(backend))], options)
    facts = {
        **folded.facts.stated(),
        "name": options.name or identity.name,
        "revision": identity.revision,
        "fingerprint": sha256(identity.content.encode()).hexdigest(),
        "kind": find_backend(backend).kind,
        "backend": backend,
        "facts_from": folded.read_from,
        "origins": folded.origins,
        "notes": (*([card.note] if card and card.note else []), *identity.notes),
        # one that is mostly run here has results of its own when a server runs it
        "overrides": named.overrides(backend),
    }
    return ModelSpec.model_validate(facts)
