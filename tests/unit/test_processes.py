"""A forked program is what one is that Python starts: folder, environment, Hub, output, exit code, signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from support.processes import Pythons, out_of_reach

# only modules of ours may be missing in a program that was started afresh
IMPORTED = "import sys; print('mteb' in sys.modules)"
SHOW = "import os, sys; print(os.getcwd(), sys.argv, sys.path[0])"
# all that the Hub's libraries hold of addresses and folders
TOLD = """
import json, sys
import datasets.config, huggingface_hub.hf_api, huggingface_hub.hf_file_system
import accelerate.commands.config.default, transformers.utils.hub, transformers.dynamic_module_utils
from evalharness.hub import endpoint
found = {}
for name, module in sorted(sys.modules.items()):
    if name.partition(".")[0] in ("huggingface_hub", "datasets", "transformers", "accelerate", "mteb"):
        for key, value in getattr(module, "__dict__", {}).items():
            if isinstance(value, (str, frozenset, type(datasets.config.HF_DATASETS_CACHE))):
                if "/elsewhere" in str(value) or "example" in str(value):
                    found[f"{name}.{key}"] = sorted(map(str, value)) if isinstance(value, frozenset) else str(value)
found["api"] = huggingface_hub.hf_api.api.endpoint
found["files"] = huggingface_hub.hf_file_system.hffs.endpoint, huggingface_hub.HfFileSystem().endpoint
found["defaults"] = str(accelerate.commands.config.default.write_basic_config.__defaults__)
found["shown"] = endpoint()
found["url"] = huggingface_hub.hf_hub_url("a/b", "c")
print(json.dumps(found))
"""


# what mteb holds does not depend on the form of the address, and it takes seconds to import
@pytest.mark.parametrize(
    ("address", "first"),
    [("http://user:secret@hub.example:8123", "import mteb"), ("http://hub.example/mirror", "")],
)
def test_the_hub_and_the_caches_are_those_of_the_environment(
    tmp_path: Path, pythons: Pythons, address: str, first: str
) -> None:
    elsewhere = {"HF_ENDPOINT": address, "HF_HOME": "/elsewhere/home", "XDG_CACHE_HOME": "/elsewhere/cache"}
    code = f"{first}\n{TOLD}"
    fresh, forked = (pythons.run(["-c", code], tmp_path, elsewhere, fresh=fresh) for fresh in (True, False))
    assert fresh.returncode == forked.returncode == 0, fresh.stderr + forked.stderr
    wanted, found = json.loads(fresh.stdout), json.loads(forked.stdout)
    assert len(wanted) > 25
    assert {name: found.get(name) for name in wanted} == wanted
    assert "pythons-stand" not in forked.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "output", "errors"),
    [
        (["-c", SHOW, "a b", ""], 0, "{0} ['-c', 'a b', ''] \n", ""),
        (["program.py", "x"], 3, "{0} ['program.py', 'x'] {0}\n", ""),
        (["-m", "program", "x"], 3, "{0} ['{0}/program.py', 'x'] {0}\n", ""),
        (["-c", "raise SystemExit('why')"], 1, "", "why\n"),
        (["-c", "import sys; sys.exit(300)"], 44, "", ""),
        (["-c", "import os; os.kill(os.getpid(), 9)"], -9, "", ""),
        (["-c", "import sys; print([sys.stdin.read()], sys.stdout.isatty(), file=sys.stderr)"], 0, "", "[''] False\n"),
        (["-c", "import atexit; atexit.register(print, 'later'); print('now')"], 0, "now\nlater\n", ""),
        (["-c", "from threading import Timer; Timer(0.1, print, ['x']).start(); print()"], 0, "\nx\n", ""),
        (["-c", "import os; print([*map(os.environ.get, ('HF_HOME', 'NO_SUCH'))])"], 0, "['{0}/hf', None]\n", ""),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_program_is_given_and_gives_what_it_should(
    tmp_path: Path, pythons: Pythons, arguments: list[str], code: int, output: str, errors: str
) -> None:
    (tmp_path / "program.py").write_text(f"{SHOW}\nsys.exit(3)\n")
    for fresh in (False, True):
        done = pythons.run(arguments, tmp_path, out_of_reach(tmp_path), fresh=fresh)
        assert done.stdout == output.format(tmp_path), fresh
        assert (done.returncode, done.stderr) == (code, errors), fresh


def test_a_failing_program_shows_its_traceback(tmp_path: Path, pythons: Pythons) -> None:
    done = pythons.run(["-c", "def f():\n    raise KeyError('x')\nf()"], tmp_path, out_of_reach(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("KeyError: 'x'\n")


def test_signals_and_limits_of_time(tmp_path: Path, pythons: Pythons) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = pythons.start(["-c", "import time; time.sleep(60)"], tmp_path, out_of_reach(tmp_path))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
        if number == signal.SIGTERM:
            assert process.returncode == -signal.SIGTERM
        else:
            assert "KeyboardInterrupt" in errors


def test_two_run_at_a_time_and_draw_numbers_of_their_own(tmp_path: Path, pythons: Pythons) -> None:
    # neither ends before the other has begun
    code = """
import pathlib, random, sys, time, uuid, numpy
mine, other = map(pathlib.Path, sys.argv[1:])
mine.touch()
for _ in range(2000):
    if other.exists():
        break
    time.sleep(0.01)
else:
    sys.exit("alone")
print(random.random(), numpy.random.random(), uuid.uuid4())
"""
    both = [pythons.start(["-c", code, *names], tmp_path, out_of_reach(tmp_path)) for names in (("a", "b"), ("b", "a"))]
    first, second = (process.communicate(timeout=30)[0].split() for process in both)
    assert len(first) == len(second) == 3
    assert not set(first) & set(second)


@pytest.mark.parametrize(
    "changes",
    [{"HF_HUB_OFFLINE": "1"}, {"PYTHONIOENCODING": "ascii"}, {"HF_HOME": "relative"}, {"HF_ENDPOINT": "https://a.b"}],
    ids=str,
)
def test_what_libraries_read_once_makes_a_program_start_afresh(
    tmp_path: Path, pythons: Pythons, changes: dict[str, str]
) -> None:
    assert pythons.run(["-c", IMPORTED], tmp_path, out_of_reach(tmp_path)).stdout == "True\n"
    assert pythons.run(["-c", IMPORTED], tmp_path, {**out_of_reach(tmp_path), **changes}).stdout == "False\n"


def test_whoever_has_the_same_folder_shares_the_server(tmp_path: Path, pythons: Pythons, common: Path) -> None:
    ask = ["-c", "import os; print(os.getppid())"]
    servers = set()
    for _ in range(2):
        other = Pythons(common / "pythons-stand")
        servers |= {each.run(ask, tmp_path, out_of_reach(tmp_path)).stdout for each in (other, pythons)}
        # it stays for those who are left
        other.close()
    assert len(servers) == 1
    # what has ended is started again
    other._channel, ended = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ended.close()
    assert other.run(ask, tmp_path, out_of_reach(tmp_path)).stdout in servers
    other.close()


def test_streams_are_pipes_and_nothing_else(tmp_path: Path, pythons: Pythons) -> None:
    # as the command line has it, and what a file's stream cannot do when a pipe takes its place
    code = "import sys; sys.stdout.reconfigure(errors='backslashreplace'); print(sys.stdout.seekable())"
    assert pythons.run(["-c", code], tmp_path, out_of_reach(tmp_path)).stdout == "False\n"
