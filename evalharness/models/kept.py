"""What was found out once and is kept in the user's cache folder: a file under the digest of all that decides it.

What is found again is whole and as it was written, or it is not found. A folder of such files may be removed at any
time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from evalharness.errors import DataError
from evalharness.files import atomic_path
from evalharness.types import Frozen, content_digest

Found = TypeVar("Found", bound="Kept")


class Kept(Frozen):
    """What stands in a file.

    Attributes:
        made_of: what the file's name is the digest of; empty for what is not kept.
        digest: of all the others.
    """

    made_of: dict[str, Any] = {}
    digest: str = ""

    @property
    def own_digest(self) -> str:
        """What the digest has to be."""
        return content_digest(self.model_dump(mode="json", exclude={"digest"}))

    def sealed(self) -> Self:
        """With its digest."""
        return self.changed({"digest": self.own_digest})


def _path(folder: Path, made_of: Mapping[str, Any]) -> Path:
    return folder / f"{content_digest(dict(made_of))[:32]}.json"


def find_kept(kind: type[Found], folder: Path, made_of: Mapping[str, Any]) -> Found | None:
    """What is kept; None if nothing is, or the file is not as it was written."""
    path = _path(folder, made_of)
    try:
        # what is no file may be waited for without end
        if not path.is_file():
            return None
        found = kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, DataError):
        return None
    return found if found.made_of == made_of and found.digest == found.own_digest else None


def keep(folder: Path, found: Kept) -> None:
    """Keep what is sealed in place of what is there; without room or permission, nothing is kept."""
    with suppress(OSError), atomic_path(_path(folder, found.made_of)) as temporary:
        temporary.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")


def forget(folder: Path, made_of: Mapping[str, Any]) -> None:
    """Remove what is kept, if the system lets it be removed."""
    with suppress(OSError):
        _path(folder, made_of).unlink(missing_ok=True)
