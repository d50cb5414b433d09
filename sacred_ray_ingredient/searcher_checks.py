"""What does not go together with a searcher, found before the first trial."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.schedulers import KINDS
from sacred_ray_ingredient.searchers import (
    SEARCHERS,
    can_import,
    optuna_sampler,
)
from sacred_ray_ingredient.values import show

SUPPORTS_WARM_START = frozenset({"optuna", "hyperopt", "nevergrad", "bayesopt", "bohb"})
_OPTUNA_FURTHER = {"cmaes": "cmaes", "gp": "torch"}
_ONE_METRIC_SAMPLERS = frozenset({"cmaes"})
# What brute force can go through value by value.
_FINITE = frozenset({"choice", "randint", "qrandint", "lograndint", "quniform"})


def missing_library(choice: Choice) -> str | None:
    """Tell what has to be installed for a searcher, as a sentence; None if all is there."""
    searcher = SEARCHERS[choice.name]
    command = f'pip install "sacred_ray_ingredient[{choice.name}]"'
    missing = [module for module in searcher.modules if not can_import(module)]
    if missing:
        return (
            f"ray.search_alg is {choice.text()!r}, which needs {' and '.join(missing)}, and that "
            f"is not installed; run {command}."
        )
    if searcher.too_new:
        version = importlib.metadata.version(searcher.distribution)
        if int(version.split(".")[0]) >= searcher.too_new:
            return (
                f"ray.search_alg is {choice.text()!r}, and {searcher.distribution} {version} is "
                f"installed, which is too new for Ray 2.60; run {command}."
            )
    further = _OPTUNA_FURTHER.get(optuna_sampler(choice)[0]) if choice.name == "optuna" else None
    if further is not None and not can_import(further):
        return (
            f"ray.search_alg is {choice.text()!r}, and this sampler of Optuna needs {further}, "
            f"which is not installed; run pip install {further}."
        )
    return None


def searcher_mistakes(
    choice: Choice | None,
    dimensions: Mapping[str, Sampler],
    metrics: Sequence[str] = ("result",),
    repeats_or_grid: bool = False,
    scheduler: str | None = None,
    warm_start: bool = False,
) -> list[str]:
    """Find what does not go together with the chosen searcher.

    Parameters
    ----------
    choice
        The searcher, None for random and grid search.
    dimensions
        What there is to choose, by name, without grids.
    metrics
        Names of the metrics that the sweep compares.
    repeats_or_grid
        Whether one choice of the searcher becomes several trials: by grids, several
        environments, several seeds or repetitions.
    scheduler
        Name of the scheduler.
    warm_start
        Whether the searcher is to learn from earlier sweeps.

    Returns
    -------
    list of str
        A sentence for each mistake.
    """
    if choice is None:
        return _without_searcher(scheduler, warm_start)
    where = f"ray.search_alg is {choice.text()!r}"
    mistakes = [sentence] if (sentence := missing_library(choice)) else []
    if not dimensions:
        mistakes.append(
            f"{where}, but nothing of ray.search_space is left to choose: a grid needs no "
            "searcher; drop ray.search_alg, or write choice(...) or a range."
        )
    mistakes += [
        f"ray.search_space.{name} is {show(sampler.text())} under the searcher {choice.name}, "
        "which learns by itself what to choose more often; drop the weights."
        for name, sampler in dimensions.items()
        if "weights" in sampler.arguments
    ]
    mistakes += _metric_mistakes(choice, metrics)
    mistakes += _optuna_space_mistakes(choice, dimensions)
    if warm_start and choice.name not in SUPPORTS_WARM_START:
        listed = ", ".join(sorted(SUPPORTS_WARM_START))
        mistakes.append(
            f"ray.warm_start is given, but {choice.name} cannot be told of earlier trials; "
            f"these searchers can: {listed}."
        )
    return mistakes + _scheduler_mistakes(choice, repeats_or_grid, scheduler)


def _without_searcher(scheduler: str | None, warm_start: bool) -> list[str]:
    mistakes = []
    if scheduler == "bohb":
        mistakes.append(
            f"ray.scheduler is {scheduler!r}, which works with the searcher of the same method "
            "only; set ray.search_alg=bohb, or use the scheduler 'hyperband'."
        )
    if warm_start:
        mistakes.append(
            "ray.warm_start is given, but random and grid search learn nothing from earlier "
            "trials; choose a searcher with ray.search_alg, such as optuna."
        )
    return mistakes


def _metric_mistakes(choice: Choice, metrics: Sequence[str]) -> list[str]:
    if len(metrics) < 2:
        return []
    given = f"ray.metric is {show(list(metrics))}, but"
    if choice.name != "optuna":
        return [
            f"{given} {choice.name} can follow one metric only; use the searcher optuna, or give "
            "one metric."
        ]
    sampler = optuna_sampler(choice)[0]
    if sampler in _ONE_METRIC_SAMPLERS:
        return [
            f"{given} the sampler {sampler!r} of Optuna can follow one metric only; use 'tpe' or "
            "'nsgaii', or give one metric."
        ]
    return []


def _optuna_space_mistakes(choice: Choice, dimensions: Mapping[str, Sampler]) -> list[str]:
    if choice.name != "optuna" or optuna_sampler(choice)[0] != "bruteforce":
        return []
    return [
        f"ray.search_space.{name} is {show(sampler.text())}, whose values cannot be gone through "
        "one by one, as the sampler 'bruteforce' of Optuna does; use quniform, randint or choice, "
        "or another sampler."
        for name, sampler in dimensions.items()
        if sampler.name not in _FINITE
    ]


def _scheduler_mistakes(choice: Choice, repeats_or_grid: bool, scheduler: str | None) -> list[str]:
    if scheduler is not None and KINDS[scheduler].mutates is not None:
        return [
            f"ray.scheduler is {scheduler!r}, which changes the parameters of running trials "
            f"itself and takes no searcher; drop ray.search_alg ({choice.text()!r}) or choose "
            "another scheduler, such as 'asha'."
        ]
    if choice.name == "bohb" and scheduler != "bohb":
        return [
            "ray.search_alg is 'bohb', which learns only from the rungs of its own scheduler; set "
            "ray.scheduler=bohb, or use the searcher optuna."
        ]
    if choice.name != "bohb" and scheduler == "bohb":
        return [
            f"ray.scheduler is {scheduler!r}, which works with the searcher of the same method "
            f"only, not with {choice.name}; set ray.search_alg=bohb, or use the scheduler "
            "'asha'."
        ]
    if scheduler == "hyperband":
        return [
            f"ray.scheduler is 'hyperband', which under the searcher {choice.name} judges its "
            "brackets before they are full, so that it does nothing; use 'asha', or the scheduler "
            "'bohb' with the searcher 'bohb'."
        ]
    if choice.name == "bohb" and repeats_or_grid:
        return [
            "ray.search_alg is 'bohb', for which each choice is one trial; drop what makes several "
            "of one: grids, several environments, ray.seeds and ray.repeat."
        ]
    return []
