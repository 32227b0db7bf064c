from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import Cli
from support.boards import HOSTILE, boards
from support.stored import random_ndcg, spec_of, write_results

from evalharness.catalog.lists import NAMED, STORED
from evalharness.errors import UsageError
from evalharness.reports.board import Board, Cell, Mean, Row
from evalharness.reports.formats import render
from evalharness.reports.publishing.space import write_space


def front_matter(folder: Path) -> dict[str, object]:
    _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found: dict[str, object] = yaml.safe_load(head)
    return found


def test_a_space_is_a_page_and_a_readme(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "space"
    done = write_space(boards(), folder)
    assert (done.page, done.is_readme_kept) == (folder / "index.html", False)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "index.html"]
    assert (folder / "index.html").read_text(encoding="utf-8") == render(boards(), "html")
    front = front_matter(folder)
    assert front["sdk"] == "static"
    assert front["app_file"] == "index.html"
    assert front["title"] == "Every kind of row, Reranking & more, Nothing yet"
    assert "- Every kind of row (mteb): 20 models, 7 tasks" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        ([STORED], "Text embedding models: STS12"),
        ([STORED, f"{STORED}, only languages eng"], "Text embedding models: STS12"),
        ([NAMED], "Text embedding models: STS12"),
        (["MTEB(eng, v2)", "bge"], "MTEB(eng, v2), bge"),
    ],
)
def test_a_list_without_a_name_has_a_title_by_its_tasks(titles: list[str], expected: str, tmp_path: Path) -> None:
    mean = Mean(0.5, 1, 1)
    row = Row("m", "r", "", "", {"STS12": Cell(0.5)}, {"STS": mean}, mean, mean)
    write_space([Board(title, "mteb", {"STS": ["STS12"]}, [row]) for title in titles], tmp_path)
    assert front_matter(tmp_path)["title"] == expected
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.count(" (mteb): 1 model, 1 task\n") == len(titles)


def test_many_tasks_of_a_list_without_a_name_are_counted(tmp_path: Path) -> None:
    write_space([Board(STORED, "mteb", {"STS": [f"t{number}" for number in range(30)]}, [])], tmp_path)
    assert front_matter(tmp_path)["title"] == "Text embedding models: 30 tasks"


@pytest.mark.parametrize("title", [*HOSTILE, "---", "a: b # c", "\u2028\x00", "", "x" * 500])
def test_a_title_stays_a_title(title: str, tmp_path: Path) -> None:
    write_space([Board(title, "mteb", {}, [])], tmp_path)
    front = front_matter(tmp_path)
    assert front["sdk"] == "static"
    assert isinstance(front["title"], str)
    assert 0 < len(front["title"]) <= 101
    assert "\u202e" not in front["title"]


def test_again_it_replaces_its_page_and_keeps_a_readme_that_was_changed(tmp_path: Path) -> None:
    write_space(boards(), tmp_path)
    readme = tmp_path / "README.md"
    changed = readme.read_text(encoding="utf-8").replace("emoji: \U0001f4cf", "emoji: \U0001f980") + "\nMy words.\n"
    readme.write_text(changed, encoding="utf-8")
    done = write_space(boards()[1:], tmp_path)
    assert done.is_readme_kept
    assert readme.read_text(encoding="utf-8") == changed
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == render(boards()[1:], "html")


def test_what_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# my project\n", encoding="utf-8")
    (tmp_path / "index.html").write_text("<title>my page</title>", encoding="utf-8")
    with pytest.raises(UsageError, match=r"--space would replace what was not made by it: .*README.md, .*index.html"):
        write_space(boards(), tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# my project\n"
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "<title>my page</title>"
    (tmp_path / "README.md").unlink()
    with pytest.raises(UsageError, match=r"index\.html"):
        write_space(boards(), tmp_path)
    # all or nothing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html"]
    with pytest.raises(UsageError, match="is no folder"):
        write_space(boards(), tmp_path / "index.html")


@pytest.mark.parametrize(
    ("text", "is_static"),
    [
        ("---\nsdk: static\n---\n", True),
        ("---\r\ntitle: x\r\nsdk: 'static' # mine\r\n---\r\ntext", True),
        ("---\nlicense: mit\n---\n# A model\n\nsdk: static\n\n---\n", False),
        ("---\nsdk: gradio\n---\n```\nsdk: static\n```\n---\n", False),
        ("---\ntext: |\n  sdk: static\n---\n", False),
        ("sdk: static\n---\n", False),
        ("---\nsdk: static\n", False),
    ],
)
def test_only_the_front_matter_says_that_a_space_is_static(tmp_path: Path, text: str, is_static: bool) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(text.encode())
    if is_static:
        assert write_space(boards(), tmp_path).is_readme_kept
    else:
        with pytest.raises(UsageError, match=r"would replace what was not made by it: .*README\.md"):
            write_space(boards(), tmp_path)
        assert not (tmp_path / "index.html").exists()
    assert readme.read_bytes() == text.encode()


def test_the_command(here: Cli, tmp_path: Path) -> None:
    write_results(tmp_path / "results", {("T", "test", "default"): random_ndcg(1)}, spec_of("me/model"))
    done = here("report", "--space", "space", "--output", "table.md")
    assert (done.returncode, done.stderr) == (0, "--space: space/index.html and README.md\n")
    done = here("report", "--space", "space", "--output", "table.html")
    assert "its README.md stays as it was" in done.stderr
    page = (tmp_path / "space" / "index.html").read_bytes()
    assert page == (tmp_path / "table.html").read_bytes()
    (tmp_path / "space" / "index.html").write_text("mine", encoding="utf-8")
    done = here("report", "--space", "space", "--output", "other.md")
    assert done.returncode == 2
    assert not (tmp_path / "other.md").exists()
