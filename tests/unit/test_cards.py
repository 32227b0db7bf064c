"""Cards and protocols: facts and exact prompts, against mteb and the collected facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from support.tiny import save_decoder

from evalharness.catalog.tasks import find_task, mteb_task, mteb_task_names
from evalharness.errors import DataError, UsageError
from evalharness.models.cards import ModelCard, Published, cards, find_card
from evalharness.models.folding import fold, told_by_card
from evalharness.models.loading import ModelOptions
from evalharness.models.named import name_model
from evalharness.models.prompts import choose_prompt, encoding
from evalharness.models.resolving import resolve_model
from evalharness.types import Encoding, ModelSpec, Protocol, Side, TaskContext

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "models.json"
needs_reference = pytest.mark.skipif(not REFERENCE.is_file(), reason="needs ../shared/reference/models.json")
# mteb's prompts for them come from the models' own files; the cards have what their authors say
_NO_PROMPTS_IN_MTEB = (
    "Snowflake/snowflake-arctic-embed-l-v2.0", "Snowflake/snowflake-arctic-embed-m-v2.0", "google/embeddinggemma-300m",
    "Qwen/Qwen3-Embedding-0.6B", "intfloat/multilingual-e5-large-instruct", "BAAI/bge-multilingual-gemma2",
    "BAAI/bge-en-icl", "lightonai/GTE-ModernColBERT-v1",
)  # fmt: skip
_NOT_IN_THE_REFERENCE = {"BAAI/bge-reranker-v2-gemma", "BAAI/bge-reranker-v2-minicpm-layerwise"}
_ADAPTERS = "jinaai/jina-embeddings-v3"
BGE_EN = "Represent this sentence for searching relevant passages: "
BGE_ZH = "为这个句子生成表示以用于检索相关文章\uff1a"


def spec_of(name: str, protocol: Protocol = "mteb") -> ModelSpec:
    return card_spec(cards()[name], protocol)


def card_spec(card: ModelCard, protocol: Protocol = "mteb") -> ModelSpec:
    facts = fold(told_by_card(card, protocol)).facts.stated()
    return ModelSpec(name=card.name, revision="0", fingerprint="0", **facts)


def encoded(name: str, protocol: Protocol, task: str, side: Side) -> Encoding:
    found = find_task(task)
    assert found is not None, task
    return encoding(spec_of(name, protocol), side, found.context())


def facts() -> Mapping[str, Any]:
    return {model["hf_id"]: model for model in json.loads(REFERENCE.read_text(encoding="utf-8"))["models"]}


def test_cards_have_the_prompts_and_revisions_of_mteb() -> None:
    import mteb

    known = {meta.name: meta for meta in mteb.get_model_metas()}
    compared = 0
    for name, card in cards().items():
        meta = known.get(name)
        if meta is None:
            continue
        compared += 1
        assert card.revision == meta.revision, name
        assert list(card.languages) == (meta.languages or []), name
        if name not in (*_NO_PROMPTS_IN_MTEB, _ADAPTERS):
            assert card.prompts == (meta.loader_kwargs or {}).get("model_prompts", {}), name
        # the registry counts two positions that RoBERTa's kin do not use for tokens
        if meta.max_tokens is not None and card.max_length is not None:
            assert card.max_length == (512 if meta.max_tokens == 514 else meta.max_tokens), name
    assert compared == 59


def test_rerankers_keep_as_many_tokens_as_mteb_does() -> None:
    from FlagEmbedding.inference.reranker.encoder_only.base import BaseReranker
    from mteb.models.model_implementations.qwen3_reranker import Qwen3RerankerWrapper

    # mteb opens the first by FlagEmbedding, without a word on lengths
    for name, theirs in (("BAAI/bge-reranker-v2-m3", BaseReranker), ("Qwen/Qwen3-Reranker-0.6B", Qwen3RerankerWrapper)):
        usual = signature(theirs).parameters["max_length"].default
        limit = cards()[name].max_length
        assert limit is not None
        assert spec_of(name).max_length == usual < limit
        card = cards()[name].changed({"published": Published(source="a script")})
        assert card_spec(card, "published").max_length == limit


def test_a_length_of_the_users_own_holds_in_every_protocol(tmp_path: Path) -> None:
    base = 'like = "BAAI/bge-reranker-v2-m3"'
    (tmp_path / "own.toml").write_text(f'["me/long"]\n{base}\nmax_length = 1024\n["me/same"]\n{base}\n')
    lengths = [card_spec(cards(tmp_path / "own.toml")[name]).max_length for name in ("me/long", "me/same")]
    assert lengths == [1024, 512]


@needs_reference
def test_every_model_of_the_reference_has_a_card_with_its_facts() -> None:
    poolings = {"last_token": "lasttoken", "cls": "cls", "mean": "mean"}
    assert set(cards()) - set(facts()) == _NOT_IN_THE_REFERENCE
    for name, wanted in facts().items():
        card = cards()[name]
        assert (card.kind, card.revision, card.max_length) == (
            wanted["kind"], wanted["revision"], wanted["max_tokens"]
        ), name  # fmt: skip
        assert card.remote_code == wanted["trust_remote_code"], name
        assert card.normalize == wanted["normalize"], name
        if wanted["kind"] == "bi-encoder":
            start = wanted["pooling"].partition(" ")[0]
            assert card.pooling == poolings.get(start, "weightedmean"), name
        assert card.dense_layers == wanted["post_pooling"].count("dense") or wanted["kind"] != "bi-encoder", name
        # prompts of the authors that mteb does not send are a published protocol, too
        has_more = "sgpt" in name or (name.startswith("intfloat/multilingual-e5") and "instruct" not in name)
        assert (card.published is not None) == (bool(wanted["published_protocol"]) or has_more), name


def expected_prompts(wanted: Mapping[str, Any]) -> dict[str, str]:
    """Key -> prompt by the reference's tables; its `lora:` entries name adapters."""
    found = {"query": wanted["query_prompt"] or "", "document": wanted["document_prompt"] or ""}
    for table in (wanted["prompts_by_task_type"], wanted["prompts_by_task"]):
        for name, sides in table.items():
            found |= {name if side == "both" else f"{name}-{side}": text for side, text in sides.items()}
    return {key: text for key, text in found.items() if not text.startswith("lora:")}


@needs_reference
def test_prompts_are_those_of_the_reference_code_point_by_code_point() -> None:
    compared = 0
    for name, wanted in facts().items():
        spec = spec_of(name, "published" if cards()[name].published and "bge-" not in name else "mteb")
        for key, text in expected_prompts(wanted).items():
            found = spec.prompts.get(key, spec.prompts.get(key.partition("-")[2], ""))
            assert [ord(c) for c in found] == [ord(c) for c in text], (name, key)
            compared += 1
        if "{instruction}" in (wanted["instruction_template"] or "") and "{text}" in wanted["instruction_template"]:
            template = spec.instruction_template or "{instruction}"
            assert wanted["instruction_template"].startswith(template + "{text}"), name
        for side in ("query", "document"):
            assert spec.suffixes.get(side, "") == wanted.get(f"{side}_suffix", ""), name
    assert compared > 250


@needs_reference
def test_adapters_are_those_of_the_reference() -> None:
    spec, wanted = spec_of(_ADAPTERS), facts()[_ADAPTERS]["prompts_by_task_type"]
    for kind, sides in wanted.items():
        for side, text in sides.items():
            task = TaskContext(name="?", type=kind)
            found = encoding(spec, None if side == "both" else side, task)
            assert f"lora:{found.adapter}" == text, (kind, side)
            assert found.prompt == (spec.prompts[side] if side != "both" else ""), (kind, side)


INSTRUCTED = "Given a scientific claim, retrieve documents that support or refute the claim"
QWEN = f"Instruct: {INSTRUCTED}\nQuery:"
STS = "Retrieve semantically similar text."
INSTRUCTOR = "Represent the Scientific queries for retrieving a supporting passage: "
JINA = "Represent the query for retrieving evidence documents: "
CASES: list[tuple[str, Protocol, str, Side, str]] = [
    ("BAAI/bge-base-en-v1.5", "mteb", "SciFact", "query", BGE_EN),
    ("BAAI/bge-base-en-v1.5", "mteb", "SciFact", "document", ""),
    ("BAAI/bge-base-en-v1.5", "mteb", "ArguAna", "query", BGE_EN),
    ("BAAI/bge-base-en-v1.5", "mteb", "STS12", None, ""),
    ("BAAI/bge-base-en-v1.5", "published", "SciFact", "query", BGE_EN),
    ("BAAI/bge-base-en-v1.5", "published", "CQADupstackTexRetrieval", "query", BGE_EN),
    ("BAAI/bge-base-en-v1.5", "published", "SciFact", "document", ""),
    ("BAAI/bge-base-en-v1.5", "published", "ArguAna", "query", ""),
    ("BAAI/bge-base-en-v1.5", "published", "QuoraRetrieval", "query", ""),
    ("BAAI/bge-base-en-v1.5", "published", "SciDocsRR", "query", ""),
    ("BAAI/bge-base-en-v1.5", "published", "Banking77Classification", None, ""),
    ("BAAI/bge-large-zh-v1.5", "mteb", "T2Retrieval", "query", BGE_ZH),
    ("BAAI/bge-large-zh-v1.5", "mteb", "LCQMC", None, ""),
    ("BAAI/bge-large-zh-v1.5", "published", "CMedQAv1-reranking", "query", BGE_ZH),
    ("BAAI/bge-large-zh-v1.5", "published", "VideoRetrieval", "query", BGE_ZH),
    ("BAAI/bge-large-zh-v1.5", "published", "XQuADRetrieval", "query", ""),
    ("BAAI/bge-large-zh-v1.5", "published", "VideoRetrieval", "document", ""),
    ("intfloat/e5-base-v2", "mteb", "SciFact", "query", "query: "),
    ("intfloat/e5-base-v2", "mteb", "SciFact", "document", "passage: "),
    ("intfloat/e5-base-v2", "mteb", "STS12", None, ""),
    ("intfloat/e5-base-v2", "published", "STS12", None, "query: "),
    ("intfloat/e5-base-v2", "published", "Banking77Classification", None, "query: "),
    ("intfloat/e5-base-v2", "published", "SciFact", "document", "passage: "),
    ("intfloat/multilingual-e5-large-instruct", "mteb", "SciFact", "query", f"{QWEN} "),
    ("intfloat/multilingual-e5-large-instruct", "mteb", "SciFact", "document", ""),
    ("intfloat/multilingual-e5-large-instruct", "mteb", "STS12", None, f"Instruct: {STS}\nQuery: "),
    ("hkunlp/instructor-xl", "mteb", "SciFact", "query", INSTRUCTOR),
    ("hkunlp/instructor-xl", "mteb", "SciFact", "document", "represent the scientific paragraph for retrieval: "),
    ("hkunlp/instructor-xl", "mteb", "STS15", None, "Represent a posts,,, "),
    ("hkunlp/instructor-xl", "mteb", "AskUbuntuDupQuestions", "document", "Represent the Ubuntu question: "),
    ("BAAI/llm-embedder", "mteb", "SciFact", "query", "Represent this query for retrieving relevant documents: "),
    ("BAAI/llm-embedder", "mteb", "SciFact", "document", "Represent this document for retrieval: "),
    ("BAAI/llm-embedder", "mteb", "STS12", None, ""),
    ("Qwen/Qwen3-Embedding-0.6B", "mteb", "SciFact", "query", QWEN),
    ("Qwen/Qwen3-Embedding-0.6B", "mteb", "SciFact", "document", ""),
    ("Qwen/Qwen3-Embedding-0.6B", "mteb", "STS12", None, f"Instruct: {STS}\nQuery:"),
    ("thenlper/gte-base", "mteb", "SciFact", "query", ""),
    ("thenlper/gte-base", "mteb", "STS12", None, ""),
    ("nomic-ai/nomic-embed-text-v1.5", "mteb", "SciFact", "query", "search_query: "),
    ("nomic-ai/nomic-embed-text-v1.5", "mteb", "SciFact", "document", "search_document: "),
    ("nomic-ai/nomic-embed-text-v1.5", "mteb", "AskUbuntuDupQuestions", "document", "classification: "),
    ("nomic-ai/nomic-embed-text-v1.5", "mteb", "TwentyNewsgroupsClustering", None, "clustering: "),
    ("nomic-ai/nomic-embed-text-v1.5", "mteb", "Tatoeba", None, "search_document: "),
    ("jinaai/jina-embeddings-v3", "mteb", "SciFact", "query", JINA),
    ("jinaai/jina-embeddings-v3", "mteb", "SciFact", "document", "Represent the document for retrieval: "),
    ("jinaai/jina-embeddings-v3", "mteb", "AskUbuntuDupQuestions", "query", ""),
    ("jinaai/jina-embeddings-v3", "mteb", "STS12", None, ""),
    ("bigscience/sgpt-bloom-7b1-msmarco", "mteb", "SciFact", "query", ""),
    ("bigscience/sgpt-bloom-7b1-msmarco", "published", "SciFact", "document", "{"),
    ("bigscience/sgpt-bloom-7b1-msmarco", "published", "STS12", None, "["),
]  # fmt: skip


@pytest.mark.parametrize(("name", "protocol", "task", "side", "wanted"), CASES)
def test_the_prompt_of_a_side_of_a_task_under_a_protocol(
    name: str, protocol: Protocol, task: str, side: Side, wanted: str
) -> None:
    assert encoded(name, protocol, task, side).prompt == wanted


@pytest.mark.parametrize(
    ("name", "protocol", "task", "normalize"),
    [
        ("BAAI/bge-base-en-v1.5", "mteb", "Banking77Classification", True),
        ("BAAI/bge-base-en-v1.5", "published", "Banking77Classification", False),
        ("BAAI/bge-base-en-v1.5", "published", "SciFact", False),
        ("BAAI/bge-large-zh-v1.5", "published", "TNews", True),
        ("intfloat/e5-base-v2", "published", "Banking77Classification", False),
        ("intfloat/e5-base-v2", "published", "STS12", True),
    ],
)
def test_the_protocol_decides_on_normalisation(name: str, protocol: Protocol, task: str, normalize: bool) -> None:
    assert encoded(name, protocol, task, None).normalize is normalize


def test_brackets_are_tokens_of_their_own_around_the_text() -> None:
    found = encoded("bigscience/sgpt-bloom-7b1-msmarco", "published", "STS12", None)
    assert (found.prompt, found.suffix, found.prompt_as_tokens) == ("[", "]", True)
    assert encoded("bigscience/sgpt-bloom-7b1-msmarco", "published", "SciFact", "document").suffix == "}"


def test_instructions_are_those_that_mteb_gives_to_instructed_models() -> None:
    import mteb
    from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
    from mteb.types import PromptType

    # without its constructor, which would load weights
    theirs: Any = object.__new__(InstructSentenceTransformerModel)
    theirs.instruction_template, theirs.prompts_dict = "Instruct: {instruction}\nQuery: ", None
    spec = spec_of("intfloat/multilingual-e5-large-instruct")
    retrieval = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
    differing = []
    for name in mteb_task_names():
        task = mteb_task(name)
        assert task is not None
        if task.parts:  # an aggregate is no task that runs
            continue
        side: Side = "query" if task.type in retrieval else None
        metadata = mteb.get_task(name).metadata
        wanted = theirs.get_task_instruction(metadata, PromptType.query if side else None)
        if choose_prompt(spec, side, task.context()) != wanted:
            differing.append(name)
    # its prompt is a table by side on a task without sides, and mteb puts the whole table into the text
    assert differing == ["TERRa.V2", "WebQAT2TRetrieval"]


def test_a_card_without_a_published_protocol_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"thenlper/gte-base cannot be run by the published protocol: its authors' .*e5"
    ):
        name_model("thenlper/gte-base", ModelOptions(protocol="published"))
    with pytest.raises(UsageError, match="cannot be run by the published protocol: it has no card"):
        name_model("some/model", ModelOptions(protocol="published"))
    name_model(str(tmp_path), ModelOptions(protocol="published", like="BAAI/bge-base-en-v1.5"))


def test_own_cards_build_on_ours_and_come_first(tmp_path: Path) -> None:
    path = tmp_path / "cards.toml"
    path.write_text(
        '["me/mine"]\nlike = "BAAI/bge-base-en-v1.5"\nmax_length = 128\n'
        '["thenlper/gte-base"]\npooling = "cls"\nnormalize = false\nmax_length = 64\n'
        '["me/zh"]\nfamily = "bge-zh"\n',
        encoding="utf-8",
    )
    mine = find_card("ME/mine", path)
    assert mine is not None
    assert (mine.pooling, mine.max_length, mine.revision) == ("cls", 128, None)
    assert mine.prompts["query"] == BGE_EN
    assert mine.published is not None
    assert [find_card("thenlper/gte-base", own).max_length for own in (path, None)] == [64, 512]  # type: ignore[union-attr]
    assert cards(path)["me/zh"].prompts == {"query": BGE_ZH}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["me/x"]\npoolin = "cls"\n', r"\[me/x\]: unknown key 'poolin': did you mean pooling"),
        ('["me/x"]\nmax_length = 0\n', r"\[me/x\]: max_length: Input should be greater than or equal to 1, got 0"),
        (
            '["me/x"]\npublished = { source = "a", query_prompt_tasks = ["ArguAna"] }\n',
            "who gets the prompt of queries, and there is none",
        ),
        ('["me/x"]\npublished = { source = "a", normalise = true }\n', "unknown key 'published.normalise'"),
        ('["me/x"]\npooling = "max"\n', r"\[me/x\]: pooling: Input should be 'cls'.*, got 'max' .a text"),
        ('["me/x"]\nlike = "BAAI/bge-base-en-v1.6"\n', "unknown model card 'BAAI/bge-base-en-v1.6': did you mean"),
        ('["me/x"]\nfamily = "bge"\n', "unknown family 'bge'"),
        ("[", "is not valid TOML"),
    ],
)
def test_wrong_own_cards_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cards.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        cards(path)


def test_own_cards_are_those_that_the_file_has_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for length in (128, 64):
        Path("cards.toml").write_text(f'["me/mine"]\nmax_length = {length}\n', encoding="utf-8")
        assert cards(Path("cards.toml"))["me/mine"].max_length == length


def test_a_card_s_backend_that_there_is_not_is_named_with_its_file(here: Cli, tmp_path: Path) -> None:
    (tmp_path / "cards.toml").write_text('["me/x"]\nbackend = "onx"\n', encoding="utf-8")
    done = here("run", "--model", "me/x", "--cards", "cards.toml", "--tasks", "StarterSTSEng", "--dry-run")
    assert done.returncode == 2
    assert "cards.toml [me/x]: its unknown backend 'onx': did you mean onnx?" in " ".join(done.stderr.split())


def test_the_packaged_model_has_the_card_of_the_model_that_it_is() -> None:
    assert find_card("all-MiniLM-L6-v2") == cards()["sentence-transformers/all-MiniLM-L6-v2"]
    with pytest.raises(UsageError, match="all-MiniLM-L6-v2 cannot be run by the published protocol: its authors' eval"):
        name_model("all-MiniLM-L6-v2", ModelOptions(protocol="published"))


def test_a_card_s_note_is_in_the_list_and_in_all_results(here: Cli, tmp_path: Path) -> None:
    shown = here("list", "models", "BAAI/bge-en-icl").stdout
    assert "note: the authors put worked examples before a query and <response> after it" in shown
    folder = save_decoder(tmp_path / "icl", "lasttoken")
    spec = resolve_model(str(folder), ModelOptions(like="BAAI/bge-en-icl", max_length=64)).spec
    assert len(spec.notes) == 1
    assert spec.notes[0].startswith("the authors put worked examples before a query")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('prompts = { qurey = "x" }', r"cards.toml .me/a.: prompts has the key 'qurey'.*did you mean query"),
        ('prompts = { "Mine-qeury" = "x" }', r"the key 'Mine-qeury'.*did you mean query"),
        ('prompts = { Query = "x" }', r"the key 'Query'.*did you mean query"),
        ('prompts = { "Retreival-query" = "x" }', r"the key 'Retreival-query'.*did you mean Retrieval"),
        ('normalize = "no"', r"normalize: .*'no'"),
    ],
)
def test_slips_in_a_card_are_not_taken_without_a_word(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "cards.toml"
    path.write_text(f'["me/a"]\npooling = "cls"\n{line}\n')
    with pytest.raises(DataError, match=message):
        cards(path)


def test_keys_of_tasks_of_ones_own_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "cards.toml"
    keys = ("query", "document", "RerMine-query", "RerMine", "STS2", "STS-query", "ArguAna", "ArguAna-document")
    prompts = ", ".join(f'"{key}" = "x"' for key in keys)
    path.write_text(f'["me/a"]\npooling = "cls"\nprompts = {{ {prompts} }}\n')
    assert set(cards(path)["me/a"].prompts) == set(keys)


def test_what_a_published_protocol_says_comes_before_the_card_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "cards.toml"
    path.write_text(
        '["me/a"]\npooling = "cls"\nnormalize = true\nmax_length = 99\ndefault_prompt = "d: "\n'
        'prompts = { query = "q: " }\nsuffixes = { query = "?" }\ndimensions = 8\n'
        "[me.a]\nnormalize = false\n".replace("[me.a]", '["me/a".published]\nsource = "a script"')
    )
    card = cards(path)["me/a"]
    by_mteb, by_authors = card_spec(card), card_spec(card, "published")
    assert (by_mteb.normalize, by_mteb.default_prompt) == (True, "d: ")
    # the default prompt of a card is mteb's
    assert (by_authors.normalize, by_authors.default_prompt) == (False, "")
    for spec in (by_mteb, by_authors):
        assert (spec.pooling, spec.max_length, spec.dimensions) == ("cls", 99, 8)
        assert (spec.prompts, spec.suffixes) == ({"query": "q: "}, {"query": "?"})


def test_facts_of_a_card_beyond_the_usual_are_shown(here: Cli) -> None:
    Path("own.toml").write_text(
        '["me/a"]\npooling = "cls"\nsuffixes = { query = "?" }\ndimensions = 8\ndtype = "float16"\n'
        'unnormalized_types = ["STS"]\nprompt_as_tokens = true\npublished = { source = "b", max_length = 7 }\n'
    )
    shown = here("list", "models", "me/a", "--cards", "own.toml").stdout
    for line in (
        "suffix query: ?", "dimensions: the first 8 are kept", "dtype: float16", "not normalised: STS",
        "prompts: tokens of their own", "published max length: 7",
    ):  # fmt: skip
        assert line in shown.splitlines()
