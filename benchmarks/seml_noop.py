"""The no-op experiment as SEML wants it: a script of its own, with SEML's kind of experiment.

Run by SEML in the environment that `benchmarks.seml_worker` makes; it does and records what
`benchmarks.noop` does.
"""

from sacred.run import Run
from seml import Experiment  # type: ignore[import-not-found]

METRIC = "value"
POINTS = 5

ex = Experiment("noop")
ex.add_config(x=0.5)


@ex.automain
def log_and_return(x: float, _run: Run) -> float:
    """Log the parameter a few times and return it."""
    for step in range(POINTS):
        _run.log_scalar(METRIC, x, step)
    return x
