"""An inner experiment in a module that imports only where it was imported first."""

import os

from sacred import Experiment

if os.environ.get("RAY_JOB_ID") or os.environ.get("RAY_RAYLET_PID"):
    raise ImportError("no module named 'only_on_the_driver'")

driver_only_ex = Experiment("driver_only_ex")


@driver_only_ex.config
def config():
    point = 0


@driver_only_ex.main
def run(point):
    return point
