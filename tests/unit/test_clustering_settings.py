"""Clustering tasks whose settings leave nothing to cluster, or exclude each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalharness.catalog.tasks import local_task
from evalharness.errors import DataError
from evalharness.run.without_model import check_data

HEAD = """name = "Mine"
type = "Clustering"
languages = ["eng-Latn"]
[data]
format = "jsonl"
files = { test = "rows.jsonl" }
"""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "max_fraction_of_documents_to_embed = 0.3",
            r"rows.jsonl: 0 of 3 rows are left to cluster, .* raise max_fraction_of_documents_to_embed = 0.3 in \[sett",
        ),
        ("max_fraction_of_documents_to_embed = 0.4", "1 of 3 rows are left to cluster, with 1 different labels"),
        (
            "max_document_to_embed = 2",
            "2 of 3 rows are left to cluster, with 1 different labels; .* raise max_document_to_em",
        ),
        (
            "max_fraction_of_documents_to_embed = 0.5\nmax_document_to_embed = 2",
            "max_fraction_of_documents_to_embed and max_document_to_embed exclude each other",
        ),
        ('protocol = "legacy"\nn_clusters = 3', 'protocol = "legacy" has no n_clusters'),
        (
            'protocol = "legacy"\nmax_depth = 1\nmax_document_to_embed = 2',
            'protocol = "legacy" has no max_document_to_embed and no max_depth',
        ),
    ],
)
def test_clustering_settings_that_do_not_fit(tmp_path: Path, settings: str, message: str) -> None:
    rows = [json.dumps({"text": text, "label": int(text == "b")}) for text in "abc"]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    (tmp_path / "task.toml").write_text(f"{HEAD}[settings]\n{settings}\n")
    with pytest.raises(DataError, match=message):
        check_data(local_task(tmp_path / "task.toml"))
