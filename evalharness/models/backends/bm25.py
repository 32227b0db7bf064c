"""BM25 over words in common, with mteb's own tokenizers: the first row of any table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO

import numpy as np

from evalharness.errors import DataError
from evalharness.models.config import FileFacts
from evalharness.models.folding import Identity, spec_without_files
from evalharness.models.named import Named
from evalharness.models.options import Execution
from evalharness.models.rankers import LexicalRequest
from evalharness.models.registry import ResolvedModel
from evalharness.ranking.records import Ranking
from evalharness.ranking.search import ranked

_NAME = "mteb/baseline-bm25s"
# mteb's parameters, and the language that it takes where there are several
_K1, _B, _DELTA, _METHOD = 1.5, 0.75, 0.5, "lucene"
_LANGUAGE = "eng"
# a reader of the result must know what mteb does with candidates
_DEPTH_NOTE = "candidates that are not among the {depth} best documents of the whole corpus were dropped, as in mteb"


class Bm25Backend:
    """Ranks documents as mteb's BM25 does.

    Attributes:
        device: for the record.
    """

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        del model, execution
        self.device = "cpu"

    def rank(self, queries: Sequence[str], corpus: Sequence[str], request: LexicalRequest) -> Ranking:
        """Documents per query; the library decides among equal scores which are found.

        Args:
            queries: texts.
            corpus: documents, title and text joined.
            request: ids, depth, candidates, languages.

        Raises:
            DataError: no document has a word that counts.
        """
        import bm25s
        from mteb.models.model_implementations.bm25 import BM25Tokenizer

        codes = {code.partition("-")[0] for code in request.languages}
        tokenizer = BM25Tokenizer(language=codes.pop() if len(codes) == 1 else _LANGUAGE)
        depth = min(request.depth, len(corpus))
        # it draws progress bars
        with redirect_stderr(StringIO()):
            # mteb puts a line break between title and text, and where texts are taken letter by letter it counts
            encoded = tokenizer.fit_transform([f"\n{document}" for document in corpus])
            if not any(map(len, encoded.ids)):
                raise DataError(
                    f"BM25 finds no word in any of {len(corpus):,} documents: stop words and signs do not count"
                )
            index = bm25s.BM25(k1=_K1, b=_B, delta=_DELTA, method=_METHOD)
            index.index(encoded, show_progress=False)
            found = index.retrieve(tokenizer.transform(list(queries)), k=depth, show_progress=False)
        documents = [row.astype(np.int64) for row in found.documents]
        scores = [row.astype(np.float32) for row in found.scores]
        if request.candidates is None:
            return ranked(documents, scores, request.ids)
        kept = [np.isin(row, list(wanted)) for row, wanted in zip(documents, request.candidates, strict=True)]
        lost = sum(len(wanted) - int(mask.sum()) for wanted, mask in zip(request.candidates, kept, strict=True))
        return ranked(
            [row[mask] for row, mask in zip(documents, kept, strict=True)],
            [row[mask] for row, mask in zip(scores, kept, strict=True)],
            request.ids,
            (f"{lost} {_DEPTH_NOTE.format(depth=depth)}",) if lost else (),
        )


def resolve(named: Named) -> ResolvedModel:
    """The one word counter that there is; its versions are what it is known by."""
    # what stems and tokenizes
    content = " ".join(f"{package} {version(package)}" for package in ("bm25s", "PyStemmer", "mteb"))
    spec = spec_without_files(named.renamed(_NAME), "bm25", Identity(_NAME, "0_3_0", content))
    return ResolvedModel(spec, FileFacts(), named.options)


open_backend = Bm25Backend
