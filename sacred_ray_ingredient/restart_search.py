"""What is left to do of the choices of a searcher, and what it has learned from the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.record.earlier import RecordedAttempt
from sacred_ray_ingredient.restart import (
    PlannedTrial,
    RecordedSuggestion,
    RecordedTrial,
    Restart,
)
from sacred_ray_ingredient.sampling import Sample, Sampling
from sacred_ray_ingredient.values import as_stored
from sacred_ray_ingredient.warm_start import EarlierTrial, dimension_values, fitting


def restart_of_suggestions(
    restart: Restart, sampling: Sampling, metrics: Sequence[str], sweep_id: str
) -> Restart:
    """Find what is left of the choices of a searcher, and what it has learned.

    Parameters
    ----------
    restart
        With the recorded trials.
    sampling
        What is sampled now; choices that do not lie in it are not run again.
    metrics
        Names of the metrics that the searcher is told.
    sweep_id
        The sweep.
    """
    by_configuration: dict[int, list[RecordedTrial]] = {}
    for trial in restart.search.values():
        by_configuration.setdefault(trial.attempts[0].configuration, []).append(trial)
    covered: set[int] = set()
    new_indices = itertools.count(restart.next_index)
    suggestions, earlier, asked = [], [], 0
    for configuration in sorted(by_configuration):
        if configuration in covered:
            continue
        asked += 1
        trials = by_configuration[configuration]
        samples, values = _samples_of(trials[0], sampling)
        covered |= {configuration, *(sample.configuration for sample in samples)}
        there = {
            (number, trial.attempts[0].repetition): trial
            for number in {sample.configuration for sample in samples}
            for trial in by_configuration.get(number, ())
        }
        open_trials = []
        for sample in samples:
            recorded = there.get((sample.configuration, sample.repetition))
            if recorded is None:
                open_trials.append(PlannedTrial(next(new_indices), sample))
            elif not recorded.is_done:
                open_trials.append(recorded.again(sample))
        finished = _finished(there.values() if samples else trials, metrics, sweep_id)
        if open_trials and values is not None:
            measured = tuple(trial.metrics for trial in finished)
            suggestion = RecordedSuggestion(values, tuple(open_trials), measured, len(samples))
            suggestions.append(suggestion)
        else:
            earlier += finished
    points, _ = fitting(earlier, sampling.dimensions(), sampling.space)
    return replace(
        restart,
        suggestions=tuple(suggestions),
        asked=asked,
        earlier=tuple(points),
        next_configuration=max(covered, default=-1) + 1,
    )


def _samples_of(
    trial: RecordedTrial, sampling: Sampling
) -> tuple[list[Sample], dict[str, Any] | None]:
    """Return all samples of the choice that a trial is of, numbered as then, and its values."""
    first = trial.attempts[0]
    values = dimension_values(_earlier(first, (), ""), sampling.dimensions(), sampling.space)
    if values is None:
        return [], None
    samples = sampling.of_suggestion(values, 0)
    wanted = as_stored(flatten(first.sampled))
    # The first of its trials may have left no document.
    offset = next(
        (
            sample.configuration
            for sample in samples
            if sample.repetition == first.repetition
            and as_stored(flatten(sample.sampled)) == wanted
        ),
        0,
    )
    start = first.configuration - offset
    moved = [replace(sample, configuration=sample.configuration + start) for sample in samples]
    return moved, values


def _finished(
    trials: Iterable[RecordedTrial], metrics: Sequence[str], sweep_id: str
) -> list[EarlierTrial]:
    found = [_earlier(trial.last, metrics, sweep_id) for trial in trials if trial.last.is_finished]
    return [trial for trial in found if all(map(math.isfinite, trial.metrics))]


def _earlier(attempt: RecordedAttempt, metrics: Sequence[str], sweep_id: str) -> EarlierTrial:
    measured = [attempt.metrics.get(metric, math.nan) for metric in metrics]
    return EarlierTrial(
        sweep_id,
        attempt.configuration,
        attempt.sampled,
        measured,
        tuple(attempt.named_configs),
        attempt.config,
    )
