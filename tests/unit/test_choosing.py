"""Which engine runs a model: the one asked for, or the fastest that can; what cannot is said, and nothing is silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.tiny import save_sentence_model

from evalharness.errors import EngineError, ModelError, PrerequisiteError, UsageError
from evalharness.models.engines import choosing
from evalharness.models.engines.choosing import EXPORTING, TORCH, Choice, Exporting, open_first
from evalharness.models.loading import ModelOptions, ResolvedModel, resolve_model
from evalharness.models.options import Execution, parse_options, with_engine

ABSENT = Exporting(("no_such_package_here",), "onnx", ("float32",))
PRESENT = Exporting((), "", ("float32", "int8"))


@pytest.fixture
def model(tmp_path: Path) -> ResolvedModel:
    return resolve_model(str(save_sentence_model(tmp_path / "model")))


def in_precision(tmp_path: Path, dtype: str) -> ResolvedModel:
    options = ModelOptions.model_validate({"dtype": dtype})
    return resolve_model(str(save_sentence_model(tmp_path / "model")), options)


def engines(patch: pytest.MonkeyPatch, **known: Exporting) -> None:
    for name in list(EXPORTING):
        patch.delitem(EXPORTING, name)
    for name, engine in known.items():
        patch.setitem(EXPORTING, name, engine)


def on_cpu(**asked: Any) -> Execution:
    return Execution.model_validate({"device": "cpu", "engine": "auto", **asked})


def test_the_first_that_can_is_taken_and_those_before_it_are_named(
    model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines(monkeypatch, absent=ABSENT, broken=PRESENT, good=PRESENT, late=PRESENT)
    tried: list[str] = []

    def open_on(choice: Choice) -> Choice:
        tried.append(choice.name)
        if choice.name == "broken":
            raise EngineError("an operator is missing")
        return choice

    chosen = open_first(model, on_cpu(), open_on)
    assert tried == ["broken", "good"]
    assert chosen == Choice("good", ("absent: no_such_package_here not installed", "broken: an operator is missing"))


def test_torch_runs_what_no_other_engine_can(model: ResolvedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engines(monkeypatch, absent=ABSENT)
    assert open_first(model, on_cpu(), lambda choice: choice).name == TORCH


def test_what_is_wrong_with_the_model_itself_is_told_at_once(
    model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines(monkeypatch, good=PRESENT)
    tried: list[str] = []

    def open_on(choice: Choice) -> None:
        tried.append(choice.name)
        raise ModelError("a layer is missing")

    with pytest.raises(ModelError, match="a layer is missing"):
        open_first(model, on_cpu(), open_on)
    assert tried == ["good"]


def test_an_engine_that_is_asked_for_is_never_replaced(model: ResolvedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engines(monkeypatch, openvino=PRESENT, onnx=ABSENT)
    assert open_first(model, on_cpu(engine="openvino"), lambda choice: choice) == Choice("openvino")
    with pytest.raises(PrerequisiteError, match=r"onnx needs no_such_package_here.*pip install 'evalharness\[onnx\]'"):
        open_first(model, on_cpu(engine="onnx"), lambda choice: choice)

    def fail(choice: Choice) -> None:
        raise EngineError(f"{choice.name} cannot")

    with pytest.raises(EngineError, match="openvino cannot"):
        open_first(model, on_cpu(engine="openvino"), fail)


def test_int8_never_becomes_another_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = in_precision(tmp_path, "int8")
    engines(monkeypatch, onnx=Exporting((), "onnx", ("float32",)), openvino=ABSENT)
    with pytest.raises(ModelError, match="cannot be run in int8 here"):
        open_first(model, on_cpu(), lambda choice: choice)
    for engine in (TORCH, "onnx"):
        with pytest.raises(UsageError, match="int8"):
            open_first(model, on_cpu(engine=engine), lambda choice: choice)


def test_the_environment_is_a_wish(model: ResolvedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engines(monkeypatch, onnx=ABSENT, openvino=PRESENT)
    monkeypatch.setenv("EVALHARNESS_ENGINE", "onnx")
    assert open_first(model, Execution(device="cpu"), lambda choice: choice).name == TORCH
    monkeypatch.setenv("EVALHARNESS_ENGINE", "openvino")
    assert open_first(model, Execution(device="cpu"), lambda choice: choice).name == "openvino"
    monkeypatch.setenv("EVALHARNESS_ENGINE", "openvin")
    with pytest.raises(UsageError, match="EVALHARNESS_ENGINE must be auto or torch or onnx or openvino"):
        Execution()


def test_a_wrong_engine_is_told_with_all_else_that_is_wrong() -> None:
    typed = {"pooling": "max", "dtype": None, "protocol": "mteb", "mode_weights": None}
    parsed, execution = with_engine(parse_options(typed), Execution(engine="torch"), "tensorrt")
    assert len(parsed.problems) == 2
    assert "--engine must be auto or torch or onnx or openvino, got 'tensorrt'" in parsed.problems[1]
    assert execution.engine == "torch"


def test_backends_that_are_no_choice_of_engines_refuse_one(tmp_path: Path) -> None:
    from evalharness.models.registry import check_execution

    folder = save_sentence_model(tmp_path / "model")
    spec = resolve_model(str(folder), ModelOptions(backend="sentence-transformers")).spec
    with pytest.raises(UsageError, match=r"--engine openvino: without effect.*--engine works with --backend"):
        check_execution([spec], Execution(engine="openvino"))
    check_execution([spec], Execution(engine="auto"))


def test_a_precision_that_a_backend_has_not_is_refused(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "model")
    options = ModelOptions(backend="sentence-transformers", dtype="int8")
    with pytest.raises(UsageError, match=r"computes in float32 or bfloat16 or float16, int8 is wanted.*transformers"):
        resolve_model(str(folder), options)


def test_what_is_chosen_from_exists() -> None:
    from importlib import import_module

    for name in (TORCH, *EXPORTING):
        module = import_module(f"evalharness.models.engines.{name}")
        assert callable(module.open_engine)
        assert callable(module.home)
    assert choosing.__doc__
