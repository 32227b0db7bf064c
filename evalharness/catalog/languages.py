"""What people call languages, and the codes that tasks have for them. Data: tasks/languages.toml, mteb's list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from evalharness.catalog.tasks import tasks_folder
from evalharness.errors import UsageError, letters, unknown_names
from evalharness.reading import read_json, read_toml

_SCRIPT = re.compile(r"(.+)[-_]([A-Za-z]{4})")


@dataclass(frozen=True, slots=True)
class _Languages:
    """What is known of languages.

    Attributes:
        names: ISO 639-3 code, as tasks have it -> English name.
        called: other name, or code of two or three letters -> code.
        spelled: letters of an English name -> codes; a few languages share theirs.
        groups: code of a macrolanguage -> codes that its name stands for.
    """

    names: Mapping[str, str]
    called: Mapping[str, str]
    spelled: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[str, ...]]


@cache
def _languages() -> _Languages:
    listed = read_json(tasks_folder() / "mteb" / "languages.json")
    ours = read_toml(tasks_folder() / "languages.toml")
    spelled: dict[str, tuple[str, ...]] = {}
    for code, name in listed["names"].items():
        # "Bemba (Zambia)" is called Bemba, too
        for shown in {letters(name), letters(name.partition("(")[0])}:
            spelled[shown] = (*spelled.get(shown, ()), code)
    groups = {code: tuple(members) for code, members in ours["groups"].items()}
    return _Languages(listed["names"], {**listed["short"], **ours["names"]}, spelled, groups)


def language_codes(names: Iterable[str], also: Iterable[str] = ()) -> dict[str, frozenset[str]]:
    """The codes that names of languages stand for.

    A code of three letters stands for itself, one with a script (`cmn-Hans`) for the language in this script. A code of
    two letters or a name stands for a language, a macrolanguage's for those that are mostly meant by it.

    Args:
        names: as people write them.
        also: codes that are known besides those of mteb's tasks.

    Returns:
        Name -> codes, with a script where the name has one.

    Raises:
        UsageError: some are no languages; all of them are named.

    >>> {name: sorted(codes) for name, codes in language_codes(["zh", "English", "cmn-hans", "zho"]).items()}
    {'zh': ['cmn', 'zho'], 'English': ['eng'], 'cmn-hans': ['cmn-Hans'], 'zho': ['zho']}
    """
    extra = set(also)
    found = {name: _with_script(name, extra) for name in names}
    if wrong := [name for name, codes in found.items() if not codes]:
        known = _languages()
        # an odd name is held against names, and against codes if it is as short as one
        every = {name.partition(" (")[0] for name in known.names.values()} | set(known.called) | set(known.names)
        raise UsageError(
            f"{unknown_names('language', wrong, sorted(every))}\nA language is a code of ISO 639 (eng, en), one with "
            "its script (cmn-Hans), or an English name (english)"
        )
    return found


def _with_script(name: str, also: set[str]) -> frozenset[str]:
    if codes := _codes(name, also):
        return codes
    parts = _SCRIPT.fullmatch(name)
    return frozenset(f"{code}-{parts[2].title()}" for code in _codes(parts[1], also)) if parts else frozenset()


def _codes(name: str, also: set[str]) -> frozenset[str]:
    known, small = _languages(), name.strip().lower()
    if small in known.names or small in also:
        return frozenset([small])
    code = known.called.get(small)
    named = known.spelled.get(letters(name), ()) if code is None else (code,)
    return frozenset(member for code in named for member in known.groups.get(code, (code,)))
