"""An inner experiment that does nothing but log, so that all time is what a sweep adds.

Every way in this folder runs it as it stands.
"""

from sacred import Experiment
from sacred.run import Run

METRIC = "value"
POINTS = 5

noop_ex = Experiment("noop")
noop_ex.add_config(x=0.5)  # the parameter that is searched over


@noop_ex.main
def log_and_return(x: float, _run: Run) -> float:
    """Log the parameter a few times and return it."""
    for step in range(POINTS):
        _run.log_scalar(METRIC, x, step)
    return x
