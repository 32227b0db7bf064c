"""Around every command: how much is told, what a terminal can show, and how a command ends."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import IntEnum
from functools import cache
from typing import Annotated, Any

import typer

from evalharness.errors import EvalHarnessError, UsageError, clip, printable, without_secrets
from evalharness.hub import check_environment

_ENDED_HERE = ("typer", "click")


class ExitCode(IntEnum):
    """How a command ended, apart from 0; a signal's is `SIGNALLED` and its number."""

    # a comparison's gate: the candidate is worse, or not shown not to be
    REGRESSION = 1
    USAGE = 2
    # it ran to its end: jobs failed or are left, or files of the store are damaged
    INCOMPLETE = 3
    # as in sysexits.h: a defect of ours, not of what was asked for
    INTERNAL = 70
    # as a shell says of a command that a signal ended
    SIGNALLED = 128
    # and of one whose reader is gone: with the number of SIGPIPE, which Windows has not
    NO_READER = 141


class Loudness(IntEnum):
    """How much is told besides results and errors."""

    QUIET = -1
    NORMAL = 0
    VERBOSE = 1
    DEBUG = 2


_loudness = ContextVar("loudness", default=Loudness.NORMAL)


def loudness() -> Loudness:
    """How much the command that runs now tells."""
    return _loudness.get()


def _flag(value: Loudness) -> Callable[[bool], bool]:
    def set_it(given: bool) -> bool:
        if given:
            _loudness.set(value)
            _set_libraries(value)
        return given

    return set_it


def _option(names: Sequence[str], level: Loudness, shown: str) -> Any:  # noqa: ANN401 -- as typer says
    return typer.Option(*names, help=shown, callback=_flag(level), expose_value=False)


_flags_app = typer.Typer(add_completion=False)


@_flags_app.command(context_settings={"help_option_names": []})
def _flags(
    quiet: Annotated[bool, _option(["--quiet", "-q"], Loudness.QUIET, "Only results and errors.")] = False,
    verbose: Annotated[
        bool, _option(["--verbose", "-v"], Loudness.VERBOSE, "Also tracebacks, and what libraries warn of.")
    ] = False,
    debug: Annotated[bool, _option(["--debug"], Loudness.DEBUG, "Also the logs of libraries.")] = False,
) -> None:
    """The flags that every command has; it never runs."""


@cache
def with_flags(app: typer.Typer) -> Any:  # noqa: ANN401 -- typer keeps its own copy of click, whose types are private
    """The command of an app, with the flags of loudness at every level of it."""
    command = typer.main.get_command(app)
    shared = typer.main.get_command(_flags_app).params
    _add(command, shared)
    return command


def _add(command: Any, parameters: Sequence[Any]) -> None:  # noqa: ANN401
    command.params.extend(parameters)
    for inner in getattr(command, "commands", {}).values():
        _add(inner, parameters)


def tell(message: str) -> None:
    """Say what is wrong, or has to be known, on stderr."""
    # nobody may be there any more
    with suppress(OSError):
        # tracebacks and logs of libraries have addresses as they were given
        typer.echo(printable(without_secrets(message)), err=True)


def say(message: str) -> None:
    """Write a line of a result on stdout, which may hold names that anyone wrote."""
    typer.echo(printable(message))


class _Logged(logging.Handler):
    """Logs go where all that is told goes."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(self.format(record))


_LOGGED = _Logged()
_LOGGED.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))


def _set_libraries(level: Loudness) -> None:
    """What the libraries below us tell: nothing, for our messages say what matters; warnings; or everything."""
    shown = {Loudness.VERBOSE: "warning", Loudness.DEBUG: "info"}.get(level, "error")
    for name in ("HF_HUB_VERBOSITY", "TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):
        if level > Loudness.NORMAL:
            os.environ[name] = shown
        else:
            os.environ.setdefault(name, shown)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.simplefilter("default" if level > Loudness.NORMAL else "ignore")
    root = logging.getLogger()
    root.setLevel({"error": logging.ERROR, "warning": logging.WARNING}.get(shown, logging.DEBUG))
    if level > Loudness.NORMAL:
        root.addHandler(_LOGGED)
        # what failed, with its traceback
        logging.getLogger("evalharness").setLevel(logging.DEBUG)


@contextmanager
def _libraries_kept() -> Iterator[None]:
    """Leave warnings and logs as they were: a command may run inside another program, a test for one."""
    root, ours = logging.getLogger(), logging.getLogger("evalharness")
    levels = root.level, ours.level
    try:
        with warnings.catch_warnings():
            yield
    finally:
        root.removeHandler(_LOGGED)
        root.setLevel(levels[0])
        ours.setLevel(levels[1])


def _prepare_streams() -> None:
    """What a terminal's encoding lacks is shown by its code, not by a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _close_streams() -> bool:
    """Write what is left; whether somebody read it."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        # the interpreter would try again, and complain
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(nowhere, number)
        return False
    return True


def _check_arguments(arguments: Sequence[str], may_be_empty: Sequence[str]) -> None:
    """See that each argument is a text, and that no option got an empty value, which a script's unset variable gives.

    Raises:
        UsageError: one is not so.
    """
    for before, argument in zip(("", *arguments), arguments, strict=False):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the argument {clip(argument)} is not UTF-8; type it anew, or rename the file") from None
        name, equals, value = argument.partition("=") if argument.startswith("--") else (before, "=", argument)
        if equals and not value and name not in may_be_empty:
            named = name if name.startswith("--") else "an argument"
            raise UsageError(f"{named} is empty; give a value, or leave it out")


def execute(command: Any, arguments: Sequence[str], may_be_empty: Sequence[str] = ()) -> int:  # noqa: ANN401 -- click's
    """Run one command line, without the program's name; what is wrong with it goes to stderr.

    Args:
        command: click's.
        arguments: as they were typed.
        may_be_empty: options that take an empty value, or say themselves what is wrong with it.

    Returns:
        The exit code.
    """
    level = _loudness.set(Loudness.NORMAL)
    try:
        _check_arguments(arguments, may_be_empty)
        check_environment()
        with _libraries_kept():
            command(args=list(arguments), prog_name="evalharness")
    except EvalHarnessError as error:
        _tell_traceback()
        tell(f"error: {error}")
        return ExitCode.USAGE
    except SystemExit as ended:
        return _code(ended)
    except Exception:
        _tell_traceback()
        raise
    finally:
        _loudness.reset(level)
    return 0


def _tell_traceback() -> None:
    if loudness() > Loudness.NORMAL:
        tell(traceback.format_exc())


def _code(ended: SystemExit) -> int:
    """The exit code of a command that ended itself.

    Raises:
        RuntimeError: it was ended by code that has no business to.
    """
    if isinstance(ended.__context__, OSError) and ended.__context__.errno == errno.EPIPE:
        return ExitCode.NO_READER
    last = ended.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = str(last.tb_frame.f_globals.get("__name__", "")) if last else ""
    if where.partition(".")[0] not in _ENDED_HERE:
        raise RuntimeError(f"the module {where} ended the program with {clip(str(ended.code))}") from ended
    return int(ended.code or 0)


def run_guarded(run: Callable[[], int]) -> int:
    """Run a command line as a program: with streams that fit the terminal, and no traceback unless it was asked for.

    Returns:
        The exit code.
    """
    _prepare_streams()
    _set_libraries(Loudness.NORMAL)
    try:
        code = run()
    except BrokenPipeError:
        code = ExitCode.NO_READER
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        tell(f"error: the system says: {error.strerror or error}{where}. Run it again with --debug for what was tried")
        code = ExitCode.USAGE
    # whatever it is, it is our defect, and a person is to read it
    except Exception as error:  # noqa: BLE001
        first = (str(error).splitlines() or [""])[0]
        tell(
            f"error: internal error ({type(error).__name__}: {first}). This is a defect of evalharness: run it again "
            "with --debug for the traceback, and please report it"
        )
        code = ExitCode.INTERNAL
    return code if _close_streams() else ExitCode.NO_READER
