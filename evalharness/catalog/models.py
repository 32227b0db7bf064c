"""What is known of public models: sizes, licences, what they were trained on; from mteb's registry, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any

from evalharness.catalog.tasks import tasks_folder


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts of a model that its scores are read with; None where nobody says.

    Attributes:
        dimensions: of its vectors.
        max_length: tokens that it reads of a text.
        parameters, embedding_parameters: how many, of all and of the table of token embeddings.
        licence: as its authors name it.
        release_date: year-month-day.
        trained_on: names of the tasks that are in its training data, those made of the same data included.
        link: where it is described.
        is_open: whether its weights can be had.
        superseded_by: the model that its authors put in its place.
        made_from: the model that it was fine-tuned from, as its card says.
    """

    dimensions: int | None = None
    max_length: int | None = None
    parameters: int | None = None
    embedding_parameters: int | None = None
    licence: str | None = None
    release_date: str | None = None
    trained_on: AbstractSet[str] | None = None
    link: str | None = None
    is_open: bool | None = None
    superseded_by: str | None = None
    made_from: str | None = None


NOTHING_KNOWN = ModelFacts()
# as they may stand in JSON; tasks in training data and links are nothing that a record says
_NUMBERS = ("dimensions", "max_length", "parameters", "embedding_parameters")
_TEXTS = ("licence", "release_date", "made_from")
_LONGEST_TEXT = 200
# what fits everywhere: in a float and in a column of 64 bits
_MOST = 2**53


def known_facts(value: object) -> dict[str, Any]:
    """Fields of `ModelFacts` that somebody wrote down, whoever it was; what cannot be right is not among them.

    >>> known_facts({"dimensions": 384, "max_length": "512", "licence": "mit", "colour": "red"})
    {'dimensions': 384, 'licence': 'mit'}
    """
    if not isinstance(value, dict):
        return {}
    numbers = {name: value.get(name) for name in _NUMBERS}
    texts = {name: value.get(name) for name in _TEXTS}
    return {name: found for name, found in numbers.items() if type(found) is int and 0 <= found <= _MOST} | {
        name: found for name, found in texts.items() if isinstance(found, str) and 0 < len(found) <= _LONGEST_TEXT
    }


def facts_of_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What a model_meta.json of mteb's says, as `known_facts`.

    >>> facts_of_meta({"name": "a/b", "embed_dim": [64, 128], "max_tokens": 512.0, "n_parameters": None})
    {'dimensions': 128, 'max_length': 512}
    """
    sizes, length = meta.get("embed_dim"), meta.get("max_tokens")
    if isinstance(sizes, list):
        sizes = max((size for size in sizes if type(size) is int), default=None)
    return known_facts(
        {
            "dimensions": sizes,
            "max_length": int(length) if isinstance(length, float) and isfinite(length) else length,
            "parameters": meta.get("n_parameters"),
            "embedding_parameters": meta.get("n_embedding_parameters"),
            "licence": meta.get("license"),
            "release_date": meta.get("release_date"),
            "made_from": meta.get("adapted_from"),
        }
    )


@cache
def model_facts(name: str) -> ModelFacts | None:
    """What mteb's registry says of a model, of whatever revision; None if it does not have it.

    Args:
        name: as results have it, in any case, or one that mteb has given up.
    """
    entry = _entries().get(name.casefold())
    if entry is None:
        return None
    known: dict[str, Any] = {key: value for key, value in entry.items() if key not in ("name", "aliases")}
    trained_on = known.pop("trained_on", None)
    return ModelFacts(trained_on=None if trained_on is None else frozenset(trained_on), **known)


@cache
def _entries() -> Mapping[str, dict[str, Any]]:
    """By names as the Hub compares them, without their case."""
    lines = (tasks_folder() / "mteb" / "models.jsonl").read_text(encoding="utf-8").splitlines()
    return {name.casefold(): entry for entry in map(json.loads, lines) for name in (entry["name"], *entry["aliases"])}
