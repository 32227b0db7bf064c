"""`examples/ci`: the files are what the services read, every command in them is ours, and they do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from support.asking import asking_program
from support.commands import parsed
from support.processes import Pythons, out_of_reach
from support.tiny import save_sentence_model

from evalharness.catalog.tasks import find_task, suites
from evalharness.compare.gate import GateRules, Rule, read_rules

EXAMPLES = Path(__file__).parents[2] / "examples" / "ci"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
GATE = EXAMPLES / "gate.toml"
# of the job that is run here: tasks that need no Hub, in the place of the suite's
STARTER = {
    "NFCorpus": "StarterRetrievalEng",
    "SciFact": "StarterRetrievalCmn",
    "STSBenchmark": "StarterSTSEng",
    '"StackExchangeClustering.v2"': "StarterClusteringEng",
    '"SummEvalSummarization.v2"': "StarterSummarizationEng",
    "minimum = 80.0": "minimum = 50.0",
}


def github() -> dict[Any, Any]:
    return dict(yaml.safe_load((EXAMPLES / "github.yml").read_text(encoding="utf-8")))


def gitlab() -> dict[str, Any]:
    return dict(yaml.safe_load((EXAMPLES / "gitlab.yml").read_text(encoding="utf-8"))["embedding-gate"])


def steps() -> list[dict[str, Any]]:
    return list(github()["jobs"]["gate"]["steps"])


def scripts() -> dict[str, list[str]]:
    """The lines of each file that a shell gets."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return {
        "github.yml": [step["run"] for step in steps() if "run" in step],
        "gitlab.yml": [*gitlab()["before_script"], *gitlab()["script"]],
        "README.md": [line.strip() for block in blocks for line in block.splitlines()],
    }


def commands() -> list[tuple[str, str]]:
    """Every command of ours, with the file that it is in."""
    lines = [(name, line) for name, found in scripts().items() for script in found for line in script.splitlines()]
    return [(name, line) for name, line in lines if line.startswith("evalharness ")]


def test_the_workflow_asks_for_no_more_than_it_needs() -> None:
    whole = github()
    # YAML 1.1 reads the key `on` as true
    assert whole[True] == {"pull_request": {"paths": ["ci/embeddings/checkpoint.txt"]}}
    assert whole["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert [name for name in whole["jobs"]["gate"] if name == "permissions"] == []
    used = [step for step in steps() if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", step["uses"]) for step in used)
    checkouts = [step["with"] for step in used if step["uses"].startswith("actions/checkout@")]
    assert [place["persist-credentials"] for place in checkouts] == [False, False]
    # what somebody wrote in a pull request is never pasted into a script
    assert not [step["run"] for step in steps() if "${{" in step.get("run", "")]


def test_the_comment_and_the_report_come_also_where_the_gate_fails() -> None:
    by_name = {step.get("name", step.get("uses", step.get("run"))): step for step in steps()}
    comment = by_name["Comment on the pull request"]
    assert comment["if"].startswith("!cancelled()")
    assert "gh pr comment" in comment["run"]
    assert "--edit-last --create-if-none --body-file comment.md" in comment["run"]
    upload = steps()[-1]
    assert upload["uses"].startswith("actions/upload-artifact@")
    assert "report.xml" in upload["with"]["path"]
    assert gitlab()["artifacts"]["reports"]["junit"] == "report.xml"
    assert gitlab()["artifacts"]["when"] == "always"


def test_baseline_and_rules_are_those_of_the_target_branch() -> None:
    compares = [line for name, line in commands() if line.startswith("evalharness compare ") and name != "README.md"]
    assert len(compares) == 2
    for line in compares:
        assert " target/ci/embeddings/baseline results " in line
        assert " --rules target/ci/embeddings/gate.toml " in line
    checkout = next(step["with"] for step in steps() if step.get("with", {}).get("path") == "target")
    assert checkout["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert 'git fetch --depth 1 origin "$CI_MERGE_REQUEST_TARGET_BRANCH_NAME"' in gitlab()["before_script"]


def test_the_rules_have_every_key_and_name_what_there_is() -> None:
    rules = read_rules(GATE)
    value = tomllib.loads(GATE.read_text(encoding="utf-8"))
    assert set(value) == set(GateRules.model_fields)
    tables = [table for kind in ("tasks", "types", "means") for table in value[kind].values()]
    assert {key for table in tables for key in table} == set(Rule.model_fields)
    members = {member.task for member in suites()[github()["env"]["SUITE"]].tasks}
    assert {*rules.tasks, *rules.required} <= members
    assert set(rules.types) <= {spec.type for name in members if (spec := find_task(name)) is not None}
    # a comment before each key or table that says what it does
    for line, before in zip(GATE.read_text().splitlines()[1:], GATE.read_text().splitlines(), strict=False):
        if re.match(r"\[tasks|[a-z]+ = ", line) and not before.startswith("["):
            assert before.startswith(("#", "tolerance = ")), line


@pytest.mark.parametrize(("file", "line"), commands())
def test_every_command_is_one_of_ours(file: str, line: str) -> None:
    values = {"SUITE": "starter", "GITHUB_STEP_SUMMARY": "summary.md"}
    words = shlex.split(Template(line.replace("$(cat ci/embeddings/checkpoint.txt)", "me/model")).substitute(values))
    assert parsed(words[1:]).startswith(f"evalharness {words[1]}")
    with pytest.raises(Exception, match="No such option"):
        parsed([*words[1:], "--no-such-option"])


def test_there_are_commands() -> None:
    found = [(name, line.split()[1]) for name, line in commands()]
    for name in ("github.yml", "gitlab.yml"):
        assert [word for file, word in found if file == name] == ["run", "store", "compare"]
    assert ("README.md", "baseline") in found


class Job:
    """A place where the scripts run as a service runs them."""

    def __init__(self, folder: Path, pythons: Pythons, cache: Path) -> None:
        self._caches = {**out_of_reach(folder), "XDG_CACHE_HOME": str(cache)}
        self._pythons = pythons
        self.folder = folder / "project"
        (self.folder / "ci" / "embeddings").mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        self._ours = programs / "evalharness"
        self._program(programs / "gh", 'printf "%s\\n" "$@" > gh.txt')
        self._environment = {
            **os.environ,
            **self._caches,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "SUITE": "starter",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "GITHUB_REPOSITORY": "me/project",
            "PULL_REQUEST": "7",
        }
        gate = GATE.read_text(encoding="utf-8")
        for name, other in STARTER.items():
            gate = gate.replace(name, other)
        (self.folder / "ci" / "embeddings" / "gate.toml").write_text(gate, encoding="utf-8")

    @staticmethod
    def _program(path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        path.chmod(0o755)

    def _evalharness(self, arguments: list[str], folder: Path) -> tuple[int, str, str]:
        # what a service says in its environment is for the scripts, none of it for us
        done = self._pythons.run(["-m", "evalharness", *arguments], folder, self._caches)
        return done.returncode, done.stdout, done.stderr

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        with asking_program(self._ours, self._evalharness):
            return subprocess.run(
                ["bash", "-e", "-c", script],
                cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=900, check=False,
            )  # fmt: skip

    def evaluate(self, model: str, scripts: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run the scripts on a checkpoint, up to the first that fails."""
        for name in ("comment.md", "report.xml", "comparison.md"):
            (self.folder / name).unlink(missing_ok=True)
        named = self.folder / "ci" / "embeddings" / "checkpoint.txt"
        if not named.exists() or named.read_text(encoding="utf-8").strip() != model:
            # of the model before; what a job has of the same one, it need not do again
            shutil.rmtree(self.folder / "results", ignore_errors=True)
        named.write_text(f"{model}\n", encoding="utf-8")
        shutil.rmtree(self.folder / "target", ignore_errors=True)
        shutil.copytree(self.folder / "ci", self.folder / "target" / "ci")
        for script in scripts:
            done = self.shell(script)
            if done.returncode:
                break
        return done


def ours(scripts: Sequence[str]) -> list[str]:
    return [script for script in scripts if "evalharness " in script and "pip install" not in script]


def by_case(report: Path) -> Mapping[str, bool]:
    """Whether each test case of a JUnit report failed."""
    root = ET.parse(report).getroot()  # noqa: S314 -- our own file
    return {case.get("name", ""): case.find("failure") is not None for case in root.iter("testcase")}


# what writes the files comes later than the command
def test_the_jobs_pass_the_same_model_and_stop_a_bad_one(tmp_path: Path, pythons: Pythons, common_cache: Path) -> None:
    job = Job(tmp_path, pythons, common_cache)
    for line in (line for name, line in commands() if name == "README.md"):
        done = job.shell(line.replace("BAAI/bge-small-en-v1.5", "all-MiniLM-L6-v2").replace("quick-en", "starter"))
        assert done.returncode == 0, done.stderr
    tasks = {member.task for member in suites()["starter"].tasks}

    done = job.evaluate("all-MiniLM-L6-v2", ours(scripts()["github.yml"]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (job.folder / "comment.md").stat().st_size < 65_536
    assert (tmp_path / "summary.md").is_file()
    assert tasks <= set(by_case(job.folder / "report.xml"))
    assert not any(by_case(job.folder / "report.xml").values())
    comment = next(step["run"] for step in steps() if "gh pr comment" in step.get("run", ""))
    assert job.shell(comment).returncode == 0
    assert (job.folder / "gh.txt").read_text().split() == [
        "pr", "comment", "7", "--repo", "me/project", "--edit-last", "--create-if-none", "--body-file", "comment.md",
    ]  # fmt: skip

    bad = str(save_sentence_model(tmp_path / "bad"))
    done = job.evaluate(bad, ours(scripts()["github.yml"]))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "::error" in done.stdout
    assert by_case(job.folder / "report.xml")["StarterRetrievalEng"]

    done = job.evaluate(bad, ours(scripts()["gitlab.yml"]))
    assert done.returncode == 1, done.stdout + done.stderr
    assert by_case(job.folder / "report.xml")["StarterRetrievalEng"]
    assert (job.folder / "comparison.md").is_file()

    # a baseline that somebody edited is never a bar
    record = job.folder / "ci" / "embeddings" / "baseline" / "jobs" / "StarterSTSEng" / "test.default.json"
    value = json.loads(record.read_text())
    record.write_text(json.dumps(value | {"metrics": value["metrics"] | {"cosine_spearman": 0.1}}))
    done = job.evaluate(bad, ours(scripts()["gitlab.yml"]))
    assert done.returncode == 2
    assert "is not what was saved" in done.stderr
