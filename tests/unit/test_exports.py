"""Exports: made once, held against the torch model, kept whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.processes import Pythons, out_of_reach
from support.tiny import DIMENSIONS, save_bert, save_sentence_model

from evalharness.errors import ModelError, PrerequisiteError
from evalharness.models.engines import export_check, exports, onnx_export
from evalharness.models.engines.onnx_files import has_operators
from evalharness.models.engines.onnx_session import OnnxSession
from evalharness.models.forward.weights import load_encoder, size_of
from evalharness.models.loading import ModelOptions, ResolvedModel, open_embedder, resolve_model
from evalharness.models.options import Execution

pytestmark = pytest.mark.usefixtures("own_cache")


def exported(folder: Path, **options: Any) -> ResolvedModel:
    return resolve_model(str(folder), ModelOptions(backend="onnx", onnx_file="export", **options))


def vectors(model: ResolvedModel) -> NDArray[np.float32]:
    return open_embedder(model, Execution(device="cpu")).encode(["How do ferns grow?", "", "in shade " * 40])


def test_an_export_that_gives_other_vectors_is_refused_and_not_kept(
    folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxSession.run

    def off(self: Any, inputs: Any, output: Any) -> torch.Tensor:
        too_much = (inputs["input_ids"].shape[1] > 60) * torch.linspace(0, 0.1, DIMENSIONS)
        return torch.add(real(self, inputs, output), too_much)

    monkeypatch.setattr(OnnxSession, "run", off)
    said = r"differs from the torch model by 0\.\d+ \(1 - cosine\) on 32 texts, at most 1e-06 is allowed"
    with pytest.raises(ModelError, match=said):
        vectors(exported(folder))
    assert [path.name for path in own_cache.glob("exports/*/*")] == ["export.json"]
    shutil.rmtree(own_cache)
    monkeypatch.setattr(OnnxSession, "run", lambda *given: real(*given) * float("nan"))
    with pytest.raises(ModelError, match="differs from the torch model by inf"):
        vectors(exported(folder))
    assert [path.name for path in own_cache.glob("exports/*/*")] == ["export.json"]


def test_the_texts_of_the_comparison_go_from_nothing_to_the_longest() -> None:
    texts = export_check.check_texts(512)
    assert len(texts) == len(set(texts)) == 32
    assert texts[0] == ""
    assert len(texts[-1].split()) == 512
    # of a model that takes more, few are longer
    assert [len(text.split()) for text in export_check.check_texts(2048)[-3:]] == [338, 416, 2048]


def test_what_an_export_needs_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="models are exported to ONNX in float32 only, float16 is wanted"):
        vectors(exported(folder, dtype="float16"))
    with pytest.raises(ModelError, match="an exported model has to be told the pooling"):
        vectors(exported(folder, pooling="own"))
    monkeypatch.setattr(onnx_export, "find_spec", lambda _: None)
    with pytest.raises(PrerequisiteError, match=r"the export needs onnx, .*pip install 'evalharness\[onnx\]'"):
        vectors(exported(folder))


def test_a_model_that_cannot_be_exported_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **named: Any) -> None:
        raise NotImplementedError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", broken)
    with pytest.raises(
        ModelError, match=r"cannot be exported to ONNX \(no such operator\); leave --backend onnx or --engine onnx out"
    ):
        vectors(exported(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_sentence_model(tmp_path / "m")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name for every export that is made."""
    real, found = torch.onnx.export, []

    def export(module: Any, inputs: Any, path: str, **options: Any) -> Any:
        found.append(path)
        return real(module, inputs, path, **options)

    monkeypatch.setattr(torch.onnx, "export", export)
    return found


def test_a_second_start_exports_nothing_and_needs_no_weights(folder: Path, made: list[str], own_cache: Path) -> None:
    first = vectors(exported(folder))
    (kept,) = (path for path in (own_cache / "exports").iterdir() if path.is_dir())
    assert kept.name.startswith(f"{exported(folder).spec.fingerprint}-")
    record = exports.ExportRecord.model_validate_json((kept / "export.json").read_bytes())
    assert (list(record.files), record.max_length) == (["model.onnx"], 64)
    assert 0 <= record.difference <= 1e-6
    assert record.size == size_of(load_encoder(exported(folder)))
    model = exported(folder)
    (folder / "model.safetensors").write_bytes(b"")
    np.testing.assert_array_equal(vectors(model), first)
    assert len(made) == 1


def test_an_export_has_no_more_passes_over_the_weights_of_attention_than_it_needs(
    folder: Path, own_cache: Path
) -> None:
    vectors(exported(folder))
    (file,) = own_cache.glob("exports/*/model.onnx")
    # where torch's attention is exported, weights are searched for NaN and written anew
    assert has_operators(file, ["Softmax"])
    assert not has_operators(file, ["IsNaN"])


@pytest.mark.parametrize("damage", ["byte", "cut", "gone", "record", "other record", "edited record", "more"])
def test_a_damaged_export_is_made_again(folder: Path, made: list[str], own_cache: Path, damage: str) -> None:
    first = vectors(exported(folder))
    (file,) = own_cache.glob("exports/*/model.onnx")
    content, record = file.read_bytes(), file.with_name("export.json")
    if damage == "byte":
        file.write_bytes(content[:9000] + bytes([content[9000] ^ 1]) + content[9001:])
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "gone":
        file.unlink()
    elif damage == "record":
        record.write_text("{")
    elif damage == "other record":
        record.write_text('{"files": {}}')
    elif damage == "edited record":
        record.write_text(record.read_text().replace('"max_length": 64', '"max_length": 65'))
    else:
        file.with_name("model.onnx_data").write_bytes(b"0")
    np.testing.assert_array_equal(vectors(exported(folder)), first)
    assert len(made) == 2
    assert {path.name for path in file.parent.iterdir()} == {"model.onnx", "export.json"}
    vectors(exported(folder))
    assert len(made) == 2


def test_an_export_in_the_place_of_another_models_is_made_again(
    folder: Path, made: list[str], own_cache: Path, tmp_path: Path
) -> None:
    first = vectors(exported(folder))
    other = save_bert(tmp_path / "other", seed=1)
    assert not np.array_equal(vectors(exported(other, pooling="cls")), first)
    names = [exported(folder).spec.fingerprint, exported(other, pooling="cls").spec.fingerprint]
    wanted, wrong = (next(path for path in own_cache.glob(f"exports/{name}-*") if path.is_dir()) for name in names)
    shutil.rmtree(wanted)
    wrong.rename(wanted)
    np.testing.assert_array_equal(vectors(exported(folder)), first)
    assert len(made) == 3


def test_what_an_export_depends_on_makes_another_one(
    folder: Path, tmp_path: Path, made: list[str], own_cache: Path
) -> None:
    vectors(exported(folder, max_length=16))
    vectors(exported(folder, max_length=8))
    assert len(made) == 1
    # compared on no texts as long as these
    vectors(exported(folder))
    vectors(exported(folder, max_length=16))
    assert (len(made), len(list(own_cache.glob("exports/*/model.onnx")))) == (2, 1)
    # it is compared in what is made of it
    vectors(exported(folder, max_length=8, pooling="mean"))
    assert (len(made), len(list(own_cache.glob("exports/*/model.onnx")))) == (3, 2)
    vectors(exported(save_sentence_model(tmp_path / "other", max_length=32), max_length=16))
    assert len(list(own_cache.glob("exports/*/model.onnx"))) == 3


@pytest.mark.parametrize("name", ["torch", "transformers", "onnxruntime", "opset"])
def test_another_version_of_what_made_it_makes_another_export(
    folder: Path, made: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for count in (1, 2):
        vectors(exported(folder))
        vectors(exported(folder))
        assert (len(made), len(list(exports.exports_folder().glob("*/model.onnx")))) == (count, count)
        if name == "opset":
            monkeypatch.setattr(onnx_export, "_OPSET", 18)
        else:
            # parts of it that code goes by stay
            made_by = getattr(onnx_export, name)
            release = made_by.__version__.partition("+")[0]
            monkeypatch.setattr(made_by, "__version__", f"{release}+other")


def test_without_a_cache_an_export_serves_for_the_time_being(
    folder: Path, made: list[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = vectors(exported(folder))
    shutil.rmtree(own_cache)
    own_cache.parent.mkdir(exist_ok=True)
    own_cache.write_text("no folder")
    for count in (2, 3):
        np.testing.assert_array_equal(vectors(exported(folder)), first)
        assert len(made) == count
    own_cache.unlink()

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    np.testing.assert_array_equal(vectors(exported(folder)), first)
    assert [path.suffix for path in (own_cache / "exports").iterdir()] == [".lock"]


SCRIPT = """
import sys, torch
from evalharness.models.loading import ModelOptions, load_model
real = torch.onnx.export
def export(*given, **named):
    print("export", flush=True)
    return real(*given, **named)
torch.onnx.export = export
model = load_model(sys.argv[1], ModelOptions(backend="onnx", onnx_file="export"))
print(model.encode(["a"]).tobytes().hex())
"""


def test_of_two_processes_at_once_one_exports(folder: Path, tmp_path: Path, own_cache: Path, pythons: Pythons) -> None:
    environment = {**out_of_reach(tmp_path), "XDG_CACHE_HOME": str(own_cache.parent)}
    started = [pythons.start(["-c", SCRIPT, str(folder)], tmp_path, environment) for _ in range(2)]
    told = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    said = [output.split() for output, _ in told]
    assert sorted(len(words) for words in said) == [1, 2]
    assert len({words[-1] for words in said}) == 1
    assert len(list(own_cache.glob("exports/*/export.json"))) == 1


def test_what_was_not_used_for_longest_makes_room(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [save_bert(tmp_path / f"m{number}", seed=number) for number in range(3)]
    resolved = [exported(folder, pooling="cls") for folder in models]
    folder = own_cache / "exports"

    def kept() -> set[int]:
        names = [path.name for path in folder.iterdir() if path.is_dir()]
        return {
            number for number, model in enumerate(resolved) if any(n.startswith(model.spec.fingerprint) for n in names)
        }

    for model in resolved[:2]:
        vectors(model)
    size = sum(path.stat().st_size for path in folder.rglob("*"))
    for record in folder.glob("*/export.json"):
        os.utime(record, (1, 1))
    # used once more, so that the second is what was not used for longest
    vectors(resolved[0])
    monkeypatch.setattr(exports, "MOST_BYTES", size + 1000)
    vectors(resolved[2])
    assert kept() == {0, 2}
    # the newest is kept however large
    monkeypatch.setattr(exports, "MOST_BYTES", 1)
    vectors(resolved[1])
    assert kept() == {1}
    assert len(list(folder.glob("*.lock"))) == 1
