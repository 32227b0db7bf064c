"""A cluster of Ray on this machine: `ray_nodes.py COUNT` prints its address, and reads what to do, a line each.

`remove` takes away the node that came last, at once. `use FOLDER` has this process score and search by the cluster, and
prints what came of it as JSON, see `on_ray` and `searched_by_nodes`; both in one, since what Ray starts for the one
serves the other. The end of the input ends all nodes.

A process of its own, since the suite's fork and Ray does not bear that.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from support import on_ray, searched_by_nodes

_SECONDS = 60
# Ray takes a node for lost whose raylet was out of reach so often; one that answers late is not. Its usual 3 seconds
# between two looks would be waited for by each test that loses a node
_QUICK = {"health_check_period_ms": 250, "health_check_failure_threshold": 5}
_ROOM: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024}


class Nodes:
    """So many, of a processor each."""

    def __init__(self, count: int) -> None:
        # a dashboard is of no use here, and seconds of a processor
        head = {"include_dashboard": False, "_system_config": _QUICK, **_ROOM}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self._others = [self.cluster.add_node(**_ROOM) for _ in range(count - 1)]

    def remove(self) -> None:
        """Take one away."""
        self.cluster.remove_node(self._others.pop(), allow_graceful=False)

    def use(self, folder: Path) -> dict[str, Any]:
        """Score and search in this process, where one is lost in the end."""
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
        try:
            self.cluster.wait_for_nodes()
            scored = on_ray.found(folder / "score")
            searched = searched_by_nodes.found(folder / "search", self.remove)
            # whoever comes next finds none that is lost
            self.cluster.wait_for_nodes(_SECONDS)
        finally:
            leave: Any = ray.shutdown
            leave()
        return {"score": scored, "search": searched}


def main(count: int) -> None:
    # what Ray prints goes elsewhere
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(what: object) -> None:
        told.write(f"{json.dumps(what)}\n")
        told.flush()

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    nodes = Nodes(count)
    tell(nodes.cluster.address)
    for line in sys.stdin:
        if line.strip() == "remove":
            nodes.remove()
            tell("removed")
        elif line.startswith("use "):
            tell(nodes.use(Path(line.removeprefix("use ").strip())))
    nodes.cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's


if __name__ == "__main__":
    main(int(sys.argv[1]))
