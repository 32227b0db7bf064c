"""Models of mteb's registry by mteb's own code, on a registry of tiny ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.models.model_meta import ModelMeta
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from mteb.types import PromptType
from support.contract import PROMPT, TEXTS, check_contract, heeded
from support.tiny import save_sentence_model

from evalharness.errors import ModelError, UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.options import Execution
from evalharness.types import TextColumn, ignore_event

PROMPTS = {"query": PROMPT, "STS12": "12: ", "STS": "S: "}
Register = Callable[..., None]


class NoEncoder:
    """As a reranker: no encode."""

    def __init__(self, name: str, **options: Any) -> None:
        del name, options


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Register:
    """Make mteb know a model of this loader."""
    folder = save_sentence_model(tmp_path / "model")

    def load(name: str, revision: str | None = None, **options: Any) -> Any:
        del name, revision, options
        return SentenceTransformerEncoderWrapper(str(folder), model_prompts=PROMPTS)

    def add(loader: Any = load, **facts: Any) -> None:
        shown = {"name": "tiny/model", "revision": "7" * 40, "loader": loader, "similarity_fn_name": "cosine"}
        meta = ModelMeta.create_empty(overwrites={**shown, **facts})
        monkeypatch.setattr(mteb, "get_model_metas", lambda: [meta])
        monkeypatch.setattr(mteb, "get_model", loader)

    add()
    return add


def opened() -> EmbeddingModel:
    return open_embedder(resolve_model("mteb:tiny/model"), Execution())


@pytest.mark.parametrize(
    ("task", "side"), [("STS12", None), ("STS13", None), ("SciFact", "query"), ("SciFact", "document")]
)
def test_vectors_are_those_that_mteb_makes_for_the_task(register: Register, task: str, side: Any) -> None:
    from datasets import Dataset
    from torch.utils.data import DataLoader

    del register
    from evalharness.catalog.tasks import find_task

    spec = find_task(task)
    assert spec is not None
    found = opened().encode_columns([TextColumn("x", TEXTS, side)], spec.context(), ignore_event)["x"].vectors
    loader: Any = DataLoader(Dataset.from_dict({"text": TEXTS}), batch_size=7)
    reference: Any = mteb.get_model("tiny/model")
    theirs = reference.encode(
        loader,
        task_metadata=mteb.get_task(task).metadata,
        hf_split="test",
        hf_subset="default",
        prompt_type=PromptType(side) if side else None,
    )
    np.testing.assert_allclose(found, np.asarray(theirs), atol=1e-5)


def test_the_contract_of_embedders(register: Register) -> None:
    del register
    resolved = resolve_model("mteb:tiny/model")
    check_contract(lambda execution: open_embedder(resolved, heeded(execution, "mteb")), task="SciFact")


def test_prompts_differ_by_task_and_so_do_the_keys(register: Register) -> None:
    del register
    model = opened()
    vectors = [model.encode(["fern"], task=task) for task in ("STS12", "STS13", "Banking77Classification")]
    assert len({row.tobytes() for row in vectors}) == 3
    spec = model.spec
    assert (spec.name, spec.revision, spec.overrides) == ("tiny/model", "7" * 40, {"backend": "mteb"})
    assert spec.prompts == {}


def test_a_local_task_has_no_prompt_there(register: Register) -> None:
    del register
    with pytest.raises(ModelError, match="chooses its prompts by mteb's own tasks, and StarterSTSEng is none of them"):
        opened().encode(["a"], task="StarterSTSEng")


def test_what_cannot_be_run_is_refused(register: Register) -> None:
    with pytest.raises(UsageError, match="unknown model of mteb 'tiny/modl': did you mean tiny/model"):
        resolve_model("mteb:tiny/modl")
    with pytest.raises(UsageError, match="no use for --like and --pooling, for mteb's own code decides on that"):
        resolve_model("mteb:tiny/model", ModelOptions(pooling="cls", like="BAAI/bge-m3"))
    register(NoEncoder)
    with pytest.raises(ModelError, match="mteb's NoEncoder has no encode, so it makes no vectors"):
        opened()
    register(similarity_fn_name="MaxSim")
    with pytest.raises(ModelError, match="compares its vectors by MaxSim; expected cosine or dot"):
        opened()
    register(loader_kwargs={"trust_remote_code": True})
    with pytest.raises(ModelError, match="runs Python code of its own repository"):
        resolve_model("mteb:tiny/model")
    assert resolve_model("mteb:tiny/model", ModelOptions(trust_remote_code=True)).spec.backend == "mteb"


def test_the_model_is_loaded_where_no_folder_can_stand_in_for_it(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "tiny" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    seen: list[list[Path]] = []

    def load(name: str, revision: str | None = None, **options: Any) -> Any:
        del revision, options
        seen.append([*Path.cwd().iterdir(), *([Path(name)] if Path(name).exists() else [])])
        return SentenceTransformerEncoderWrapper(str(tmp_path / "model"))

    register(load)
    opened()
    assert seen == [[]]
    assert Path.cwd() == tmp_path / "work"
