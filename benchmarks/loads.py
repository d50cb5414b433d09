"""An inner experiment that does as much as it is told: computing, sleeping, logging."""

import time

from sacred import Experiment
from sacred.run import Run

from benchmarks.noop import METRIC, POINTS

load_ex = Experiment("load")
load_ex.add_config(
    x=0.5,  # the parameter that is searched over
    cpu_s=0.0,  # seconds of processor time that the trial itself uses up
    sleep_s=0.0,  # seconds that it sleeps
    points=POINTS,  # values that it logs then
    per_second=0.0,  # how many of them in a second; 0: as many as it can
)


@load_ex.main
def work(
    x: float, cpu_s: float, sleep_s: float, points: int, per_second: float, _run: Run
) -> float:
    """Compute, sleep and log; note what logging cost."""
    # Of this thread: what records the trial in the same process does no part of its work.
    done = time.thread_time() + cpu_s
    while time.thread_time() < done:
        pass
    time.sleep(sleep_s)
    began, cpu_before = time.perf_counter(), time.process_time()
    for step in range(points):
        if per_second:
            time.sleep(max(0.0, began + step / per_second - time.perf_counter()))
        _run.log_scalar(METRIC, x, step)
    _run.info["logging"] = {
        "wall_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu_before,
    }
    return x
