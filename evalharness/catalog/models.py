"""What is known of public models: sizes, licences, what they were trained on."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass


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
    """

    dimensions: int | None = None
    max_length: int | None = None
    parameters: int | None = None
    embedding_parameters: int | None = None
    licence: str | None = None
    release_date: str | None = None
    trained_on: AbstractSet[str] | None = None
    link: str | None = None
