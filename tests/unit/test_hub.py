"""Which failures of the Hub are worth another try, and what is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset, DatasetDict, load_from_disk
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from evalharness import hub as hub_module
from evalharness.downloads import _cache_files
from evalharness.hub import hub_errors, is_transient, reason, with_retries

TRANSPORT = hub_errors()[1]


class Response:
    """As much of an HTTP response as an error holds."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code
        self.headers: dict[str, str] = {}
        self.request = None


def http_error(status_code: int, kind: Any = HfHubHTTPError) -> Exception:
    error: Exception = kind.__new__(kind)
    Exception.__init__(error, f"status {status_code}")
    error.response = Response(status_code)  # type: ignore[attr-defined]
    return error


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "_PAUSES", (0, 0, 0, 0))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (http_error(503), True),
        (http_error(429), True),
        (http_error(404, RepositoryNotFoundError), False),
        (http_error(401), False),
        (TRANSPORT("connection reset"), True),
        (OSError("Consistency check failed: file should be of size 9 but has size 5"), True),
        (FileNotFoundError("no such data set"), False),
        (OSError(28, "No space left on device"), False),
    ],
    ids=str,
)
def test_what_may_pass(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient
    wrapped = FileNotFoundError("cannot be found")
    wrapped.__cause__ = error
    assert is_transient(wrapped) is transient


class Flaky:
    """Fails so often, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "done"


def test_it_is_said_once_that_something_is_tried_again() -> None:
    said: list[str] = []
    flaky = Flaky(3, http_error(503))
    assert with_retries(flaky, "loading mteb/x", said.append) == "done"
    assert flaky.calls == 4
    assert said == ["loading mteb/x failed (HfHubHTTPError: 'status 503'); trying again"]


def test_what_does_not_pass_is_not_tried_again_for_ever() -> None:
    for error, calls in ((http_error(503), 5), (http_error(404), 1)):
        flaky = Flaky(99, error)
        with pytest.raises(HfHubHTTPError):
            with_retries(flaky, "loading mteb/x", lambda _: None)
        assert flaky.calls == calls


def test_what_to_do_about_offline_mode_depends_on_who_chose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OfflineModeIsEnabled("Cannot reach x. To disable it, please unset HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert reason(error) == "HF_HUB_OFFLINE is set"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert reason(error).endswith(" does not answer")


def test_nested_data_sets_of_mtebs_are_looked_into(tmp_path: Path) -> None:
    data = Dataset.from_dict({"text": ["a"]})
    data.save_to_disk(str(tmp_path / "saved"))
    kept = load_from_disk(str(tmp_path / "saved"))
    nested = DatasetDict({"test": kept})
    # the library forbids it and mteb does it
    dict.__setitem__(outer := DatasetDict(), "deu", nested)
    wanted = [Path(file["filename"]) for file in kept.cache_files]
    assert wanted
    assert list(_cache_files(outer)) == list(_cache_files(SimpleNamespace(dataset=outer))) == wanted
