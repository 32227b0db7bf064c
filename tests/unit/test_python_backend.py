"""Objects of the user's as models: every interface, and what they may get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from FlagEmbedding import FlagModel
from sentence_transformers import SentenceTransformer
from support.contract import PROMPT, TEXTS, check_contract, heeded
from support.tiny import save_bert, save_sentence_model

from evalharness.errors import ModelError, UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.options import Execution

MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
SOURCE = """
import numpy as np
from langchain_core.embeddings import Embeddings
FOLDER = {folder!r}

def flag():
    from FlagEmbedding import FlagModel
    lengths = {{"query_max_length": 64, "passage_max_length": 64}}
    return FlagModel(FOLDER, query_instruction_for_retrieval="find: ", use_fp16=False, devices="cpu", **lengths)

def sentences():
    from sentence_transformers import SentenceTransformer
    return SentenceTransformer(FOLDER, device="cpu")

class Chain(Embeddings):
    def embed_query(self, text):
        return [1.0, float(len(text))]
    def embed_documents(self, texts):
        return [[2.0, float(len(text))] for text in texts]

class Both:
    def encode_queries(self, texts):
        return np.array([[1, len(text)] for text in texts], dtype=np.float64)
    def encode_corpus(self, texts):
        return [[2, len(text)] for text in texts]

class All(Both):
    def encode(self, texts):
        return {{"dense_vecs": np.array([[3, len(text)] for text in texts])}}

class Wrong:
    def __init__(self, reply=None):
        self.reply = reply
    def encode(self, texts):
        if self.reply is None:
            raise ValueError("out of luck\\nand more")
        return self.reply

made = All()
raises = Wrong()
few = Wrong([[1.0, 2.0]])
words = Wrong("no vectors")
flat = Wrong([1.0, 2.0])
ragged = Wrong([[1.0], [1.0, 2.0]])
number = 7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder; gives its name, which no other test has."""
    folder = save_sentence_model(tmp_path / "model", pooling=MEAN)
    name = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(SOURCE.format(folder=str(folder)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return name


def opened(name: str, options: ModelOptions | None = None) -> EmbeddingModel:
    return open_embedder(resolve_model(name, options), Execution())


@pytest.mark.parametrize(
    ("thing", "query", "document", "neither"),
    [("Both", 1, 2, 2), ("Chain", 1, 2, 2), ("All", 1, 2, 3), ("made", 1, 2, 3)],
)
def test_each_side_goes_to_its_method(here: str, thing: str, query: int, document: int, neither: int) -> None:
    model = opened(f"python:{here}:{thing}")
    assert model.encode_queries(["abc", "d"]).tolist() == [[query, 3], [query, 1]]
    assert model.encode_corpus(["abc", "d"]).tolist() == [[document, 3], [document, 1]]
    assert model.encode(["abc", "d", "abc"]).tolist() == [[neither, 3], [neither, 1], [neither, 3]]
    assert model.encode(["a"]).dtype == np.float32


def test_prompts_are_ours_only_if_they_are_given(here: str) -> None:
    plain = opened(f"python:{here}:Both")
    prompted = opened(f"python:{here}:Both", ModelOptions(query_prompt="12345"))
    assert plain.encode_queries(["a"]).tolist() == [[1, 1]]
    assert prompted.encode_queries(["a"]).tolist() == [[1, 6]]
    assert prompted.encode_corpus(["a"]).tolist() == [[2, 1]]


def test_a_flag_model_puts_its_own_instruction_before_queries(here: str, tmp_path: Path) -> None:
    lengths = {"query_max_length": 64, "passage_max_length": 64}
    reference = FlagModel(
        str(tmp_path / "model"), query_instruction_for_retrieval="find: ", use_fp16=False, devices="cpu", **lengths
    )
    model = opened(f"python:{here}:flag")
    np.testing.assert_allclose(model.encode_queries(TEXTS), reference.encode_queries(TEXTS), atol=1e-5)
    np.testing.assert_allclose(model.encode_corpus(TEXTS), reference.encode_corpus(TEXTS), atol=1e-5)
    np.testing.assert_allclose(model.encode(TEXTS), reference.encode(TEXTS), atol=1e-5)


def test_bge_on_transformers_equals_flag_model(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    instruction = "Represent this sentence for searching relevant passages: "
    reference = FlagModel(
        str(folder), query_instruction_for_retrieval=instruction, use_fp16=False, devices="cpu",
        query_max_length=64, passage_max_length=64,
    )  # fmt: skip
    model = opened(str(folder), ModelOptions(like="BAAI/bge-base-en-v1.5", max_length=64))
    np.testing.assert_allclose(model.encode_queries(TEXTS), reference.encode_queries(TEXTS), atol=1e-5)
    np.testing.assert_allclose(model.encode_corpus(TEXTS), reference.encode_corpus(TEXTS), atol=1e-5)


def test_a_sentence_transformers_object_keeps_the_contract(here: str, tmp_path: Path) -> None:
    reference = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(opened(f"python:{here}:sentences").encode(TEXTS), reference.encode(TEXTS), atol=1e-5)

    def with_prompt(execution: Execution) -> EmbeddingModel:
        resolved = resolve_model(f"python:{here}:sentences", ModelOptions(query_prompt=PROMPT))
        return open_embedder(resolved, heeded(execution, "python"))

    check_contract(with_prompt)


def test_normalisation_and_dimensions_are_ours_on_request(here: str) -> None:
    scaled = opened(f"python:{here}:Both", ModelOptions(normalize=True)).encode(["ab"])
    np.testing.assert_allclose(scaled, [[2 / 8**0.5, 2 / 8**0.5]], atol=1e-6)
    assert opened(f"python:{here}:Both", ModelOptions(dimensions=1, normalize=True)).encode(["ab"]).tolist() == [[1]]
    with pytest.raises(ModelError, match="has vectors of 2 dimensions, 3 are to be kept"):
        opened(f"python:{here}:Both", ModelOptions(dimensions=3)).encode(["ab"])


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ("raises", r"failed with ValueError: 'out of luck'"),
        ("few", r"returned an array of shape \(1, 2\) for 3 texts; expected a vector of numbers for each"),
        ("words", "returned str for 3 texts"),
        ("flat", "returned list for 3 texts"),
        ("ragged", "returned list for 3 texts"),
    ],
)
def test_what_is_no_vectors_is_an_error(here: str, thing: str, message: str) -> None:
    with pytest.raises(ModelError, match=rf"python/{here}\.{thing} {message}"):
        opened(f"python:{here}:{thing}").encode(["a", "b", "c"])


def test_names_that_lead_nowhere(here: str) -> None:
    for name, message in (
        ("python:only", r"'python:only' is not of the form python:module:function"),
        ("python::x", "is not of the form python:module:function"),
        ("python:no_such_module:x", "the module no_such_module cannot be imported from the current folder"),
        (f"python:{here}:Bot", rf"unknown name in the module {here} 'Bot': did you mean Both"),
    ):
        with pytest.raises(UsageError, match=message):
            resolve_model(name)
    with pytest.raises(ModelError, match="is a int with none of the interfaces known here: encode_queries"):
        opened(f"python:{here}:number")
    with pytest.raises(
        UsageError, match="no use for --pooling and --max-length, for the object decides on that itself"
    ):
        resolve_model(f"python:{here}:Both", ModelOptions(pooling="cls", max_length=3))


def test_a_module_or_a_function_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_written.py").write_text("def (", encoding="utf-8")
    (tmp_path / "out_of_luck.py").write_text(
        "def boom():\n    raise RuntimeError('no weights\\nand more')\nclass Needs:\n    def __init__(self, x): pass\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="importing the module half_written failed with SyntaxError: 'inva"):
        resolve_model("python:half_written:x")
    with pytest.raises(ModelError, match=r"out_of_luck:boom failed with RuntimeError: 'no weights'; .* without arg"):
        opened("python:out_of_luck:boom")
    with pytest.raises(ModelError, match=r"out_of_luck:Needs failed with TypeError: .*missing 1 required"):
        opened("python:out_of_luck:Needs")


@pytest.mark.parametrize("end", ["sys.exit('enough')", "sys.exit(0)", "quit()", "raise GeneratorExit"])
@pytest.mark.parametrize("place", ["import", "maker", "encode"])
def test_an_object_that_ends_the_program_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, place: str
) -> None:
    name = f"ends_{abs(hash((tmp_path, end, place)))}"
    lines = ["import sys", end if place == "import" else "", "class It:", "    def __init__(self):"]
    lines += [f"        {end if place == 'maker' else 'pass'}", "    def encode(self, texts):", f"        {end}"]
    (tmp_path / f"{name}.py").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"failed with (SystemExit|GeneratorExit): "):
        opened(f"python:{name}:It").encode(["a"])


@pytest.mark.parametrize("name", ["math:pi", "sys:path"])
def test_modules_that_are_no_text_are_objects_too(name: str) -> None:
    with pytest.raises(ModelError, match="with none of the interfaces known here"):
        opened(f"python:{name}")


def test_a_card_that_asks_for_what_only_the_object_could_do_is_refused(here: str) -> None:
    lent = ModelOptions(like="hkunlp/instructor-xl")
    with pytest.raises(ModelError, match="cannot be told prompts left out of the pooling, which the card that it was"):
        opened(f"python:{here}:Both", lent).encode_queries(["a"])


def test_its_vectors_are_not_stored_and_its_results_say_why(here: str, tmp_path: Path) -> None:
    resolved = resolve_model(f"python:{here}:Both", ModelOptions(name="me/both"))
    model = open_embedder(resolved, Execution(), store=tmp_path / "store")
    model.encode(["a"])
    assert not (tmp_path / "store").exists()
    assert resolved.spec.name == "me/both"
    assert "a change of its weights or of what the module imports is not noticed" in resolved.spec.notes[0]
    assert resolve_model(f"python:{here}:Both").spec.name == f"python/{here}.Both"
    assert resolve_model(f"python:{here}:Chain").spec.fingerprint != resolved.spec.fingerprint
