"""What a user may change of a model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from evalharness.errors import ModelError, UsageError, clip, is_utf8, unknown_names
from evalharness.results.records import check_name
from evalharness.types import (
    DTYPES,
    ENGINES,
    OUTPUTS,
    POOLINGS,
    PROTOCOLS,
    DType,
    EngineName,
    Frozen,
    Output,
    Pooling,
    Protocol,
)  # fmt: skip

# what no machine has, and libraries end the process where they cannot have them
MOST_THREADS = 1024
# for suites of tests, say, that have a model each
_ENGINE_VARIABLE = "EVALHARNESS_ENGINE"
# options that say where something is or what is allowed; they change no number
_NO_OVERRIDES = ("name", "like", "cards", "trust_remote_code", "safetensors_only", "url")
# every model takes them
_OF_EVERY_MODEL = ("name", "cards", "trust_remote_code", "safetensors_only", "protocol", "backend")
# where the command line calls an option otherwise than it is called here
_SPELLED = {"dtype": "precision"}
_DEFAULTS = {"dtype": "float32", "protocol": "mteb", "mode": "dense"}
# what can be chosen from a few names; how vectors of a server are pooled is not ours to choose
_CHOICES = {"pooling": tuple(name for name in POOLINGS if name != "own"), "dtype": DTYPES}

# of Ray, beside the address of a cluster: one of this machine's own, and the one that this machine is a node of
RAY_LOCAL, RAY_AUTO = "local", "auto"
_RAY_ADDRESS = re.compile(r"(?:[\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}")

# stands for --batch-tokens of every model where that is not given
BATCH_TOKENS_VARIABLE = "EVALHARNESS_BATCH_TOKENS"


def usual_engine() -> EngineName:
    """What computes where nobody chose: `auto`, or what the environment says.

    Raises:
        UsageError: the environment names what does not exist.
    """
    given = os.environ.get(_ENGINE_VARIABLE) or ENGINES[0]
    if problem := wrong_engine(given, _ENGINE_VARIABLE):
        raise UsageError(problem)
    return next(name for name in ENGINES if name == given)


def wrong_engine(given: str, where: str = "--engine") -> str | None:
    """What is wrong with the name of an engine, if anything is.

    Args:
        given: the name.
        where: the option or variable that it stands in, for the message.
    """
    return None if given in ENGINES else f"{where} must be {' or '.join(ENGINES)}, got {clip(given)}"


def wrong_ray(given: str) -> str | None:
    """What is wrong with where Ray is said to be, if anything is.

    >>> wrong_ray("local"), wrong_ray("10.0.0.1:6379")
    (None, None)
    """
    if given in (RAY_LOCAL, RAY_AUTO) or _RAY_ADDRESS.fullmatch(given):
        return None
    if given.startswith("ray://"):
        return (
            f"--ray {clip(given)}: a run stands on a node of its cluster, not behind Ray Client; start it there with "
            f"--ray {RAY_AUTO}"
        )
    return f"--ray must be {RAY_LOCAL}, {RAY_AUTO} or HOST:PORT of a cluster that runs, got {clip(given)}"


class Execution(Frozen):
    """What only changes speed, never a number.

    Attributes:
        device: a torch device name, or None for the best one present.
        batch_tokens: padded tokens per forward pass, or None for what is fastest here.
        engine: what computes; `auto` for the fastest one here that gives torch's numbers.
        ends: `time.monotonic` at which opening a model behind a server is given up; None for never.
        overlap: whether jobs are loaded and encoded while those before them are scored.
        ray: where Ray has texts encoded: `local`, `auto` for the cluster that this machine is a node of, or HOST:PORT
            of one; None for this process.
        threads: CPU threads that compute: of this process, or of each actor of Ray; None for what is usual.
    """

    device: str | None = None
    batch_tokens: int | None = Field(default=None, ge=1)
    engine: EngineName = Field(default_factory=usual_engine)
    ends: float | None = None
    overlap: bool = True
    ray: str | None = None
    threads: int | None = Field(default=None, ge=1, le=MOST_THREADS)


def asked_tokens(execution: Execution) -> int | None:
    """Padded tokens per batch that the user wants, by option or by variable; None if any will do.

    Raises:
        UsageError: the variable holds no such number.
    """
    if execution.batch_tokens is not None or not (said := os.environ.get(BATCH_TOKENS_VARIABLE)):
        return execution.batch_tokens
    if not (said.isascii() and said.isdigit() and int(said)):
        raise UsageError(f"{BATCH_TOKENS_VARIABLE} is {clip(said)}; expected a number of tokens, 1 or more")
    return int(said)


class ModelOptions(Frozen):
    """What a user may change of a model; None leaves the card's or the files' value.

    Attributes:
        like: a card's name; lends a fine-tuned checkpoint the facts of its base.
        pooling, normalize, max_length, dtype, dimensions: see `Encoding`.
        mode: which kinds of vectors count, joined by +, for models that make several: dense, sparse, multi-vector.
        mode_weights: how much each of them counts; all the same if left out.
        query_prompt, document_prompt: replace all prompts of that side, for every task.
        cutoff_layer: layer whose score counts, for layer-wise rerankers.
        name: the name in results, `organisation/model`.
        protocol: whose prompts and normalisation.
        backend: what runs the model.
        cards: a file of the user's own model cards.
        trust_remote_code: whether the model's repository may run its own Python code here.
        safetensors_only: whether weights that are pickles are refused, though no code in them is run.
        url: address of the server, for models behind one.
        onnx_file: the ONNX file to run, by its path inside the repository or folder; `export` to make one.
    """

    like: str | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    max_length: int | None = None
    dtype: DType | None = None
    dimensions: int | None = None
    mode: str | None = None
    mode_weights: tuple[float, ...] | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    cutoff_layer: int | None = None
    name: str | None = None
    protocol: Protocol = "mteb"
    backend: str | None = None
    cards: Path | None = None
    trust_remote_code: bool = False
    safetensors_only: bool = False
    url: str | None = None
    onnx_file: str | None = None

    def overrides(self) -> dict[str, object]:
        """The part of it that changes numbers against the card or files; goes into the result path."""
        chosen = self.model_dump(exclude_none=True, exclude=set(_NO_OVERRIDES))
        chosen = {key: value for key, value in chosen.items() if _DEFAULTS.get(key) != value}
        if self.mode_weights is not None:
            chosen["mode_weights"] = ",".join(f"{weight:g}" for weight in self.mode_weights)
        return chosen

    def flags(self) -> dict[str, str]:
        """Options that were given and that not every model has a use for, as the command line spells them."""
        given = self.model_dump(
            exclude_none=True, exclude={*_OF_EVERY_MODEL, *(["mode"] if self.mode == OUTPUTS[0] else [])}
        )
        return {key: f"--{'no-' if value is False else ''}{_spelled(key)}" for key, value in given.items()}


def _spelled(option: str) -> str:
    return _SPELLED.get(option, option.replace("_", "-"))


@dataclass(frozen=True, slots=True)
class ParsedOptions:
    """Options as they were typed.

    Attributes:
        options: those that can be understood.
        problems: what is wrong with the others.
    """

    options: ModelOptions
    problems: tuple[str, ...] = ()


def parse_options(given: Mapping[str, object]) -> ParsedOptions:
    """Read options of the command line; a wrong one becomes a problem, to be reported with what else is wrong.

    Args:
        given: option, as `ModelOptions` names it -> what was typed, None where it was left out.
    """
    problems: dict[str, str] = {}
    for option, known in _CHOICES.items():
        if given[option] not in (None, *known):
            problems[option] = f"--{_spelled(option)} must be {' or '.join(known)}, got {given[option]!r}"
    if given["protocol"] not in PROTOCOLS:
        problems["protocol"] = unknown_names("protocol", [str(given["protocol"])], PROTOCOLS)
    weights = None
    if (text := given["mode_weights"]) is not None:
        try:
            weights = tuple(float(part) for part in str(text).split(","))
        except ValueError:
            problems["mode_weights"] = (
                f"--mode-weights are numbers with commas between them, such as 0.4,0.2,0.4; got {text!r}"
            )
    right = {option: value for option, value in given.items() if option not in problems}
    return ParsedOptions(ModelOptions.model_validate(right | {"mode_weights": weights}), tuple(problems.values()))


def with_engine(parsed: ParsedOptions, execution: Execution, engine: str | None) -> tuple[ParsedOptions, Execution]:
    """The engine that was typed into how a model runs; what is wrong with either goes among the problems.

    Args:
        parsed: the other options.
        execution: how the model runs beside that.
        engine: as it was typed; None where it was left out.
    """
    wrong_one = None if engine is None else wrong_engine(engine)
    wrong_place = None if execution.ray is None else wrong_ray(execution.ray)
    if problems := [problem for problem in (wrong_one, wrong_place) if problem is not None]:
        return ParsedOptions(parsed.options, (*parsed.problems, *problems)), execution
    return parsed, execution if engine is None else execution.changed({"engine": engine})


def check_options(options: ModelOptions) -> None:
    """Check what can be checked without the model.

    Raises:
        UsageError: a text is not in UTF-8, the name can be none, or a value is out of range.
    """
    given = options.model_dump(exclude_none=True, exclude={"cards"})
    for option, value in given.items():
        if isinstance(value, str) and not is_utf8(value):
            flag = f"--{_spelled(option)}"
            raise UsageError(f"{flag}: {clip(value)} is no text in UTF-8; give one")
    if options.name is not None:
        check_name(options.name)
    if options.max_length is not None and options.max_length < 1:
        raise UsageError(f"the maximum length must be at least 1 token, got {options.max_length}")
    if options.dimensions is not None and options.dimensions < 1:
        raise UsageError(f"vectors must keep at least 1 dimension, got {options.dimensions}")
    modes(options)


def modes(options: ModelOptions) -> dict[Output, float]:
    """Which kinds of vectors count, and how much each.

    Raises:
        UsageError: a kind does not exist, or the weights do not fit.
    """
    names = (options.mode or OUTPUTS[0]).split("+")
    if wrong := [name for name in names if name not in OUTPUTS]:
        raise UsageError(
            f"{unknown_names('mode', wrong, OUTPUTS)}\nA mode is {', '.join(OUTPUTS)}, or some joined by +"
        )
    if len(set(names)) < len(names):
        raise UsageError(f"the mode {options.mode!r} names a kind twice")
    if options.mode_weights is not None and len(names) == 1:
        raise UsageError(f"weights say how much each of several modes counts, and {names[0]} is one; leave them out")
    weights = options.mode_weights or (1.0,) * len(names)
    if len(weights) != len(names) or min(weights) < 0 or not sum(weights):
        raise UsageError(
            f"the mode {'+'.join(names)} needs {len(names)} weights, none below 0 and not all 0; got "
            f"{', '.join(f'{weight:g}' for weight in weights)}"
        )
    return {output: weight for output in OUTPUTS for name, weight in zip(names, weights, strict=True) if name == output}


def check_remote_code(name: str, options: ModelOptions) -> None:
    """See that a model that needs its repository's own code may run it.

    Raises:
        ModelError: it may not.
    """
    if not options.trust_remote_code:
        raise ModelError(
            f"{name} runs Python code of its own repository, and without that code it would be another model. Read "
            "the code; if you trust it, allow it with --trust-remote-code"
        )
