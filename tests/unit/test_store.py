"""The embedding store: found again by all that can change a vector, and by nothing else."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lookup import LookupBackend, smooth, spec, stack
from support.tiny import save_bert

from evalharness.cli.store import info
from evalharness.errors import ModelError, StorageError, UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.options import Execution
from evalharness.store import filing as filing_module
from evalharness.store import shards as plan_module
from evalharness.store.folders import SHARDS
from evalharness.store.index import mapped
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.keeping import collect, describe_store, verify_store
from evalharness.store.shards import store_key
from evalharness.store.storing import StoringEncoder
from evalharness.store.uses import Uses
from evalharness.types import (
    Dense,
    Emit,
    EncodeEvent,
    Encoding,
    Notice,
    TaskContext,
    TextColumn,
    TextsEncoded,
    ignore_event,
)

IDENTITY = {"model": "a/b", "fingerprint": "f" * 64, "backend": "lookup", "matmul_precision": "highest"}
FACTS: dict[str, Any] = {"pooling": "cls", "normalize": True, "max_length": 64, "dtype": "float32", "prompt": "Q: "}
ENCODING = Encoding(**FACTS)
TEXTS = [f"text number {number}" + " long" * (number % 7) for number in range(50)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SHARD_TEXTS", 8)


def storing(root: Path, backend: LookupBackend | None = None, **identity: Any) -> StoringEncoder:
    return StoringEncoder(backend or LookupBackend(smooth), root, IDENTITY | identity, "cosine")


def shards(root: Path) -> list[Path]:
    return sorted(root.rglob("*.shard"))


def wanted(texts: Sequence[str] = TEXTS, prompt: str = "Q: ") -> Any:
    return stack(smooth, [prompt + text for text in texts])


def test_vectors_come_back_in_order_and_nothing_is_encoded_twice(tmp_path: Path) -> None:
    first, second = LookupBackend(smooth), LookupBackend(smooth)
    np.testing.assert_array_equal(storing(tmp_path, first).encode(TEXTS, ENCODING, ignore_event).vectors, wanted())
    assert len(first.seen) == len(TEXTS)
    assert len(shards(tmp_path)) == 7
    found = storing(tmp_path, second).encode([*TEXTS[::-1], "new"], ENCODING, ignore_event)
    np.testing.assert_array_equal(found.vectors, wanted([*TEXTS[::-1], "new"]))
    assert second.seen == ["Q: new"]
    part = found.rows([3, 50, 3]).vectors
    np.testing.assert_array_equal(part, wanted([TEXTS[-4], "new", TEXTS[-4]]))


def test_texts_are_shared_by_tasks(tmp_path: Path) -> None:
    backend = LookupBackend(smooth)
    model = EmbeddingModel(spec(), storing(tmp_path, backend), device="cpu")
    for task in ("One", "Two"):
        uses = Uses()
        model.encode_columns([TextColumn("a", TEXTS, None)], TaskContext(name=task, type="STS"), uses.hear)
        uses.note(task)
    assert len(backend.seen) == len(TEXTS)
    use = describe_store(tmp_path)[0]
    assert (use.models, use.texts, set(use.tasks)) == (["a/b"], len(TEXTS), {"One", "Two"})
    assert use.tasks["One"] == use.tasks["Two"] == use.bytes


def test_texts_of_no_task_count_as_used(tmp_path: Path) -> None:
    model = EmbeddingModel(spec(), storing(tmp_path), device="cpu")
    model.encode(TEXTS)
    for path in shards(tmp_path):
        os.utime(path, (1000, 1000))
    model.encode_queries(TEXTS[:3])
    use = describe_store(tmp_path)[0]
    assert set(use.tasks) == {""}
    read = [path for path in shards(tmp_path) if path.stat().st_mtime > 1000]
    assert 1 <= len(read) < len(shards(tmp_path))
    assert use.tasks[""] == sum(path.stat().st_size for path in read)


FIELD_CHANGES: dict[str, Any] = {
    "pooling": "mean", "normalize": False, "max_length": 65, "dtype": "float16", "prompt": "P: ", "suffix": "!",
    "prompt_as_tokens": True, "prompt_within": 256, "pool_prompt": False, "layer_norm": True, "dimensions": 8,
    "outputs": ("sparse",), "adapter": "x", "side": "query", "task": "ArguAna",
}  # fmt: skip


@pytest.mark.parametrize("field", FIELD_CHANGES)
def test_every_field_of_the_encoding_matters(field: str) -> None:
    assert set(FIELD_CHANGES) == set(Encoding.model_fields)
    assert store_key(IDENTITY, Encoding(**(FACTS | {field: FIELD_CHANGES[field]}))) != store_key(IDENTITY, ENCODING)


def test_fields_that_came_later_leave_old_keys_valid() -> None:
    assert ENCODING.facts() == FACTS


@pytest.mark.parametrize("name", ["fingerprint", "backend", "matmul_precision"])
def test_everything_of_the_model_but_its_name_matters(name: str) -> None:
    assert store_key(IDENTITY | {name: "other"}, ENCODING) != store_key(IDENTITY, ENCODING)
    assert store_key(IDENTITY | {"model": "other"}, ENCODING) == store_key(IDENTITY, ENCODING)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_bert(tmp_path / "checkpoint", max_length=64)


def encoded(folder: Path, store: Path, execution: Execution | None = None, **options: Any) -> tuple[Any, int]:
    """Vectors of a folder's model through the store, and how many texts the model itself encoded."""
    model = open_embedder(
        resolve_model(str(folder), ModelOptions(**({"pooling": "cls"} | options))), execution, store=store
    )
    events: list[EncodeEvent] = []
    vectors = model.encode_columns([TextColumn("a", TEXTS[:20], None)], None, events.append)["a"].vectors
    return vectors, sum(event.count for event in events if isinstance(event, TextsEncoded) and event.tokens)


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


CHANGES: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "other weights": (lambda folder: save_bert(folder, max_length=64, seed=9), {}),
    "another tokenizer file": (rewrite("tokenizer.json", lambda content: content + b"\n"), {}),
    "another max length": (lambda _: None, {"max_length": 7}),
    "another dtype": (lambda _: None, {"dtype": "bfloat16"}),
    "other pooling": (lambda _: None, {"pooling": "mean"}),
    "normalised": (lambda _: None, {"normalize": True}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_checkpoint_or_option_gives_new_vectors(tmp_path: Path, checkpoint: Path, name: str) -> None:
    change, options = CHANGES[name]
    _, first = encoded(checkpoint, tmp_path / "store")
    assert first == 20
    assert encoded(checkpoint, tmp_path / "store")[1] == 0
    change(checkpoint)
    _, again = encoded(checkpoint, tmp_path / "store", **options)
    assert again == 20


def test_device_batch_size_and_path_do_not_matter(tmp_path: Path, checkpoint: Path) -> None:
    vectors, _ = encoded(checkpoint, tmp_path / "store")
    # with a store of its own, where nothing can be found
    alone, count = encoded(checkpoint, tmp_path / "another", Execution(device="cpu", batch_tokens=16))
    assert count == 20
    np.testing.assert_allclose(alone, vectors, atol=1e-5)
    assert [path.name for path in shards(tmp_path / "another")] == [path.name for path in shards(tmp_path / "store")]
    moved = checkpoint.rename(tmp_path / "moved")
    (tmp_path / "store").rename(tmp_path / "other")
    again, count = encoded(moved, tmp_path / "other", Execution(device="cpu", batch_tokens=16))
    assert count == 0
    np.testing.assert_array_equal(vectors, again)


def test_a_vector_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    broken = LookupBackend(lambda text: np.full(4, np.nan if "3" in text else 1.0, dtype=np.float32))
    with pytest.raises(ModelError, match="NaN or infinite"):
        storing(tmp_path, broken).encode(TEXTS, ENCODING, ignore_event)
    found = storing(tmp_path).encode(TEXTS, ENCODING, ignore_event).vectors
    assert np.isfinite(found).all()


class Counting(LookupBackend):
    """Stops like a killed process after so many shards, and counts calls."""

    def __init__(self, calls: int) -> None:
        super().__init__(smooth)
        self.left = calls

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().encode(texts, encoding, emit)


def test_a_broken_off_run_goes_on_at_the_first_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        storing(tmp_path, Counting(3)).encode(TEXTS, ENCODING, ignore_event)
    assert len(shards(tmp_path)) == 3
    rest = LookupBackend(smooth)
    storing(tmp_path, rest).encode(TEXTS, ENCODING, ignore_event)
    assert len(rest.seen) == len(TEXTS) - 24
    names = [path.name for path in shards(tmp_path)]
    storing(tmp_path / "whole").encode(TEXTS, ENCODING, ignore_event)
    assert names == [path.name for path in shards(tmp_path / "whole")]


def test_damage_is_noticed_said_once_and_mended(tmp_path: Path) -> None:
    storing(tmp_path).encode(TEXTS, ENCODING, ignore_event)
    path = shards(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:-100])
    assert list(verify_store(tmp_path)[1]) == [path]
    backend, events = LookupBackend(smooth), list[EncodeEvent]()
    np.testing.assert_array_equal(storing(tmp_path, backend).encode(TEXTS, ENCODING, events.append).vectors, wanted())
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "expected" in notices[0]
    assert "its texts are encoded again" in notices[0]
    assert len(backend.seen) <= 8
    assert verify_store(tmp_path) == (7, {})


def key_folders(root: Path) -> list[Path]:
    return sorted({path.parent.parent for path in shards(root)})


def test_whole_files_of_another_folder_or_under_another_name_are_damage(tmp_path: Path) -> None:
    other = LookupBackend(lambda text: -smooth(text)[::-1])
    storing(tmp_path, other, fingerprint="0" * 64).encode(TEXTS, ENCODING, ignore_event)
    storing(tmp_path).encode(TEXTS, ENCODING, ignore_event)
    first, second = key_folders(tmp_path)
    for folder, target in ((first, "kept"), (second, first / "shards"), (tmp_path / "kept", second / "shards")):
        (folder / "shards" if folder.name != "kept" else folder).rename(tmp_path / target)
    whole, damaged = verify_store(tmp_path)
    assert (whole, len(damaged)) == (0, 14)
    assert "is not named by its folder and its texts" in next(iter(damaged.values()))
    backend, events = LookupBackend(smooth), list[EncodeEvent]()
    np.testing.assert_array_equal(storing(tmp_path, backend).encode(TEXTS, ENCODING, events.append).vectors, wanted())
    assert len(backend.seen) == len(TEXTS)
    assert sum(isinstance(event, Notice) for event in events) == 7


@pytest.mark.parametrize("texts", [8, 3])
def test_a_whole_file_with_other_texts_under_a_wanted_name_does_not_end_the_run(tmp_path: Path, texts: int) -> None:
    storing(tmp_path).encode(TEXTS[8 - texts : 8], ENCODING, ignore_event)
    content = shards(tmp_path)[0].read_bytes()
    storing(tmp_path).encode(TEXTS, ENCODING, ignore_event)
    for path in shards(tmp_path)[2:]:
        path.write_bytes(content)
    backend, events = LookupBackend(smooth), list[EncodeEvent]()
    np.testing.assert_array_equal(storing(tmp_path, backend).encode(TEXTS, ENCODING, events.append).vectors, wanted())
    assert verify_store(tmp_path)[1] == {}


def test_what_can_go_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    user = storing(tmp_path)
    user.encode(TEXTS, ENCODING, ignore_event)
    assert collect(tmp_path, keep_days=0).in_use == [shards(tmp_path)[0].parent.parent]
    assert len(shards(tmp_path)) == 7
    del user
    old = time.time() - 10 * 86_400
    for path in shards(tmp_path)[:3]:
        os.utime(path, (old, old))
    assert collect(tmp_path, keep_days=20).shards == 0
    assert collect(tmp_path, keep_days=5).shards == 3
    size = shards(tmp_path)[0].stat().st_size
    assert collect(tmp_path, max_bytes=2 * size + 100).shards == 2
    with pytest.raises(UsageError, match="unknown model in the store 'a/c': there is a/b"):
        collect(tmp_path, model="a/c")
    assert collect(tmp_path, model="a/b").shards == 2


def test_left_over_files_of_dead_processes_go(tmp_path: Path) -> None:
    storing(tmp_path).encode(TEXTS, ENCODING, ignore_event)
    folder = shards(tmp_path)[0].parent
    left = folder / ".x.shard.abc.tmp"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    (folder / "y.claim").write_bytes(b"")
    assert collect(tmp_path).temporaries == 1
    assert {path.suffix for path in folder.iterdir()} == {".shard"}


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"the embedding store .* cannot be used: .*file is no folder\..*--no-store"):
        storing(tmp_path / "file").encode(TEXTS, ENCODING, ignore_event)


def test_a_store_that_vanishes(tmp_path: Path) -> None:
    found = storing(tmp_path / "store").encode(TEXTS, ENCODING, ignore_event)
    mapped.cache_clear()
    (tmp_path / "store").rename(tmp_path / "gone")
    with pytest.raises(StorageError, match="changed or removed while it was in use"):
        _ = found.vectors


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(filing_module, "write_shard", full)
        with pytest.raises(StorageError, match="No space left on device"):
            storing(tmp_path).encode(TEXTS, ENCODING, ignore_event)
    assert [path.name for path in tmp_path.rglob(f"{SHARDS}/*")] == []
    np.testing.assert_array_equal(storing(tmp_path).encode(TEXTS, ENCODING, ignore_event).vectors, wanted())


def test_damage_that_another_process_has_dealt_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storing(tmp_path).encode(TEXTS, ENCODING, ignore_event)
    path = shards(tmp_path)[0]
    path.write_bytes(b"damaged")
    monkeypatch.setattr(Path, "rename", lambda self, target: (self.unlink(), self.replace(target)))
    events: list[EncodeEvent] = []
    np.testing.assert_array_equal(storing(tmp_path).encode(TEXTS, ENCODING, events.append).vectors, wanted())
    assert not any(isinstance(event, Notice) for event in events)


def test_a_store_that_loses_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing_module, "atomic_path", lambda path: nullcontext(tmp_path / path.name))
    with pytest.raises(StorageError, match="loses files as they are written"):
        storing(tmp_path / "store").encode(TEXTS, ENCODING, ignore_event)


def test_a_store_that_was_removed_and_made_again_is_still_looked_after(tmp_path: Path) -> None:
    encoder = storing(tmp_path / "store")
    encoder.encode(TEXTS[:8], ENCODING, ignore_event)
    (tmp_path / "store").rename(tmp_path / "gone")
    encoder.encode(TEXTS[8:16], ENCODING, ignore_event)
    assert describe_store(tmp_path / "store")[0].models == ["a/b"]
    assert verify_store(tmp_path / "store") == (1, {})
    assert len(collect(tmp_path / "store", keep_days=0).in_use) == 1


@pytest.mark.parametrize(("dtype", "shown"), [("float32", "(64 tokens)"), ("bfloat16", "(64 tokens, bfloat16)")])
def test_info_tells_precisions_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: str, shown: str
) -> None:
    folder = tmp_path / ("0" * 32)
    (folder / "shards").mkdir(parents=True)
    note = {"models": ["me/model"], "encoding": {"dtype": dtype, "max_length": 64, "prompt": ""}}
    (folder / "info.json").write_text(json.dumps(note), encoding="utf-8")
    info(tmp_path)
    assert f"me/model {shown}: " in capsys.readouterr().out
