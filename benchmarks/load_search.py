"""The sweep over the experiment of `benchmarks.loads` with this package.

Run, from the root of the repository::

    python -m benchmarks.load_search with hyperparameter_search load.sleep_s=1.0
"""

from benchmarks.loads import load_ex
from sacred_ray_ingredient import make_outer

load_search = make_outer("load_search", load_ex)
load_search.add_named_config(
    "hyperparameter_search", ray={"search_space": {"x": "uniform(0, 1)"}, "num_samples": 40}
)


if __name__ == "__main__":
    load_search.run_commandline()
