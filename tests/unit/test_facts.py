"""What a model is: one record, folded once from all who say something of it, of a model that is looked up once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from pydantic import ValidationError
from support.tiny import save_bert, save_cross_encoder, save_sentence_model, write

from evalharness.errors import UsageError
from evalharness.models import cards as cards_module
from evalharness.models.loading import ModelOptions, name_model, resolve_model
from evalharness.models.options import parse_options
from evalharness.types import Encoding, Facts, ModelSpec, VectorFacts

CARD = """
["me/base"]
pooling = "cls"
normalize = true
max_length = 33
prompts = { query = "card q: ", document = "card d: ", "STS-query" = "card s: " }
["me/base".published]
source = "a script"
normalize = false
"""
FILES, OPTIONS = "the model's own files", "the options"
USUAL: dict[str, Any] = {"dtype": None, "pooling": None, "protocol": "mteb", "mode_weights": None}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    made = save_sentence_model(tmp_path / "m")
    settings = {"prompts": {"query": "file q: "}, "truncate_dim": 8, "similarity_fn_name": "dot"}
    write(made / "config_sentence_transformers.json", settings)
    return str(made)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "cards.toml").write_text(CARD)
    return tmp_path / "cards.toml"


def test_files_speak_where_there_is_no_card(folder: str) -> None:
    spec = resolve_model(folder).spec
    assert (spec.prompts, spec.dimensions, spec.similarity) == ({"query": "file q: "}, 8, "dot")
    assert {spec.origins[name] for name in ("pooling", "prompts", "dimensions", "similarity")} == {FILES}
    assert "layer_norm" not in spec.origins
    assert spec.facts_from == FILES


def test_a_card_replaces_the_files_but_for_what_it_cannot_know(folder: str, own: Path) -> None:
    spec = resolve_model(folder, ModelOptions(like="me/base", cards=own)).spec
    assert (spec.pooling, spec.max_length, spec.similarity) == ("cls", 33, "cosine")
    assert spec.prompts["query"] == "card q: "
    assert spec.dimensions == 8
    assert (spec.origins["prompts"], spec.origins["dimensions"]) == ("card of me/base", FILES)
    assert "similarity" not in spec.origins


def test_authors_come_after_their_card_and_the_user_in_the_end(folder: str, own: Path) -> None:
    lent = {"like": "me/base", "cards": own}
    by_authors = resolve_model(folder, ModelOptions(**lent, protocol="published")).spec
    source = "card of me/base, published protocol (a script)"
    assert (by_authors.normalize, by_authors.origins["normalize"]) == (False, source)
    assert by_authors.facts_from == source
    changes = ModelOptions(**lent, protocol="published", normalize=True, query_prompt="mine: ", dimensions=4)
    changed = resolve_model(folder, changes).spec
    assert (changed.normalize, changed.dimensions) == (True, 4)
    # all of the side's prompts are replaced, those of the other stay
    assert changed.prompts == {"query": "mine: ", "document": "card d: "}
    assert {name for name, source in changed.origins.items() if source == OPTIONS} == {
        "normalize", "prompts", "dimensions"
    }  # fmt: skip
    assert changed.facts_from == source


def test_a_reranker_has_nothing_of_vectors_whoever_says_it(tmp_path: Path, own: Path) -> None:
    made = str(save_cross_encoder(tmp_path / "ce"))
    spec = resolve_model(made, ModelOptions(like="me/base", cards=own, backend="cross-encoder")).spec
    assert all(getattr(spec, name) == usual for name, usual in VectorFacts())
    assert (spec.pooling, spec.origins["pooling"], spec.max_length) == ("own", "its backend", 33)


def test_records_keep_flat_facts_and_say_where_they_are_from(folder: str) -> None:
    kept = json.loads(resolve_model(folder).spec.model_dump_json())
    assert set(Facts.model_fields) <= set(kept)
    assert kept["origins"]["pooling"] == FILES
    assert ModelSpec.model_validate(kept) == resolve_model(folder).spec


def test_values_are_changed_by_names_and_values_that_there_are() -> None:
    how = Encoding(pooling="cls", normalize=True, max_length=None, dtype="float32", prompt="")
    assert how.changed({"prompt": "q: "}).prompt == "q: "
    for wrong in ({"promt": "q: "}, {"pooling": "max"}):
        with pytest.raises(ValidationError):
            how.changed(wrong)


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every look for a card, from wherever it comes: each goes through all cards."""
    calls: list[int] = []
    all_cards = cards_module.cards

    def counted(own: Path | None = None) -> Any:
        calls.append(1)
        return all_cards(own)

    monkeypatch.setattr(cards_module, "cards", counted)
    return calls


def test_a_model_is_looked_up_once_in_a_command(here: Cli, tmp_path: Path, looked_up: list[int]) -> None:
    model, second = str(save_sentence_model(tmp_path / "m")), str(save_cross_encoder(tmp_path / "ce"))
    one = ("run", "--model", model, "--tasks", "StarterRetrievalEng", "--dry-run", "--rate", "100")
    assert here(*one).returncode == 0
    assert len(looked_up) == 1
    looked_up.clear()
    assert here(*one, "--reranker", second).returncode == 0
    assert len(looked_up) == 2
    looked_up.clear()
    assert (
        here("run", "--model", "all-MiniLM-L6-v2", "--tasks", "StarterSTSEng", "--dry-run", "--rate", "100").returncode
        == 0
    )
    assert len(looked_up) == 1
    looked_up.clear()
    # its own name, and that of the card
    assert here(*one, "--like", "BAAI/bge-base-en-v1.5", "--max-length", "32").returncode == 0
    assert len(looked_up) == 2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bm25", {}),
        ("some/model", {"backend": "http", "url": "http://127.0.0.1:1/v1"}),
        ("python:json:dumps", {}),
        ("mteb:intfloat/e5-base-v2", {}),
    ],
)
def test_a_model_that_is_no_files_is_looked_up_once(name: str, options: Any, looked_up: list[int]) -> None:
    resolve_model(name, ModelOptions(**options))
    assert len(looked_up) == 1


def test_a_folder_is_known_by_the_name_of_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_bert(tmp_path / "BAAI" / "bge-m3")
    (tmp_path / "cards.toml").write_text('["local/bge-m3"]\npooling = "mean"\n')
    # what stands in the current folder is not the Hub's model of that name
    assert name_model("BAAI/bge-m3", ModelOptions()).card is None
    mine = name_model("BAAI/bge-m3", ModelOptions(cards=tmp_path / "cards.toml"))
    assert (mine.card and mine.card.pooling, mine.backend) == ("mean", "transformers")


def test_all_wrong_options_are_told_at_once_and_the_right_ones_kept() -> None:
    given = {"pooling": "max", "dtype": "int3", "protocol": "publishd", "mode_weights": "a,b", "max_length": 7}
    parsed = parse_options(given)
    assert parsed.options == ModelOptions(max_length=7)
    for problem, message in zip(
        parsed.problems, ("--pooling must be cls or", "--precision must be", "unknown protocol", "--mode-weights are"),
        strict=True,
    ):  # fmt: skip
        assert problem.startswith(message)
    assert parse_options({**USUAL, "mode_weights": "1,2"}).options.mode_weights == (1.0, 2.0)


def test_wrong_options_are_told_with_wrong_names(here: Cli) -> None:
    shown = here("run", "--model", "nothing", "--pooling", "max", "--tasks", "STS12x", "--rerank-top-k", "5")
    assert shown.returncode == 2
    for message in ("--pooling must be", "unknown model 'nothing'", "unknown task 'STS12x'", "--rerank-top-k is about"):
        assert message in shown.stderr


def test_the_second_stage_is_checked_as_the_first_is(here: Cli) -> None:
    shown = here("run", "--model", "nothing", "--reranker", "nobody", "--tasks", "StarterSTSEng")
    assert "unknown model 'nothing'" in shown.stderr
    assert "unknown model 'nobody'" in shown.stderr


def test_options_of_a_model_from_python_are_checked_too(folder: str) -> None:
    with pytest.raises(UsageError, match="has no use for --url"):
        resolve_model(folder, ModelOptions(url="http://a"))
    with pytest.raises(UsageError, match=r"unknown model card 'me/base'"):
        resolve_model(folder, ModelOptions(like="me/base"))
