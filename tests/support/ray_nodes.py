"""A cluster of Ray on this machine: `ray_nodes.py COUNT` prints its address, and reads what to do, a line each.

`remove` takes away the node that came last, at once; the end of the input ends all of them.
"""

from __future__ import annotations

import logging
import sys

from ray.cluster_utils import Cluster


def _tell(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    logging.disable()
    # of no use here, and seconds of a processor each
    quiet = {"include_dashboard": False, "num_cpus": 1, "object_store_memory": 80 * 1024 * 1024}
    cluster = Cluster(initialize_head=True, head_node_args=quiet)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 1024 * 1024) for _ in range(int(sys.argv[1]) - 1)]
    _tell(cluster.address)
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            _tell("removed")
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
