"""int8: quantised with texts of the package, and what it costs is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.contract import TEXTS
from support.openvino_models import on_openvino, resolved, vectors
from support.tiny import save_cross_encoder, save_decoder, save_m3, save_sentence_model, save_t5

from evalharness.errors import ModelError, PrerequisiteError
from evalharness.models.engines import openvino_int8
from evalharness.models.engines.openvino_library import unreported
from evalharness.models.rankers import Pair, join_pair

# importing it here would let it report that
pytestmark = [
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.skipif(find_spec("nncf") is None, reason="needs nncf"),
]

PAIR_TEXTS = [join_pair(Pair(first, second)) for first, second in pairwise(TEXTS)]
MODELS: list[tuple[Callable[[Path], Path], list[str], dict[str, Any]]] = [
    (save_sentence_model, TEXTS, {}),
    (partial(save_decoder, pooling="lasttoken"), TEXTS, {}),
    (save_t5, TEXTS, {}),
    (save_m3, TEXTS, {"like": "BAAI/bge-m3", "max_length": 64}),
    (save_cross_encoder, PAIR_TEXTS, {}),
]
VECTORS = (
    r"quantised to int8: the cosine to float32 is (0\.\d+) on average and (-?0\.\d+) at worst on 570 texts; Spearman's "
    r"correlation with grades of similarity goes from -?0\.\d{4} to -?0\.\d{4} on 155 English pairs and from "
    r"-?0\.\d{4} to -?0\.\d{4} on 130 Chinese pairs \(tasks/starter\)"
)
SCORES = r"quantised to int8: scores differ from float32 by ([\d.]+) on average and ([\d.]+) at most on 285 texts; .*"


@pytest.mark.parametrize(("save", "texts", "options"), MODELS, ids=["bert", "decoder", "t5", "m3", "cross-encoder"])
def test_vectors_are_near_and_the_note_says_how_near(
    tmp_path: Path,
    save: Callable[[Path], Path],
    texts: list[str],
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openvino_int8, "_CALIBRATION", 24)
    folder = save(tmp_path / "m")
    exact, low = resolved(folder, **options), resolved(folder, dtype="int8", **options)
    wanted = vectors(on_openvino(exact), exact, texts)
    backend = on_openvino(low)
    found = vectors(backend, low, texts)
    assert (backend.identity["precision"], backend.size) == ("int8", on_openvino(exact).size)
    (note,) = backend.computing.notes
    said = re.fullmatch(SCORES if low.spec.kind == "reranker" else VECTORS, note)
    assert said is not None, note
    if low.spec.kind == "reranker":
        assert 0 < np.abs(wanted - found).mean() < 0.5
    else:
        cosines = (wanted * found).sum(axis=1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
        assert cosines.mean() > 0.98
        assert np.abs(wanted - found).max() > 1e-4
        assert float(said[1]) > float(said[2])
    # a text's vector is its own: nothing is scaled by the batch
    for place in (0, 5):
        np.testing.assert_allclose(vectors(backend, low, [texts[place]])[0], found[place], atol=1e-5)

    def quantised(*given: Any) -> Any:
        raise AssertionError("again")

    monkeypatch.setattr(openvino_int8, "_quantised", quantised)
    again = on_openvino(low)
    assert again.computing.notes == backend.computing.notes
    np.testing.assert_array_equal(vectors(again, low, texts), found)


def test_the_texts_of_the_calibration_are_of_both_languages_and_of_all_lengths_and_in_no_pair() -> None:
    texts = openvino_int8._calibration_texts()
    assert texts == openvino_int8._calibration_texts()
    assert len(texts) == len(set(texts)) == 120
    chinese = [text for text in texts if re.search("[一-鿿]", text)]
    assert 40 <= len(chinese) <= 80
    assert min(map(len, texts)) < 40
    assert max(map(len, texts)) > 1000
    pairs = [openvino_int8._graded(language) for language in ("eng", "cmn")]
    assert not set(texts) & {text for graded in pairs for text in (*graded.firsts, *graded.seconds)}


def test_what_int8_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_int8, "find_spec", lambda _: None)
    with pytest.raises(PrerequisiteError, match=r"int8 needs nncf, .*pip install 'evalharness\[int8\]'"):
        on_openvino(resolved(save_sentence_model(tmp_path / "m"), dtype="int8"))


def test_a_graph_that_nncf_cannot_do_is_said_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unreported():
        import nncf

    asked = []

    def broken(*given: Any, **named: Any) -> Any:
        asked.append(given)
        raise nncf.UnsupportedModelError("no such graph")

    monkeypatch.setattr(nncf, "quantize", broken)
    model = resolved(save_sentence_model(tmp_path / "m"), dtype="int8")
    for _ in range(2):
        said = r"local/m: cannot be quantised to int8 by nncf \(no such graph\); choose another precision"
        with pytest.raises(ModelError, match=said):
            on_openvino(model)
    assert len(asked) == 1
