"""A sweep on a cluster of two nodes, one of which is lost while both run a trial."""

import os
import subprocess
import sys
import time

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    pids, *words = sys.argv[1:]
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        lost = cluster.add_node(num_cpus=1)
        sweep = [sys.executable, "-m", "status_outer", "with", *words]
        sweep += [f"ray.address={cluster.address}", f"status_ex.pids={pids}"]
        process = subprocess.Popen(sweep)
        while len(os.listdir(pids)) < 2 and process.poll() is None:
            time.sleep(0.1)
        time.sleep(3)  # what was printed gets into the journals
        cluster.remove_node(lost, allow_graceful=False)
        print("a node is lost", flush=True)
        code = process.wait()
    finally:
        cluster.shutdown()
    sys.exit(code)
