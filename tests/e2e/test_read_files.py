"""What is read of a model is what its fingerprint counts, for every backend and layout; nothing else is opened."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model2vec import StaticModel
from safetensors.torch import load_file
from sentence_transformers.sentence_transformer import modules
from support.processes import Pythons, out_of_reach
from support.tiny import (
    DIMENSIONS,
    config,
    save_bert,
    save_cross_encoder,
    save_decoder,
    save_m3,
    save_sentence_model,
    save_t5,
    tokenizer,
    write,
)
from transformers import AutoModel, BertModel, Qwen3Config, Qwen3ForCausalLM

from evalharness.models.loading import ModelOptions, resolve_model

OPENED = Path(__file__).parents[1] / "support" / "opened.py"
Case = tuple[dict[str, Any], Callable[[Path], Path]]


def save_under(folder: Path, inner: str, seed: int = 0) -> Path:
    """sentence-transformers' files with the transformer in a folder of any name."""
    save_bert(folder / inner, seed=seed)
    paths = {"Transformer": inner, "Pooling": "heads/pooling", "Normalize": "heads/norm"}
    # the names under which this version of the library saves them
    kinds = {name: getattr(modules, name) for name in paths}
    write(
        folder / "modules.json",
        [
            {"name": name, "path": path, "type": f"{kinds[name].__module__}.{kinds[name].__qualname__}"}
            for name, path in paths.items()
        ],
    )
    write(
        folder / "heads" / "pooling" / "config.json", {"word_embedding_dimension": DIMENSIONS, "pooling_mode": "mean"}
    )
    return folder


def save_shards(folder: Path) -> Path:
    torch.manual_seed(0)
    BertModel(config()).save_pretrained(folder, max_shard_size="20KB")
    tokenizer().save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def save_pickle(folder: Path) -> Path:
    save_t5(folder)
    for place in (folder, folder / "2_Dense"):
        torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
        (place / "model.safetensors").unlink()
    return folder


def save_static(folder: Path) -> Path:
    vectors = np.random.default_rng(0).normal(size=(tokenizer().vocab_size, 8)).astype(np.float32)
    StaticModel(vectors, tokenizer().backend_tokenizer, config={"model_type": "model2vec"}).save_pretrained(folder)
    return folder


def save_static_module(folder: Path) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = tokenizer().backend_tokenizer
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=8)], device="cpu").save(str(folder))
    return folder


def save_qwen_reranker(folder: Path) -> Path:
    torch.manual_seed(0)
    words = tokenizer()
    words.add_tokens(["Yes"])
    sizes: dict[str, Any] = {"hidden_size": DIMENSIONS, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
    Qwen3ForCausalLM(Qwen3Config(vocab_size=len(words), num_key_value_heads=2, **sizes)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def save_onnx(folder: Path) -> Path:
    save_sentence_model(folder)
    model = AutoModel.from_pretrained(folder).eval()
    module = torch.nn.Module().eval()
    module.encoder = model
    module.forward = lambda ids, mask: model(ids, mask).last_hidden_state
    example = torch.ones((2, 5), dtype=torch.int64)
    names, output = ["input_ids", "attention_mask"], "last_hidden_state"
    (folder / "onnx").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example, example), str(folder / "onnx" / "model.onnx"), dynamo=False, input_names=names,
            output_names=[output], dynamic_axes={name: {0: "texts", 1: "tokens"} for name in [*names, output]},
            opset_version=17,
        )  # fmt: skip
    return folder


CASES: dict[str, Case] = {
    "bare": ({"pooling": "cls"}, save_bert),
    "modules": ({}, save_sentence_model),
    "under": ({}, lambda folder: save_under(folder, "encoder")),
    "decoder": ({}, lambda folder: save_decoder(folder, "lasttoken")),
    "shards": ({"pooling": "cls"}, save_shards),
    "pickles": ({}, save_pickle),
    "dense": ({}, save_t5),
    "m3": ({"like": "BAAI/bge-m3", "max_length": 64, "mode": "sparse"}, save_m3),
    "cross-encoder": ({}, save_cross_encoder),
    "llm-reranker": ({"like": "BAAI/bge-reranker-v2-gemma", "max_length": 64}, save_qwen_reranker),
    "static": ({}, save_static),
    "static-module": ({}, save_static_module),
    "onnx": ({"backend": "onnx"}, save_onnx),
    "onnx-export": ({"backend": "onnx", "onnx_file": "export"}, save_sentence_model),
    "onnx-export-m3": (
        {"backend": "onnx", "onnx_file": "export", "like": "BAAI/bge-m3", "max_length": 64, "mode": "sparse"},
        save_m3,
    ),
    "onnx-export-pairs": ({"backend": "onnx", "onnx_file": "export"}, save_cross_encoder),
    "st-modules": ({"backend": "sentence-transformers"}, save_sentence_model),
    "st-under": ({"backend": "sentence-transformers"}, lambda folder: save_under(folder, "a/b")),
    "st-dense": ({"backend": "sentence-transformers"}, save_t5),
    "st-pickles": ({"backend": "sentence-transformers"}, save_pickle),
}


def add_others(folder: Path) -> None:
    """Files that libraries like to look for and that no number may come from."""
    for name in (
        "README.md", "chat_template.jinja", "additional_chat_templates/x.jinja", "generation_config.json",
        "tf_model.h5",
        "preprocessor_config.json", "processor_config.json", "model.fp16.safetensors", "training_args.bin",
        "rust_model.ot", "9_Other/config.json", "optimizer.pt", "router_config.json", "video_preprocessor_config.json",
    ):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    if (folder / "model.safetensors").exists():
        (folder / "pytorch_model.bin").write_text("no pickle")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which files are opened (inotify)")
def test_every_file_that_is_opened_is_counted_and_nothing_outside(tmp_path: Path, pythons: Pythons) -> None:
    given = {}
    for name, (options, save) in CASES.items():
        folder = save(tmp_path / name)
        add_others(folder)
        given[name] = {"folder": str(folder), "options": options}
    own = [tmp_path / "tmp", tmp_path / "hf", tmp_path / "cache"]
    (tmp_path / "tmp").mkdir()
    write(tmp_path / "tmp" / "cases.json", given)
    arguments = [str(OPENED), str(tmp_path / "tmp" / "cases.json"), str(tmp_path / "tmp")]
    done = pythons.run(arguments, tmp_path, out_of_reach(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(CASES)
    for name, files in found.items():
        listed, inside = set(files["listed"]), set(files["inside"])
        # the revision in results is the same for all backends, so it counts torch's weights, too; nothing runs on them
        hashed = {"model.safetensors"} if name == "onnx" else set()
        # the licence stands in it, and no number comes of it
        hashed |= {"README.md"}
        assert "README.md" not in listed, name
        assert inside <= listed | hashed, (name, inside - listed)
        # the code and what is only named are all that is not opened
        assert listed <= inside, (name, listed - inside)
        wanted = {str(tmp_path / name / file) for file in listed | hashed}
        elsewhere = [path for path in files["all"] if path.startswith(str(tmp_path)) and path not in wanted]
        allowed = tuple(str(path) for path in own)
        others = [path for path in elsewhere if not path.startswith(allowed) and Path(path).is_file()]
        assert others == [], name


def test_two_checkpoints_with_other_weights_are_two_models_wherever_they_are(tmp_path: Path) -> None:
    prints = {
        resolve_model(str(save_under(tmp_path / f"{number}" / "m", inner, seed))).spec.fingerprint
        for number, (inner, seed) in enumerate([("encoder", 0), ("encoder", 1), ("a/b/c", 0), ("a/b/c", 1)])
    }
    assert len(prints) == len("1234")


def test_a_repositorys_own_module_counts_with_all_of_its_folder(tmp_path: Path) -> None:
    folder = save_sentence_model(tmp_path / "m", normalize=False)
    usual = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", [*usual, {"name": "own", "path": "own", "type": "own_code.Scale"}])
    write(folder / "own" / "deep" / "factor.json", 2.0)
    (folder / "own_code.py").write_text(
        "import json, torch\nfrom pathlib import Path\n"
        "class Scale(torch.nn.Module):\n"
        "    def __init__(self, factor):\n        super().__init__()\n        self.factor = factor\n"
        "    def forward(self, features):\n"
        "        features['sentence_embedding'] = features['sentence_embedding'] * self.factor\n"
        "        return features\n"
        "    @staticmethod\n    def load(path):\n"
        "        return Scale(json.loads((Path(path) / 'deep' / 'factor.json').read_text()))\n"
    )
    options = ModelOptions(backend="sentence-transformers", trust_remote_code=True)
    from evalharness.models.loading import open_embedder

    resolved = resolve_model(str(folder), options)
    assert resolved.spec.notes == ("ran Python code of local/m (--trust-remote-code)",)
    assert {"own/deep/factor.json", "own_code.py"} <= set(resolved.facts.files)
    doubled = open_embedder(resolved).encode(["fern"])
    write(folder / "modules.json", usual)
    plain = open_embedder(resolve_model(str(folder), ModelOptions(backend="sentence-transformers"))).encode(["fern"])
    np.testing.assert_allclose(doubled, 2 * plain, atol=1e-6)
    write(folder / "modules.json", [*usual, {"name": "own", "path": "own", "type": "own_code.Scale"}])
    write(folder / "own" / "deep" / "factor.json", 3.0)
    assert resolve_model(str(folder), options).spec.fingerprint != resolved.spec.fingerprint
