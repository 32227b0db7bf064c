"""Which files of a folder or repository are a model: what is read, what is hashed, what is fetched; one list for all.

The list follows modules.json and the indexes of sharded weights. What it does not name, no backend gets to see
(`seen_folder`), so that what is hashed and what is read cannot differ.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from evalharness.errors import ModelError, clip, is_utf8, shorten
from evalharness.reading import checked, read_json

MODULES = "modules.json"
TRANSFORMER, POOLING, DENSE, NORMALIZE, STATIC = "Transformer", "Pooling", "Dense", "Normalize", "StaticEmbedding"
KINDS = (TRANSFORMER, POOLING, DENSE, NORMALIZE, STATIC)
# modules that are nothing without their config.json
_WITH_CONFIG = {TRANSFORMER: "what the model is", POOLING: "how token vectors are pooled", DENSE: "the layer's sizes"}
_ONCE = (TRANSFORMER, POOLING, NORMALIZE, STATIC)
# where sentence-transformers has had its modules; up to version 5 a file was named after its class
_HOMES = (
    "sentence_transformers.models",
    "sentence_transformers.base.modules",
    "sentence_transformers.sentence_transformer.modules",
)

_OF_THE_WHOLE = (MODULES, "config_sentence_transformers.json", "*.py")
# by any of these a tokenizer can be loaded; vocab.json only with its merges.txt
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.*.json", "vocab.txt", "*.model", "*.tiktoken", "*.spm", "tekken.json")
_OF_A_TRANSFORMER = (
    "config.json",
    "sentence_*_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.py",
    *TOKENIZER_FILES,
)
# of the same folder only the first that is there is read; transformers' order
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_INDEX, _PICKLE = ".index.json", ".bin"
# what file systems take
_LONGEST_NAME, _LONGEST_PATH = 255, 1024
_POINTER, _LARGEST_POINTER = b"version https://git-lfs.github.com/spec/", 1024
_DRIVE = re.compile(r"[A-Za-z]:")

# from a file's name to the JSON in it
Read: TypeAlias = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Which files hold a backend's weights.

    Attributes:
        torch: whether the transformer's are the usual ones of torch; dense layers' always are.
        others: patterns of further files, relative to the model's folder; pickles if their names end in .pt.
    """

    torch: bool = True
    others: tuple[str, ...] = ()


TORCH_WEIGHTS = WeightFiles()


@dataclass(frozen=True, slots=True)
class Module:
    """An entry of modules.json.

    Attributes:
        kind: one of `KINDS`; the whole name of its class for others.
        path: its folder inside the model's; empty for that itself.
        is_known: whether it is a class of sentence-transformers that our own backends run.
    """

    kind: str
    path: str
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """A model's files.

    Attributes:
        modules: see `Module`; empty for a bare checkpoint.
        files: all that are read, sorted, relative to the model's folder.
        weights: those of them that hold numbers of the transformer or the dense layers.
        pickles: those of them that are pickles.
    """

    modules: tuple[Module, ...]
    files: tuple[str, ...]
    weights: tuple[str, ...]
    pickles: tuple[str, ...]


def _known_types() -> dict[str, str]:
    found: dict[str, str] = {}
    for kind in KINDS:
        file = "static_embedding" if kind == STATIC else kind.lower()
        for home in _HOMES:
            found |= {f"{home}.{place}{kind}": kind for place in ("", f"{file}.", f"{kind}.")}
    return found


_KNOWN_TYPES = _known_types()


def inner_path(value: object, where: str) -> str:
    """A path inside a model's folder; empty for the folder itself.

    Raises:
        ModelError: it leads elsewhere, or is none.
    """
    text = checked(value, str, where, ModelError)
    path = PurePosixPath(text)
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts) or len(text) > _LONGEST_PATH:
        raise ModelError(f"{where}: {clip(text)} is too long for a path")
    if path.is_absolute() or _DRIVE.match(text) or ".." in path.parts or "\\" in text or "\0" in text:
        raise ModelError(
            f"{where}: {clip(text)} leads out of the model's folder; expected a path inside it, parts joined by /"
        )
    return "" if path == PurePosixPath() else path.as_posix()


def parse_modules(value: object, where: str, *, own_classes: bool = False) -> tuple[Module, ...]:
    """Check a parsed modules.json.

    Args:
        value: its content.
        where: the file, for messages.
        own_classes: whether modules may be of classes that we do not know, which something else is to run.

    Raises:
        ModelError: it names no modules, unknown ones, folders elsewhere, or one twice that there can only be one of.
    """
    modules: list[Module] = []
    names: list[str] = []
    for number, item in enumerate(checked(value, list, where, ModelError), start=1):
        place = f"{where}, module {number}"
        entry = checked(item, dict, place, ModelError)
        name = checked(entry.get("type"), str, f"{place}, type", ModelError)
        path = inner_path(entry.get("path"), f"{place}, path")
        kind = _KNOWN_TYPES.get(name)
        names.append(str(entry.get("name", number)))
        modules.append(Module(kind or name, path, is_known=kind is not None))
    if not modules:
        raise ModelError(f"{where}: names no modules; expected at least one, or no such file")
    if len(set(names)) < len(names):  # sentence-transformers would keep the last of them
        raise ModelError(f"{where}: two modules have the same name ({shorten(names)}); expected a name for each")
    if own_classes:
        return tuple(modules)
    if unknown := [clip(module.kind) for module in modules if not module.is_known]:
        raise ModelError(
            f"{where}: names {shorten(unknown)}, which our own backends cannot run; they know sentence-transformers' "
            f"{shorten(KINDS)}, by their full names. --backend sentence-transformers --trust-remote-code runs others, "
            "if you trust them"
        )
    kinds = [module.kind for module in modules]
    if twice := [kind for kind in _ONCE if kinds.count(kind) > 1]:
        raise ModelError(f"{where}: names {shorten(twice)} more than once; expected one at most")
    return tuple(modules)


def folder_of(modules: Iterable[Module], kind: str) -> str | None:
    """The folder of the first module of a kind; None if there is none.

    A class of the model's own counts as what the last part of its name says.
    """
    return next((module.path for module in modules if module.kind.rpartition(".")[2] == kind), None)


@dataclass(frozen=True, slots=True)
class Source:
    """A folder or repository.

    Attributes:
        title: what it is called in messages.
        names: of all its files, relative to it, parts joined by /.
        read: gives the JSON in one of them.
    """

    title: str
    names: Sequence[str]
    read: Read


def lay_out(source: Source, weights: WeightFiles = TORCH_WEIGHTS, *, own_classes: bool = False) -> Layout:
    """What of a folder's or repository's files is read.

    Args:
        source: the files that there are.
        weights: of the backend.
        own_classes: see `parse_modules`.

    Raises:
        ModelError: modules.json or an index of weights cannot be used, or the files are an adapter.
    """
    names, there = source.names, set(source.names)
    modules: tuple[Module, ...] = ()
    if MODULES in there:
        modules = parse_modules(source.read(MODULES), f"{source.title}: {MODULES}", own_classes=own_classes)
    main = folder_of(modules, TRANSFORMER)
    main = folder_of(modules, STATIC) if main is None else main
    main = main or ""
    if (adapter := _within(main, "adapter_config.json")) in there:
        raise ModelError(
            f"{source.title}: {adapter}: the files are an adapter (LoRA), which changes a model that is elsewhere; "
            "merge it into its model, save that, and give that folder"
        )
    found = set(_matching(names, "", _OF_THE_WHOLE)) | set(_matching(names, main, _OF_A_TRANSFORMER))
    numbers = _weight_files(source, main) if weights.torch else set()
    for module in modules:
        if module.kind == DENSE:
            numbers |= _weight_files(source, module.path)
        if module.is_known:
            settings = _within(module.path, "config.json")
            if settings not in there and module.kind in _WITH_CONFIG:
                raise ModelError(
                    f"{source.title}: {settings} is missing, which says {_WITH_CONFIG[module.kind]}; fetch all files "
                    "of the model, or mend modules.json"
                )
            found |= there & {settings}
        elif module.path:  # nobody knows what of it is read
            found |= {name for name in names if name.startswith(f"{module.path}/")}
    others = set(_matching(names, "", weights.others))
    found |= numbers | others
    pickles = {name for name in numbers if _PICKLE in name} | {name for name in others if name.endswith(".pt")}
    return Layout(modules, tuple(sorted(found)), tuple(sorted(numbers)), tuple(sorted(pickles)))


def _within(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _matching(names: Sequence[str], folder: str, patterns: Sequence[str]) -> list[str]:
    """Names in a folder, not below it, that fit one of the patterns."""
    start = _within(folder, "")
    inner = {name: name[len(start) :] for name in names if name.startswith(start)}
    return [
        name
        for name, short in inner.items()
        if any(fnmatch(short, pattern) and short.count("/") == pattern.count("/") for pattern in patterns)
    ]


def _weight_files(source: Source, folder: str) -> set[str]:
    there = set(source.names)
    first = next((name for name in (_within(folder, weights) for weights in _WEIGHTS) if name in there), None)
    if first is None:
        return set()
    if not first.endswith(_INDEX):
        return {first}
    where = f"{source.title}: {first}"
    index = checked(source.read(first), dict, where, ModelError)
    shards = checked(index.get("weight_map"), dict, f"{where}, weight_map", ModelError)
    checked(index.get("metadata"), dict, f"{where}, metadata", ModelError)
    wanted = {_within(folder, _shard(value, f"{where}, weight_map, {key}")) for key, value in shards.items()}
    if missing := sorted(wanted - there):
        raise ModelError(f"{where}: names {shorten(missing)}, which is not there; fetch all files of the model")
    return {first, *wanted}


def _shard(value: object, where: str) -> str:
    name = inner_path(value, where)
    if not name or "/" in name:
        raise ModelError(f"{where}: {clip(name)} is no plain name of a file; expected one beside the index")
    return name


def lay_out_folder(folder: Path, weights: WeightFiles = TORCH_WEIGHTS, *, own_classes: bool = False) -> Layout:
    """As `lay_out`, for a folder on disk."""

    def read(name: str) -> Any:  # noqa: ANN401 -- JSON
        _check_no_pointer(folder / name)
        return read_json(folder / name, ModelError)

    names = {name for place in ("", *_subfolders(folder)) for name in _listed(folder, place)}
    if MODULES in names:
        modules = parse_modules(read(MODULES), f"{folder}: {MODULES}", own_classes=own_classes)
        for module in modules:
            names.update(_listed(folder, module.path))
            if not module.is_known and module.path:
                names.update(*(_listed(folder, place) for place in _deep(folder, module.path)))
    layout = lay_out(Source(str(folder), sorted(names), read), weights, own_classes=own_classes)
    for name in layout.files:
        if not is_utf8(name):
            raise ModelError(f"{folder}: the name of the file {clip(name)} is not in UTF-8; rename it")
        _check_no_pointer(folder / name)
    return layout


def _check_no_pointer(path: Path) -> None:
    """See that a file is not what git leaves in the place of a large one that was not fetched."""
    # what cannot be read is an error where it is needed
    with suppress(OSError):
        if not path.is_file() or path.stat().st_size > _LARGEST_POINTER:
            return
        content = path.read_bytes()
        if content.startswith(_POINTER):
            raise ModelError(
                f"{path}: is a git-lfs pointer of {len(content)} bytes, not the file that it stands for; fetch that: "
                "run git lfs pull in the repository, or download the file"
            )


def _subfolders(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()]


def _deep(folder: Path, inner: str) -> list[str]:
    return [Path(place).relative_to(folder).as_posix() for place, _, _ in os.walk(folder / inner)]


def _listed(folder: Path, inner: str) -> list[str]:
    try:
        found = list((folder / inner).iterdir()) if (folder / inner).is_dir() else []
        return [_within(inner, path.name) for path in found if path.is_file()]
    except OSError as error:
        raise ModelError(f"{folder / inner}: cannot be read ({error.strerror or error})") from None


@contextmanager
def seen_folder(folder: Path, files: Sequence[str]) -> Iterator[Path]:
    """A folder of the same name, for a time, that holds nothing but these files of a folder: as links where possible.

    Libraries look for files that may be there: an adapter's, a template's, another format's. Here they find only what
    the fingerprint counts.
    """
    with TemporaryDirectory(prefix="evalharness-") as place:
        # a repository's own code is kept by the last part of the path
        seen = Path(place) / (folder.name or "model")
        seen.mkdir()
        for name in files:
            _link((folder / name).resolve(), seen / name)
        yield seen


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for way in (os.symlink, os.link):
        try:
            way(source, target)
        except OSError:  # on Windows only some users may make symbolic links; hard ones do not leave a disk
            continue
        return
    shutil.copyfile(source, target)
