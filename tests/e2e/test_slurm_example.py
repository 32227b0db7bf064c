"""`examples/slurm`: the job script is one, starts our command on the first of several nodes, and its flags exist."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.commands import parsed
from support.processes import out_of_reach
from support.tiny import save_sentence_model

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "evalharness.sbatch"
TEXT = SCRIPT.read_text(encoding="utf-8")
# of one step, without its backslashes
(STEP,) = [line for line in TEXT.replace("\\\n", " ").splitlines() if line.startswith("srun ")]
GIVEN = ["--model", "all-MiniLM-L6-v2", "--tasks", "StarterSTSEng"]
NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (the extra ray)")
# what `ray COMMAND --help` says of several commands
HELPS = """
import sys
from ray.scripts.scripts import cli
for command in sys.argv[1:]:
    cli([command, "--help"], standalone_mode=False)
"""
# what Slurm runs on each of NODES nodes, in turn; a node's own number is its place
SRUN = """
printf '%s\\n' "$@" > srun.txt
while [[ "$1" == --* ]]; do shift; done
for ((node = 0; node < NODES; node++)); do SLURM_PROCID=$node "$@" || code=$?; done
exit "${code:-0}"
"""
# of `ray symmetric-run`: the first node runs the command, the others wait for its end
RAY = """
printf '%s\\n' "$RAY_AUTH_MODE" "$RAY_AUTH_TOKEN" > "token.$SLURM_PROCID.txt"
printf '%s\\n' "$RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT" "$@" > "ray.$SLURM_PROCID.txt"
while [[ "$1" != -- ]]; do shift; done
shift
if [[ "$SLURM_PROCID" == 0 ]]; then "$@"; fi
"""


def words_of_step() -> list[str]:
    return shlex.split(STEP)


class Slurm:
    """A machine that has Slurm's programs in a folder of its own."""

    def __init__(self, folder: Path, programs: Mapping[str, str]) -> None:
        self.folder = folder
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name, body in programs.items():
            path = self._programs / name
            path.write_text(f"#!/usr/bin/env bash\nset -u\n{body}\n", encoding="utf-8")
            path.chmod(0o755)

    def sbatch(
        self, *arguments: str, before: tuple[str, ...] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the script as sbatch does on the first node."""
        environment = {
            **os.environ,
            **out_of_reach(self.folder),
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "12345",
            "SLURM_CPUS_PER_TASK": "2",
            **variables,
        }
        return subprocess.run(
            [*before, "bash", str(SCRIPT), *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    def lines(self, name: str) -> list[str]:
        return (self.folder / name).read_text(encoding="utf-8").splitlines()


def test_the_script_is_bash_and_can_be_started() -> None:
    done = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(SCRIPT, os.X_OK)


def test_slurm_reads_its_options() -> None:
    lines = TEXT.splitlines()
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    # Slurm reads none behind the first command
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(options) < first
    given = {lines[number].removeprefix("#SBATCH ").partition("=")[0] for number in options}
    # a lost node is not the end of the job, nor a lost first node that of the work
    assert given >= {"--no-kill", "--requeue", "--open-mode", "--exclusive", "--ntasks-per-node", "--cpus-per-task"}


def test_our_command_is_one_of_ours() -> None:
    words = words_of_step()
    ours = words[words.index("evalharness") + 1 :]
    assert ours[-1] == "$@"
    assert parsed([*ours[:-1], *GIVEN]) == "evalharness run"
    with pytest.raises(Exception, match="No such option"):
        parsed([*ours[:-1], "--no-such-option", *GIVEN])


@NEEDS_RAY
def test_flags_of_ray_exist() -> None:
    words = words_of_step()
    flags = [word for word in words[words.index("symmetric-run") : words.index("--")] if word.startswith("--")]
    # what symmetric-run does not know itself, it hands on to start
    helps = subprocess.run(
        [sys.executable, "-c", HELPS, "symmetric-run", "start"],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    known = set(helps.replace("[", " ").replace("]", " ").split())
    assert flags
    assert [flag for flag in flags if flag not in known] == []


def test_every_node_joins_and_the_first_one_runs_us(tmp_path: Path) -> None:
    programs = {
        "srun": SRUN,
        "ray": RAY,
        "hostname": "echo 10.0.0.7 fd00::7",
        "python": 'printf "%s\\n" "$@" > run.txt',
    }
    slurm = Slurm(tmp_path, programs)
    done = slurm.sbatch(*GIVEN, "--output", "a folder", SLURM_JOB_NUM_NODES="3", NODES="3")
    assert (done.returncode, done.stderr) == (0, "")
    assert slurm.lines("run.txt") == ["-m", "evalharness", "run", "--ray", "auto", *GIVEN, "--output", "a folder"]
    assert slurm.lines("srun.txt")[:3] == ["--nodes=3", "--ntasks-per-node=1", "--cpus-per-task=2"]
    first = slurm.lines("ray.0.txt")
    assert first[:6] == ["300", "symmetric-run", "--address", "10.0.0.7:22345", "--min-nodes", "3"]
    assert first == slurm.lines("ray.1.txt") == slurm.lines("ray.2.txt")


def test_nobody_else_gets_into_the_cluster(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path, {"srun": SRUN, "ray": RAY, "python": "exit 0"})
    found = []
    for _ in range(2):
        assert slurm.sbatch(*GIVEN, SLURM_JOB_NUM_NODES="2", NODES="2", HEAD_IP="10.1.0.7").returncode == 0
        mode, token = slurm.lines("token.0.txt")
        assert (mode, len(token), token) == ("token", 64, slurm.lines("token.1.txt")[1])
        found.append(int(token, 16))
    assert found[0] != found[1]


def test_what_can_be_said_otherwise(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path, {"srun": SRUN, "ray": RAY, "python": "exit 3"})
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "activate").write_text("touch activated\n", encoding="utf-8")
    done = slurm.sbatch(
        *GIVEN,
        SLURM_JOB_NUM_NODES="1", NODES="1", HEAD_IP="10.1.0.7", EVALHARNESS_VENV=str(tmp_path / "env"),
        RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="900",
    )  # fmt: skip
    # some jobs failed, which Slurm is told
    assert done.returncode == 3
    assert (tmp_path / "activated").exists()
    assert slurm.lines("ray.0.txt")[:4] == ["900", "symmetric-run", "--address", "10.1.0.7:22345"]


def apart() -> tuple[str, ...]:
    """What a command has to stand behind, so that `ray stop` finds no processes but those of the command.

    Empty where that cannot be had.
    """
    before = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    for user in ((), ("--user", "--map-root-user")):
        whole = (before[0], *user, *before[1:])
        if (
            shutil.which("unshare")
            and subprocess.run([*whole, "true"], capture_output=True, check=False).returncode == 0
        ):
            return whole
    return ()


@pytest.fixture
def short() -> Iterator[str]:
    """A folder whose path leaves room for those of sockets in it."""
    with TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@NEEDS_RAY
@pytest.mark.skipif(not apart(), reason="processes cannot be set apart here, and `ray stop` would end those of others")
def test_a_job_of_one_node(tmp_path: Path, short: str) -> None:
    programs = {
        "srun": SRUN,
        "ray": f'exec {shlex.quote(sys.executable)} -m ray.scripts.scripts "$@"',
        "python": f'exec {shlex.quote(sys.executable)} "$@"',
        "hostname": "echo 127.0.0.1",
    }
    slurm = Slurm(tmp_path, programs)
    done = slurm.sbatch(
        "--model", str(save_sentence_model(tmp_path / "model")), "--engine", "torch", "--tasks", "StarterSTSEng",
        "--output", "results", "--threads", "1", "--batch-tokens", "1024",
        before=apart(), SLURM_JOB_ID=str(os.getpid()), SLURM_JOB_NUM_NODES="1", NODES="1", RAY_TMPDIR=short,
        # else its workers get what all other tests leave of the processors
        RAY_worker_niceness="0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "StarterSTSEng" in done.stdout
    (record,) = (tmp_path / "results").rglob("jobs/StarterSTSEng/*.json")
    # in an actor of that cluster, not in the process of the command
    assert json.loads(record.read_text(encoding="utf-8"))["facts"]["actors"] >= 1
