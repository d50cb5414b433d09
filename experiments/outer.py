"""Sweeps over the inner experiment: a search, an evaluation over environments, coupled parameters.

Run, from the root of the repository::

    python -m experiments.outer with hyperparameter_search
    python -m experiments.outer with multi_env_eval
    python -m experiments.outer with dependent_params

On two cores each takes some ten seconds, most of it Ray starting.
"""

from experiments.inner import ENVIRONMENTS, inner_ex
from sacred_ray_ingredient import make_outer

outer_ex = make_outer("outer", inner_ex)


@outer_ex.named_config
def hyperparameter_search():
    """Search exponents 1 to 9 on a grid, with the offset fixed at 8."""
    ray = {"search_space": {"exponent": "grid_search(range(1, 10))"}}
    inner_ex = {"offset": 8}


@outer_ex.named_config
def multi_env_eval():
    """Run every distribution with five seeds."""
    ray = {"envs": list(ENVIRONMENTS)}


@outer_ex.named_config
def dependent_params():
    """Let offset and number of draws follow from the sampled environment and exponent."""
    ray = {
        "search_space": {
            "env_name": "grid_search(['uniform', 'normal', 'exponential'])",
            "exponent": "randint(1, 5)",
        },
        "dependent": {
            "offset": "{'uniform': 0, 'normal': 10, 'exponential': 100}[env_name] + exponent",
            "n_draws": "1000 * exponent if env_name == 'normal' else 5000",
        },
        "num_samples": 4,
    }


if __name__ == "__main__":
    outer_ex.run_commandline()
