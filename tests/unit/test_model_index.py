"""The older model-index in the front matter of a README: read back by the Hub's own code, and nothing else touched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import EvalResult, model_index_to_eval_results
from hypothesis import given
from hypothesis import strategies as st
from support.publications import NAME, of_mteb, own, public_model, stored
from support.stored import random_ndcg

from evalharness.errors import DataError, UsageError
from evalharness.reports.publishing.front_matter import front_matter, with_key
from evalharness.reports.publishing.model_index import write_model_index

THEIRS = [{"task": {"type": "text-generation"}, "dataset": {"name": "X", "type": "x/y"},
           "metrics": [{"type": "bleu", "value": 12.5, "extra": "kept"}], "more": [1, 2]}]  # fmt: skip


def read(path: Path) -> tuple[str, list[EvalResult]]:
    """As the Hub reads it."""
    content = ModelCard(path.read_bytes().decode()).content
    found = re.match(r"---\r?\n(.*?\r?\n)---", content, re.DOTALL)
    assert found is not None
    return model_index_to_eval_results(yaml.safe_load(found[1])["model-index"])


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    publication = write_model_index(own(stored(tmp_path / "results")), tmp_path / "new" / "index.md")
    name, found = read(publication.files[0])
    assert name == NAME
    shown = [(r.task_type, r.task_name, r.dataset_type, r.dataset_name, r.metric_type) for r in found]
    assert shown == [
        ("text-classification", "Classification", "mteb/banking77", "Banking77Classification (default)", "accuracy"),
        ("text-retrieval", "Retrieval", "mteb/nfcorpus", "NFCorpus (default)", "ndcg_at_10"),
        ("sentence-similarity", "STS", "mteb/stsbenchmark-sts", "STSBenchmark (default)", "cosine_spearman"),
    ]
    assert found[1].dataset_revision == "ec0fa4fe99da2ff19ca1214b7966684033a58814"
    assert 0 < found[1].metric_value < 1
    assert publication.results[0].left_out == {"Mine": "mteb names no data set of it on the Hub"}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("before", "first", "last"),
    [
        (
            "---\nlicense: mit # really\ntags:\n- a\n\n# of the data\nlanguage: 'en'\n---\n# Title\n---\ntext\n",
            "---\nlicense: mit # really\ntags:\n- a\n\n# of the data\nlanguage: 'en'\n",
            "---\n# Title\n---\ntext\n",
        ),
        ("---\n---\nno end of line", "---\n", "---\nno end of line"),
        ("# Title\n\ntext \u202e<b>\n", "---\n", "---\n# Title\n\ntext \u202e<b>\n"),
        ("---\nmodel-index:\n- name: o/o\n  results: []\nz: 1\n---\nx", "---\n", "z: 1\n---\nx"),
        (
            "---\na: |\n  model-index: no\nmodel-index: []\n\n# of z\nz: {b: 1}\n---\n",
            "---\na: |\n  model-index: no\n",
            "\n# of z\nz: {b: 1}\n---\n",
        ),
    ],
)
def test_all_else_stays_to_the_byte(tmp_path: Path, before: str, first: str, last: str, newline: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(before.replace("\n", newline).encode())
    results = own(stored(tmp_path / "results"))
    write_model_index(results, readme)
    after = readme.read_bytes()
    start, end = (text.replace("\n", newline).encode() for text in (first, last))
    assert after.startswith(start)
    assert after.endswith(end)
    between = after[len(start) : len(after) - len(end)].decode()
    assert between.startswith(f"model-index:{newline}- name: ")
    assert between.count("\n") == between.count(newline)
    assert not re.search(r"^[^ -]", between.partition(newline)[2], re.MULTILINE)
    assert len(read(readme)[1]) == 3
    write_model_index(results, readme)
    assert readme.read_bytes() == after


def test_results_of_others_stay_and_older_ones_of_the_same_data_go(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"---\n{yaml.safe_dump({'model-index': [{'name': NAME, 'results': THEIRS}]})}---\ntext\n")
    first = own(stored(tmp_path / "first", {("NFCorpus", "test", "default"): of_mteb("NFCorpus", random_ndcg(1))}))
    second = own(stored(tmp_path / "second", {("NFCorpus", "test", "default"): of_mteb("NFCorpus", random_ndcg(2))}))
    write_model_index(first, readme)
    write_model_index(second, readme)
    index: Any = front_matter(readme.read_text())["model-index"]
    assert index[0]["results"][0] == THEIRS[0]
    assert [entry["metrics"][0]["value"] for entry in index[0]["results"][1:]] == [second[0].tasks[0].cell.score]


def old_result(task: str, data: str, value: float) -> dict[str, Any]:
    """As mteb wrote it before version 2."""
    return {
        "task": {"type": "Retrieval"},
        "dataset": {"type": data, "name": f"MTEB {task}", "config": "default", "split": "test", "revision": None},
        "metrics": [{"type": "ndcg_at_1", "value": value / 2}, {"type": "ndcg_at_10", "value": value}],
    }


def card(*models: tuple[Any, list[Any]]) -> str:
    index = [{"name": name, "results": results} for name, results in models]
    return f"---\n{yaml.safe_dump({'model-index': index})}---\ntext\n"


SHORT = NAME.partition("/")[2]


@pytest.mark.parametrize(
    ("names", "place", "said"),
    [
        ([NAME], 0, ""),
        ([SHORT], 0, ""),
        (["other", SHORT], 1, ""),
        ([SHORT, NAME], 1, ""),
        (["checkpoint-500"], 0, "its only model is called 'checkpoint-500', and has these results now"),
        (["other", "third"], None, "'BAAI/bge-base-en-v1.5' is a further model there, beside 'other', 'third'"),
        (["o/other"], None, "'BAAI/bge-base-en-v1.5' is a further model there, beside 'o/other'"),
    ],
)
def test_a_card_of_one_model_stays_one(tmp_path: Path, names: list[str], place: int | None, said: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(card(*((name, THEIRS) for name in names)))
    publication = write_model_index(own(stored(tmp_path / "results")), readme)
    index: Any = front_matter(readme.read_text())["model-index"]
    assert [model["name"] for model in index] == [*names, *([NAME] if place is None else [])]
    counts = [len(model["results"]) for model in index]
    expected = [1] * len(names) + ([3] if place is None else [])
    if place is not None:
        expected[place] += 3
    assert counts == expected
    assert [note.removeprefix(f"{readme}: ") for note in publication.notes] == ([said] if said else [])
    assert len(read(readme)[1]) == len(names) + 3
    write_model_index(own(tmp_path / "results"), readme)
    assert front_matter(readme.read_text())["model-index"] == index


def test_results_in_percent_beside_ours_are_told(here: Cli, tmp_path: Path) -> None:
    stored(tmp_path / "results")
    readme = tmp_path / "README.md"
    old = [old_result("NFCorpus", "mteb/nfcorpus", 37.4), old_result("FiQA2018", "mteb/fiqa", 40.1)]
    readme.write_text(card((SHORT, [*THEIRS, *old])))
    done = here("report", "results", "--model-index", "README.md")
    assert done.returncode == 0
    assert (
        "  note: README.md: 2 results that were there are in percent, as before mteb 2 (MTEB NFCorpus, MTEB FiQA2018); "
        "those of this run are from 0 to 1, as mteb 2 writes them. Take out the old ones of the same tasks\n"
    ) in done.stderr
    name, found = read(readme)
    assert name == SHORT
    assert [result.metric_value for result in found if result.metric_value > 1] == [12.5, 18.7, 37.4, 20.05, 40.1]
    readme.write_text(card((SHORT, [*THEIRS, old_result("NFCorpus", "mteb/nfcorpus", 0.37)])))
    done = here("report", "results", "--model-index", "README.md")
    assert "percent" not in done.stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("---\nlicense: mit\n", "its front matter has no end"),
        ("\n---\nlicense: mit\n---\n", "does not begin in its first line"),
        ("\ufeff---\nlicense: mit\n---\n", "byte order mark"),
        ("---\na: [\n---\n", "is no YAML"),
        ("---\na: &a [*a]\n---\n", "cannot be changed there without changing other values"),
        ("---\n- a\n---\n", "holds no names with values"),
        ("---\nmodel-index: []\nmodel-index: []\n---\n", "has model-index more than once"),
        ("---\nmodel-index:\n# mine\n- name: a\n  results: []\n---\n", "a comment inside model-index would be lost"),
        ("---\nmodel-index: 3\n---\n", "is no list of models"),
        ("---\nmodel-index: [{name: BAAI/bge-base-en-v1.5}]\n---\n", "a model without a list of results"),
        ("---\n{license: mit}\n---\n", "is no YAML"),
        ("---\nmodel-index: &a []\nother: *a\n---\n", "is no YAML"),
        ("---\n? model-index\n: []\n---\n", "cannot be changed there"),
    ],
)
def test_what_cannot_be_changed_without_damage_stays(tmp_path: Path, text: str, why: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=f"README.md stays as it is: .*{why}.*Name a file that is not there"):
        write_model_index(own(stored(tmp_path / "results")), readme)
    assert readme.read_text(encoding="utf-8") == text


def test_only_a_readme_is_changed(here: Cli, tmp_path: Path) -> None:
    stored(tmp_path / "results")
    (tmp_path / "script.py").write_text("x = 1\n")
    done = here("report", "results", "--model-index", "script.py")
    assert done.returncode == 2
    assert "script.py is there already; name a file that is not, or the README.md" in done.stderr
    assert (tmp_path / "script.py").read_text() == "x = 1\n"
    (tmp_path / "README.md").write_bytes(b"caf\xe9\n")
    done = here("report", "results", "--model-index", "README.md")
    assert done.returncode == 2
    assert "README.md stays as it is" in done.stderr
    assert (tmp_path / "README.md").read_bytes() == b"caf\xe9\n"


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "mine.md").write_text("# Title\n")
    (tmp_path / "README.md").symlink_to(tmp_path / "cards" / "mine.md")
    write_model_index(own(stored(tmp_path / "results")), tmp_path / "README.md")
    assert (tmp_path / "README.md").is_symlink()
    assert (tmp_path / "cards" / "mine.md").read_text().endswith("---\n# Title\n")


def test_several_models_have_a_readme_each(tmp_path: Path) -> None:
    stored(tmp_path / "results")
    results = own(stored(tmp_path / "results", model=public_model("me/other")))
    files = write_model_index(results, tmp_path / "out").files
    assert [read(path)[0] for path in files] == [NAME, "me/other"]
    assert files[1] == tmp_path / "out" / "me__other" / public_model().revision / "README.md"


@given(
    st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=20), st.lists(st.integers()), st.none())),
    st.text(max_size=30),
)
def test_any_front_matter_keeps_its_values(values: dict[str, Any], body: str) -> None:
    text = f"---\n{yaml.safe_dump(values)}---\n{body}"
    try:
        changed = with_key(text, "model-index", [{"name": "a"}])
    except DataError:
        return
    assert changed.endswith(f"---\n{body}")
    found = front_matter(changed)
    assert found.pop("model-index") == [{"name": "a"}]
    values.pop("model-index", None)
    assert found == values
