"""OpenVINO graphs: made once, compared, kept; what cannot be made is not tried again; nobody is told of it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from support.contract import TEXTS
from support.openvino_models import on_openvino, resolved, vectors
from support.processes import Pythons, out_of_reach
from support.tiny import DIMENSIONS, save_cross_encoder, save_sentence_model

from evalharness.errors import ModelError
from evalharness.models.engines import choosing, openvino_export
from evalharness.models.engines.exports import ExportRecord
from evalharness.models.engines.openvino_library import openvino
from evalharness.models.engines.openvino_session import OpenVinoSession
from evalharness.models.kinds.dense import DenseKind
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_sentence_model(tmp_path / "m")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A model for every export that is tried."""
    real, found = openvino_export._converted, []

    def converted(loaded: Any, kind: Any) -> Any:
        found.append(loaded)
        return real(loaded, kind)

    monkeypatch.setattr(openvino_export, "_converted", converted)
    return found


def record_in(cache: Path) -> ExportRecord:
    (path,) = cache.glob("exports/*/export.json")
    return ExportRecord.model_validate_json(path.read_bytes())


def test_a_second_start_loads_no_torch_model(
    folder: Path, own_cache: Path, tried: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolved(folder)
    first = vectors(on_openvino(model), model, TEXTS)
    record = record_in(own_cache)
    assert (sorted(record.files), record.max_length, record.failure) == (["model.bin", "model.xml"], 64, "")
    assert 0 <= record.difference <= 1e-6

    def load(self: Any, dtype: Any = None) -> Any:
        raise AssertionError("loaded")

    monkeypatch.setattr(DenseKind, "load", load)
    np.testing.assert_array_equal(vectors(on_openvino(model), model, TEXTS), first)
    assert len(tried) == 1


@pytest.mark.parametrize("file", ["model.bin", "model.xml", "export.json"])
def test_a_damaged_export_is_made_again(folder: Path, own_cache: Path, tried: list[Any], file: str) -> None:
    model = resolved(folder)
    first = vectors(on_openvino(model), model, TEXTS)
    (path,) = own_cache.glob(f"exports/*/{file}")
    path.write_bytes(path.read_bytes()[:-3])
    np.testing.assert_array_equal(vectors(on_openvino(model), model, TEXTS), first)
    on_openvino(model)
    assert len(tried) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_without_room_for_a_graph_torch_computes_and_the_next_start_tries_again(
    folder: Path, own_cache: Path, name: Literal["openvino", "onnx"], monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    if name == "onnx":
        pytest.importorskip("onnxruntime")
    engine = choosing.EXPORTING[name]
    monkeypatch.setattr(choosing, "EXPORTING", {name: engine})
    model = resolved(folder)
    anywhere = Execution(device="cpu", engine="auto")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        backend = open_backend(model, anywhere)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (backend.computing.engine, list(own_cache.glob("exports/*/"))) == (f"torch {torch.__version__}", [])
    assert "cannot be written to" in " ".join(backend.computing.passed_over)
    assert open_backend(model, anywhere).computing.engine.startswith(name)


def test_a_model_that_cannot_be_exported_is_tried_once_per_version(
    folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openvino.frontend.pytorch import ts_decoder

    real, asked = ts_decoder.TorchScriptPythonDecoder, []

    def broken(module: Any, **given: Any) -> Any:
        asked.append(module)
        raise KeyError("no such operator")

    monkeypatch.setattr(ts_decoder, "TorchScriptPythonDecoder", broken)
    for changes in ({}, {}, {"max_length": 8}, {"name": "me/other"}):
        name = changes.get("name", "local/m")
        said = rf"^{name}: cannot be exported to OpenVINO \('no such operator'\); run it with torch$"
        with pytest.raises(ModelError, match=said):
            on_openvino(resolved(folder, **changes))
    assert len(asked) == 1
    record = record_in(own_cache)
    assert (record.files, record.made_of["torch"]) == ({}, torch.__version__)
    release = torch.__version__.partition("+")[0]
    monkeypatch.setattr(torch, "__version__", f"{release}+other")
    with pytest.raises(ModelError, match="no such operator"):
        on_openvino(resolved(folder))
    assert len(asked) == 2
    monkeypatch.setattr(ts_decoder, "TorchScriptPythonDecoder", real)
    monkeypatch.setattr(openvino, "__version__", f"{openvino.__version__}-other")
    on_openvino(resolved(folder))


def test_an_export_that_gives_other_vectors_on_long_texts_is_refused_for_long_texts(
    folder: Path, tried: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OpenVinoSession.run

    def off(self: Any, inputs: Any, output: Any) -> torch.Tensor:
        too_much = (inputs["input_ids"].shape[1] > 40) * torch.linspace(0, 0.1, DIMENSIONS)
        return torch.add(real(self, inputs, output), too_much)

    monkeypatch.setattr(OpenVinoSession, "run", off)
    said = r"differs from the torch model by [\de.-]+ \(1 - cosine\) on 32 texts, at most 1e-06 is allowed"
    for _ in range(2):
        with pytest.raises(ModelError, match=said):
            on_openvino(resolved(folder))
    assert len(tried) == 1
    short = resolved(folder, max_length=16)
    on_openvino(short)
    on_openvino(short)
    assert len(tried) == 2


def test_scores_may_differ_a_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = resolved(save_cross_encoder(tmp_path / "m"))
    real = OpenVinoSession.run
    for far, is_right in ((5e-5, True), (5e-4, False)):
        monkeypatch.setattr(OpenVinoSession, "run", lambda *given, far=far: real(*given) + far)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"{far}"))
        if is_right:
            on_openvino(model)
        else:
            with pytest.raises(ModelError, match=r"by 0\.0005 \(of a score\) on 32 texts, at most 0\.0001 is allowed"):
                on_openvino(model)


def test_the_pooling_has_to_be_told(folder: Path) -> None:
    with pytest.raises(ModelError, match="an exported model has to be told the pooling"):
        on_openvino(resolved(folder, pooling="own"))


SCRIPT = """
import os, socket, sys
os.environ["HOME"] = sys.argv[2]
for name in [name for name in os.environ if name.startswith(("CI", "NNCF", "PYTEST"))]:
    del os.environ[name]
assert "openvino" not in sys.modules and "nncf" not in sys.modules
def refused(*given, **named):
    raise AssertionError("asked the network")
socket.socket.connect = socket.getaddrinfo = refused
sys.path.insert(0, {support!r})
from pathlib import Path
from support.openvino_models import on_openvino, resolved
from evalharness.models.engines import openvino_int8
openvino_int8._CALIBRATION = 12
for dtype in ("float32", "int8"):
    on_openvino(resolved(Path(sys.argv[1]), dtype=dtype))
"""


@pytest.mark.skipif(find_spec("nncf") is None, reason="needs nncf")
def test_nothing_is_reported_to_anyone_and_nothing_is_printed(folder: Path, tmp_path: Path, pythons: Pythons) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = SCRIPT.format(support=str(Path(__file__).parents[1]))
    done = pythons.run(["-c", code, str(folder), str(home)], tmp_path, out_of_reach(tmp_path))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    # where the libraries keep under which name they report
    assert list(home.glob("[iI]ntel*")) == []
