"""What earlier sweeps have found out, as a searcher can be told it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.metrics import result_metrics
from sacred_ray_ingredient.nested import get_path, has_path
from sacred_ray_ingredient.points import as_drawn, dimension_key, dimension_paths
from sacred_ray_ingredient.record.earlier import last_values
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.sampling import NAMED_CONFIGS
from sacred_ray_ingredient.search_space import SearchSpace

_MOST_IDS_SHOWN = 5
_MEDIAN = 0.5


@dataclass(frozen=True)
class EarlierTrial:
    """A finished trial of an earlier sweep.

    Attributes
    ----------
    sweep_id : str
        The sweep.
    configuration : int
        The same for all trials of one configuration.
    sampled : dict
        Sampled parameters, nested.
    metrics : list of float
        Last value of each metric that was asked for.
    named_configs : tuple of str
        Named configs that the sweep chose.
    config : dict
        The complete configuration.
    """

    sweep_id: str
    configuration: int
    sampled: Mapping[str, Any]
    metrics: list[float]
    named_configs: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def earlier_trials(
    runs: Any,
    metrics_collection: Any,
    sweep_ids: str | Sequence[str],
    metrics: Sequence[str],
    experiment: str | None = None,
) -> list[EarlierTrial]:
    """Read the completed trials of earlier sweeps from MongoDB.

    Parameters
    ----------
    runs, metrics_collection
        The collections of Sacred.
    sweep_ids
        Which sweeps.
    metrics
        Names of the metrics; a trial without a finite value of each of them is left out.
    experiment
        Name of the inner experiment, whose sweeps are offered where an id is not known.

    Returns
    -------
    list of EarlierTrial
        In the order of the sweeps and of their trials.

    Raises
    ------
    ConfigMistakes
        If there is no trial of one of the sweeps.
    """
    wanted = [sweep_ids] if isinstance(sweep_ids, str) else list(sweep_ids)
    mistakes = [
        _unknown_sweep(runs, sweep_id, experiment)
        for sweep_id in wanted
        if runs.find_one(_trials_of(sweep_id), {"_id": 1}) is None
    ]
    if mistakes:
        raise ConfigMistakes(mistakes)
    return [
        trial
        for sweep_id in dict.fromkeys(wanted)
        for trial in _completed(runs, metrics_collection, sweep_id, metrics)
    ]


def _trials_of(sweep_id: str) -> dict[str, Any]:
    return {"meta.sweep.sweep_id": sweep_id, "meta.sweep.trial_index": {"$exists": True}}


def _unknown_sweep(runs: Any, sweep_id: str, experiment: str | None) -> str:
    which: dict[str, Any] = {"meta.sweep.trial_index": {"$exists": True}}
    if experiment is not None:
        which["experiment.name"] = experiment
    latest = runs.aggregate(
        [
            {"$match": which},
            {"$group": {"_id": "$meta.sweep.sweep_id", "start": {"$max": "$start_time"}}},
            {"$sort": {"start": -1}},
            {"$limit": _MOST_IDS_SHOWN},
        ]
    )
    ids = [str(found["_id"]) for found in latest]
    there = f"the latest ones are: {', '.join(ids)}" if ids else "there is none to learn from"
    of = "" if experiment is None else f" of {experiment}"
    return (
        f"ray.warm_start names the sweep {sweep_id!r}, which has no trials in this database; of "
        f"the sweeps{of}, {there}."
    )


def _completed(
    runs: Any, metrics_collection: Any, sweep_id: str, metrics: Sequence[str]
) -> list[EarlierTrial]:
    found = list(
        runs.find(
            {**_trials_of(sweep_id), "status": "COMPLETED"},
            {"meta.sweep": 1, "config": 1, "result": 1},
        ).sort("_id", 1)
    )
    logged = last_values(metrics_collection, [run["_id"] for run in found], metrics)
    # A trial that was run again counts once, with its last run.
    by_index = {run["meta"]["sweep"]["trial_index"]: run for run in found}
    trials = []
    for index, run in sorted(by_index.items()):
        about = run["meta"]["sweep"]
        values = {**logged.get(run["_id"], {}), **result_metrics(run.get("result"))}
        measured = [values.get(metric, math.nan) for metric in metrics]
        if all(math.isfinite(value) for value in measured):
            trials.append(
                EarlierTrial(
                    sweep_id,
                    about.get("configuration", index),
                    about.get("sampled") or {},
                    measured,
                    tuple(about.get(NAMED_CONFIGS) or ()),
                    run.get("config") or {},
                )
            )
    return trials


def fitting(
    trials: Sequence[EarlierTrial],
    dimensions: Mapping[str, Sampler],
    space: SearchSpace | None = None,
) -> tuple[list[tuple[dict[str, Any], list[float]]], int]:
    """Find the earlier trials that lie in the space of a new search.

    Parameters
    ----------
    trials
        From `earlier_trials`.
    dimensions
        What the searcher chooses: samplers by name.
    space
        The search space that they are of, which says what has conditions.

    Returns
    -------
    points : list of tuple
        For each configuration the values by dimension and the mean of each metric over its
        trials. A dimension that was not active has its median.
    not_fitting : int
        How many trials are left out, as a value of theirs is not in the space.
    """
    inactive = _inactive_values(space)
    points: dict[tuple[str, int, str], tuple[dict[str, Any], list[list[float]]]] = {}
    not_fitting = 0
    for trial in trials:
        values = _values(trial, dimensions, inactive)
        if values is None:
            not_fitting += 1
            continue
        # Of a configuration, only trials with the same values belong together: envs that a
        # dimension now chooses make a difference.
        same = (trial.sweep_id, trial.configuration, repr(values))
        points.setdefault(same, (values, []))[1].append(list(trial.metrics))
    means = [
        (values, [math.fsum(column) / len(column) for column in zip(*measured, strict=True)])
        for values, measured in points.values()
    ]
    return means, not_fitting


def _inactive_values(space: SearchSpace | None) -> dict[str, list[Any]]:
    """Return the constants of each entry with conditions, which it has where it is not drawn."""
    if space is None:
        return {}
    return {
        key: [case.constant for case in entry.cases if case.sampler is None]
        for key, entry in space.entries.items()
        if any(case.condition is not None for case in entry.cases)
    }


def dimension_values(
    trial: EarlierTrial, dimensions: Mapping[str, Sampler], space: SearchSpace | None = None
) -> dict[str, Any] | None:
    """Return what a searcher would have to suggest for a trial; None where it never would.

    Parameters
    ----------
    trial
        An earlier one.
    dimensions, space
        As for `fitting`.
    """
    return _values(trial, dimensions, _inactive_values(space))


def _values(
    trial: EarlierTrial, dimensions: Mapping[str, Sampler], inactive: Mapping[str, list[Any]]
) -> dict[str, Any] | None:
    values: dict[str, Any] = {}
    not_drawn: dict[str, Any] = {}
    for name, sampler in dimensions.items():
        value, was_sampled = _value(trial, name, conditional=dimension_key(name) in inactive)
        try:
            values[name] = as_drawn(sampler, value)
        except ValueError:
            not_drawn[name] = value
            constants = inactive.get(dimension_key(name))
            if constants is None:
                return None
            if not was_sampled or value in constants:
                values[name] = sampler.quantile(_MEDIAN)
    drawn = {dimension_key(name) for name in values}
    for name in not_drawn:
        # Another case of the parameter can draw the value.
        if dimension_key(name) not in drawn:
            return None
        values.setdefault(name, dimensions[name].quantile(_MEDIAN))
    return values


def _value(trial: EarlierTrial, name: str, conditional: bool) -> tuple[Any, bool]:
    """Return the value of a dimension, and whether the earlier sweep had sampled it."""
    if name == NAMED_CONFIGS:
        return list(trial.named_configs), True
    paths = dimension_paths(name)
    sampled = [path for path in paths if has_path(trial.sampled, path)]
    if conditional and not sampled:
        return None, False
    # What the earlier sweep did not vary is known from the configuration.
    parts = [get_path(trial.sampled if path in sampled else trial.config, path) for path in paths]
    return (parts[0] if len(paths) == 1 else parts), bool(sampled)
