"""How long a run takes on 1, 8 and 64 devices, and what is idle: `python benchmarks/schedule.py > FILE`.

A simulation; nothing is encoded. Shards are made as the store makes them, of texts as long as mteb says; each costs
what the rates of results/measured/gpu.md say, and each device takes the longest that is left. MTEB(eng, v2) is run task
by task, with several tasks open at a time, and as if it were one queue; and MS MARCO v2, for which bytes and the time
of a search are shown as well. Then a device or a node dies in the middle. Prints Markdown; the same arguments give the
same text, but for the date.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from scheduling.lengths import SEED, Column, calls_of, draw, shard_seconds, together
from scheduling.rates import MEASURED, Rates, bytes_per_document, rates_of, search_gigaflops
from scheduling.simulation import Cluster, Death, Outcome, Task, simulate

from evalharness.catalog.tasks import Member, benchmarks

BENCHMARK, LARGE = "MTEB(eng, v2)", Member(task="MSMARCOv2", splits=("dev",))
# with each text come a token that begins it and one that ends it
SPECIAL_TOKENS = 2
FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class Model:
    """A shape whose rates are known.

    Attributes:
        name: in gpu.md.
        max_length: tokens that it reads.
        dimensions: of its vectors.
    """

    name: str
    max_length: int
    dimensions: int


MODELS = (Model("Qwen3-Embedding-0.6B", 32_768, 1024), Model("bge-base", 512, 768))


@dataclass(frozen=True, slots=True)
class Assumed:
    """What was not measured, and can be said otherwise.

    Attributes:
        characters_per_token: of the texts.
        start: seconds until a device has loaded the model.
        price: of a device for an hour.
        at_once: tasks that are open at a time, between one and all.
        per_node: devices of a node.
    """

    characters_per_token: float
    start: float
    price: float
    at_once: int
    per_node: int


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be encoded.

    Attributes:
        texts: different ones.
        characters, tokens: of all of them.
        tasks: seconds of the shards of each call of each task.
    """

    texts: int
    characters: int
    tokens: float
    tasks: Sequence[Task]

    @property
    def shards(self) -> Sequence[float]:
        """Seconds of every shard."""
        return [seconds for task in self.tasks for call in task for seconds in call]


def work_of(members: Sequence[Member], model: Model, rates: Rates, characters_per_token: float) -> Work:
    """Shards and their seconds, from mteb's statistics with a fixed seed.

    Args:
        members: tasks.
        model: what encodes them.
        rates: its speed.
        characters_per_token: of the texts.
    """
    count = characters = 0
    tokens = 0.0

    def tokens_of(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.ceil(lengths / characters_per_token) + SPECIAL_TOKENS
        return found.clip(max=model.max_length)

    def seconds_of(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        found = tokens_of(lengths)
        return found / rates.at(found)

    tasks = []
    for member in members:
        calls: list[Sequence[Column]] = list(calls_of(member))
        lengths = [together([draw(column) for column in columns]) for columns in calls]
        tasks.append([shard_seconds(each, seconds_of).tolist() for each in lengths])
        count += sum(int(each.texts.sum()) for each in lengths)
        characters += sum(each.total() for each in lengths)
        tokens += sum(float(tokens_of(each.characters) @ each.texts) for each in lengths)
    return Work(count, characters, tokens, tasks)


def schedules(work: Work, at_once: int) -> Iterator[tuple[str, Sequence[Task], int]]:
    """What is tried: how it is called, the tasks, and how many are open at a time."""
    yield "one after the other", work.tasks, 1
    if len(work.tasks) > 1:
        yield f"{at_once} at a time", work.tasks, at_once
        yield "all as one queue", [[work.shards]], 1


def in_the_middle(devices: int, middle: float, per_node: int) -> Sequence[tuple[str, Sequence[Death]]]:
    """What dies so many seconds after the start, by its name."""
    found = [("an actor, another takes its place", [Death(0, middle, comes_back=True)])]
    if devices > 1:
        found.append(("a device, for good", [Death(0, middle, comes_back=False)]))
    if devices > per_node:
        deaths = [Death(device, middle, comes_back=False) for device in range(per_node)]
        found.append((f"a node of {per_node} devices, for good", deaths))
    return found


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is words."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, marks, *rows)] + [""]


def _row(name: str, devices: int, outcome: Outcome, price: float) -> list[str]:
    shares = (outcome.busy, outcome.starting, outcome.idle)
    paid = devices * outcome.seconds / 3600
    return [
        name,
        str(devices),
        _duration(outcome.seconds),
        *(f"{outcome.share(each):.1%}" for each in shares),
        f"{paid:.2f}",
        f"{paid * price:.2f}",
    ]


def runs(work: Work, devices: Sequence[int], assumed: Assumed) -> list[str]:
    """A table of the run on so many devices."""
    rows = [
        _row(name, number, simulate(tasks, Cluster(number, assumed.start), at_once), assumed.price)
        for number in devices
        for name, tasks, at_once in schedules(work, assumed.at_once)
    ]
    return _table(["tasks", "devices", "time", "busy", "loading", "idle", "device-hours paid", "cost"], rows)


def deaths(work: Work, devices: Sequence[int], assumed: Assumed) -> list[str]:
    """A table of the run with a death in its middle, with several tasks at a time."""
    rows = []
    for number in devices:
        whole = simulate(work.tasks, Cluster(number, assumed.start), assumed.at_once)
        # of the encoding
        middle = (assumed.start + whole.seconds) / 2
        for name, dying in in_the_middle(number, middle, assumed.per_node):
            found = simulate(work.tasks, Cluster(number, assumed.start, dying), assumed.at_once)
            longer = f"{found.seconds / whole.seconds - 1:.1%}"
            rows.append([name, str(number), _duration(found.seconds), longer, str(found.repeated), f"{found.lost:.1f}"])
    head = ["what dies", "devices", "time", "longer by", "shards repeated", "device-seconds lost"]
    return _table(head, rows)


def needs(work: Work, model: Model, devices: Sequence[int], assumed: Assumed) -> list[str]:
    """A table of the bytes of the large corpus, and of its search."""
    (queries,), (documents,) = calls_of(LARGE)
    growth, speed = ((MEASURED / name).read_text(encoding="utf-8") for name in ("growth.md", "speed.md"))
    in_memory, gigaflops = bytes_per_document(growth), search_gigaflops(speed)
    products = 2 * queries.rows * documents.rows * model.dimensions
    vectors = work.texts * model.dimensions * FLOAT32
    rows = [
        ("documents", f"{documents.rows:,}", "mteb's statistics"),
        ("different texts, with the queries", f"{work.texts:,}", "mteb's statistics"),
        ("texts", _bytes(documents.rows * documents.mean), "a byte per character"),
        ("vectors in the store", _bytes(vectors), f"different texts x {model.dimensions:,} numbers x {FLOAT32} bytes"),
        ("memory of the process that plans and scores", _bytes(documents.rows * in_memory),
         f"documents x {in_memory} bytes (growth.md)"),
        ("search", _duration(products / gigaflops / 1e9),
         f"{queries.rows:,} queries x documents x {model.dimensions:,} x 2 at {gigaflops:g} GFLOP/s (speed.md)"),
    ]  # fmt: skip
    for number in devices:
        run = simulate(work.tasks, Cluster(number, assumed.start))
        name = f"vectors per second of {number} device{'s' * (number > 1)}"
        rows.append((name, _bytes(vectors / run.seconds), "vectors / time"))
    return _table(["what", "how much", "how it follows"], rows)


def _bytes(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"


_HEAD = """\
# A run on several devices, simulated

{date}; {packages}.
Nothing was encoded: all of it is computed, from mteb's statistics of its texts and from measured rates.

`{command}`

- Texts are the different ones of each task; their lengths are drawn (log-normal, seed {seed}). Texts that several tasks
  share, and those that classifiers are trained on, are not looked at.
- A token is {characters:g} characters (assumed), and each text has {special} more; prompts are not counted.
- Rates are those of gpu.md for texts of one length on one H100, without padding, in bfloat16; times what is left of the
  rate of mixed texts if they are tokenized beside it, with 16 cores for the one device.
- A device loads the model in {start:g} s, costs {price:g} an hour, and has {others} others in its node (all assumed).
- Loading of data, scoring, searching and the way of the vectors to the disk are not part of it.
- Busy, loading and idle are shares of the time of all devices. All devices are paid for until the last one is done.
"""


def _head(given: argparse.Namespace, assumed: Assumed) -> str:
    return _HEAD.format(
        date=time.strftime("%Y-%m-%d"),
        packages=", ".join(f"{name} {version(name)}" for name in ("evalharness", "mteb", "numpy")),
        command=f"python benchmarks/schedule.py{_changed(given)}",
        seed=SEED,
        characters=assumed.characters_per_token,
        special=SPECIAL_TOKENS,
        start=assumed.start,
        price=assumed.price,
        others=assumed.per_node - 1,
    )


def options() -> dict[str, object]:
    """The options of the command, and what each is by default."""
    return {f"--{name.replace('_', '-')}": value for name, value in vars(_parser().parse_args([])).items()}


def _changed(given: argparse.Namespace) -> str:
    """What was given otherwise than it is by default."""
    typed = zip(options().items(), vars(given).values(), strict=True)
    return "".join(f" {option} {_words(value)}" for (option, usual), value in typed if value != usual)


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A run on several devices, simulated.")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--at-once", type=int, default=4, help="tasks that are open at a time")
    parser.add_argument("--characters-per-token", type=float, default=4.0)
    parser.add_argument("--start", type=float, default=60.0, help="seconds until a device has loaded the model")
    parser.add_argument("--price", type=float, default=3.0, help="of a device for an hour")
    parser.add_argument("--per-node", type=int, default=8, help="devices of a node")
    return parser


def main() -> None:
    """See the module."""
    given = _parser().parse_args()
    assumed = Assumed(given.characters_per_token, given.start, given.price, given.at_once, given.per_node)
    page = (MEASURED / "gpu.md").read_text(encoding="utf-8")
    contents, sections = [], []
    for members, title in ((benchmarks()[BENCHMARK].tasks, BENCHMARK), ((LARGE,), LARGE.task)):
        for model in MODELS:
            work = work_of(members, model, rates_of(model.name, page), assumed.characters_per_token)
            contents.append(_contents(f"{title}, {model.name}", work))
            sections += [f"## {title}, {model.name}", "", *runs(work, given.devices, assumed)]
            sections += deaths(work, given.devices, assumed)
            if members[0] == LARGE:
                sections += needs(work, model, given.devices, assumed)
    head = ["what", "different texts", "characters", "tokens", "shards", "longest shard", "device-hours"]
    print(_head(given, assumed), *_table(head, contents), *sections[:-1], sep="\n")


def _contents(name: str, work: Work) -> list[str]:
    shards = work.shards
    counts = (work.texts, work.characters, work.tokens, len(shards))
    return [name, *(f"{number:,.0f}" for number in counts), f"{max(shards):.1f} s", f"{sum(shards) / 3600:.2f}"]


if __name__ == "__main__":
    main()
