"""An inner experiment that does nothing but log, so that all time is what a sweep adds.

``noop_ex`` is the inner experiment that every way in this folder runs; ``noop_search`` sweeps over
it with this package. Run, from the root of the repository::

    python -m benchmarks.noop with hyperparameter_search
"""

from sacred import Experiment
from sacred.run import Run

from sacred_ray_ingredient import make_outer

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


noop_search = make_outer("noop_search", noop_ex)
noop_search.add_named_config(
    "hyperparameter_search", ray={"search_space": {"x": "uniform(0, 1)"}, "num_samples": 40}
)


if __name__ == "__main__":
    noop_search.run_commandline()
