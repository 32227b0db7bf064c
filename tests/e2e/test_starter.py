"""The starter tasks: as large as promised, and they tell a good model from a bad one."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from support.lookup import lookup_model, smooth

from evalharness.catalog.tasks import TaskSpec, find_task, suites
from evalharness.errors import shorten
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import System, open_model
from evalharness.models.resolving import resolve_model
from evalharness.tasks import task_type
from evalharness.types import Dense, TaskContext, ignore_event

KINDS = (
    "Retrieval",
    "STS",
    "Classification",
    "PairClassification",
    "Clustering",
    "Reranking",
    "Summarization",
)
LANGUAGES = pytest.mark.parametrize("language", ["Eng", "Cmn"])


def spec_of(name: str) -> TaskSpec:
    found = find_task(name)
    assert found is not None
    return found


@cache
def records(name: str) -> Any:
    spec = spec_of(name)
    return task_type(spec.type).from_files(spec, "test")


@pytest.fixture(scope="module")
def minilm(common_cache: Path) -> EmbeddingModel:
    # vectors that the command line has made of the same texts, or makes of them later
    model = open_model(System(resolve_model("all-MiniLM-L6-v2")), store=common_cache / "evalharness" / "store")
    assert isinstance(model, EmbeddingModel)
    return model


def score(name: str, model: EmbeddingModel) -> float:
    spec, data = spec_of(name), records(name)
    kind = task_type(spec.type)
    context = TaskContext(name=spec.name, type=spec.type)
    scores = kind.score(data, model.encode_columns(kind.columns(data), context, ignore_event))
    return float(scores.metrics[spec.main_score])


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def bm25(corpus: Sequence[str], queries: Sequence[str]) -> NDArray[np.float32]:
    """Scores of Robertson's BM25 (k1 = 1.2, b = 0.75), shape (queries, documents)."""
    counts = [Counter(words(text)) for text in corpus]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / len(lengths)
    frequency = Counter(word for count in counts for word in count)
    scores = np.zeros((len(queries), len(corpus)), dtype=np.float32)
    for row, query in enumerate(queries):
        for word in words(query):
            weight = math.log(1 + (len(corpus) - frequency[word] + 0.5) / (frequency[word] + 0.5))
            for place, count in enumerate(counts):
                norm = 1.2 * (0.25 + 0.75 * lengths[place] / mean)
                scores[row, place] += weight * count[word] * 2.2 / (count[word] + norm)
    return scores


def test_the_suite_is_all_of_it() -> None:
    assert {member.task for member in suites()["starter"].tasks} == {
        f"Starter{kind}{language}" for kind in KINDS for language in ("Eng", "Cmn")
    }


@LANGUAGES
def test_retrieval_is_as_large_as_promised(language: str) -> None:
    data = records(f"StarterRetrieval{language}")
    assert len(data.corpus) >= 120
    assert len(set(data.corpus)) == len(data.corpus)
    assert len(data.queries) >= 60
    grades = Counter(grade for judged in data.qrels for grade in judged.values())
    assert set(grades) == {1, 2}
    assert all(2 in judged.values() for judged in data.qrels)


def test_english_queries_share_few_words_with_their_answers() -> None:
    data = records("StarterRetrievalEng")
    texts = dict(zip(data.corpus_ids, data.corpus, strict=True))
    common = {word for word, count in Counter(w for t in data.corpus for w in set(words(t))).items() if count > 30}
    shares = []
    for query, judged in zip(data.queries, data.qrels, strict=True):
        asked = set(words(query)) - common
        answers = {word for name, grade in judged.items() if grade == 2 for word in words(texts[name])}
        shares.append(len(asked & answers) / len(asked))
    assert np.median(shares) < 0.35


@LANGUAGES
def test_sts_is_spread_over_the_scale(language: str) -> None:
    data = records(f"StarterSTS{language}")
    assert len(data.gold) >= 100
    bands = Counter(min(int(5 * gold), 4) for gold in data.gold)
    assert min(bands[band] for band in range(5)) >= 15, bands


@LANGUAGES
def test_classification_is_as_large_as_promised(language: str) -> None:
    data = records(f"StarterClassification{language}")
    tested = Counter(data.test_labels)
    assert len(tested) >= 8
    assert min(tested.values()) >= 20
    assert set(data.train_labels) == set(tested)
    shared = set(data.train_texts) & set(data.test_texts)
    assert not shared, shorten(sorted(shared))


def test_minilm_beats_word_overlap_and_chance_at_retrieval(minilm: EmbeddingModel) -> None:
    from evalharness.ranking.records import Ranking
    from evalharness.ranking.scores import score_ranking

    name = "StarterRetrievalEng"
    data = records(name)
    scores = bm25(data.corpus, data.queries)
    order = np.argsort(-scores, axis=1, kind="stable")
    overlap = score_ranking(data, Ranking(list(order), list(scores))).metrics["ndcg_at_10"]
    good = score(name, minilm)
    assert good >= overlap + 0.1
    assert overlap >= score(name, lookup_model(smooth)) + 0.1


def test_minilm_beats_word_overlap_and_chance_at_sts(minilm: EmbeddingModel) -> None:
    data = records("StarterSTSEng")
    pairs = [(set(words(a)), set(words(b))) for a, b in zip(data.first, data.second, strict=True)]
    overlap = spearmanr(data.gold, [len(a & b) / len(a | b) for a, b in pairs])[0]
    good = score("StarterSTSEng", minilm)
    assert good >= overlap + 0.2
    assert good >= score("StarterSTSEng", lookup_model(smooth)) + 0.4


def test_minilm_beats_word_overlap_and_chance_at_classification(minilm: EmbeddingModel) -> None:
    data = records("StarterClassificationEng")
    vectors = TfidfVectorizer().fit([*data.train_texts, *data.test_texts])
    tfidf = {
        name: Dense(vectors.transform(texts).toarray().astype(np.float32))
        for name, texts in (("train", data.train_texts), ("test", data.test_texts))
    }
    overlap = task_type("Classification").score(data, tfidf).metrics["accuracy"]
    good = score("StarterClassificationEng", minilm)
    assert good >= overlap + 0.1
    assert good >= score("StarterClassificationEng", lookup_model(smooth)) + 0.3


@LANGUAGES
def test_the_other_tasks_are_as_large_as_promised(language: str) -> None:
    pairs = records(f"StarterPairClassification{language}")
    assert len(pairs.gold) >= 100
    assert 0.3 <= np.mean(pairs.gold) <= 0.5
    clusters = records(f"StarterClustering{language}")
    assert len(clusters.texts) >= 150
    assert clusters.fits[0].groups >= 8
    reranking = records(f"StarterReranking{language}")
    assert len(reranking.queries) >= 40
    assert min(map(len, reranking.candidates)) >= 6
    summaries = records(f"StarterSummarization{language}")
    assert len(summaries.gold) >= 10
    assert min(len(set(gold)) for gold in summaries.gold) >= 3


def test_minilm_beats_word_overlap_and_chance_at_the_other_tasks(minilm: EmbeddingModel) -> None:
    for kind, margin in (
        ("PairClassification", 0.05),
        ("Clustering", 0.15),
        ("Reranking", 0.2),
        ("Summarization", 0.0),
    ):
        name = f"Starter{kind}Eng"
        good, overlap, chance = (
            score(name, model) for model in (minilm, lookup_model(bag_of_words), lookup_model(smooth))
        )
        assert good >= overlap + margin, (kind, good, overlap)
        assert good >= chance + 0.05, (kind, good, chance)


def bag_of_words(text: str) -> NDArray[np.float32]:
    """Counts of words, hashed to 4,096 places: cosine is word overlap."""
    counts = np.zeros(4096, dtype=np.float32)
    for word in words(text):
        counts[crc32(word.encode()) % len(counts)] += 1
    return counts


def test_no_text_is_in_two_languages_or_twice_in_a_corpus() -> None:
    seen: dict[str, list[str]] = defaultdict(list)
    for language in ("Eng", "Cmn"):
        for text in records(f"StarterRetrieval{language}").corpus:
            seen[text].append(language)
    assert [text for text, where in seen.items() if len(where) > 1] == []
