"""Statistics of paired differences: arrays in, values out. Every random draw comes from a seed that is passed."""

from __future__ import annotations

# of every comparison, so that the same results give the same verdict on every machine
SEED = 20190721
