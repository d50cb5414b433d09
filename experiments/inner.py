"""The smallest inner experiment: an ordinary, CPU-bound Sacred experiment without any Ray in it.

It shows what a sweep can work on: plain and derived config entries, a named config, a choice of
environments, a seeded generator, a metric logged on the way and a result. Run alone::

    python -m experiments.inner with offset=8

On two cores a run takes 0.6 s, nearly all of it Python starting: the draws need 5 ms of CPU time by
default and 2.5 s with ``n_draws=10_000_000``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sacred import Experiment

# The values are never negative, so that every exponent gives a real number.
ENVIRONMENTS: Mapping[str, Callable[[Any, int], np.ndarray]] = {
    "uniform": lambda rnd, n: rnd.uniform(0, 10, n),
    "normal": lambda rnd, n: abs(rnd.normal(5, 2, n)),
    "exponential": lambda rnd, n: rnd.exponential(2, n),
    "triangular": lambda rnd, n: rnd.triangular(0, 2, 10, n),
    "beta": lambda rnd, n: 10 * rnd.beta(2, 5, n),
}

inner_ex = Experiment("inner_ex")


# Config scopes have no docstring: Sacred would make it an entry, "__doc__", of every run's config.
@inner_ex.config
def config():  # noqa: D103
    exponent = 2  # power to which each number is raised
    offset = 10  # added to each power
    env_name = "uniform"  # distribution the numbers are drawn from, a key of ENVIRONMENTS
    n_draws = 20_000  # how many numbers are drawn; CPU time follows it linearly
    log_every = max(1, n_draws // 20)  # draws between two values of the metric running_max


@inner_ex.named_config
def high_offset():  # noqa: D103
    offset = 50  # added to each power


@inner_ex.main
def largest_value(exponent, offset, env_name, n_draws, log_every, _rnd, _run):
    """Draw numbers and return the largest ``value**exponent + offset``."""
    if env_name not in ENVIRONMENTS:
        raise ValueError(f"unknown env_name {env_name!r}; known are {', '.join(ENVIRONMENTS)}")
    draw = ENVIRONMENTS[env_name]
    running_max = -np.inf
    # A power too large for a float is infinite, which is a true maximum and no reason to warn.
    with np.errstate(over="ignore"):
        for start in range(0, n_draws, log_every):
            end = min(start + log_every, n_draws)
            # One number at a time on purpose: the example is here to keep a core busy.
            for value in draw(_rnd, end - start):
                running_max = max(running_max, value**exponent + offset)
            _run.log_scalar("running_max", float(running_max), end)
    return float(running_max)


if __name__ == "__main__":
    inner_ex.run_commandline()
