"""What every backend says of itself: the options that it uses, and the packages that it needs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.lookup import spec
from support.tiny import save_bert, save_cross_encoder, save_sentence_model

from evalharness.cli import main as cli
from evalharness.errors import DataError, PrerequisiteError, UsageError
from evalharness.models import opening
from evalharness.models import registry as backends
from evalharness.models.cards import cards
from evalharness.models.config import FileFacts
from evalharness.models.engines.choosing import EXPORTING
from evalharness.models.loading import ModelOptions, ResolvedModel, open_embedder, resolve_model
from evalharness.models.named import name_model
from evalharness.models.options import Execution
from evalharness.models.registry import BACKENDS, KINDS, backend_for, check_execution, check_used
from evalharness.ranking.records import K_VALUES

FOLDER = Path(backends.__file__).parent
SHARED = {
    "backends": ("__init__", "http_batches", "http_client", "http_replies", "http_resolving", "waiting"),
    "kinds": ("__init__",),
    "engines": (
        "__init__",
        "choosing",
        "export_check",
        "exports",
        "onnx_export",
        "onnx_files",
        "onnx_session",
        "openvino_export",
        "openvino_int8",
        "openvino_library",
        "openvino_session",
        "torch_attention",
        "torch_unpadded",
    ),
}
# a value for every option that not all models take
GIVEN: dict[str, Any] = {
    "like": "BAAI/bge-m3",
    "pooling": "mean",
    "normalize": False,
    "max_length": 32,
    "dtype": "float32",
    "dimensions": 4,
    "mode": "dense+sparse",
    "mode_weights": (0.5, 0.5),
    "query_prompt": "q: ",
    "document_prompt": "d: ",
    "cutoff_layer": 2,
    "url": "http://127.0.0.1:9",
    "onnx_file": "export",
}
ALWAYS = {"name", "protocol", "backend", "cards", "trust_remote_code", "safetensors_only"}


def test_every_file_of_a_table_s_folder_is_a_row_of_it_or_shared() -> None:
    own = {name.replace("-", "_") for name, backend in BACKENDS.items() if backend.engine is None}
    engines = {*EXPORTING, *(backend.engine for backend in BACKENDS.values() if backend.engine is not None)}
    for folder, rows in {"backends": own, "kinds": set(KINDS), "engines": engines}.items():
        files = {path.stem for path in (FOLDER / folder).glob("*.py") if path.stem not in SHARED[folder]}
        assert files == rows


def test_every_kind_goes_by_itself_on_torch_and_other_engines_say_what_they_hold() -> None:
    assert {BACKENDS[backend].engine for backend in KINDS.values()} == {"torch"}
    for name, backend in BACKENDS.items():
        assert set(backend.holds) <= set(KINDS)
        assert bool(backend.holds) == (backend.engine is not None and name not in KINDS.values())


@pytest.mark.parametrize("usual", [KINDS[kind] for kind in BACKENDS["onnx"].holds])
def test_an_engine_has_a_use_for_what_the_kind_has_and_for_its_own(usual: str) -> None:
    row = backend_for("onnx", usual, "a/b")
    assert set(row.uses) == {*BACKENDS[usual].uses, "onnx_file"}
    assert (row.kind, row.why) == (BACKENDS[usual].kind, BACKENDS[usual].why)
    assert backend_for(usual, "transformers", "a/b") == BACKENDS[usual]


def test_what_is_no_kind_is_taken_for_dense_and_what_is_not_known_for_anything() -> None:
    assert backend_for("onnx", "static", "a/b") == backend_for("onnx", "transformers", "a/b")
    assert backend_for("onnx", None, "a/b") == BACKENDS["onnx"]
    assert backend_for("bm25", "transformers", "a/b") == BACKENDS["bm25"]


def test_a_kind_whose_graph_an_engine_cannot_hold_is_refused_before_anything_is_fetched() -> None:
    options = ModelOptions(backend="onnx", onnx_file="export")
    with pytest.raises(UsageError, match=r"-Reranker-0.6B: is run by the llm-reranker backend, and the onnx"):
        name_model("Qwen/Qwen3-Reranker-0.6B", options)
    name_model("BAAI/bge-reranker-base", options)
    name_model("BAAI/bge-m3", options.model_copy(update={"mode": "sparse"}))
    with pytest.raises(UsageError, match="the onnx backend has no use for --mode, for it makes one dense vector"):
        name_model("BAAI/bge-base-en-v1.5", options.model_copy(update={"mode": "sparse"}))


def test_every_option_is_used_somewhere_or_taken_by_all() -> None:
    used = {option for backend in BACKENDS.values() for option in backend.uses}
    assert used == set(GIVEN)
    assert used | ALWAYS == set(ModelOptions.model_fields)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("option", sorted(GIVEN))
def test_an_option_without_effect_is_refused(backend: str, option: str) -> None:
    options = ModelOptions(**{option: GIVEN[option]})
    if option in BACKENDS[backend].uses:
        check_used("a/b", options, {backend: BACKENDS[backend]})
        return
    flag = {"normalize": "no-normalize", "dtype": "precision"}.get(option, option.replace("_", "-"))
    with pytest.raises(UsageError, match=rf"^a/b: the {backend} backend has no use for --{flag}, for .*\(--{flag} wor"):
        check_used("a/b", options, {backend: BACKENDS[backend]})


def test_what_the_files_decide_is_refused_as_soon_as_it_can_be(tmp_path: Path) -> None:
    folder = str(save_cross_encoder(tmp_path / "ce"))
    # no model without a card could use it, so nothing has to be looked at
    with pytest.raises(UsageError, match=r"the transformers backend has no use for --url, .* --backend http, http-rer"):
        name_model("any/model", ModelOptions(url="http://a"))
    name_model(folder, ModelOptions(pooling="mean"))
    with pytest.raises(UsageError, match="local/ce: the cross-encoder backend has no use for --pooling and --no-norm"):
        resolve_model(folder, ModelOptions(pooling="mean", normalize=False))


def test_the_mode_that_every_model_has_may_be_named(tmp_path: Path) -> None:
    folder = str(save_sentence_model(tmp_path / "m"))
    assert resolve_model(folder, ModelOptions(mode="dense")).spec == resolve_model(folder).spec


def test_a_reranker_takes_nothing_of_vectors_from_the_card_that_it_is_lent(tmp_path: Path) -> None:
    folder = str(save_cross_encoder(tmp_path / "ce"))
    options = ModelOptions(like="intfloat/e5-base-v2", backend="cross-encoder", max_length=32)
    spec = resolve_model(folder, options).spec
    assert (spec.kind, spec.prompts, spec.normalize) == ("reranker", {}, False)
    assert cards()["intfloat/e5-base-v2"].prompts


def test_a_card_of_a_reranker_says_nothing_of_vectors(tmp_path: Path) -> None:
    own = tmp_path / "cards.toml"
    own.write_text('["a/b"]\nkind = "cross-encoder"\nnormalize = true\nprompts = {query = "q"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"\[a/b\]: a cross-encoder makes no vectors, so it has no prompts and no norm"):
        cards(own)


@pytest.mark.parametrize("backend", sorted(name for name, facts in BACKENDS.items() if facts.needs))
def test_a_missing_package_is_named_with_the_command(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = BACKENDS[backend]
    for package in facts.needs:
        monkeypatch.setitem(sys.modules, package, None)
    folder = str(save_bert(tmp_path / "m"))
    expected = f"the {backend} backend needs {facts.needs[0]}.*: pip install 'evalharness\\[{facts.extra}\\]'"
    # before anything is fetched or imported
    with pytest.raises(PrerequisiteError, match=expected):
        name_model(folder, ModelOptions(backend=backend, url="http://a" if "url" in facts.uses else None))
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert facts.extra in project["optional-dependencies"]


def test_a_package_that_the_model_s_files_ask_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "potion"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "model2vec"}', encoding="utf-8")
    monkeypatch.setitem(sys.modules, "model2vec", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'evalharness\[static\]'"):
        resolve_model(str(folder))


def test_planning_imports_nothing_that_computes(tmp_path: Path) -> None:
    folder = str(save_sentence_model(tmp_path / "m"))
    code = (
        f"import sys; from evalharness.models.loading import resolve_model; resolve_model({folder!r}); "
        "print(*({'torch', 'transformers', 'sklearn', 'mteb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_backend_still_opens_what_was_resolved(tmp_path: Path) -> None:
    resolved = resolve_model(str(save_sentence_model(tmp_path / "m")), ModelOptions(backend="sentence-transformers"))
    assert open_embedder(resolved).encode(["a"]).shape == (1, 32)


def test_a_second_stage_can_get_all_that_a_first_one_finds() -> None:
    # the command line has the number itself, for importing it from there would import NumPy
    assert max(K_VALUES) == cli._SEARCH_DEPTH


@pytest.mark.parametrize(
    ("backend", "execution", "message"),
    [
        ("bm25", {"device": "cuda"}, "--device cuda: without effect on a/b .the bm25 backend.*--backend transformers"),
        ("python", {"batch_tokens": 5}, "--batch-tokens 5: without effect on a/b"),
        ("http", {"device": "cpu"}, "--device cpu: without effect on a/b"),
        ("static", {"device": "cpu", "batch_tokens": 5}, "--device cpu and --batch-tokens 5: without effect"),
        ("mteb", {"batch_tokens": 5}, "--batch-tokens 5: without effect"),
    ],
)
def test_what_would_change_nothing_of_the_way_to_run_is_refused(
    backend: str, execution: dict[str, Any], message: str
) -> None:
    served = spec().model_copy(update={"name": "a/b", "backend": backend})
    asked = Execution.model_validate(execution)
    with pytest.raises(UsageError, match=message):
        check_execution([served], asked)
    # a second stage that heeds it is enough
    check_execution([served, spec().model_copy(update={"backend": "cross-encoder"})], asked)
    check_execution([served], Execution())


@pytest.mark.parametrize(("level", "expected"), [(2, PrerequisiteError), (0, ValueError)])
def test_python_without_docstrings_is_told(
    monkeypatch: pytest.MonkeyPatch, level: int, expected: type[Exception]
) -> None:
    def fail(name: str) -> None:
        raise ValueError(f"no docstring in {name}")

    monkeypatch.setattr(opening, "import_module", fail)
    monkeypatch.setattr(opening, "sys", SimpleNamespace(flags=SimpleNamespace(optimize=level)))
    with pytest.raises(expected, match="no docstring in") as raised:
        open_embedder(ResolvedModel(spec(), FileFacts(), ModelOptions()))
    assert ("Python runs with -OO" in str(raised.value)) == (level > 1)
