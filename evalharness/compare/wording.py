"""How numbers and outcomes of a comparison are told to people; points are hundredths of a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite

from evalharness.compare.comparison import Comparison, Finding, Range, Settings, Verdict
from evalharness.compare.gate import Reason
from evalharness.compare.judged import Judged
from evalharness.errors import shorten

VOID = "\u2013"
ON_THESE = "On these tasks: where the difference may lie with other items of the same tasks (items are resampled)."
LIKE_THESE = "On tasks like these: where it may lie with other tasks of the same kind (tasks are resampled)."
COULD_SHOW = (
    "Could show: the smallest difference that would be shown here four times out of five (power 0.8) by a test of it "
    "alone; with p-values adjusted over many it is larger."
)
_POINTS = 100
# beyond it there are no scores, only mistakes, and these need not have 300 digits
_LARGEST = 1e6
_SMALLEST_P = 0.001
_ADJUSTED = {"holm": "Holm", "benjamini-hochberg": "Benjamini and Hochberg"}


def points(value: float | None, form: str = "") -> str:
    """A score in points; a sign if the form is "+".

    >>> points(0.61234), points(-0.1, "+"), points(float("nan")) == points(None) == VOID
    ('61.23', '-10.00', True)
    """
    if value is None or not isfinite(_POINTS * value):
        return VOID
    scaled = _POINTS * value
    return f"{scaled:{form}.2e}" if abs(scaled) >= _LARGEST else f"{scaled:{form}.2f}"


def signed(difference: float | None) -> str:
    """A difference in points; one that rounds to nothing has neither direction.

    >>> signed(-0.0212), signed(0.003), signed(-0.00001)
    ('-2.12', '+0.30', '±0.00')
    """
    text = points(difference, "+")
    return "\u00b10.00" if text in ("+0.00", "-0.00") else text


def interval(found: Range | None) -> str:
    """Both ends in points.

    >>> interval(Range(-0.029, 0.003))
    '-2.90 to +0.30'
    """
    if found is None or not (isfinite(found.low) and isfinite(found.high)):
        return VOID
    return f"{signed(found.low)} to {signed(found.high)}"


def p_value(value: float | None) -> str:
    """A p-value; small ones are only said to be small.

    >>> p_value(0.04321), p_value(0.00001)
    ('0.043', '<0.001')
    """
    if value is None or not isfinite(value):
        return VOID
    return f"<{_SMALLEST_P}" if value < _SMALLEST_P else f"{value:.3f}"


def wanted(finding: Finding) -> list[str]:
    """How much would tell; nothing where nobody knows."""
    of_what = "items" if finding.level == "task" else "tasks"
    return [] if finding.needed is None else [f"about {about(finding.needed)} {of_what} would tell"]


def about(count: int) -> str:
    """A count that is only roughly known, in two digits.

    >>> about(7), about(12_345), about(1_607_531)
    ('7', '12,000', '1,600,000')
    """
    return f"{round(count, 2 - len(str(count))):,}"


def numbers(finding: Finding) -> str:
    """The numbers of a finding in one line; empty where there are none."""
    if finding.difference is None:
        scores = {"base": finding.base, "candidate": finding.candidate}
        return "; ".join(f"{who} {points(score)}" for who, score in scores.items() if score is not None)
    parts = [f"{points(finding.base)} to {points(finding.candidate)}, {signed(finding.difference)} points"]
    if finding.interval is not None:
        parts.append(f"95% on these tasks {interval(finding.interval)}")
    if finding.like_these is not None:
        parts.append(f"95% on tasks like these {interval(finding.like_these)}")
    if finding.p_value is not None:
        parts.append(f"p {p_value(finding.p_value)}, adjusted {p_value(finding.adjusted)}")
    if finding.smallest is not None:
        parts.append(f"could show {points(finding.smallest)}")
    return "; ".join(parts)


def remarks(finding: Finding) -> list[str]:
    """What must be said of a finding beside its numbers."""
    return [text for text in (finding.why, *finding.notes) if text]


def headline(judged: Judged) -> str:
    """The verdict, for a reader in a hurry."""
    if judged.outcome is None:
        regressed = sum(finding.verdict is Verdict.REGRESSED for finding in judged.comparison)
        if regressed:
            return f"Regressed: {regressed} of {len(list(judged.comparison))} tasks, types and means"
        return "Nothing was compared" if judged.is_empty else f"No regression is shown{_untold(judged.comparison)}"
    gate = f"the {judged.outcome.kind} gate"
    if judged.outcome.passes:
        return f"Passes {gate}{', but nothing was compared' if judged.is_empty else _untold(judged.comparison)}"
    count = Counter(failure.reason for failure in judged.outcome.failures)
    why = ", ".join(f"{count[reason]} {reason}" for reason in Reason if count[reason])
    known = "nothing is shown to be worse, but " if judged.outcome.is_only_unjudged else ""
    return f"Fails {gate}: {known}{why}"


def _untold(comparison: Comparison) -> str:
    """How many tasks say nothing: that no loss is shown is no news where none could be."""
    noisy = comparison.counts().get(Verdict.TOO_NOISY, 0)
    return f" ({noisy} of {len(comparison.tasks)} tasks too noisy to tell)" if noisy else ""


def headline_of(series: Sequence[Judged]) -> str:
    """The verdict over several candidates."""
    if len(series) == 1:
        return headline(series[0])
    if not series:
        return "Nothing was compared"
    failing = sum(judged.fails for judged in series)
    gates = {judged.outcome.kind for judged in series if judged.outcome is not None}
    if not gates:
        return f"{failing} of {len(series)} candidates regressed" if failing else "No regression is shown"
    gate = f"the {' and the '.join(sorted(gates))} gate"
    if failing:
        return f"Fails {gate}: {failing} of {len(series)} candidates fail"
    empty = sum(judged.is_empty for judged in series)
    return f"Passes {gate}: all candidates{f', but with {empty} of them nothing was compared' if empty else ''}"


def counted(comparison: Comparison) -> str:
    """How many tasks have which verdict."""
    counts = comparison.counts()
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{len(comparison.tasks)} task{'' if len(comparison.tasks) == 1 else 's'}{': ' if told else ''}{told}"


def summed_up(judged: Judged) -> str:
    """The mean and the counts, in one line."""
    mean, told = judged.mean, ""
    if mean is not None and mean.difference is not None:
        around = "" if mean.interval is None else f" ({interval(mean.interval)})"
        told = (
            f"{mean.name}: {points(mean.base)} to {points(mean.candidate)}, {signed(mean.difference)} points{around}. "
        )
    return f"{told}{counted(judged.comparison)}."


def made(settings: Settings) -> list[str]:
    """How a comparison was made."""
    tolerances = [item for level in settings.tolerances.values() for item in sorted(level.items())]
    own = shorten([f"{name} {_POINTS * value:g}" for name, value in tolerances])
    return [
        f"{settings.draws:,} draws, seed {settings.seed}",
        f"p-values adjusted after {_ADJUSTED[settings.adjustment]} over all of these; alpha {settings.alpha:g}",
        f"a loss of at most {_POINTS * settings.tolerance:g} points is tolerated{f' ({own})' if own else ''}",
    ]


def methods(comparison: Comparison) -> str:
    """How it was decided, with how often."""
    count = Counter(finding.method for finding in comparison if finding.method)
    return shorten([f"{method} ({number})" for method, number in count.most_common()])
