"""Passwords and tokens in addresses: in no message, whatever library or server repeats them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from support.attempts import attempt_job
from support.fake_server import MODEL, FakeServer, Fault, running
from support.lookup import lookup_model, spec

from evalharness.catalog.selection import Selection, select
from evalharness.errors import ModelError, UsageError, without_secrets
from evalharness.hub import reason
from evalharness.models.backends.http import HttpBackend
from evalharness.models.backends.http_client import Patience
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.options import Execution
from evalharness.run.job import data_of
from evalharness.run.plan import make_plan

NONE: Mapping[str, str] = {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://me:secret@a.org/x", "https://***@a.org/x"),
        ("HTTP://secret@a.org", "HTTP://***@a.org"),
        ("socks5://me:s@ecret@a.org:1", "socks5://***@a.org:1"),
        ("'https://a.org/?token=secret'", "'https://a.org/?token=***'"),
        ("(https://a.org/x?a=secret&b=secret#c=secret)", "(https://a.org/x?a=***&b=***#c=***)"),
        ("https://a.org?secret", "https://a.org?***"),
        ("to /login?key=secret, which", "to /login?key=***, which"),
        ("two: http://u:secret@a and https://v:secret@b?c=secret.", "two: http://***@a and https://***@b?c=***."),
        ("is it a model? a/b@main, python:m:f", "is it a model? a/b@main, python:m:f"),
        ("https://a.org/path stays", "https://a.org/path stays"),
    ],
)
def test_addresses_in_any_text(text: str, wanted: str) -> None:
    assert without_secrets(text, NONE) == wanted
    assert without_secrets(wanted, NONE) == wanted


@pytest.mark.parametrize("name", ["HF_ENDPOINT", "https_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_what_the_environment_has_is_masked_wherever_it_stands(name: str) -> None:
    environment = {name: "http://me:se%2Fcret@proxy:3128/?token=tok-1"}
    for said in ("se/cret", "se%2Fcret", "tok-1"):
        assert without_secrets(f"ProxyError: cannot use {said} here", environment) == "ProxyError: cannot use *** here"
    assert without_secrets("hf_abc is no token", {"HF_TOKEN": "hf_abc"}) == "*** is no token"


def test_errors_and_reasons_are_masked() -> None:
    assert str(UsageError("no https://me:secret@a.org here")) == "no https://***@a.org here"
    assert reason(OSError("https://me:secret@a.org?x=secret")) == "OSError: 'https://***@a.org?x=***'"


def test_an_endpoint_with_a_password(cli: Cli, tmp_path: Path) -> None:
    endpoint = "http://me:pass-word@127.0.0.1:9/?token=tok-abc"
    proxy = "http://me:other-pass@127.0.0.1:9"
    for environment in ({"HF_ENDPOINT": endpoint}, {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": ""}):
        done = cli("run", "--model", "a/b", "--tasks", "STS12", "--output", "out", environment=environment)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        said = done.stdout + done.stderr
        assert said
        files = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
        assert not [text for text in (said, *files) if any(word in text for word in ("pass-", "other-", "tok-abc"))]


def test_an_unexpected_error_in_a_job(tmp_path: Path) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (1, 2)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.toml").write_text(
        'name = "A"\ntype = "STS"\nmain_score = "cosine_spearman"\nlanguages = ["eng-Latn"]\n'
        '[data]\nformat = "jsonl"\nfiles = { test = "a.jsonl" }\n'
    )
    (job,) = make_plan(select(Selection(tasks=[str(tmp_path / "a.toml")])), spec(), tmp_path / "out").jobs

    def broken(text: str) -> Any:
        raise RuntimeError("https://me:secret@a.org/?t=secret")

    record = attempt_job(job, data_of([job], lambda _: None), lookup_model(broken), lambda _: None).record
    assert record.error == "RuntimeError: https://***@a.org/?t=***"


def test_a_redirect_with_a_password() -> None:
    with running(FakeServer()) as server:
        server.always = Fault(307, headers={"location": "https://me:secret@a.org/?token=secret"}, body="")
        resolved = resolve_model(MODEL, ModelOptions(backend="http", url=server.url))
        with pytest.raises(ModelError, match=r"sends requests on to 'https://\*\*\*@a.org/\?token=\*\*\*'"):
            HttpBackend(resolved, Execution(), patience=Patience(sleep=lambda _: None))
