"""What jobs have to do: texts and their lengths, queries against documents, fits; from statistics or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import exp, log, sqrt
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

from evalharness.catalog.amounts import Amount, JobAmounts, mteb_amounts
from evalharness.catalog.task_file import Column, LocalData
from evalharness.catalog.tasks import TaskSpec
from evalharness.data.table_samples import RowSample, sample_rows
from evalharness.results.records import JobId
from evalharness.run.estimating.scripts import scripts_of
from evalharness.types import Side

# lengths that stand for those of all texts of a column
_PARTS = 24
# how far lengths vary (the standard deviation of their logarithm): as it follows from the longest, within these
_LEAST_SPREAD, _MOST_SPREAD = 0.2, 1.1
_SIDES: Mapping[str, Side] = {"queries": "query", "corpus": "document"}
# columns of a user's table that hold texts which are encoded
_TEXTS: tuple[Column, ...] = (
    "text", "sentence1", "sentence2", "query", "positive", "negative", "texts", "human_summaries", "machine_summaries",
)  # fmt: skip
_SUMMARIES: Column = "human_summaries"
_TITLE: Column = "title"
_LABELS: tuple[Column, ...] = ("label", "labels")
_BEIR: Mapping[str, str] = {"corpus": "corpus.jsonl", "queries": "queries.jsonl"}
# types whose classifiers draw from a split of their own, by mteb's usual numbers
_CLASSIFIERS = ("Classification", "MultilabelClassification")
_FITS, _PER_LABEL, _CLUSTERED = 10, 8, 16_384


@dataclass(frozen=True, slots=True)
class Texts:
    """Different texts that are encoded alike.

    Attributes:
        name: what the task calls them.
        count: how many.
        lengths: characters, each of an equal share of them, longest first.
    """

    name: str
    count: int
    lengths: Sequence[float]

    @property
    def side(self) -> Side:
        """Of a task that has sides."""
        return _SIDES.get(self.name)

    @property
    def characters(self) -> float:
        """Of all of them."""
        return self.count * fmean(self.lengths) if self.count else 0.0


@dataclass(frozen=True, slots=True)
class JobWork:
    """What a job has to do.

    Attributes:
        texts: by columns.
        scripts: what they are written in.
        amounts: what is fitted on them; its columns are those that `texts` are made of.
        bytes: of the files that are read for it; 0 where they come from the Hub.
    """

    texts: Sequence[Texts]
    scripts: tuple[str, ...]
    amounts: JobAmounts = field(default_factory=JobAmounts)
    bytes: int = 0

    def of(self, name: str) -> Texts | None:
        """A column."""
        return next((texts for texts in self.texts if texts.name == name), None)


def work_of(spec: TaskSpec, job: JobId) -> JobWork | None:
    """What a job has to do; None where nothing says it.

    Args:
        spec: its task.
        job: which split and subset.
    """
    scripts = scripts_of(spec.languages.get(job.subset, ()))
    if spec.data is not None:
        return _local_work(spec, spec.data, job.split, scripts)
    amounts = mteb_amounts(spec.name, job.split, job.subset)
    if amounts is None:
        if (size := spec.sizes.get(job.split, {}).get(job.subset)) is None:
            return None
        texts, characters = size
        amounts = JobAmounts({"texts": Amount(texts, characters, 4 * round(characters / max(texts, 1)))})
    return JobWork([_spread(name, amount) for name, amount in amounts.columns.items()], scripts, amounts)


def _spread(name: str, amount: Amount) -> Texts:
    """Lengths with the mean and the longest that are known, and logarithms that are normally distributed."""
    if not amount.texts or not amount.characters:
        return Texts(name, amount.texts, [0.0])
    mean = amount.characters / amount.texts
    normal = NormalDist()
    # the longest of so many stands so far out
    out = normal.inv_cdf(1 - 0.5 / max(amount.texts, 2))
    beyond = log(max(amount.longest / mean, 1.0))
    spread = min(max(out - sqrt(max(out * out - 2 * beyond, 0.0)), _LEAST_SPREAD), _MOST_SPREAD)
    places = ((_PARTS - part - 0.5) / _PARTS for part in range(_PARTS))
    shape = [exp(spread * normal.inv_cdf(place)) for place in places]
    lengths = [min(mean * one / fmean(shape), amount.longest) for one in shape]
    return Texts(name, amount.texts, lengths)


def _measured(name: str, texts: Iterable[str], share: float) -> Texts:
    """Of a sample that is such a share of all rows; what occurs twice in it counts once."""
    lengths = sorted((float(len(text)) for text in set(texts)), reverse=True)
    if not lengths:
        return Texts(name, 0, [0.0])
    parts = min(_PARTS, len(lengths))
    borders = [len(lengths) * part // parts for part in range(parts + 1)]
    means = [fmean(lengths[first:end]) for first, end in pairwise(borders)]
    return Texts(name, round(len(lengths) / share), means)


def _local_work(spec: TaskSpec, data: LocalData, split: str, scripts: tuple[str, ...]) -> JobWork | None:
    """Of a user's files, by their beginnings."""
    files = _files(spec, data, split)
    samples = {part: sample_rows(path, data, part) for part, path in files.items()}
    known = {part: sample for part, sample in samples.items() if sample is not None}
    parts: list[str] = [part for part in ("queries", "corpus") if part in files] or [split]
    if any(part not in known for part in parts):
        return None
    texts = [_measured(part, _texts_of(data, known[part]), known[part].share) for part in parts]
    amounts = JobAmounts()
    if spec.scoring in _CLASSIFIERS and "train" in known:
        drawn = _drawn(data, known["train"], spec.settings)
        learnt = _measured("train", _texts_of(data, known["train"]), known["train"].share)
        texts.append(Texts("train", min(drawn.texts, learnt.count), learnt.lengths))
        amounts = JobAmounts(labels=drawn.labels, fits=drawn.fits, rows=drawn.rows)
    elif spec.scoring == "Clustering":
        amounts = _clustered(spec.settings, data, known[split])
    return JobWork(texts, scripts, amounts, _bytes(files.values()))


def _bytes(files: Iterable[Path]) -> int:
    """Of those that are there; that one is missing is told when it is read."""
    return sum(path.stat().st_size for path in files if path.is_file())


def _files(spec: TaskSpec, data: LocalData, split: str) -> dict[str, Path]:
    """The files of a job by their parts."""
    folder = (spec.origin or Path()).parent
    if data.path is not None:
        found = {part: folder / data.path / name for part, name in _BEIR.items()}
        return found | {split: folder / data.path / "qrels" / f"{split}.tsv"}
    wanted = ("queries", "corpus", "candidates", split, *(("train",) if spec.scoring in _CLASSIFIERS else ()))
    if data.format == "hub":
        return {}
    return {part: folder / data.files[part] for part in wanted if part in data.files}


def _texts_of(data: LocalData, sample: RowSample) -> Iterator[str]:
    """All texts of the rows that are encoded; a document's title is a part of its text."""
    names = {name: data.columns.get(name, name) for name in (*_TEXTS, _TITLE)}
    if names[_SUMMARIES] in sample.rows[0]:
        # what is summarized is not encoded
        del names["text"]
    for row in sample.rows:
        for name, called in names.items():
            value = None if name == _TITLE else row.get(called)
            if isinstance(value, str):
                title = row.get(names[_TITLE]) if name == "text" else None
                yield f"{title} {value}" if title else value
            elif isinstance(value, list):
                yield from (text for text in value if isinstance(text, str))


def _labels_of(data: LocalData, sample: RowSample) -> Counter[str]:
    names = [data.columns.get(name, name) for name in _LABELS]
    values = [value for row in sample.rows for name in names if (value := row.get(name)) is not None]
    return Counter(str(one) for value in values for one in (value if isinstance(value, list) else [value]))


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Training texts that some experiment has, and what each is fitted on."""

    texts: int
    labels: int
    fits: int
    rows: int


def _drawn(data: LocalData, sample: RowSample, settings: Mapping[str, Any]) -> _Drawn:
    fits = int(settings.get("n_experiments", _FITS))
    wanted = int(settings.get("samples_per_label", _PER_LABEL))
    counts = [count / sample.share for count in _labels_of(data, sample).values()]
    texts = sum(count * (1 - max(0.0, 1 - wanted / count) ** fits) for count in counts)
    return _Drawn(round(texts), len(counts), fits, round(sum(min(wanted, count) for count in counts)))


def _clustered(settings: Mapping[str, Any], data: LocalData, sample: RowSample) -> JobAmounts:
    labels = len(_labels_of(data, sample))
    if settings.get("protocol") == "legacy":
        return JobAmounts(labels=labels, fits=1, rows=sample.count)
    rows = int(settings.get("max_documents_per_cluster", _CLUSTERED))
    return JobAmounts(labels=labels, fits=int(settings.get("n_clusters", _FITS)), rows=rows)


def as_pairs(work: JobWork, depth: int | None) -> JobWork:
    """What a reranker has to do: a text per query and candidate.

    Args:
        work: of a task that ranks.
        depth: candidates per query; None for those that the task itself gives.
    """
    queries, corpus = work.of("queries") or work.of("query"), work.of("corpus")
    if queries is None or corpus is None or not queries.count:
        return work
    depth = (
        min(depth, corpus.count) if depth else max(1, round((work.amounts.candidates or corpus.count) / queries.count))
    )
    asked = fmean(queries.lengths)
    pairs = Texts("pairs", queries.count * depth, [asked + length for length in corpus.lengths])
    return replace(work, texts=[pairs])
