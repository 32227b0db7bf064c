"""A Hub folder with tiny data sets in the layout of those that the English quick suite names."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

TOPICS = ["garden fern soil water", "bicycle chain pedal wheel", "planet star orbit moon", "bread flour oven yeast"]
Row = Mapping[str, object]


def sentence(rng: random.Random, topic: int) -> str:
    return " ".join(rng.sample(TOPICS[topic].split(), 3)) + f" {rng.randint(1, 99)}"


def write_jsonl(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_card(folder: Path, configs: Mapping[str, Mapping[str, str]]) -> None:
    """The repository's README, which tells `datasets` which files belong to which config and split."""
    lines = ["---", "configs:"]
    for name, files in configs.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split, path in files.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")


def write_retrieval(folder: Path, rng: random.Random, *, with_candidates: bool = False) -> None:
    corpus = [{"_id": f"d{n}", "title": "", "text": sentence(rng, n % 4)} for n in range(24)]
    queries = [{"_id": f"q{n}", "text": sentence(rng, n % 4)} for n in range(8)]
    qrels = [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in range(8)]
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    write_jsonl(folder / "qrels" / "test.jsonl", qrels)
    configs = {
        "default": {"test": "qrels/test.jsonl"},
        "corpus": {"corpus": "corpus.jsonl"},
        "queries": {"queries": "queries.jsonl"},
    }
    if with_candidates:
        top = [{"query-id": f"q{n}", "corpus-ids": [f"d{(n + m) % 24}" for m in range(6)]} for n in range(8)]
        write_jsonl(folder / "top_ranked" / "test.jsonl", top)
        configs["top_ranked"] = {"test": "top_ranked/test.jsonl"}
    write_card(folder, configs)


def write_splits(folder: Path, config: str, splits: Mapping[str, Sequence[Row]]) -> None:
    for name, rows in splits.items():
        write_jsonl(folder / config / f"{name}.jsonl", rows)
    write_card(folder, {config: {name: f"{config}/{name}.jsonl" for name in splits}})


def write_quick_hub(root: Path) -> Path:
    """All data sets of quick-en, a few rows each."""
    rng = random.Random(5)
    sets = root / "datasets" / "mteb"
    for name in ("nfcorpus", "scifact"):
        write_retrieval(sets / name, rng)
    pairs = [
        {"sentence1": sentence(rng, n % 4), "sentence2": sentence(rng, n * n % 4), "score": float(n % 6)}
        for n in range(30)
    ]
    for name in ("sts13-sts", "stsbenchmark-sts"):
        write_splits(sets / name, "default", {"test": pairs})
    rows = [{"text": sentence(rng, n % 4), "label": f"topic {n % 4}"} for n in range(48)]
    # mteb loads all languages of this one at once, and tells them apart by a column
    massive = [{**row, "lang": "en"} for row in rows]
    write_splits(sets / "amazon_massive_intent", "default", {"train": massive, "test": massive[:20]})
    write_splits(sets / "tweet_sentiment_extraction", "default", {"train": rows, "test": rows[:20]})
    write_retrieval(sets / "AskUbuntuDupQuestions", rng, with_candidates=True)
    columns = {"sent1": [row["sentence1"] for row in pairs], "sent2": [row["sentence2"] for row in pairs]}
    write_splits(
        sets / "twittersemeval2015-pairclassification",
        "default",
        {"test": [{**columns, "labels": [n % 2 for n in range(30)]}]},
    )
    groups = [[row["text"] for row in rows[half : half + 24]] for half in (0, 24)]
    topics = [[row["label"] for row in rows[half : half + 24]] for half in (0, 24)]
    sets_of_texts = [{"sentences": a, "labels": b} for a, b in zip(groups, topics, strict=True)]
    write_splits(sets / "stackexchange-clustering", "default", {"test": sets_of_texts})
    summaries = [
        {
            "text": sentence(rng, n),
            "human_summaries": [sentence(rng, n) for _ in range(2)],
            "machine_summaries": [sentence(rng, (n + m) % 4) for m in range(4)],
            "relevance": [5.0, 2.0, 1.0, 3.0],
        }
        for n in range(4)
    ]
    write_splits(sets / "summeval", "default", {"test": summaries})
    return root
