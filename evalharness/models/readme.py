"""What a model's card on the Hub (its README) says of it: the licence, and what it was made from.

None of it changes a number, so the file is no part of the fingerprint, and a card that cannot be read says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts, known_facts
from evalharness.errors import ModelError
from evalharness.reading import read_bytes

README = "README.md"
# where the card's data stand, between two lines of three hyphens
_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
# a card may also hold thousands of results, which take seconds to parse
_WANTED = re.compile(r"^(?:license|license_name|base_model)[ \t]*:.*(?:\n(?=[ \t-]|\n|\Z).*)*", re.MULTILINE)
_LONGEST = 2000
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# what stands in the licence's place where it has a name of its own
_OTHER = "other"


def read_readme(folder: Path) -> ModelFacts:
    """What the README in a model's folder says; nothing where there is none."""
    import yaml

    try:
        text = read_bytes(folder / README, ModelError).decode(errors="replace").replace("\r\n", "\n")
        found = _FRONT_MATTER.match(text)
        entries = "\n".join(_WANTED.findall(found[1]) if found else ())[:_LONGEST]
        # texts alone, as they stand there: no dates, no objects
        value = yaml.load(entries, Loader=yaml.BaseLoader)  # noqa: S506 -- it makes nothing else
    except (ModelError, yaml.YAMLError, ValueError, RecursionError):
        return NOTHING_KNOWN
    return card_facts(value if isinstance(value, dict) else {})


def card_facts(card: Mapping[str, Any]) -> ModelFacts:
    """What the data of a card say.

    >>> found = card_facts({"license": "mit", "base_model": ["BAAI/bge-m3"], "language": "en"})
    >>> found.licence, found.made_from
    ('mit', 'BAAI/bge-m3')
    """
    licence, bases = card.get("license"), card.get("base_model")
    bases = bases if isinstance(bases, list) else [bases]
    # of several models merged into one, none is the base
    base = bases[0] if len(bases) == 1 and isinstance(bases[0], str) and _HUB_ID.fullmatch(bases[0]) else None
    named = card.get("license_name") if licence == _OTHER else None
    return ModelFacts(**known_facts({"licence": named or licence, "made_from": base}))
