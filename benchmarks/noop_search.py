"""The sweep over the no-op experiment with this package.

Apart from the experiment itself, so that whoever else runs that one imports nothing of this
package. Run, from the root of the repository::

    python -m benchmarks.noop_search with hyperparameter_search
"""

from benchmarks.noop import noop_ex
from sacred_ray_ingredient import make_outer

noop_search = make_outer("noop_search", noop_ex)
noop_search.add_named_config(
    "hyperparameter_search", ray={"search_space": {"x": "uniform(0, 1)"}, "num_samples": 40}
)


if __name__ == "__main__":
    noop_search.run_commandline()
