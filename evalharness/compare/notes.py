"""What is different between two sides beside the model: precision, engine, device, prompts, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalharness.compare.sides import Results
from evalharness.errors import clip

_OF_MODEL = {
    "dtype": "precision",
    "backend": "backend",
    "max_length": "longest text in tokens",
    "pooling": "pooling",
    "normalize": "whether vectors are normalised",
    "similarity": "similarity",
    "dimensions": "dimensions",
}
_ENGINE = "engine"
_PACKAGES = ("torch", "transformers", "mteb", "scikit-learn", "onnxruntime")


def differences_in_settings(base: Results, candidate: Results) -> list[str]:
    """A line for each fact that the records of the two do not share.

    What only one side's records say is no difference, but for the engine: records of before do not name it, and which
    one it was changes last bits. A backend that is its own engine never names it.

    Args:
        base: the results to compare with.
        candidate: the results to judge.
    """
    facts = [_facts(results) for results in (base, candidate)]
    names, backends = set(facts[0]) & set(facts[1]), [found.get("backend") for found in facts]
    if _ENGINE in set(facts[0]) ^ set(facts[1]) and backends[0] == backends[1]:
        names.add(_ENGINE)
    lines = []
    for name in sorted(names):
        one, other = (clip(", ".join(sorted(found[name]))) if name in found else "not recorded" for found in facts)
        if one != other:
            lines.append(f"{name}: {one} in the base, {other} in the candidate")
    same = {str(found.get("fingerprint")) for found in map(_models, (base, candidate))}
    if len(same) == 1 and same != {"None"} and not lines:
        lines.append("the two are of the same model with the same settings")
    return lines


def _models(results: Results) -> Mapping[str, Any]:
    for task in results.tasks.values():
        for job in task.jobs:
            model = job.record.facts.get("model") if job.record is not None else None
            if isinstance(model, dict):
                return model
    return {}


def _prompts(model: Mapping[str, Any]) -> str:
    """What is put before texts: a checkpoint that nobody lent a card to has none."""
    own = model.get("prompts")
    said = [("default", model.get("default_prompt")), ("template", model.get("instruction_template"))]
    named = [*sorted(own.items() if isinstance(own, dict) else ()), *said]
    return "; ".join(f"{name}: {prompt}" for name, prompt in named if prompt) or "none"


def _facts(results: Results) -> dict[str, set[str]]:
    """What records say of how they were made: name for people -> all values."""
    found: dict[str, set[str]] = {}
    for task in results.tasks.values():
        for job in task.jobs:
            if job.record is None or job.problem:
                continue
            said = job.record.facts
            model, packages = (said[name] if isinstance(said.get(name), dict) else {} for name in ("model", "packages"))
            values = {shown: model.get(name) for name, shown in _OF_MODEL.items() if name in model}
            values |= {f"version of {name}": packages.get(name) for name in _PACKAGES if name in packages}
            values |= {name: said[name] for name in ("device", _ENGINE) if name in said}
            values |= {"prompts": _prompts(model)} if model else {}
            for name, value in values.items():
                found.setdefault(name, set()).add(str(value))
    return found
