"""Metrics: arrays in, floats out. No model, no file, no task."""

from __future__ import annotations
