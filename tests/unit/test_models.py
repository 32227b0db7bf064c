"""From a name to a settled model: cards, files, options, fingerprints, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.tiny import save_bert, save_cross_encoder, save_sentence_model, write

from evalharness.errors import ModelError, PrerequisiteError, UsageError
from evalharness.models import source
from evalharness.models.layout import Source, lay_out, lay_out_folder
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.prompts import choose_prompt
from evalharness.models.source import find_model, fingerprint
from evalharness.types import ModelSpec, TaskContext

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "models.json"
ENGLISH, CHINESE = "BAAI/bge-base-en-v1.5", "BAAI/bge-base-zh"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "step-2000", max_length=512)


def test_a_bare_checkpoint_does_not_tell_its_pooling(bert: Path) -> None:
    with pytest.raises(ModelError, match=r"local/step-2000: nothing tells how to pool.*--like BASE.*--pooling"):
        resolve_model(str(bert))


def test_like_lends_the_card_of_the_base(bert: Path) -> None:
    spec = resolve_model(str(bert), ModelOptions(like="baai/BGE-base-zh")).spec
    assert (spec.pooling, spec.normalize, spec.max_length) == ("cls", True, 512)
    assert spec.prompts == {"query": "为这个句子生成表示以用于检索相关文章\uff1a"}
    assert spec.facts_from == f"card of {CHINESE}"
    assert spec.name == "local/step-2000"
    assert spec.revision == spec.fingerprint[:40] == content(bert)[:40]


def test_an_unknown_base_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown model card 'BAAI/bge-base-en-v2': did you mean BAAI/bge-base-en"):
        resolve_model("all-MiniLM-L6-v2", ModelOptions(like="BAAI/bge-base-en-v2"))


def test_options_override_the_card_and_name_themselves(bert: Path) -> None:
    options = ModelOptions(
        like=ENGLISH, pooling="mean", normalize=False, max_length=128, query_prompt="Q ", document_prompt="D "
    )
    spec = resolve_model(str(bert), options).spec
    assert (spec.pooling, spec.normalize, spec.max_length) == ("mean", False, 128)
    # a prompt for one task would win over the user's, so it goes too
    assert spec.prompts == {"query": "Q ", "document": "D "}
    assert set(spec.overrides) == {"like", "pooling", "normalize", "max_length", "query_prompt", "document_prompt"}


def test_a_sentence_transformers_folder_is_read_from_its_files(tmp_path: Path) -> None:
    folder = save_sentence_model(
        tmp_path / "m",
        pooling={"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
        sentence={"max_seq_length": 48, "do_lower_case": True},
        settings={"prompts": {"query": "Q: "}, "default_prompt_name": None, "similarity_fn_name": "dot"},
    )
    resolved = resolve_model(str(folder))
    spec = resolved.spec
    assert (spec.pooling, spec.normalize, spec.max_length, spec.similarity) == ("mean", True, 48, "dot")
    assert spec.prompts == {"query": "Q: "}
    assert resolved.facts.lowercase
    assert spec.facts_from == "the model's own files"
    assert spec.overrides == {}


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        (
            {"pooling_mode_max_tokens": True},
            "pooling max is not supported; expected one of cls, mean, weighted",
        ),
        ({"pooling_mode": ["cls", "mean"]}, r"pooling cls \+ mean is not supported"),
        ({"pooling_mode_cls_token": False}, "pooling unset is not supported"),
    ],
)
def test_poolings_that_are_not_ours_are_refused(tmp_path: Path, pooling: Mapping[str, Any], message: str) -> None:
    folder = save_sentence_model(tmp_path / "m", pooling=pooling)
    with pytest.raises(ModelError, match=message):
        resolve_model(str(folder))


def test_unknown_modules_are_refused(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m")
    write(folder / "modules.json", [{"path": "", "type": "x.Transformer"}, {"path": "2", "type": "x.WordWeights"}])
    with pytest.raises(
        ModelError, match=r"modules\.json: names 'x\.Transformer', 'x\.WordWeights', which our own backends cannot run"
    ):
        resolve_model(str(folder))


def test_damaged_and_contradictory_files_are_named(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m", settings={"prompts": {"a": "A"}, "default_prompt_name": "b"})
    with pytest.raises(ModelError, match=r"default_prompt_name 'b', which is not among its prompts .a."):
        resolve_model(str(folder))
    (folder / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "manhattan"}')
    with pytest.raises(ModelError, match="similarity 'manhattan' is not supported"):
        resolve_model(str(folder))
    (folder / "modules.json").write_text("{")
    with pytest.raises(ModelError, match=r"modules\.json: is damaged or no JSON"):
        resolve_model(str(folder))


def test_the_length_comes_from_the_tokenizer_but_not_beyond_the_positions(tmp_path: Path) -> None:
    assert resolve_model(str(save_sentence_model(tmp_path / "a"))).spec.max_length == 64
    folder = save_sentence_model(tmp_path / "b")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    write(folder / "tokenizer_config.json", {**tokenizer, "model_max_length": 10**30})
    assert resolve_model(str(folder)).spec.max_length == 64
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", {**config, "model_type": "xlm-roberta", "pad_token_id": 1})
    assert resolve_model(str(folder)).spec.max_length == 62


def test_a_length_beyond_the_positions_is_refused(tmp_path: Path) -> None:
    folder = str(save_sentence_model(tmp_path / "m"))
    assert resolve_model(folder, ModelOptions(max_length=64)).spec.max_length == 64
    with pytest.raises(ModelError, match=r"has positions for 64 tokens, but .* was to be 65; give --max-length 64"):
        resolve_model(folder, ModelOptions(max_length=65))


def test_names_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown model 'bge-base-en-v1.5': did you mean BAAI/bge-base-en-v1.5"):
        resolve_model("bge-base-en-v1.5")
    with pytest.raises(UsageError, match=r"unknown model './nowhere'.*\n.*an existing folder"):
        resolve_model("./nowhere")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"holds no model: expected config.json or modules.json, found notes.txt"):
        find_model(str(tmp_path))


def test_the_packaged_model_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_model("all-MiniLM-L6-v2")
    assert found.name == "sentence-transformers/all-MiniLM-L6-v2"
    monkeypatch.setattr(source, "_PACKAGED_SHA256", "0" * 64)
    with pytest.raises(ModelError, match=r"sha256 53aa5117.*expected 0000.*reinstall"):
        find_model("all-MiniLM-L6-v2")
    monkeypatch.setattr(source, "_PACKAGE", "no_such_package")
    with pytest.raises(PrerequisiteError, match=r"pip install 'evalharness\[demo\]'"):
        find_model("all-MiniLM-L6-v2")


def test_invalid_options_are_usage_errors() -> None:
    for options, message in (
        (ModelOptions(max_length=0), "maximum length must be at least 1"),
        (ModelOptions(name="nameless"), "not of the form organisation/name"),
    ):
        with pytest.raises(UsageError, match=message):
            resolve_model("all-MiniLM-L6-v2", options)


def listed(*names: str) -> tuple[str, ...]:
    return lay_out(Source("m", names, lambda _: None)).files


def test_safetensors_win_over_pickles() -> None:
    common = ["config.json", "tokenizer.json", "README.md", "onnx/model.onnx", "1_Pooling/config.json", "optimizer.pt"]
    used = ["config.json", "tokenizer.json"]
    assert listed(*common, "model.safetensors", "pytorch_model.bin") == (*used[:1], "model.safetensors", *used[1:])
    assert listed(*common, "pytorch_model.bin") == (*used[:1], "pytorch_model.bin", *used[1:])


def content(folder: Path) -> str:
    return fingerprint(folder, lay_out_folder(folder).files)


def test_the_fingerprint_is_of_the_content(bert: Path, tmp_path: Path) -> None:
    before = content(bert)
    copy = Path(shutil.copytree(bert, tmp_path / "elsewhere"))
    (copy / "trainer_state.json").write_text("{}")
    (copy / "README.md").write_text("text")
    # a folder that no modules.json names is not read
    write(copy / "1_Pooling" / "config.json", {})
    assert content(copy) == before
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        changed = Path(shutil.copytree(bert, tmp_path / name))
        (changed / name).write_bytes((changed / name).read_bytes() + b" ")
        assert content(changed) != before, name
    sentence = save_sentence_model(tmp_path / "sentence")
    before = content(sentence)
    write(sentence / "1_Pooling" / "config.json", {})
    assert content(sentence) != before


def test_a_cross_encoder_is_known_by_its_files(tmp_path: Path) -> None:
    spec = resolve_model(str(save_cross_encoder(tmp_path / "reranker"))).spec
    assert (spec.kind, spec.backend, spec.pooling) == ("reranker", "cross-encoder", "own")


def spec_with(prompts: dict[str, str], default: str = "") -> ModelSpec:
    return ModelSpec(
        name="a/b", revision="0", fingerprint="0", pooling="cls", normalize=True, max_length=512,
        prompts=prompts, default_prompt=default,
    )  # fmt: skip


def test_prompts_are_chosen_by_mteb_precedence() -> None:
    import mteb
    from mteb.models.abs_encoder import get_prompt_name
    from mteb.types import PromptType

    keys = ["STS12-query", "STS12", "STS-query", "STS", "query", "document", "STS12-document", "Retrieval"]
    metadata = mteb.get_task("STS12").metadata
    task = TaskContext(name="STS12", type="STS")
    for hidden in range(2 ** len(keys)):
        prompts = {key: f"<{key}>" for bit, key in enumerate(keys) if not hidden >> bit & 1}
        for side in ("query", "document"):
            name = get_prompt_name(prompts, metadata, PromptType(side))
            assert choose_prompt(spec_with(prompts), side, task) == (prompts[name] if name else "")
        name = get_prompt_name(prompts, metadata, None)
        assert choose_prompt(spec_with(prompts, "<default>"), None, task) == (prompts[name] if name else "<default>")
