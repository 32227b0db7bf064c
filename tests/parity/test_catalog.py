"""tasks/mteb/ is what the installed mteb says."""

from __future__ import annotations

from evalharness.catalog.tasks import tasks_folder
from evalharness.data.mteb_catalog import describe_mteb


def test_the_committed_catalogue_is_the_installed_mtebs() -> None:
    described = describe_mteb()
    assert set(described) == {path.name for path in (tasks_folder() / "mteb").iterdir()}
    for name, lines in described.items():
        committed = (tasks_folder() / "mteb" / name).read_text(encoding="utf-8").splitlines()
        different = [line[:200] for line, old in zip(lines, committed, strict=False) if line != old]
        assert len(lines) == len(committed), f"{name}: run make catalog"
        assert different == [], f"{name}: run make catalog"
