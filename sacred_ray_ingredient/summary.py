"""What came out of a sweep: counts, the best trial, groups; pure functions over outcomes."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.tasks import TrialOutcome


@dataclass(frozen=True)
class GroupStatistics:
    """A metric over the trials of one group.

    Parameters
    ----------
    group
        What the trials have in common, such as the environment.
    n
        Number of values.
    mean
        Their mean.
    std
        Their standard deviation with Bessel's correction; NaN for one value.
    half_width
        Half the width of the 95 % confidence interval of the mean; NaN for one value.
    """

    group: Any
    n: int
    mean: float
    std: float
    half_width: float


@dataclass(frozen=True)
class Candidate:
    """One configuration with the trials that ran it.

    Parameters
    ----------
    trials
        Completed ones with a value of the metric, by index.
    statistics
        The metric over these.
    """

    trials: Sequence[TrialOutcome]
    statistics: GroupStatistics

    @property
    def trial(self) -> TrialOutcome:
        """The first of its trials."""
        return self.trials[0]


def value_of(outcome: TrialOutcome, metric: str) -> float | None:
    """Return a trial's value of a metric; None where it has none that can be compared."""
    value = outcome.metrics.get(metric)
    if value is None or not math.isfinite(value):
        return None
    return value


def candidates(outcomes: Iterable[TrialOutcome], metric: str, mode: str) -> list[Candidate]:
    """Order the configurations from the best to the worst, by the mean over their repetitions.

    Parameters
    ----------
    outcomes
        Attempts of trials in any order and state.
    metric
        Name of the metric.
    mode
        ``max`` or ``min``.

    Returns
    -------
    list of Candidate
        Of equal ones the one with the lower index is first.
    """
    groups: dict[int, list[TrialOutcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.index):
        if outcome.status == "COMPLETED" and value_of(outcome, metric) is not None:
            groups.setdefault(outcome.configuration, []).append(outcome)
    found = []
    for configuration, trials in groups.items():
        values = [value for trial in trials if (value := value_of(trial, metric)) is not None]
        found.append(Candidate(trials, _statistics(configuration, values)))
    sign = -1.0 if mode == "max" else 1.0
    return sorted(found, key=lambda each: (sign * each.statistics.mean, each.trial.index))


def pareto_front(
    found: Sequence[Candidate], metrics: Sequence[str], modes: Sequence[str]
) -> list[Candidate]:
    """Pick the configurations that no other one beats in every metric.

    Parameters
    ----------
    found
        From `candidates`.
    metrics
        Names of the metrics.
    modes
        ``max`` or ``min`` for each.

    Returns
    -------
    list of Candidate
        In the order as given; those without a finite value of each metric are left out.
    """
    points = []
    for candidate in found:
        means = []
        for metric, mode in zip(metrics, modes, strict=True):
            values = [value_of(trial, metric) for trial in candidate.trials]
            finite = [value for value in values if value is not None]
            if finite:
                means.append(statistics.fmean(finite) * (1 if mode == "max" else -1))
        if len(means) == len(metrics):
            points.append((candidate, means))
    return [
        candidate
        for candidate, means in points
        if not any(
            other != means and all(o >= m for o, m in zip(other, means, strict=True))
            for _, other in points
        )
    ]


def count_by_status(outcomes: Iterable[TrialOutcome]) -> dict[str, int]:
    """Count outcomes by their status."""
    return dict(Counter(outcome.status for outcome in outcomes))


def group_statistics(
    outcomes: Iterable[TrialOutcome], metric: str, group_by: str
) -> list[GroupStatistics]:
    """Summarise a metric for each value of a parameter.

    Parameters
    ----------
    outcomes
        Only completed ones with a finite value are used.
    metric
        Name of the metric.
    group_by
        Dotted name of a sampled or resolved parameter.

    Returns
    -------
    list of GroupStatistics
        In the order in which the groups first appear by trial index.

    Notes
    -----
    The interval is Student's t interval of the mean, which assumes that the values of a group
    are independent and roughly normal.
    """
    groups: dict[str, tuple[Any, list[float]]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.index):
        value = value_of(outcome, metric)
        if outcome.status == "COMPLETED" and value is not None and group_by in outcome.parameters:
            group = outcome.parameters[group_by]
            groups.setdefault(repr(group), (group, []))[1].append(value)
    return [_statistics(group, values) for group, values in groups.values()]


def group_of(outcomes: Iterable[TrialOutcome], metric: str, group: Any) -> GroupStatistics | None:
    """Summarise a metric over completed trials; None if none has a value.

    Parameters
    ----------
    outcomes
        Only completed ones with a finite value are used.
    metric
        Name of the metric.
    group
        What they have in common.
    """
    done = [outcome for outcome in outcomes if outcome.status == "COMPLETED"]
    values = [value for outcome in done if (value := value_of(outcome, metric)) is not None]
    return _statistics(group, values) if values else None


def _statistics(group: Any, values: Sequence[float]) -> GroupStatistics:
    n = len(values)
    mean = statistics.fmean(values)
    if n < 2:
        return GroupStatistics(group, n, mean, math.nan, math.nan)
    from scipy.stats import t

    std = statistics.stdev(values)
    return GroupStatistics(group, n, mean, std, float(t.ppf(0.975, n - 1)) * std / math.sqrt(n))


def table_rows(
    outcomes: Iterable[TrialOutcome], parameters: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Lay out all attempts as a table for the CSV file.

    Parameters
    ----------
    outcomes
        Attempts of trials.
    parameters
        Dotted names of the searched parameters, in the order of their columns.

    Returns
    -------
    header : list of str
        ``run_id``, ``trial``, ``configuration``, ``attempt``, ``status``, ``stop_reason``,
        ``config.*``, ``metric.*``, ``error``.
    rows : list of list
        Ordered by trial and attempt; empty text where there is no value.
    """
    ordered = sorted(outcomes, key=lambda outcome: (outcome.index, outcome.attempt))
    metrics = sorted({name for outcome in ordered for name in outcome.metrics})
    header = ["run_id", "trial", "configuration", "attempt", "status", "stop_reason"]
    header.append("config.seed")
    columns = [name for name in parameters if name != "seed"]
    header += [f"config.{name}" for name in columns]
    header += [f"metric.{name}" for name in metrics] + ["error"]
    rows = []
    for outcome in ordered:
        row: list[Any] = [outcome.run_id, outcome.index, outcome.configuration]
        row += [outcome.attempt, outcome.status, outcome.stop_reason or ""]
        row += [outcome.seed, *_values(outcome.parameters, columns)]
        row += [*_values(outcome.metrics, metrics), outcome.error or ""]
        rows.append(row)
    return header, rows


def _values(mapping: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    found = [parameter_of(mapping, name) for name in names]
    return [
        "" if value is None and name not in mapping else value
        for name, value in zip(names, found, strict=True)
    ]


def parameter_of(parameters: Mapping[str, Any], name: str) -> Any:
    """Return a parameter by its dotted name, also one whose value is a dictionary.

    Parameters
    ----------
    parameters
        By dotted path, down to what is no dictionary.
    name
        Dotted name.

    Returns
    -------
    object
        None where there is none.
    """
    if name in parameters:
        return parameters[name]
    below = {
        path.removeprefix(f"{name}."): value
        for path, value in parameters.items()
        if path.startswith(f"{name}.")
    }
    return below or None
