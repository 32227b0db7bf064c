"""Model cards: names to the facts of models, from our own file and from a user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, StrictBool, model_validator

from evalharness.catalog.tasks import mteb_task, task_types
from evalharness.errors import DataError, unknown_names
from evalharness.reading import read_toml, validated
from evalharness.types import BY_KEY, Facts, VectorFacts

CardKind: TypeAlias = Literal["bi-encoder", "cross-encoder", "multi-functional", "static", "lexical", "api"]

_BACKEND_OF_KIND: Mapping[CardKind, str] = {
    "bi-encoder": "transformers",
    "cross-encoder": "cross-encoder",
    "multi-functional": "m3",
    "static": "static",
    "lexical": "bm25",
    "api": "http",
}


# shorter ones are names of tasks (STS2), not typing errors
_SHORTEST_SLIP = 5
# the model that comes as a package, and what it is on the Hub
PACKAGED, PACKAGED_ID = "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"


class Published(Facts):
    """How the authors made their published scores: the facts that are other than the card's.

    Attributes:
        source: script or paper.
        query_prompt_tasks: the only tasks whose queries get the card's query prompt; None for no such rule.
    """

    source: str
    query_prompt_tasks: tuple[str, ...] | None = None


class ModelCard(Facts):
    """Facts of one model, from `evalharness/models/cards.toml` or a user's file.

    Attributes:
        name: Hub id, or what else the model is called in results.
        kind: what it makes, and how.
        revision: commit, or what the results repository calls it; None if it is not known, then the newest is taken.
        backend: where it is not the usual one of its kind.
        mteb_max_length: tokens that mteb's code for the model keeps, where they are fewer than the model can take.
        dense_layers: how many follow the pooling; their weights are in the model's files.
        remote_code: whether it cannot run without the repository's own Python code.
        published: the authors' own protocol, where it is known.
        note: what a reader of any of its numbers must know; becomes a note of its results.
        unsupported: why no backend here runs the model as its authors mean it; empty for all others.
    """

    name: str
    kind: CardKind = "bi-encoder"
    backend: str | None = None
    revision: str | None = None
    mteb_max_length: int | None = Field(default=None, ge=1)
    dense_layers: int = 0
    remote_code: StrictBool = False
    published: Published | None = None
    note: str = ""
    unsupported: str = ""

    @model_validator(mode="after")
    def _check_query_prompt(self) -> Self:
        if self.published and self.published.query_prompt_tasks is not None and "query" not in self.prompts:
            raise ValueError("published.query_prompt_tasks says who gets the prompt of queries, and there is none")
        return self

    @property
    def usual_backend(self) -> str:
        """The backend that runs the model unless another one is asked for."""
        return self.backend or _BACKEND_OF_KIND[self.kind]


@dataclass(frozen=True, slots=True)
class _Ours:
    """Our own file: the cards by name, and the families that they build on."""

    cards: Mapping[str, ModelCard]
    families: Mapping[str, dict[str, Any]]


@cache
def _ours() -> _Ours:
    path = Path(__file__).parent / "cards.toml"
    tables = read_toml(path)
    families = tables.pop("families", {})
    return _Ours({name: _card(name, table, families, path.name) for name, table in tables.items()}, families)


def cards(own: Path | None = None) -> Mapping[str, ModelCard]:
    """All model cards by name.

    Args:
        own: a user's file of cards; they come before ours and may build on our families, or on a card (`like`).

    Raises:
        DataError: the file is missing or wrong.
    """
    found = _ours().cards
    if own is None:
        return found
    # read each time: a program may write it anew, or stand in another folder by then
    tables = read_toml(own)
    families = {**_ours().families, **tables.pop("families", {})}
    mine: dict[str, ModelCard] = {}
    for name, table in tables.items():
        base = _base_card(table, {**found, **mine}, f"{own} [{name}]")
        mine[name] = _card(name, base | table, families, str(own))
        _check_keys(mine[name], f"{own} [{name}]")
    return {**mine, **{name: card for name, card in found.items() if name not in mine}}


def _card(name: str, table: dict[str, Any], families: Mapping[str, dict[str, Any]], where: str) -> ModelCard:
    family = table.pop("family", None)
    if family is not None and family not in families:
        raise DataError(f"{where} [{name}]: {unknown_names('family', [family], families)}")
    shared = families[family] if family is not None else {}
    card = validated(ModelCard, {**shared, **table, "name": name}, f"{where} [{name}]")
    said = [fact for fact, usual in VectorFacts() if getattr(card, fact) != usual]
    if said and card.kind == "cross-encoder":
        raise DataError(f"{where} [{name}]: a cross-encoder makes no vectors, so it has no {' and no '.join(said)}")
    return card


def _check_keys(card: ModelCard, where: str) -> None:
    """See that no key is a slip of a side or of a task type; any other key may be a task of the user's.

    Raises:
        DataError: one is, and no text would ever get what stands under it.
    """
    sides = ("query", "document")
    known = (*sides, *task_types())
    for field in BY_KEY:
        for key in getattr(card, field):
            task, _, side = key.rpartition("-")
            wrong, names = (side, sides) if task and side not in sides else (task or key, known)
            if wrong in names or mteb_task(wrong) is not None:
                continue
            near = get_close_matches(wrong.casefold(), [name.casefold() for name in names], n=1, cutoff=0.8)
            if near and (len(wrong) >= _SHORTEST_SLIP or near[0] == wrong.casefold()):
                meant = next(name for name in names if name.casefold() == near[0])
                raise DataError(f"{where}: {field} has the key {key!r}, which no text gets: did you mean {meant}?")


def _base_card(table: dict[str, Any], known: Mapping[str, ModelCard], where: str) -> dict[str, Any]:
    """What a user's card takes over from the one that it names as `like`; not the commit, which is another model's."""
    base = table.pop("like", None)
    if base is None:
        return {}
    if base not in known:
        raise DataError(f"{where}: {unknown_names('model card', [base], known)}")
    # a length of the user's own is meant for mteb's protocol, too
    replaced = {"mteb_max_length"} if "max_length" in table else set()
    return known[base].model_dump(exclude={"name", "revision", *replaced}, exclude_unset=True)


def find_card(name: str, own: Path | None = None) -> ModelCard | None:
    """A card by Hub id, letter case ignored, or of the packaged model; None if there is none. `own`: see `cards`."""
    wanted = PACKAGED_ID if name == PACKAGED else name
    return next((card for key, card in cards(own).items() if key.lower() == wanted.lower()), None)
