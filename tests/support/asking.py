"""A program that others start by its path, whose work is done here: `asking.py PORT ARGUMENTS` asks and prints."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# in a folder, with arguments: what `subprocess.run` would give; written without the module, which takes its time
Answer = Callable[[list[str], Path], "tuple[int, str, str]"]


def _serve(listening: socket.socket, answer: Answer) -> None:
    while True:
        try:
            asking, _ = listening.accept()
        # it was closed
        except OSError:
            return
        with asking, asking.makefile() as lines:
            folder, arguments = json.loads(lines.readline())
            asking.sendall(json.dumps(answer(arguments, Path(folder))).encode())


@contextmanager
def asking_program(path: Path, answer: Answer) -> Iterator[None]:
    """While it stands, the program at `path` gives output, errors and exit code of an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_serve, args=(listening, answer), daemon=True).start()
        words = [sys.executable, "-I", "-S", __file__, str(listening.getsockname()[1])]
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _ask(port: str, arguments: list[str]) -> int:
    with socket.create_connection(("127.0.0.1", int(port))) as asked:
        asked.sendall(json.dumps([os.getcwd(), arguments]).encode() + b"\n")  # noqa: PTH109 -- as above
        with asked.makefile() as told:
            code, output, errors = json.load(told)
    sys.stdout.write(output)
    sys.stderr.write(errors)
    return int(code)


if __name__ == "__main__":
    sys.exit(_ask(sys.argv[1], sys.argv[2:]))
