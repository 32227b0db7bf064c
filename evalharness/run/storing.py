"""What came of a job, stored: its record with all its files, and a line of the log; and whether it is still there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from evalharness.data.trec import write_run
from evalharness.errors import DataError
from evalharness.results.records import JobRecord, append_log, model_meta, record_path, write_job, write_model_meta
from evalharness.run.job import Attempt, Work
from evalharness.types import ModelSpec


def store_attempt(folder: Path, spec: ModelSpec, attempt: Attempt, *, save_rankings: bool) -> JobRecord:
    """Store what came of a job, and what it cost in the log.

    Args:
        folder: of the model's results.
        spec: the model.
        attempt: the job's.
        save_rankings: whether what was retrieved is kept as a TREC run file, too.

    Returns:
        The record as it is stored; a ranking that a TREC run file cannot hold makes it a failed one.

    Raises:
        StorageError: the disk is full, say.
    """
    write_model_meta(folder, model_meta(spec))
    scores, ranking = attempt.scores, None
    if save_rankings and scores is not None and scores.retrieved is not None:
        ranking = partial(write_run, retrieved=scores.retrieved, tag=spec.name.replace(" ", "_"))
    try:
        record = write_job(folder, attempt.record, scores.items if scores else None, ranking)
    except DataError as error:
        failed = replace(attempt.record, error=str(error), metrics={}, notes=())
        record = write_job(folder, failed)
    append_log(folder, _log_line(record, attempt.work))
    return record


def lost(folder: Path, records: Iterable[JobRecord]) -> list[JobRecord]:
    """Those of stored records whose files are gone: somebody has removed or moved the folder, or a part of it.

    Args:
        folder: of the model's results.
        records: any; those that were never stored are not lost.
    """
    return [record for record in records if record.written and not os.path.lexists(record_path(folder, record.job))]


def _log_line(record: JobRecord, work: Work) -> dict[str, Any]:
    """What a job cost; bytes are those of its texts, peak memory is the process's so far."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "job": asdict(record.job),
        "seconds": {name: round(value, 3) for name, value in work.seconds.items()},
        "texts": work.texts,
        "texts_encoded": work.encoded,
        "tokens": work.tokens,
        "bytes": work.bytes,
        "peak_memory_bytes": peak_memory(),
        "error": record.error,
    }


def peak_memory() -> int:
    """Bytes of memory that this process has had at most so far."""
    import psutil

    # known on Windows alone
    if peak := getattr(psutil.Process().memory_info(), "peak_wset", None):
        return int(peak)
    try:
        import resource
    except ImportError:
        return int(psutil.Process().memory_info().rss)
    # macOS counts bytes, others units of 1,024
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
