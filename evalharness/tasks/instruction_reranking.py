"""Instruction reranking: candidates are ranked before and after a change of the instruction (p-MRR)."""

from __future__ import annotations

from evalharness.tasks import retrieval

TASK_TYPE = retrieval.TASK_TYPE
