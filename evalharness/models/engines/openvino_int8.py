"""OpenVINO graphs in int8: quantised with fixed texts, and what that costs, measured on others.

The scales of activations are fixed by the texts of the calibration, so that a text's vector does not depend on its
batch. Those texts, and the pairs that the cost is measured on, are of the starter tasks (tasks/starter).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.catalog.tasks import tasks_folder
from evalharness.errors import PrerequisiteError
from evalharness.models.engines.export_check import differences, rows_of
from evalharness.models.engines.exports import ExportError, Made, Running, Wanted, started
from evalharness.models.engines.openvino_export import made_of, save_graph, start_export
from evalharness.models.engines.openvino_library import openvino, unreported
from evalharness.models.engines.openvino_session import OpenVinoSession, core
from evalharness.models.forward.pipeline import Exportable
from evalharness.models.prompts import encoding
from evalharness.models.rankers import Pair, join_pair
from evalharness.models.registry import ResolvedModel

_NEEDS = "nncf"
# texts of the calibration, of both languages by turns; every tenth is several in one
_CALIBRATION, _LONG_EVERY, _LONG_TEXTS = 120, 10, 16
_TEXT_FILES = (("retrieval", "corpus.jsonl"), ("classification", "train.jsonl"))
_LANGUAGES: Mapping[str, str] = {"eng": "English", "cmn": "Chinese"}
_REASON = 300


@dataclass(frozen=True, slots=True)
class _Graded:
    """Pairs of texts, and how similar people find them."""

    firsts: Sequence[str]
    seconds: Sequence[str]
    grades: Sequence[float]


def start_int8(model: ResolvedModel, kind: Exportable) -> Running[OpenVinoSession]:
    """A model's graph in int8, running; its notes say what it cost.

    Args:
        model: what is exported.
        kind: says which graph of it, and what is made of that.

    Raises:
        EngineError: the model cannot be exported or quantised.
        PrerequisiteError: nncf is missing.
    """
    if find_spec(_NEEDS) is None:
        raise PrerequisiteError("int8 needs nncf, which is not installed: pip install 'evalharness[int8]'")
    name = model.spec.name
    parts = {
        **made_of(model, kind),
        "precision": "int8",
        "nncf": version(_NEEDS),
        "tokens": f"{model.spec.max_length} {model.spec.pair_truncation}",
        "dimensions": str(model.spec.dimensions),
        # instructions decide how large the integers may become
        "cpu": ",".join(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
    }

    def make(folder: Path) -> tuple[OpenVinoSession, Made]:
        exact = start_export(model, kind, "float32")
        save_graph(name, _quantised(model, kind, exact.session), folder)
        session = OpenVinoSession(name, folder, "int8")
        cost = _cost(model, kind, exact.session, session)
        made = Made(exact.record.max_length, cost.largest, exact.record.size, (cost.note,))
        return session, made

    wanted = Wanted(name, model.spec.fingerprint, parts, 0)
    return started(wanted, lambda folder: OpenVinoSession(name, folder, "int8"), make)


def _quantised(model: ResolvedModel, kind: Exportable, exact: OpenVinoSession) -> openvino.Model:
    with unreported():
        nncf: Any = import_module(_NEEDS)
    nncf.set_log_level("ERROR")
    texts = _calibration_texts()
    tokens = _tokens(model, kind, texts, [*texts[1:], texts[0]])
    batches = []
    for place in range(len(texts)):
        inputs = kind.reader.inputs({key: list(values[place : place + 1]) for key, values in tokens.items()})
        batches.append({key: inputs[key].numpy() for key in exact.takes})
    try:
        # it draws its progress there
        with redirect_stdout(StringIO()):
            graph: openvino.Model = nncf.quantize(
                exact.model,
                nncf.Dataset(batches),
                model_type=nncf.ModelType.TRANSFORMER,
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(batches),
            )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 -- of a graph that it does not know, the library raises anything
        reason = " ".join(str(error).split())[:_REASON]
        raise ExportError(f"cannot be quantised to int8 by nncf ({reason}); choose another precision") from None
    return graph


@dataclass(frozen=True, slots=True)
class _Cost:
    """The largest difference to float32, and a sentence."""

    largest: float
    note: str


def _cost(model: ResolvedModel, kind: Exportable, exact: OpenVinoSession, quantised: OpenVinoSession) -> _Cost:
    """What is lost, on the pairs of the starter tasks of STS."""
    # takes more than a second to import, and only what makes a graph needs it
    from evalharness.metrics.correlation import correlate

    apart: list[NDArray[np.float64]] = []
    changes = []
    for language, called in _LANGUAGES.items():
        pairs = _graded(language)
        columns = [_tokens(model, kind, pairs.firsts, pairs.seconds)]
        if kind.wants == "hidden":
            columns.append(_tokens(model, kind, pairs.seconds, pairs.firsts))
        rows = [[rows_of(model, kind, graph, tokens) for tokens in columns] for graph in (exact, quantised)]
        apart.extend(differences(kind.wants, *both) for both in zip(*rows, strict=True))
        before, after = (correlate(pairs.grades, _similarities(found)).spearman for found in rows)
        changes.append(f"{before:.4f} to {after:.4f} on {len(pairs.grades)} {called} pairs")
    far = np.concatenate(apart)
    if not np.isfinite(far).all():
        raise ExportError("gives NaN or infinite numbers in int8; choose another precision")
    if kind.wants == "logits":
        distance = f"scores differ from float32 by {far.mean():.3g} on average and {far.max():.3g} at most"
    else:
        distance = f"the cosine to float32 is {1 - far.mean():.5f} on average and {1 - far.max():.5f} at worst"
    spearman = "Spearman's correlation with grades of similarity goes from " + " and from ".join(changes)
    return _Cost(float(far.max()), f"quantised to int8: {distance} on {len(far)} texts; {spearman} (tasks/starter)")


def _tokens(
    model: ResolvedModel, kind: Exportable, firsts: Sequence[str], seconds: Sequence[str]
) -> Mapping[str, Sequence[Any]]:
    """Tokens of texts without a prompt; where scores are made, of each with another one."""
    if kind.wants == "hidden":
        return kind.reader.plain_tokens(firsts)
    pairs = [join_pair(Pair(*both)) for both in zip(firsts, seconds, strict=True)]
    return kind.reader.tokenize(pairs, encoding(model.spec, None, None)).tokens


def _similarities(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Of pairs: their cosines, or their scores."""
    if len(rows) == 1:
        return rows[0][:, 0]
    lengths = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
    return np.asarray((rows[0] * rows[1]).sum(axis=1) / lengths)


def _graded(language: str) -> _Graded:
    rows = _rows(f"sts_{language}/test.jsonl")
    return _Graded(*([row[key] for row in rows] for key in ("sentence1", "sentence2", "score")))


def _calibration_texts() -> list[str]:
    """Fixed texts, none of which is in the pairs."""
    files = [f"{task}_{language}/{file}" for task, file in _TEXT_FILES for language in _LANGUAGES]
    columns = [[str(row["text"]) for row in _rows(file)] for file in files]
    single = [text for texts in zip(*columns, strict=False) for text in texts][:_CALIBRATION]
    return [
        " ".join(single[place : place + _LONG_TEXTS]) if place % _LONG_EVERY == 0 else text
        for place, text in enumerate(single)
    ]


def _rows(file: str) -> list[dict[str, Any]]:
    lines = (tasks_folder() / "starter" / file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
