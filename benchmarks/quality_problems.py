"""What is searched to compare searches: three functions and a network that reads digits.

Each is a `Problem`: the space in this package's words, the same space in Optuna's, and the value of
a point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """One thing to be optimised.

    Parameters
    ----------
    name
        For the table.
    space
        ``ray.search_space``.
    suggest
        Asks a trial of Optuna for a point of the same space, as a user of Optuna would.
    value
        Of a point; the same each time.
    mode
        ``min`` or ``max``.
    trials
        How many a search has.
    """

    name: str
    space: Mapping[str, Any]
    suggest: Callable[[Any], dict[str, Any]]
    value: Callable[[Point], float]
    mode: str
    trials: int


def branin(point: Point) -> float:
    """Return Branin's function, whose smallest value is 0.3979."""
    x, y = point["x"], point["y"]
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


def _suggest_branin(trial: Any) -> dict[str, Any]:
    return {"x": trial.suggest_float("x", -5, 10), "y": trial.suggest_float("y", 0, 15)}


_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
_STEEPNESS = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_HARTMANN_NAMES = tuple(f"x{number}" for number in range(6))


def hartmann(point: Point) -> float:
    """Return Hartmann's function of six variables, whose smallest value is -3.3224."""
    x = np.array([point[name] for name in _HARTMANN_NAMES])
    return float(-_WEIGHTS @ np.exp(-(_STEEPNESS * (x - _CENTRES) ** 2).sum(axis=1)))


def _suggest_hartmann(trial: Any) -> dict[str, Any]:
    return {name: trial.suggest_float(name, 0, 1) for name in _HARTMANN_NAMES}


def branches(point: Point) -> float:
    """Return a function with three branches, each of parameters of its own.

    The smallest value, 0, is in the branch ``tree``; the others have theirs at 0.2 and 0.4.
    """
    branch = point["branch"]
    if branch == "linear":
        return 0.4 + (math.log10(point["rate"]) + 3) ** 2
    if branch == "kernel":
        valley = (math.log10(point["width"]) - math.log10(point["cost"])) ** 2
        return float(0.2 + valley + 0.1 * abs(math.log10(point["cost"]) - 1))
    leaf, share = point["leaf"], point["share"]
    return float(0.05 * abs(point["depth"] - 7) + abs(math.log(leaf / 20)) / 4 + (share - 0.3) ** 2)


BRANCHES = {
    "branch": "choice(['linear', 'kernel', 'tree'])",
    "rate": "loguniform(1e-6, 1) if branch == 'linear'",
    "width": "loguniform(1e-3, 1e3) if branch == 'kernel'",
    "cost": "loguniform(1e-3, 1e3) if branch == 'kernel'",
    "depth": "randint(1, 21) if branch == 'tree'",
    "leaf": "lograndint(1, 1001) if branch == 'tree'",
    "share": "uniform(0, 1) if branch == 'tree'",
}


def _suggest_branches(trial: Any) -> dict[str, Any]:
    point = {"branch": trial.suggest_categorical("branch", ["linear", "kernel", "tree"])}
    if point["branch"] == "linear":
        point["rate"] = trial.suggest_float("rate", 1e-6, 1, log=True)
    elif point["branch"] == "kernel":
        point["width"] = trial.suggest_float("width", 1e-3, 1e3, log=True)
        point["cost"] = trial.suggest_float("cost", 1e-3, 1e3, log=True)
    else:
        point["depth"] = trial.suggest_int("depth", 1, 20)
        point["leaf"] = trial.suggest_int("leaf", 1, 1000, log=True)
        point["share"] = trial.suggest_float("share", 0, 1)
    return point


# A shorter training than that of the example, and a wider space, so that there is much to lose. In
# the order of the names, which is what a sweep makes of it, and both ways ask in this order.
DIGITS_CONFIG: Mapping[str, Any] = {"epochs": 4, "seed": 0}
DIGITS_SPACE: Mapping[str, Any] = {
    "model": {"alpha": "loguniform(1e-6, 1e1)", "hidden": "choice([16, 32, 64])"},
    "optimizer": {"batch_size": "choice([16, 32, 64])", "lr": "loguniform(1e-5, 1e-1)"},
}


def digits(point: Point) -> float:
    """Train `experiments.digits`, which nothing observes, and return its result."""
    from experiments.digits import digits_ex

    run = digits_ex.run(
        config_updates={**DIGITS_CONFIG, **point},
        options={"--unobserved": True, "--loglevel": "ERROR", "--capture": "no"},
    )
    return float(run.result)


def _suggest_digits(trial: Any) -> dict[str, Any]:
    return {
        "model": {
            "alpha": trial.suggest_float("model.alpha", 1e-6, 1e1, log=True),
            "hidden": trial.suggest_categorical("model.hidden", [16, 32, 64]),
        },
        "optimizer": {
            "batch_size": trial.suggest_categorical("optimizer.batch_size", [16, 32, 64]),
            "lr": trial.suggest_float("optimizer.lr", 1e-5, 1e-1, log=True),
        },
    }


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "branin",
            {"x": "uniform(-5, 10)", "y": "uniform(0, 15)"},
            _suggest_branin,
            branin,
            "min",
            60,
        ),
        Problem(
            "hartmann",
            dict.fromkeys(_HARTMANN_NAMES, "uniform(0, 1)"),
            _suggest_hartmann,
            hartmann,
            "min",
            100,
        ),
        Problem("branches", BRANCHES, _suggest_branches, branches, "min", 60),
        Problem("digits", DIGITS_SPACE, _suggest_digits, digits, "max", 25),
    )
}
