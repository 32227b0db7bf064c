"""How seconds and memory grow with a corpus: `python benchmarks/growth.py FOLDER [DOCUMENTS ...]`.

Makes a local retrieval task per size below FOLDER (once): documents of 60 words in JSONL, 1,000 queries with a
judgement each; and a static model of random vectors. Each is evaluated by the command line in a fresh process with a
store of its own, whose memory is looked at a hundred times a second. Prints a table, and what a line through the last
three sizes gives for 8,841,823 documents (MS MARCO).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZES = (10_000, 100_000, 1_000_000, 3_000_000)
QUERIES, WORDS, VOCABULARY, DIMENSIONS = 1000, 60, 20_000, 256
MS_MARCO = 8_841_823
LINE_THROUGH = 3
_PART = 10_000


@dataclass(frozen=True, slots=True)
class Grown:
    """What an evaluation took.

    Attributes:
        documents: in the corpus.
        text_bytes: of the corpus.
        seconds: of the clock, from start to end.
        cpu_seconds: of all cores together.
        peak, anonymous: bytes of memory at the most; of them, those that are no mapped files.
    """

    documents: int
    text_bytes: int
    seconds: float
    cpu_seconds: float
    peak: int
    anonymous: int


def vocabulary() -> list[str]:
    """Made-up words of two to four syllables."""
    random = np.random.default_rng(0)
    syllables = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
    made = {"".join(random.choice(syllables, size=random.integers(2, 5))): None for _ in range(2 * VOCABULARY)}
    return list(made)[:VOCABULARY]


def write_model(folder: Path) -> None:
    """A static model with a random vector per word."""
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", "[PAD]", *vocabulary()]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[0]))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.random.default_rng(1).standard_normal((len(words), DIMENSIONS), dtype=np.float32)
    StaticModel(vectors, core, config={"model_type": "model2vec"}, normalize=True).save_pretrained(folder)
    (folder / "modules.json").unlink(missing_ok=True)


def write_task(folder: Path, documents: int) -> Path:
    """A corpus in which query n has words of document n; gives the task's file."""
    words, random = np.array(vocabulary()), np.random.default_rng(documents)
    folder.mkdir(parents=True)
    asked: list[str] = []
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as handle:
        for first in range(0, documents, _PART):
            chosen = words[random.integers(0, VOCABULARY, (min(_PART, documents - first), WORDS))]
            for number, row in enumerate(chosen, start=first):
                handle.write(json.dumps({"_id": f"doc{number}", "title": "", "text": " ".join(row)}) + "\n")
                if number < QUERIES:
                    asked.append(" ".join(row[::6]))
    rows = [{"_id": f"q{number}", "text": text} for number, text in enumerate(asked)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    judged = [{"query-id": f"q{number}", "corpus-id": f"doc{number}", "score": 1} for number in range(len(asked))]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in judged), encoding="utf-8")
    task = folder / "task.toml"
    task.write_text(
        f'name = "Growth{documents}"\ntype = "Retrieval"\nmain_score = "ndcg_at_10"\nlanguages = ["eng-Latn"]\n'
        '[data]\nformat = "jsonl"\n'
        'files = { corpus = "corpus.jsonl", queries = "queries.jsonl", test = "test.jsonl" }\n',
        encoding="utf-8",
    )
    return task


def evaluate(folder: Path, documents: int) -> Grown:
    """Evaluate the model on a corpus of this size in a process of its own.

    Args:
        folder: for the task, the model, the store and the results.
        documents: how many.
    """
    model, place = folder / "model", folder / str(documents)
    if not model.exists():
        write_model(model)
    task = place / "task.toml" if (place / "task.toml").exists() else write_task(place, documents)
    for name in ("store", "results"):
        shutil.rmtree(place / name, ignore_errors=True)
    started = time.monotonic()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "evalharness", "run", "--quiet", "--model", str(model), "--tasks", str(task)),
            *("--store", str(place / "store"), "--output", str(place / "results")),
        ]
    )
    peak = anonymous = 0
    cpu = 0.0
    while process.poll() is None:
        now = _memory(process.pid)
        peak, anonymous = max(peak, now.get("VmHWM", 0)), max(anonymous, now.get("RssAnon", 0))
        cpu = _cpu_seconds(process.pid) or cpu
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"the evaluation of {documents} documents failed: exit code {process.returncode}")
    shutil.rmtree(place / "store", ignore_errors=True)
    size = (place / "corpus.jsonl").stat().st_size
    return Grown(documents, size, time.monotonic() - started, cpu, peak, anonymous)


def _memory(process: int) -> dict[str, int]:
    """Bytes by name, of a process; nothing of one that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0].rstrip(":"): int(pair[1]) * 1024 for pair in pairs if pair[0] in ("VmHWM:", "RssAnon:")}


def _cpu_seconds(process: int) -> float:
    """What all threads of a process took so far; 0 of one that has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rows(found: Sequence[Grown]) -> Iterator[str]:
    """The table as lines of Markdown, with MS MARCO's size by a line through the last sizes."""
    yield "| documents | corpus | seconds | processor seconds | peak memory | of it no mapped files |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for one in found:
        yield (
            f"| {one.documents:,} | {one.text_bytes / 1e9:.2f} GB | {one.seconds:.0f} | {one.cpu_seconds:.0f} | "
            f"{one.peak / 1e9:.2f} GB | {one.anonymous / 1e9:.2f} GB |"
        )
    last = found[-LINE_THROUGH:]
    if len(last) == LINE_THROUGH:
        sizes = [one.documents for one in last]
        ahead = [
            float(np.polyval(np.polyfit(sizes, [getattr(one, name) for one in last], 1), MS_MARCO))
            for name in ("seconds", "cpu_seconds", "peak", "anonymous")
        ]
        per_document = float(np.polyfit(sizes, [one.anonymous for one in last], 1)[0])
        yield (
            f"| {MS_MARCO:,} (by a line) | | {ahead[0]:.0f} | {ahead[1]:.0f} | {ahead[2] / 1e9:.2f} GB | "
            f"{ahead[3] / 1e9:.2f} GB |"
        )
        yield ""
        yield f"{per_document:.0f} bytes of memory that is no mapped file per document."


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("documents", type=int, nargs="*", default=list(SIZES))
    arguments = parser.parse_args()
    found = [evaluate(arguments.folder, documents) for documents in arguments.documents]
    print("\n".join(rows(found)))


if __name__ == "__main__":
    main()
