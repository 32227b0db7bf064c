"""Which files are a model: paths that lead out of it, classes that nobody knows, shards, adapters, the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import config, save_bert, save_cross_encoder, save_sentence_model, save_t5, tokenizer, write
from transformers import BertModel

from evalharness import load_model
from evalharness.errors import ModelError, UsageError
from evalharness.models.layout import KINDS, Source, lay_out, lay_out_folder, parse_modules
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.source import fingerprint

HOME = "sentence_transformers.models"
OUT = ["/etc", "../other", "a/../../b", "..", "C:\\x", "C:x", "a\\b", "a\0b", "//server/x"]


def modules(*entries: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": str(n), "type": kind, "path": path} for n, (kind, path) in enumerate(entries)]


@pytest.mark.parametrize("path", OUT)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, path: str) -> None:
    folder = save_sentence_model(tmp_path / "m")
    save_bert(tmp_path / "other")
    for entries in (
        [(f"{HOME}.Transformer", path), (f"{HOME}.Pooling", "1_Pooling")],
        [(f"{HOME}.Transformer", ""), (f"{HOME}.Pooling", path)],
    ):
        write(folder / "modules.json", modules(*entries))
        for backend in ("transformers", "sentence-transformers", "onnx"):
            with pytest.raises(ModelError, match=r"modules\.json, module \d, path: .* leads out of the model's folder"):
                resolve_model(str(folder), ModelOptions(backend=backend))


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "a/b.safetensors", "", 1, None, "a\\b"])
def test_shards_elsewhere_are_refused(tmp_path: Path, name: object) -> None:
    folder = save_bert(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(tmp_path / "x.safetensors")
    write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": dict.fromkeys(weights, name)})
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json, weight_map"):
        resolve_model(str(folder), ModelOptions(pooling="cls"))


def test_shards_are_those_of_the_index_and_have_to_be_there(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "m"
    BertModel(config()).save_pretrained(folder, max_shard_size="20KB")
    tokenizer().save_pretrained(folder)
    save_file({"a": torch.zeros(1)}, folder / "other.safetensors")
    files = resolve_model(str(folder), ModelOptions(pooling="cls")).facts.files
    assert "other.safetensors" not in files
    shards = [name for name in files if name.startswith("model-")]
    assert len(shards) > 1
    (folder / shards[0]).unlink()
    with pytest.raises(ModelError, match=rf"index\.json: names {shards[0]}, which is not there; fetch all files"):
        resolve_model(str(folder), ModelOptions(pooling="cls"))


@pytest.mark.parametrize(
    "kind",
    [
        "evil.Transformer",
        "Transformer",
        "sentence_transformers.Transformer",
        f"{HOME}.Transformer.evil",
        "os.system",
        "",
    ],
)
def test_classes_are_known_by_their_whole_names(tmp_path: Path, kind: str) -> None:
    folder = save_sentence_model(tmp_path / "m")
    write(folder / "modules.json", modules((kind, ""), (f"{HOME}.Pooling", "1_Pooling")))
    for options in ({}, {"backend": "sentence-transformers"}, {"trust_remote_code": True}):
        with pytest.raises(ModelError, match=r"which our own backends cannot run; they know .* by their full names"):
            resolve_model(str(folder), ModelOptions(**options))


def test_all_names_of_the_installed_library_are_known() -> None:
    from sentence_transformers.sentence_transformer import modules as library

    for kind in KINDS:
        found = getattr(library, kind)
        names = [f"{HOME}.{kind}", f"{found.__module__}.{kind}", f"{library.__name__}.{kind}"]
        for name in names:
            assert parse_modules(modules((name, "")), "m")[0].kind == kind


def test_what_there_can_be_one_of(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m")
    usual = [(f"{HOME}.Transformer", ""), (f"{HOME}.Pooling", "1_Pooling")]
    for kind in ("Transformer", "Pooling"):
        write(folder / "modules.json", modules(*usual, (f"{HOME}.{kind}", "1_Pooling")))
        with pytest.raises(ModelError, match=f"names {kind} more than once; expected one at most"):
            resolve_model(str(folder))
    write(folder / "modules.json", [*modules(*usual), {"name": "1", "type": f"{HOME}.Normalize", "path": "2"}])
    with pytest.raises(ModelError, match=r"two modules have the same name \(0, 1, 1\)"):
        resolve_model(str(folder))
    nothing: Any
    for nothing in ([], None, {}, "x", [None]):
        write(folder / "modules.json", nothing)
        with pytest.raises(ModelError, match=r"modules\.json"):
            resolve_model(str(folder))


@pytest.mark.parametrize("inner", ["", "encoder"])
def test_adapters_are_refused(tmp_path: Path, inner: str) -> None:
    folder = tmp_path / "m"
    save_bert(folder / inner)
    write(folder / inner / "adapter_config.json", {"base_model_name_or_path": str(tmp_path / "other")})
    if inner:
        write(folder / "modules.json", modules((f"{HOME}.Transformer", inner)))
    with pytest.raises(ModelError, match=r"are an adapter .LoRA., .* merge it into its model"):
        resolve_model(str(folder), ModelOptions(pooling="cls"))


@pytest.mark.parametrize("key", ["vocab_file", "tokenizer_file", "merges_file", "spm_file"])
def test_a_tokenizer_s_files_are_its_own(tmp_path: Path, key: str) -> None:
    folder = save_bert(tmp_path / "m")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    # transformers wrote this one once, and never reads it
    write(folder / "tokenizer_config.json", {**settings, "special_tokens_map_file": "/root/.cache/x.json"})
    load_model(str(folder), ModelOptions(pooling="cls"))
    for path in ("/etc/passwd", "../vocab.txt", "a/vocab.txt", 7):
        write(folder / "tokenizer_config.json", {**settings, key: path})
        with pytest.raises(ModelError, match=rf"tokenizer_config\.json, {key}"):
            load_model(str(folder), ModelOptions(pooling="cls"))


def test_weights_of_another_name_in_the_config_are_refused(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    write(folder / "config.json", {**settings, "transformers_weights": "other.safetensors"})
    with pytest.raises(ModelError, match=r"config\.json, transformers_weights: names weights of its own"):
        load_model(str(folder), ModelOptions(pooling="cls"))


def test_more_layers_in_the_weights_than_in_the_config_are_an_error(tmp_path: Path) -> None:
    for save, options in ((save_bert, {"pooling": "cls"}), (save_cross_encoder, {})):
        folder = save(tmp_path / save.__name__)
        settings = json.loads((folder / "config.json").read_text())
        write(folder / "config.json", {**settings, "num_hidden_layers": 1})
        with pytest.raises(ModelError, match=r"the weight file has layers that config.json leaves out .*layer.1"):
            opened(folder, **options)
    # half of a T5 is left out on purpose
    load_model(str(save_t5(tmp_path / "t5")))


def opened(folder: Path, **options: Any) -> object:
    from evalharness.models.loading import System, open_model

    return open_model(System(resolve_model(str(folder), ModelOptions(**options))))


def test_a_missing_pooling_folder_says_so(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m")
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"1_Pooling/config\.json is missing, which says how token vectors are pooled"):
        resolve_model(str(folder))


def test_usual_layouts_have_the_fingerprint_that_they_always_had(tmp_path: Path) -> None:
    """Computed by the patterns of old; what is in stores was named by it."""
    from hashlib import sha256

    for save in (save_bert, save_sentence_model, save_t5, save_cross_encoder):
        folder = save(tmp_path / save.__name__)
        total = sha256()
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            if path.is_file() and path.suffix in (".json", ".safetensors"):
                digest = sha256(path.read_bytes()).hexdigest()
                total.update(f"{path.relative_to(folder).as_posix()}\0{digest}\n".encode())
        assert fingerprint(folder, lay_out_folder(folder).files) == total.hexdigest()


def test_what_is_fetched_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "0123456789012345678901234567890123456789"
    save_bert(folder / "encoder")
    write(folder / "modules.json", modules((f"{HOME}.Transformer", "encoder"), (f"{HOME}.Pooling", "heads/pooling")))
    write(folder / "heads" / "pooling" / "config.json", {"pooling_mode": "mean"})
    for other in ("model.safetensors", "README.md", "1_Pooling/config.json", "encoder/onnx/model.onnx"):
        write(folder / other, {})
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    fetched: list[str] = []

    def info(repo: str, revision: str | None) -> SimpleNamespace:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names], card_data=None)

    def download(repo: str, name: str, revision: str | None, local_files_only: bool) -> str:
        fetched.append(name)
        return str(folder / name)

    def snapshot(repo: str, revision: str | None, allow_patterns: list[str]) -> str:
        fetched.extend(allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.HfApi", lambda: SimpleNamespace(model_info=info))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    resolved = resolve_model("some/model")
    assert fetched[0] == "modules.json"
    assert tuple(sorted(set(fetched))) == resolved.facts.files == lay_out(
        Source("m", names, lambda name: json.loads((folder / name).read_text()))
    ).files  # fmt: skip
    assert set(names) - set(fetched) >= {"model.safetensors", "README.md", "1_Pooling/config.json"}


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "modules.json", "1_Pooling/config.json"]
)
def test_what_git_leaves_in_the_place_of_a_large_file_is_named(tmp_path: Path, name: str) -> None:
    folder = save_sentence_model(tmp_path / "m")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 90868376\n"
    (folder / name).write_text(pointer)
    with pytest.raises(ModelError, match=r"is a git-lfs pointer of \d+ bytes, .* run git lfs pull") as caught:
        resolve_model(str(folder))
    assert str(folder / name) in str(caught.value)


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m")
    odd = folder.with_name("m\udcff")
    try:
        folder.rename(odd)
    except OSError:
        pytest.skip("names of this file system are UTF-8")
    with pytest.raises(ModelError, match="its name is not in UTF-8, which no result can hold; rename it"):
        load_model(str(odd))
    odd.rename(folder)
    (folder / "m\udcff.py").write_text("")
    with pytest.raises(ModelError, match=r"the name of the file .* is not in UTF-8"):
        load_model(str(folder))
    (folder / "m\udcff.py").unlink()
    for option in ("query_prompt", "document_prompt", "backend", "onnx_file", "like", "name", "mode", "url"):
        with pytest.raises(UsageError, match=f"--{option.replace('_', '-')}: .* is no text in UTF-8"):
            load_model(str(folder), ModelOptions.model_validate({option: "x\udcff"}))
    (tmp_path / "\udcff").mkdir()
    moved = folder.rename(tmp_path / "\udcff" / "m")
    assert len(load_model(str(moved)).encode(["a"])) == 1
