"""A model as a command names it: looked up once among the cards, checked once, without asking the Hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from evalharness.errors import DataError, UsageError, shorten, unknown_names
from evalharness.models.cards import PACKAGED, ModelCard, cards, find_card
from evalharness.models.options import ModelOptions, check_options
from evalharness.models.registry import BACKENDS, backend_for, check_installed, check_used, find_backend
from evalharness.models.source import is_hub_name, local_name

# of models without a card, whose files tell
DEFAULT_BACKEND, STATIC, PAIRS = "transformers", "static", "cross-encoder"


@dataclass(frozen=True, slots=True)
class Named:
    """A model with what is known of it before its files are looked at.

    Attributes:
        name: as the user gave it.
        options: what the user changes.
        known_as: its name among the cards; empty where only its backend can tell that.
        card: the one that says what the model is, lent to it (`like`) or its own; None if there is none.
        own_card: the one of its own name.
        backend: the one that the options, the name or the card ask for; None if only the model's files can tell.
    """

    name: str
    options: ModelOptions
    known_as: str
    card: ModelCard | None = None
    own_card: ModelCard | None = None
    backend: str | None = None

    @property
    def is_files(self) -> bool:
        """Whether it is files of a folder or of the Hub."""
        return self.backend is None or find_backend(self.backend).is_files

    @property
    def needs_hub(self) -> bool:
        """Whether it has to be looked for on the Hub."""
        return self.is_files and is_hub_name(self.name)

    def renamed(self, known_as: str) -> Named:
        """The same, by the name that its backend knows it by; a card that was lent to it stays."""
        if known_as == self.known_as:
            return self
        own = find_card(known_as, self.options.cards)
        return replace(self, known_as=known_as, own_card=own, card=own if self.options.like is None else self.card)

    def overrides(self, usual: str) -> dict[str, object]:
        """What the user changes, for the path of results.

        Args:
            usual: the backend that runs it unless its card or the user says otherwise; no change if it is that one.
        """
        found = self.options.overrides()
        if found.get("backend") == (self.card.usual_backend if self.card else usual):
            del found["backend"]
        if self.options.like is not None and self.card is not None:
            found["like"] = self.card.name
        return found


def name_model(name: str, options: ModelOptions) -> Named:
    """Look a model up, and check all names of it and of its options, without asking the Hub.

    `python:module:function`, `mteb:NAME` and the bare name `bm25` name their backend.

    Raises:
        UsageError: a name does not exist, or they do not go together.
        DataError: the user's file of cards is wrong.
        PrerequisiteError: a package that the backend needs is not there.
    """
    check_options(options)
    named = _looked_up(name, options)
    if named.is_files:
        _check_name(named)
    if (card := named.card) and card.unsupported:
        raise UsageError(
            f"{name}: no backend here runs {card.name} as its authors mean it, for {card.unsupported}. Its card is for "
            "reading only"
        )
    usual = card.usual_backend if card else None
    able = [named.backend] if named.backend else (DEFAULT_BACKEND, STATIC, PAIRS)
    check_used(name, options, {each: backend_for(each, usual, name) for each in able})
    if named.backend is not None:
        check_installed(named.backend)
    _check_protocol(named)
    return named


def _looked_up(name: str, options: ModelOptions) -> Named:
    prefix = name.partition(":")[0]
    by_prefix = prefix in BACKENDS and not BACKENDS[prefix].is_files and not Path(name).exists()
    elsewhere = options.backend is not None and not find_backend(options.backend).is_files
    known_as = "" if by_prefix else (None if elsewhere else local_name(name)) or name.partition("@")[0]
    own = find_card(known_as, options.cards) if known_as else None
    card = own
    if options.like is not None and (card := find_card(options.like, options.cards)) is None:
        raise UsageError(unknown_names("model card", [options.like], cards(options.cards)))
    if card is not None and card.usual_backend not in BACKENDS:
        where = f"{options.cards} [{card.name}]: its "
        raise DataError(f"{where}{unknown_names('backend', [card.usual_backend], BACKENDS)}")
    usual = prefix if by_prefix else card.usual_backend if card else None
    return Named(name, options, known_as, card, own, options.backend or usual)


def _check_name(named: Named) -> None:
    """See whether a model that is files can have this name at all."""
    name = named.name
    if name != PACKAGED and not Path(name).expanduser().is_dir() and not is_hub_name(name):
        raise UsageError(
            f"{unknown_names('model', [name], [PACKAGED, *cards(named.options.cards)])}\nA model is a Hub id such as "
            f"BAAI/bge-base-en-v1.5 (with @revision if you like), an existing folder, or {PACKAGED}"
        )


def _check_protocol(named: Named) -> None:
    """See that the model has the protocol that is asked for."""
    card = named.card
    if named.options.protocol == "mteb" or (card is not None and card.published is not None):
        return
    why = "it has no card" if card is None else "its authors' evaluation is not known: the card has no such protocol"
    known = [card.name for card in cards(named.options.cards).values() if card.published is not None]
    raise UsageError(
        f"{named.name} cannot be run by the published protocol: {why}. Run it with --protocol mteb, or one of "
        f"{shorten(known, len(known))}"
    )
