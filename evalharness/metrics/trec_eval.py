"""Any measure of trec_eval, by trec_eval itself (pytrec-eval): `Rprec`, `bpref`, `P@30`, `nDCG@10` ..."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from evalharness.errors import UsageError, unknown_names

# trec_eval's measures: without a parameter, with a depth, and with a share, from 0 to the largest
_PLAIN = (
    "map", "Rprec", "bpref", "recip_rank", "infAP", "ndcg", "ndcg_rel", "Rndcg", "11pt_avg", "binG", "G", "gm_map",
    "gm_bpref", "set_P", "set_recall", "set_F", "set_map", "set_relative_P", "utility", "num_ret", "num_rel",
    "num_rel_ret", "num_nonrel_judged_ret",
)  # fmt: skip
_WITH_DEPTH = ("P", "recall", "ndcg_cut", "map_cut", "success", "relative_P")
_WITH_SHARE = {"iprec_at_recall": 1.0, "Rprec_mult": 2.0}
# ir_measures' names for them: alone, and before a parameter
_ALONE = {
    "AP": "map", "RR": "recip_rank", "nDCG": "ndcg", "Bpref": "bpref", "SetP": "set_P", "SetR": "set_recall",
    "SetF": "set_F", "SetAP": "set_map", "SetRelP": "set_relative_P", "NumRet": "num_ret", "NumRel": "num_rel",
}  # fmt: skip
_BEFORE = {"R": "recall", "nDCG": "ndcg_cut", "AP": "map_cut", "Success": "success", "IPrec": "iprec_at_recall"}
_AT = "@"
# trec_eval ends the process at a parameter that it cannot read
_MOST_DIGITS = 6
_SHARE_DIGITS = "0123456789."


@dataclass(frozen=True, slots=True)
class TrecMeasure:
    """A measure of trec_eval.

    Attributes:
        name: trec_eval's.
        parameter: a depth, or a share with two decimals; empty where it has none.
    """

    name: str
    parameter: str = ""

    def __str__(self) -> str:
        """What trec_eval calls it, which is also its name in results.

        >>> str(parse("nDCG@10")), str(parse("IPrec@.1"))
        ('ndcg_cut_10', 'iprec_at_recall_0.10')
        """
        return f"{self.name}_{self.parameter}" if self.parameter else self.name


def parse(text: str) -> TrecMeasure:
    """A measure in trec_eval's spelling (`P_30`) or in that of ir_measures (`P@30`).

    Raises:
        UsageError: there is none of this name; the nearest are told.
    """
    if text in _PLAIN or text in _ALONE:
        return TrecMeasure(_ALONE.get(text, text))
    name, at, parameter = text.partition(_AT)
    name = _BEFORE.get(name, name) if at else name
    if not at:
        name, _, parameter = text.rpartition("_")
    found = _parameter(name, parameter)
    if found is None:
        raise UsageError(_unknown([text]))
    return TrecMeasure(name, found)


def parse_all(texts: Sequence[str]) -> list[TrecMeasure]:
    """Measures, each once.

    Args:
        texts: names; several in one are set apart by spaces or commas.

    Raises:
        UsageError: some are none; all of them are named.
    """
    found: dict[TrecMeasure, None] = {}
    wrong: list[str] = []
    for text in " ".join(texts).replace(",", " ").split():
        try:
            found[parse(text)] = None
        except UsageError:
            wrong.append(text)
    if wrong or (texts and not found):
        raise UsageError(_unknown(wrong or list(texts)))
    return list(found)


def _parameter(name: str, text: str) -> str | None:
    """A measure's parameter as trec_eval writes it; None if it is none of this measure's."""
    if name in _WITH_DEPTH and text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) > 0:
        return str(int(text))
    if name in _WITH_SHARE and text.strip(_SHARE_DIGITS) == "" and text.count(".") <= 1 and text.strip("."):
        written = f"{float(text):.2f}"
        return written if float(written) == float(text) <= _WITH_SHARE[name] else None
    return None


def _unknown(names: Sequence[str]) -> str:
    depths, shares = [f"{name}_10" for name in _WITH_DEPTH], [f"{name}_0.10" for name in _WITH_SHARE]
    others = [*_ALONE, *(f"{name}@10" for name in ("P", *_BEFORE) if _BEFORE.get(name, name) in _WITH_DEPTH)]
    return (
        f"{unknown_names('measure of trec_eval', names, [*_PLAIN, *depths, *shares, *others])}\n"
        f"There are {', '.join((*_PLAIN, *depths, *shares))}, with any depth for 10; P@10, nDCG@10, AP, RR, R@10 and "
        "Success@10 are understood, too"
    )


@dataclass(frozen=True, slots=True)
class TrecScores:
    """Scores of one measure: per query, in the order asked for, and of all queries as trec_eval sums up."""

    per_query: Sequence[float]
    overall: float


def _heeded(grades: Mapping[str, int]) -> dict[str, int]:
    """Judgements as trec_eval takes them: where all are negative, its ndcg would never end.

    No run has a document without a name, so one that is not relevant changes nothing.
    """
    found = {name: int(grade) for name, grade in grades.items()}
    return found | {"": 0} if max(found.values()) < 0 else found


def evaluate(
    measures: Collection[TrecMeasure],
    qrels: Mapping[str, Mapping[str, int]],
    found: Mapping[str, Mapping[str, float]],
) -> dict[TrecMeasure, TrecScores]:
    """Score a run; a judged query that is not in it has an empty ranking (trec_eval's option -c).

    Args:
        measures: which.
        qrels: query id -> document id -> grade, one at least; those that are not relevant count in some measures.
        found: query id -> document id -> score; queries without judgements are ignored.
    """
    import pytrec_eval

    asked: dict[str, list[str]] = defaultdict(list)
    for measure in measures:
        asked[measure.name] += [measure.parameter] if measure.parameter else []
    names = {f"{name}.{','.join(parameters)}" if parameters else name for name, parameters in asked.items()}
    judged = {query: _heeded(grades) for query, grades in qrels.items()}
    results = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(
        {query: dict(found.get(query, {})) for query in judged}
    )
    scores: dict[TrecMeasure, TrecScores] = {}
    for measure in measures:
        # of an empty ranking, some precisions are 0 / 0 there
        values = [0.0 if isnan(value := results[query][str(measure)]) else float(value) for query in judged]
        scores[measure] = TrecScores(values, float(pytrec_eval.compute_aggregated_measure(str(measure), values)))
    return scores
