"""How many CPUs this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus() -> int:
    """CPUs of the machine that the process is not kept from, by ties or by a container's share."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP.read_text(encoding="ascii").split()
        count = min(count, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return max(count, 1)
