"""What is never done without being asked: code of a repository, pickles, guesses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.tiny import save_bert, save_t5, write

from evalharness import load_model
from evalharness.errors import ModelError, UsageError
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model

CODE = """
from transformers import BertConfig, BertModel
class OwnConfig(BertConfig):
    model_type = "own-bert"
class OwnModel(BertModel):
    config_class = OwnConfig
"""


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    folder = save_bert(tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_pickles_are_loaded_with_a_note_and_refused_on_demand(pickled: Path, tmp_path: Path) -> None:
    strict = ModelOptions(pooling="cls", safetensors_only=True)
    with pytest.raises(ModelError, match=r"its weights are pickles \(pytorch_model\.bin\), and --safetensors-only"):
        resolve_model(str(pickled), strict)
    safe = load_model(str(save_bert(tmp_path / "safe")), strict).encode(["fern"])
    resolved = resolve_model(str(pickled), ModelOptions(pooling="cls"))
    np.testing.assert_array_equal(open_embedder(resolved).encode(["fern"]), safe)
    assert resolved.spec.notes == ("weights are pickles, read without running code from them (pytorch_model.bin)",)
    # the option changes no number and is no part of the result's path
    assert resolve_model(str(tmp_path / "safe"), strict).spec.overrides == {"pooling": "cls"}


def test_a_pickled_dense_layer_beside_safe_weights_counts_too(tmp_path: Path) -> None:
    folder = save_t5(tmp_path / "t5")
    safe = load_model(str(folder)).encode(["fern"])
    torch.save(load_file(folder / "2_Dense" / "model.safetensors"), folder / "2_Dense" / "pytorch_model.bin")
    # unread, for there is a safe file in the same folder
    resolve_model(str(folder), ModelOptions(safetensors_only=True))
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"its weights are pickles \(2_Dense/pytorch_model\.bin\)"):
        resolve_model(str(folder), ModelOptions(safetensors_only=True))
    np.testing.assert_array_equal(load_model(str(folder)).encode(["fern"]), safe)


def test_a_damaged_pickle_is_an_error(pickled: Path) -> None:
    (pickled / "pytorch_model.bin").write_bytes(b"no pickle")
    with pytest.raises(ModelError, match="the weights cannot be loaded"):
        load_model(str(pickled), ModelOptions(pooling="cls"))


@pytest.fixture
def own_code(tmp_path: Path) -> Path:
    folder = save_bert(tmp_path / "own")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    write(folder / "config.json", {**config, "model_type": "own-bert", "auto_map": names})
    (folder / "own.py").write_text(CODE, encoding="utf-8")
    return folder


def test_code_of_a_repository_runs_only_if_that_is_allowed(own_code: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"local/own runs Python code of its own repository.*--trust-remote-code"):
        load_model(str(own_code), ModelOptions(pooling="cls"))
    resolved = resolve_model(str(own_code), ModelOptions(pooling="cls", trust_remote_code=True))
    assert resolved.spec.remote_code
    assert resolved.spec.notes == ("ran Python code of local/own (--trust-remote-code)",)
    plain = load_model(str(save_bert(tmp_path / "plain")), ModelOptions(pooling="cls")).encode(["fern"])
    np.testing.assert_allclose(open_embedder(resolved).encode(["fern"]), plain, atol=1e-6)


def test_code_of_another_repository_is_named(own_code: Path) -> None:
    config = json.loads((own_code / "config.json").read_text(encoding="utf-8"))
    write(own_code / "config.json", {**config, "auto_map": {"AutoModel": "other/repo--own.OwnModel"}})
    notes = resolve_model(str(own_code), ModelOptions(pooling="cls", trust_remote_code=True)).spec.notes
    assert notes == ("ran Python code of local/own and of other/repo (--trust-remote-code)",)


def test_a_card_that_needs_code_says_so_before_anything_is_fetched() -> None:
    with pytest.raises(ModelError, match=r"nomic-ai/nomic-embed-text-v1\.5 runs Python code of its own repository"):
        resolve_model("nomic-ai/nomic-embed-text-v1.5")


def test_permission_without_need_changes_nothing(tmp_path: Path) -> None:
    folder = str(save_bert(tmp_path / "m"))
    spec = resolve_model(folder, ModelOptions(pooling="cls", trust_remote_code=True)).spec
    assert (spec.remote_code, spec.notes) == (False, ())


def test_a_pooling_that_nobody_can_do_is_refused(tmp_path: Path) -> None:
    folder = str(save_bert(tmp_path / "m"))
    with pytest.raises(ModelError, match="the transformers backend has to be told the pooling; give --pooling"):
        load_model(folder, ModelOptions(pooling="own")).encode(["a"])
    m3 = ModelOptions(pooling="own", backend="m3", max_length=16)
    with pytest.raises(ModelError, match="the m3 backend has to be told the pooling; give --pooling"):
        load_model(folder, m3).encode(["a"])


def test_an_unknown_backend_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown backend 'transformer': did you mean transformers"):
        resolve_model(str(save_bert(tmp_path / "m")), ModelOptions(backend="transformer"))


@pytest.mark.parametrize("changes", [{}, {"backend": "transformers", "pooling": "mean"}, {"mode": "multi-vector"}])
def test_a_model_that_no_backend_runs_is_refused_before_anything_is_fetched(changes: dict[str, Any]) -> None:
    expected = "no backend here runs lightonai/GTE-ModernColBERT-v1 as its authors mean it, for .* reading only"
    with pytest.raises(UsageError, match=expected):
        resolve_model("lightonai/GTE-ModernColBERT-v1", ModelOptions(**changes))


def test_a_checkpoint_of_a_model_that_no_backend_runs_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="m: no backend here runs lightonai/GTE-ModernColBERT-v1 as its authors mean it"
    ):
        resolve_model(str(save_bert(tmp_path / "m")), ModelOptions(like="lightonai/GTE-ModernColBERT-v1"))
