"""The store under what systems and people do to it: refusals, read-only disks, odd files, few descriptors."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli
from support.lookup import LookupBackend, smooth, spec, stack
from support.odd import FILES, VALUES, with_each_key_odd

from evalharness.errors import StorageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.store import shards as plan_module
from evalharness.store.keeping import collect, describe_store, verify_store
from evalharness.store.shard_files import MAGIC, DamagedShardError, open_shard
from evalharness.store.storing import StoringEncoder
from evalharness.store.uses import Uses
from evalharness.types import EncodeEvent, Encoding, Notice, TaskContext, TextColumn, ignore_event

IDENTITY = {"model": "a/b", "fingerprint": "f" * 64}
ENCODING = Encoding(pooling="cls", normalize=False, max_length=512, dtype="float32", prompt="")
TEXTS = [f"text number {number}" for number in range(24)]
WANTED = stack(smooth, TEXTS)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SHARD_TEXTS", 8)


def storing(root: Path, backend: LookupBackend | None = None) -> StoringEncoder:
    return StoringEncoder(backend or LookupBackend(smooth), root, IDENTITY, "cosine")


def filled(root: Path) -> Path:
    """A store with three shards; gives its folder of a key."""
    storing(root).encode(TEXTS, ENCODING, ignore_event)
    return next(path.parent.parent for path in root.rglob("*.shard"))


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.shard"))


def everything(root: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, what: str, place: Path) -> None:
    """Have the system refuse something for one path: to be opened, or to be asked about."""
    real: Callable[..., Any] = getattr(Path, what)

    def refused(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == place:
            raise OSError(number, os.strerror(number), str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, what, refused)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ENOMEM])
@pytest.mark.parametrize("what", ["open", "stat"])
def test_what_the_system_refuses_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    folder = filled(tmp_path)
    before, path = everything(folder), shards(folder)[1]
    backend = LookupBackend(smooth)
    with monkeypatch.context() as patch:
        refuse(patch, number, what, path)
        with pytest.raises(StorageError, match=f"{path.name} cannot be read .{os.strerror(number)}"):
            storing(tmp_path, backend).encode(TEXTS, ENCODING, ignore_event)
        if what == "open":
            assert list(verify_store(tmp_path)[1]) == [path]
    assert backend.seen == []
    assert everything(folder) == before
    np.testing.assert_array_equal(storing(tmp_path, backend).encode(TEXTS, ENCODING, ignore_event).vectors, WANTED)
    assert backend.seen == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EIO])
def test_what_is_refused_to_a_map_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    folder = filled(tmp_path)
    found = storing(tmp_path).encode(TEXTS, ENCODING, ignore_event)
    monkeypatch.setattr(np, "memmap", refused)
    with pytest.raises(StorageError, match=os.strerror(number)):
        _ = found.vectors
    assert len(shards(folder)) == 3


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, scandir = filled(tmp_path), os.scandir

    def refused(path: Any = ".") -> Any:
        if Path(path) == folder / "shards":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    backend = LookupBackend(smooth)
    monkeypatch.setattr(os, "scandir", refused)

    def encode_all(root: Path) -> object:
        return storing(root, backend).encode(TEXTS, ENCODING, ignore_event)

    looks: list[Callable[[Path], object]] = [encode_all, describe_store, verify_store, collect]
    for look in looks:
        with pytest.raises(StorageError, match="Permission denied"):
            look(tmp_path)
    assert backend.seen == []


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only even for root, by mounting it over itself."""
    mounted: list[Path] = []

    def make(folder: Path) -> None:
        for options in (["--bind", str(folder), str(folder)], ["-o", "remount,ro,bind", str(folder)]):
            done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"this machine lets no test mount a folder: {done.stderr.strip()}")
            mounted[:] = [folder]

    try:
        yield make
    finally:
        for folder in mounted:
            subprocess.run(["umount", str(folder)], check=True)


def encode_task(root: Path, backend: LookupBackend, texts: Sequence[str] = TEXTS) -> np.ndarray:
    model, uses = EmbeddingModel(spec(), storing(root, backend), device="cpu"), Uses()
    found = model.encode_columns([TextColumn("a", texts, None)], TaskContext(name="T", type="STS"), uses.hear)["a"]
    uses.note("T")
    return found.vectors


def test_a_read_only_store_serves_what_it_has(tmp_path: Path, read_only: Callable[[Path], None]) -> None:
    root = tmp_path / "store"
    encode_task(root, LookupBackend(smooth))
    before = everything(root)
    read_only(root)
    backend = LookupBackend(smooth)
    np.testing.assert_array_equal(encode_task(root, backend), WANTED)
    with pytest.raises(StorageError, match=r"embedding store .* cannot be used \(Read-only file system\).*--no-store"):
        encode_task(root, backend, ["new", *TEXTS])
    assert backend.seen == []
    assert everything(root) == before
    assert verify_store(root) == (3, {})
    assert describe_store(root)[0].texts == len(TEXTS)


def test_a_store_that_may_not_be_written_serves_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "store"
    encode_task(root, LookupBackend(smooth))
    before, opened = everything(root), os.open

    def no_writing(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(root)):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, mode, dir_fd=dir_fd)

    def no_utime(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    def no_appending(self: Path, mode: str = "r", **options: Any) -> Any:
        if mode.strip("bt") != "r":
            raise PermissionError(errno.EACCES, "Permission denied")
        return open(self, mode, **options)  # noqa: PTH123 -- what Path.open does

    monkeypatch.setattr(os, "open", no_writing)
    monkeypatch.setattr(os, "utime", no_utime)
    monkeypatch.setattr(Path, "open", no_appending)
    np.testing.assert_array_equal(encode_task(root, LookupBackend(smooth)), WANTED)
    with pytest.raises(StorageError, match="Permission denied"):
        encode_task(root, LookupBackend(smooth), ["new"])
    monkeypatch.undo()
    assert everything(root) == before


def with_header(content: bytes, change: Callable[[Any], Any]) -> bytes:
    """A shard file with another header, whose checksum is right."""
    length = int.from_bytes(content[8:16], "little")
    header, rest = json.loads(content[48 : 48 + length]), content[48 + length :]
    made = json.dumps(change(header)).encode()
    made += b" " * (-(48 + len(made)) % 64)
    return MAGIC + len(made).to_bytes(8, "little") + sha256(made).digest() + made + rest


def odd_headers() -> dict[str, Callable[[Any], Any]]:
    """Changes of a header, by name."""

    def whole(value: object) -> Callable[[Any], Any]:
        return lambda _: value

    def without(name: str) -> Callable[[Any], Any]:
        return lambda header: {
            **header,
            "arrays": {key: place for key, place in header["arrays"].items() if key != name},
        }

    found = {f"is {name}": whole(value) for name, value in VALUES.items()}

    def array(key: str, value: object) -> Callable[[Any], Any]:
        def change(header: Any) -> Any:
            arrays = {**header["arrays"], "vectors": {**header["arrays"]["vectors"], key: value}}
            return {**header, "arrays": arrays}

        return change

    for key in ("dtype", "shape", "offset", "sha256"):
        found |= {f"{key} is {name}": array(key, value) for name, value in VALUES.items() if name != "very long"}
    for key, value in {"dtype": "|O", "shape": [-8, 16], "offset": -64, "shape ": [2**62, 2**62]}.items():
        found[f"{key} {value}"] = array(key.strip(), value)
    for name in ("digests", "truncated", "vectors"):
        found[f"without {name}"] = without(name)
    found["arrays swapped"] = lambda header: {
        **header, "arrays": dict(zip(header["arrays"], [*header["arrays"].values()][::-1], strict=True))
    }  # fmt: skip
    return found


@pytest.fixture(scope="module")
def right_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("right")
    storing(root).encode(TEXTS[:8], ENCODING, ignore_event)
    return next(root.rglob("*.shard")).read_bytes()


@pytest.mark.parametrize("name", odd_headers())
def test_odd_headers_with_the_right_checksum(tmp_path: Path, right_file: bytes, name: str) -> None:
    storing(tmp_path).encode(TEXTS[:8], ENCODING, ignore_event)
    path = next(tmp_path.rglob("*.shard"))
    path.write_bytes(with_header(right_file, odd_headers()[name]))
    with_both_looks(tmp_path)
    events: list[EncodeEvent] = []
    found = storing(tmp_path).encode(TEXTS[:8], ENCODING, events.append)
    np.testing.assert_array_equal(found.vectors, WANTED[:8])
    assert any(isinstance(event, Notice) for event in events)


def with_both_looks(root: Path) -> None:
    """Look at a store in all ways, none of which may fail."""
    describe_store(root)
    verify_store(root)
    collect(root, max_bytes=10**12)


NOTES = {**FILES, **{
    name: json.dumps(value).encode() for name, value in with_each_key_odd(
        {"models": ["a/b"], "encoding": ENCODING.facts(), "fingerprint": "f" * 64}).items()
}}  # fmt: skip


def test_odd_notes_heal(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    right = (folder / "info.json").read_bytes()
    (folder / "uses").mkdir()
    for name, content in NOTES.items():
        (folder / "info.json").write_bytes(content)
        (folder / "uses" / "T.json").write_bytes(content)
        with_both_looks(tmp_path)
        backend = LookupBackend(smooth)
        assert np.array_equal(storing(tmp_path, backend).encode(TEXTS, ENCODING, ignore_event).vectors, WANTED), name
        assert backend.seen == []
        if name != "models is list of nulls":
            healed = json.loads((folder / "info.json").read_bytes())
            assert "a/b" in healed["models"], name
            assert healed["encoding"] == ENCODING.facts(), name
    for break_it in (Path.unlink, lambda path: (path.unlink(), path.mkdir())):
        break_it(folder / "info.json")
        with_both_looks(tmp_path)
        storing(tmp_path).encode(TEXTS, ENCODING, ignore_event)
        assert (folder / "info.json").read_bytes() == right
    assert len(NOTES) >= 60


USES = with_each_key_odd({"task": "T", "shards": ["a.shard", "b.shard"], "time": 1.5})


@pytest.mark.parametrize("name", USES)
def test_odd_uses(tmp_path: Path, name: str) -> None:
    folder = filled(tmp_path)
    (folder / "uses").mkdir()
    (folder / "uses" / "T.json").write_text(json.dumps(USES[name]))
    with_both_looks(tmp_path)


def as_folder(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "within").write_bytes(b"x")


def as_loop(path: Path) -> None:
    path.symlink_to(path)


MADE: dict[str, Callable[[Path], object]] = {
    "a folder": as_folder, "a pipe": os.mkfifo, "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a loop": as_loop, "an empty file": Path.touch, "a long file": lambda path: path.write_bytes(b"\0" * 10**6),
}  # fmt: skip
PLACES = ["shards/foreign.shard", "shards/foreign.claim", "shards/foreign.partial", "shards/.x.shard.y.tmp",
          "uses/T.json", "foreign", "../foreign", "../in-use/foreign", f"../{'e' * 32}", "damaged"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", MADE)
def test_foreign_things_in_any_place(tmp_path: Path, place: str, kind: str) -> None:
    root = tmp_path / "store"
    folder = filled(root)
    path = Path(os.path.normpath(folder / place))
    path.parent.mkdir(exist_ok=True)
    MADE[kind](path)
    with_both_looks(root)
    # a place for what is damaged is wanted where there is some
    if place != "damaged":
        backend = LookupBackend(smooth)
        np.testing.assert_array_equal(encode_task(root, backend), WANTED)
        assert backend.seen == []
    assert verify_store(root)[0] == 3


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    sizes = []
    for age, path in enumerate(shards(folder)):
        content = path.read_bytes()
        # the newest is large, the next does not fit, and the oldest would
        path.write_bytes(content * (3, 4, 1)[age])
        os.utime(path, (1000 - age, 1000 - age))
        sizes.append(path.stat().st_size)
    kept = shards(folder)[0]
    assert collect(tmp_path, max_bytes=sizes[0] + sizes[2]).shards == 2
    assert shards(folder) == [kept]
    assert collect(tmp_path, max_bytes=sizes[0] - 1).shards == 1


def test_equal_times_are_decided_by_name(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    for path in shards(folder):
        os.utime(path, (1000, 1000))
    first, *_ = shards(folder)
    assert collect(tmp_path, max_bytes=first.stat().st_size).shards == 2
    assert shards(folder) == [first]


def test_use_counts_for_shards_that_were_there(tmp_path: Path) -> None:
    encode_task(tmp_path, LookupBackend(smooth))
    encode_task(tmp_path, LookupBackend(smooth), ["another", "and more"])
    folder = next(path.parent.parent for path in tmp_path.rglob("*.shard"))
    for path in shards(folder):
        os.utime(path, (1000, 1000))
    encode_task(tmp_path, LookupBackend(smooth), ["and more"])
    (used,) = [path for path in shards(folder) if path.stat().st_mtime > 1000]
    assert open_shard(used).arrays["digests"].shape[0] == 2
    assert collect(tmp_path, max_bytes=used.stat().st_size).shards == 3
    assert shards(folder) == [used]


def test_the_command_line_survives_odd_things(here: Cli, tmp_path: Path) -> None:
    folder = filled(tmp_path / "store")
    (folder / "info.json").write_text("[]")
    as_folder(folder / "shards" / "x.shard")
    for command, code in (("info", 0), ("verify", 3), ("gc", 0)):
        done = here("store", command, "--store", "store")
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


def test_a_shard_file_that_is_no_shard(tmp_path: Path) -> None:
    as_folder(tmp_path / "x.shard")
    with pytest.raises(DamagedShardError, match="is no file"):
        open_shard(tmp_path / "x.shard")
