"""`evalharness list`: what can be named in other commands; and how lists of names are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.errors import UsageError, unknown_names

if TYPE_CHECKING:
    from evalharness.catalog import ModelCard

list_app = typer.Typer(help="List what can be named in other commands.", no_args_is_help=True, rich_markup_mode=None)
_VISIBLE_SPACE, _VISIBLE_NEWLINE = "\u2423", "\u23ce"


def split_lists(given: Mapping[str, Sequence[str] | None]) -> dict[str, list[str]]:
    """Values of list options, given with commas or by repeating the option.

    Args:
        given: option -> values, None where it was left out.

    Raises:
        UsageError: an option has nothing in it.
    """
    found: dict[str, list[str]] = {}
    for option, values in given.items():
        # a benchmark's own name has a comma in it: MTEB(eng, v1)
        whole = option == "--benchmark"
        parts = [part.strip() for value in values or () for part in ([value] if whole else value.split(","))]
        found[option] = [part for part in parts if part]
    if empty := [option for option, values in given.items() if values is not None and not found[option]]:
        raise UsageError("\n".join(f"{option} is empty; give at least one name, or leave it out" for option in empty))
    return found


@list_app.command("tasks")
def list_tasks(
    languages: Annotated[list[str] | None, typer.Option(help="Only these languages, for example: eng,cmn.")] = None,
    task_types: Annotated[list[str] | None, typer.Option(help="Only these task types.")] = None,
) -> None:
    """All text tasks of mteb and those that come with evalharness: name, type, subsets, characters, who scores them."""
    from evalharness.catalog import all_task_names
    from evalharness.selection import Selection, select
    from evalharness.tasks import is_native

    lists = split_lists({"--languages": languages, "--task-types": task_types})
    wanted = Selection(tasks=all_task_names(), languages=lists["--languages"], types=lists["--task-types"])
    typer.echo("task\ttype\tsubsets\tcharacters\tscored by")
    for choice in select(wanted):
        sizes = [size[1] for split in choice.spec.sizes.values() for size in split.values()]
        runner = "evalharness" if is_native(choice.spec) else "mteb"
        cells = (choice.spec.name, choice.spec.type, len(choice.subsets), sum(sizes) if sizes else "?", runner)
        typer.echo("\t".join(map(str, cells)))


@list_app.command("suites")
def list_suites() -> None:
    """Our own lists of tasks."""
    from evalharness.catalog import suites

    for item in suites().values():
        counts = ", ".join(f"{count} {name}" for name, count in item.categories.items())
        typer.echo(f"{item.name}\t{len(item.tasks)} tasks ({counts})\t{item.description}")


@list_app.command("benchmarks")
def list_benchmarks() -> None:
    """mteb's benchmarks of text tasks, with their other names."""
    from evalharness.catalog import benchmarks

    for item in benchmarks().values():
        also = f"\talso: {'; '.join(item.aliases)}" if item.aliases else ""
        typer.echo(f"{item.name}\t{len(item.tasks)} tasks{also}")


@list_app.command("models")
def list_models(
    name: Annotated[str | None, typer.Argument(help="Print this model's card, with its exact prompts.")] = None,
    code_points: Annotated[bool, typer.Option("--code-points", help="Also print prompts as code points.")] = False,
) -> None:
    """Models with a card. Any other sentence-transformers model is read from its own files."""
    from evalharness.catalog import cards, find_card

    if name is not None:
        card = find_card(name)
        if card is None:
            raise UsageError(unknown_names("model card", [name], cards()))
        _print_card(card, code_points=code_points)
        return
    for card in cards().values():
        vectors = "normalised" if card.normalize else "not normalised"
        prompt = card.prompts.get("query")
        shown = f"query prompt {prompt!r}" if prompt else "no prompt"
        typer.echo("\t".join((card.name, card.pooling, f"{card.max_length} tokens", vectors, shown)))


def _print_card(card: ModelCard, *, code_points: bool) -> None:
    """A card, a line per fact; the spaces of prompts are visible."""
    for label, value in (
        ("name", card.name),
        ("revision", card.revision),
        ("pooling", card.pooling),
        ("normalised", "yes" if card.normalize else "no"),
        ("similarity", card.similarity),
        ("maximum length", f"{card.max_length} tokens"),
        ("languages", ", ".join(card.languages) or "unknown"),
    ):
        typer.echo(f"{label}: {value}")
    for key, prompt in card.prompts.items() or {"prompts": ""}.items():
        typer.echo(f"{key}: {prompt.replace(' ', _VISIBLE_SPACE).replace(chr(10), _VISIBLE_NEWLINE) or 'none'}")
        if code_points and prompt:
            typer.echo(f"    {' '.join(f'U+{ord(character):04X}' for character in prompt)}")
