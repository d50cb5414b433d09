"""Searchers: their names and their arguments.

A searcher chooses each configuration with what it knows of the earlier ones. It comes from a
library of its own, which Ray Tune drives; nothing here imports Ray before arguments are checked.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.choices import Choice, read_choice
from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.values import show


@dataclass(frozen=True)
class Searcher:
    """What there is to know about a searcher.

    Attributes
    ----------
    ray_class : str
        Ray's class of it, in ``ray.tune.search``.
    modules : tuple of str
        Modules that it cannot do without.
    distribution : str
        Name of the library, where not all its versions can be used.
    too_new : int
        First number of its versions that Ray's class cannot use.
    """

    ray_class: str
    modules: tuple[str, ...]
    distribution: str = ""
    too_new: int = 0


SEARCHERS = {
    "optuna": Searcher("OptunaSearch", ("optuna",)),
    "hyperopt": Searcher("HyperOptSearch", ("hyperopt",)),
    "nevergrad": Searcher("NevergradSearch", ("nevergrad",)),
    "bohb": Searcher("TuneBOHB", ("ConfigSpace", "hpbandster")),
    "bayesopt": Searcher("BayesOptSearch", ("bayes_opt",), "bayesian-optimization", 2),
    "zoopt": Searcher("ZOOptSearch", ("zoopt",)),
}
_NO_SEARCHER = ("random", "grid")
_ALIASES = {
    **{"variant_generator": "random", "basic_variant": "random", "bayes": "bayesopt"},
    **{searcher.ray_class.lower(): name for name, searcher in SEARCHERS.items()},
}
_DO_NOT_WORK = {
    "ax": "the versions of Ax that can be installed have changed what Ray 2.60 calls, and they "
    "pull in wrapt 2, with which Sacred does not work; use 'bayesopt', or "
    "\"optuna(sampler='gp')\", which model the metric in the same way",
    "hebo": "there is no set of versions of HEBO and its requirements that pip can install "
    "beside Ray 2.60; use 'bayesopt', or \"optuna(sampler='gp')\", which model the metric in the "
    "same way",
}
# Sampler of Optuna by the name that is given in ray.search_alg.
OPTUNA_SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "qmc": "QMCSampler",
    "bruteforce": "BruteForceSampler",
}
# Arguments of Ray's classes that the sweep gives, and the entry that says what.
_OUR_ARGUMENTS = {
    "space": "ray.search_space",
    "dim_dict": "ray.search_space",
    "metric": "ray.metric",
    "mode": "ray.mode",
    "points_to_evaluate": "ray.points_to_evaluate",
    "evaluated_rewards": "ray.warm_start",
    "analysis": "ray.warm_start",
    "max_concurrent": "ray.max_concurrent_trials",
}
# Arguments that only an object of Python can be, so that no config entry can hold them.
_OBJECTS = frozenset({"storage"})
_OBJECTS_OF_SAMPLERS = frozenset(
    {
        *("independent_sampler", "constraints_func", "gamma", "weights", "source_trials", "x0"),
        *("mutation", "crossover", "reference_points", "elite_population_selection_strategy"),
        *("child_generation_strategy", "after_trial_strategy"),
    }
)


def parse_search_alg(raw: Any, source: str = "ray.search_alg") -> tuple[Choice | None, list[str]]:
    """Read the choice of a searcher as the user wrote it.

    Parameters
    ----------
    raw
        None, a name, a name with arguments as text (``"optuna(sampler='cmaes')"``), or a mapping
        with ``name`` and the arguments. Arguments have the names that Ray's class of the searcher
        has; all searchers have ``seed``.
    source
        Config path of it, for the sentences.

    Returns
    -------
    tuple
        The choice, None for random and grid search, and a sentence for each thing that is wrong.
    """
    if raw is None or raw == {}:
        return None, []
    cannot_be_used = _cannot_be_used(raw, source)
    if cannot_be_used:
        return None, [cannot_be_used]
    try:
        choice = read_choice(raw, source, (*_NO_SEARCHER, *SEARCHERS), _ALIASES)
    except ConfigMistakes as wrong:
        return None, list(wrong.mistakes)
    if choice.name in _NO_SEARCHER:
        given = ", ".join(choice.arguments)
        wrong_arguments = (
            f"{source} is {show(raw)}, but random and grid search take no arguments; drop {given}."
        )
        return None, [wrong_arguments] if choice.arguments else []
    mistakes = _argument_mistakes(choice.name, choice.arguments, source)
    return (None if mistakes else choice), mistakes


def _cannot_be_used(raw: Any, source: str) -> str | None:
    """Tell of names that are none of ours, but that we know."""
    name = raw.get("name") if isinstance(raw, Mapping) else raw
    plain_name = name.partition("(")[0].strip().lower() if isinstance(name, str) else ""
    if plain_name in _DO_NOT_WORK:
        why = _DO_NOT_WORK[plain_name]
        return f"{source} is {show(raw)}, which cannot be used here: {why}."
    if plain_name in OPTUNA_SAMPLERS and plain_name not in _NO_SEARCHER:
        return (
            f"{source} is {show(raw)}, but {plain_name!r} is a sampler of Optuna; write "
            f"\"optuna(sampler='{plain_name}')\"."
        )
    return None


def _argument_mistakes(name: str, arguments: Mapping[str, Any], source: str) -> list[str]:
    if not arguments:
        return []
    module = importlib.import_module(f"ray.tune.search.{name}")
    known = _parameters(getattr(module, SEARCHERS[name].ray_class)) | {"seed"}
    mistakes = _names_mistakes(name, arguments, known, _OBJECTS, source)
    seed = arguments.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        mistakes.append(f"{source}.seed is {show(seed)}; it must be a whole number from 0.")
    if "sampler" in arguments and name == "optuna":
        mistakes += _sampler_mistakes(arguments["sampler"], source)
    if "optimizer" in arguments and name == "nevergrad" and can_import("nevergrad"):
        mistakes += _optimizer_mistakes(arguments["optimizer"], source)
    return mistakes


def _parameters(called: Any) -> set[str]:
    parameters = inspect.signature(called).parameters.values()
    return {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}


def _names_mistakes(
    owner: str,
    arguments: Mapping[str, Any],
    known: set[str],
    objects: frozenset[str],
    source: str,
) -> list[str]:
    mistakes = []
    usable = known - set(_OUR_ARGUMENTS) - objects
    for argument in arguments:
        where = f"{source} gives {owner} the argument {argument!r}"
        if argument in _OUR_ARGUMENTS:
            mistakes.append(f"{where}, which the sweep sets; use {_OUR_ARGUMENTS[argument]}.")
        elif argument in known & objects:
            mistakes.append(
                f"{where}, which has to be an object of Python, and a config cannot hold one; "
                "leave it out."
            )
        elif argument not in known:
            hint = did_you_mean(argument, usable)
            listed = ", ".join(sorted(usable))
            mistakes.append(f"{where}, which it does not have{hint}; there are: {listed}.")
    return mistakes


def optuna_sampler(choice: Choice) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of the Optuna sampler of a choice."""
    given = choice.arguments.get("sampler", "tpe")
    if isinstance(given, Mapping):
        return given["name"], {key: value for key, value in given.items() if key != "name"}
    return given, {}


def _sampler_mistakes(sampler: Any, source: str) -> list[str]:
    name = sampler.get("name") if isinstance(sampler, Mapping) else sampler
    if not isinstance(name, str) or name not in OPTUNA_SAMPLERS:
        hint = did_you_mean(str(name), OPTUNA_SAMPLERS)
        return [
            f"{source}.sampler is {show(sampler)}, but Optuna has no sampler {show(name)} that "
            f"can be used here{hint}; there are: {', '.join(OPTUNA_SAMPLERS)}, with arguments "
            "as a mapping such as {'name': 'tpe', 'multivariate': True}."
        ]
    arguments = {key: v for key, v in sampler.items() if key != "name"} if name != sampler else {}
    if not arguments or not can_import("optuna"):
        return []
    samplers = importlib.import_module("optuna.samplers")
    known = _parameters(getattr(samplers, OPTUNA_SAMPLERS[name]))
    return _names_mistakes(
        OPTUNA_SAMPLERS[name], arguments, known, _OBJECTS_OF_SAMPLERS, f"{source}.sampler"
    )


def can_import(module: str) -> bool:
    """Tell whether a module is installed, without importing it."""
    return importlib.util.find_spec(module) is not None


def _optimizer_mistakes(optimizer: Any, source: str) -> list[str]:
    registry = importlib.import_module("nevergrad").optimizers.registry
    if isinstance(optimizer, str) and optimizer in registry:
        return []
    hint = did_you_mean(str(optimizer), registry)
    return [
        f"{source}.optimizer is {show(optimizer)}, but Nevergrad has no optimizer of this "
        f"name{hint}; common ones are NGOpt, OnePlusOne, TwoPointsDE, CMA and PSO."
    ]
