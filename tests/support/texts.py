"""Short texts from few words, so that some of them are equal."""

from __future__ import annotations

import random

WORDS = ["red", "green", "blue", "stone", "river", "cloud", "paper", "glass", "train", "lemon", "copper", "window"]


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))
