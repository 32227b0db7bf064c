"""Command lines of ours that stand in examples and pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalharness.cli.main import app, repeat_lists
from evalharness.cli.shell import with_flags


def parsed(arguments: Sequence[str]) -> str:
    """The name of the command that takes these arguments; raises click's error where there is none."""
    command, arguments = with_flags(app), repeat_lists(arguments)
    context = command.make_context("evalharness", list(arguments))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, list(rest), parent=context)
    return str(context.command_path)


def flags_of(name: str) -> set[str]:
    """All flags that a command of ours takes."""
    command: Any = with_flags(app)
    return {
        flag for parameter in command.commands[name].params for flag in (*parameter.opts, *parameter.secondary_opts)
    }
