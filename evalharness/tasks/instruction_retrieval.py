"""Instruction retrieval: queries carry an instruction; robustness and paired accuracy come with mteb's tasks."""

from __future__ import annotations

from evalharness.tasks import retrieval

TASK_TYPE = retrieval.TASK_TYPE
