"""`evalharness list`: what can be named in other commands; and how lists of names are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.shell import say
from evalharness.errors import UsageError, unknown_names

if TYPE_CHECKING:
    from evalharness.models.cards import ModelCard
    from evalharness.types import Facts, PairInstruction, PairTruncation

list_app = typer.Typer(help="List what can be named in other commands.", no_args_is_help=True, rich_markup_mode=None)
_CUT: Mapping[PairTruncation, str] = {
    "longest_first": "the longer text is cut, token by token",
    "only_second": "the query is cut to 3/4 of the maximum length, then the document",
}
_INSTRUCTION: Mapping[PairInstruction, str] = {
    "joined": "follows the query",
    "template": "follows the query and stands in the template, as in mteb",
    "left-out": "is left out, as in mteb",
}
_LABELS = {"normalize": "normalised"}
# of a published protocol, with words of their own
_TOLD_APART = ("prompts", "default_prompt", "suffixes", "unnormalized_types")
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
    from evalharness.catalog.selection import Selection, select
    from evalharness.catalog.tasks import all_task_names
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
    from evalharness.catalog.tasks import suites

    for item in suites().values():
        counts = ", ".join(f"{count} {name}" for name, count in item.categories.items())
        typer.echo(f"{item.name}\t{len(item.tasks)} tasks ({counts})\t{item.description}")


@list_app.command("benchmarks")
def list_benchmarks() -> None:
    """mteb's benchmarks of text tasks, with their other names."""
    from evalharness.catalog.tasks import benchmarks

    for item in benchmarks().values():
        also = f"\talso: {'; '.join(item.aliases)}" if item.aliases else ""
        typer.echo(f"{item.name}\t{len(item.tasks)} tasks{also}")


@list_app.command("models")
def list_models(
    name: Annotated[str | None, typer.Argument(help="Print this model's card, with its exact prompts.")] = None,
    code_points: Annotated[bool, typer.Option("--code-points", help="Also print prompts as code points.")] = False,
    cards: Annotated[Path | None, typer.Option(help="A file of your own model cards.")] = None,
) -> None:
    """Models with a card. Any other sentence-transformers model is read from its own files."""
    from evalharness.models.cards import cards as all_cards
    from evalharness.models.cards import find_card

    if name is not None:
        card = find_card(name, cards)
        if card is None:
            raise UsageError(unknown_names("model card", [name], all_cards(cards)))
        _print_card(card, code_points=code_points)
        return
    for card in all_cards(cards).values():
        vectors = "normalised" if card.normalize else "not normalised"
        prompt = card.prompts.get("query")
        shown = f"query prompt {prompt!r}" if prompt else "no prompt"
        protocols = "mteb, published" if card.published else "mteb"
        typer.echo("\t".join((card.name, card.kind, card.pooling, _length(card), vectors, shown, protocols)))


def _length(card: ModelCard) -> str:
    return "any length" if card.max_length is None else f"{card.max_length} tokens"


def _print_card(card: ModelCard, *, code_points: bool) -> None:
    """A card, a line per fact; the spaces of prompts are visible."""
    facts = [
        ("name", card.name),
        ("kind", card.kind),
        ("backend", f"none, for {card.unsupported}" if card.unsupported else card.usual_backend),
        ("revision", card.revision or "not known; the newest is taken"),
        *(_pair_facts(card) if card.kind == "cross-encoder" else _vector_facts(card)),
        ("maximum length", _length(card) + (f", {card.mteb_max_length} in mteb" if card.mteb_max_length else "")),
        *([("dtype", card.dtype)] if card.dtype != "float32" else []),
        ("own Python code", "needed (--trust-remote-code)" if card.remote_code else "not needed"),
        ("languages", ", ".join(card.languages) or "unknown"),
        *([("note", card.note)] if card.note else []),
    ]
    for label, value in facts:
        say(f"{label}: {value}")
    _print_prompts({"prompts": ""} if not card.prompts else card.prompts, code_points=code_points)
    if card.default_prompt:
        _print_prompts({"texts without a side": card.default_prompt}, code_points=code_points)
    _print_prompts(_suffixes(card), code_points=code_points)
    if card.instruction_template:
        _print_prompts({"instruction template": card.instruction_template}, code_points=code_points)
    for key, adapter in card.adapters.items():
        typer.echo(f"adapter {key}: {adapter or 'none'}")
    _print_published(card, code_points=code_points)


def _pair_facts(card: ModelCard) -> list[tuple[str, str]]:
    """How a reranker reads pairs."""
    read = ("a query's instruction", _INSTRUCTION[card.pair_instruction])
    if card.pair_template is not None:
        return [("pair template", card.pair_template), read]
    return [("pairs that are too long", _CUT[card.pair_truncation]), read]


def _vector_facts(card: ModelCard) -> list[tuple[str, str]]:
    """How a model's vectors are made, layer by layer."""
    found = [("pooling", card.pooling + ("" if card.pool_prompt else ", without the prompt's tokens"))]
    found += [
        (f"prompt of {key}", f"left out where it and the text have more than {limit} tokens")
        for key, limit in card.prompt_within.items()
    ]
    if card.layer_norm:
        found.append(("layer norm", "after the pooling"))
    if card.dense_layers:
        found.append(("dense layers", str(card.dense_layers)))
    if card.dimensions is not None:
        found.append(("dimensions", f"the first {card.dimensions} are kept"))
    if card.prompt_as_tokens:
        found.append(("prompts", "tokens of their own"))
    found.append(("normalised", "yes" if card.normalize else "no"))
    if card.unnormalized_types:
        found.append(("not normalised", ", ".join(card.unnormalized_types)))
    return [*found, ("similarity", card.similarity)]


def _print_prompts(prompts: Mapping[str, str], *, code_points: bool) -> None:
    for key, prompt in prompts.items():
        say(f"{key}: {prompt.replace(' ', _VISIBLE_SPACE).replace(chr(10), _VISIBLE_NEWLINE) or 'none'}")
        if code_points and prompt:
            typer.echo(f"    {' '.join(f'U+{ord(character):04X}' for character in prompt)}")


def _print_published(card: ModelCard, *, code_points: bool) -> None:
    """What the authors' own protocol changes."""
    found = card.published
    if found is None:
        typer.echo("published protocol: none known")
        return
    typer.echo(f"published protocol: {found.source}")
    for name, value in found.stated().items():
        if name not in _TOLD_APART:
            typer.echo(f"published {_LABELS.get(name, name.replace('_', ' '))}: {value}")
    if found.unnormalized_types:
        typer.echo(f"published, not normalised: {', '.join(found.unnormalized_types)}")
    if found.query_prompt_tasks is not None:
        typer.echo(f"published query prompt only on: {', '.join(found.query_prompt_tasks)}")
    _print_prompts({f"published {key}": text for key, text in found.prompts.items()}, code_points=code_points)
    if found.default_prompt:
        _print_prompts({"published texts without a side": found.default_prompt}, code_points=code_points)
    _print_prompts({f"published {key}": text for key, text in _suffixes(found).items()}, code_points=code_points)


def _suffixes(facts: Facts) -> dict[str, str]:
    return {f"suffix {key or 'of texts without a side'}": text for key, text in facts.suffixes.items()}
