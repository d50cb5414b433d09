"""What is left to do of a sweep that was interrupted: pure functions over its recorded attempts."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.record.earlier import RecordedAttempt
from sacred_ray_ingredient.sampling import NAMED_CONFIGS, Sample, Sampling
from sacred_ray_ingredient.tasks import TrialOutcome
from sacred_ray_ingredient.values import as_stored


@dataclass(frozen=True)
class PlannedTrial:
    """A trial before its dependent parameters are computed.

    Attributes
    ----------
    index : int
        Of the trial.
    sample : Sample
        What was sampled.
    attempt : int
        Number of the try.
    restore_from : str or None
        Folder of a checkpoint of an earlier attempt.
    """

    index: int
    sample: Sample
    attempt: int = 0
    restore_from: str | None = None


@dataclass(frozen=True)
class RecordedTrial:
    """All recorded attempts of one trial.

    Attributes
    ----------
    attempts : tuple of RecordedAttempt
        In their order; at least one.
    is_done : bool
        Whether it is not run again.
    """

    attempts: tuple[RecordedAttempt, ...]
    is_done: bool

    @property
    def last(self) -> RecordedAttempt:
        """The last attempt."""
        return self.attempts[-1]

    def again(self, sample: Sample | None = None) -> PlannedTrial:
        """Return the next attempt of it.

        Parameters
        ----------
        sample
            What the search samples for it. It is run with what is recorded instead where a
            scheduler has changed that since.
        """
        first, last = self.attempts[0], self.last
        if sample is None or first.sampled != last.sampled:
            sample = Sample(
                dict(last.sampled), last.configuration, last.repetition, last.named_configs
            )
        found = (each.checkpoint for each in reversed(self.attempts) if each.checkpoint)
        return PlannedTrial(last.index, sample, last.attempt + 1, next(found, None))


@dataclass(frozen=True)
class RecordedSuggestion:
    """A choice of a searcher whose trials are not all done.

    Attributes
    ----------
    values : dict
        By dimension.
    trials : tuple of PlannedTrial
        What is left of it.
    measured : tuple of list of float
        Values of the metrics of those that are finished.
    total : int
        Number of all its trials.
    """

    values: Mapping[str, Any]
    trials: tuple[PlannedTrial, ...]
    measured: tuple[list[float], ...]
    total: int


@dataclass(frozen=True)
class Restart:
    """Where a sweep goes on.

    Attributes
    ----------
    outer_run_ids : tuple
        Runs of the sweep until now.
    search, evaluations : dict
        Recorded trials by index: of the search, and of the best configuration after it.
    planned : tuple of PlannedTrial or None
        All that is to be run, where the trials of the search cannot be told by their index, as
        its space has changed.
    suggestions : tuple of RecordedSuggestion
        Choices of the searcher that are run again first.
    asked : int
        Number of choices that the searcher has made, those above among them.
    earlier : tuple
        Values by dimension and of the metrics, of all finished choices.
    next_configuration : int
        Number of the searcher's next configuration.
    """

    outer_run_ids: tuple[Any, ...] = ()
    search: Mapping[int, RecordedTrial] = field(default_factory=dict)
    evaluations: Mapping[int, RecordedTrial] = field(default_factory=dict)
    planned: tuple[PlannedTrial, ...] | None = None
    suggestions: tuple[RecordedSuggestion, ...] = ()
    asked: int = 0
    earlier: tuple[Any, ...] = ()
    next_configuration: int = 0

    @property
    def next_index(self) -> int:
        """The first index that no trial has."""
        return max([*self.search, *self.evaluations], default=-1) + 1

    @property
    def done(self) -> list[RecordedTrial]:
        """The trials of the search that are not run again."""
        return [trial for trial in self.search.values() if trial.is_done]

    def trials(self, samples: Iterable[Sample]) -> Iterator[PlannedTrial]:
        """Yield what is left of a random or grid search.

        Parameters
        ----------
        samples
            All of the search, from its beginning.
        """
        if self.planned is not None:
            yield from self.planned
            return
        # Trials of the best configuration took the indices behind the search, as it was then.
        indices = (index for index in itertools.count() if index not in self.evaluations)
        for index, sample in zip(indices, samples, strict=False):
            recorded = self.search.get(index)
            if recorded is None:
                yield PlannedTrial(index, sample)
            elif not recorded.is_done:
                yield recorded.again(sample)

    def total(self, total: int) -> int:
        """Count the trials of the search, those that are done included.

        Parameters
        ----------
        total
            As many as the search has from its beginning.
        """
        if self.planned is not None:
            return len(self.done) + len(self.planned)
        return total

    def outcomes(self) -> list[TrialOutcome]:
        """Return how all recorded attempts ended."""
        trials = [*self.search.values(), *self.evaluations.values()]
        return [outcome_of(attempt) for trial in trials for attempt in trial.attempts]


def outcome_of(attempt: RecordedAttempt) -> TrialOutcome:
    """Return a recorded attempt as the engine would have told of it."""
    chosen = {NAMED_CONFIGS: ", ".join(attempt.named_configs)} if attempt.named_configs else {}
    return TrialOutcome(
        index=attempt.index,
        attempt=attempt.attempt,
        status=attempt.status if attempt.is_finished or attempt.is_failed else "INTERRUPTED",
        parameters={**chosen, **flatten(attempt.sampled), **flatten(attempt.resolved)},
        seed=attempt.seed or 0,
        run_id=attempt.run_id,
        metrics=dict(attempt.metrics),
        error=attempt.error if attempt.is_failed else None,
        config=dict(attempt.config),
        segment=attempt.segment,
        configuration=attempt.configuration,
        stop_reason=attempt.stop_reason,
        sampled=attempt.sampled,
        named_configs=attempt.named_configs,
    )


def recorded_trials(
    attempts: Iterable[RecordedAttempt], retry_failed: bool
) -> tuple[dict[int, RecordedTrial], dict[int, RecordedTrial]]:
    """Group attempts by trial.

    Parameters
    ----------
    attempts
        Of one sweep.
    retry_failed
        Whether failed trials are run again.

    Returns
    -------
    search : dict
        The trials of the search by index.
    evaluations : dict
        The trials of the best configuration after it.
    """
    groups: dict[int, list[RecordedAttempt]] = {}
    for attempt in sorted(attempts, key=lambda attempt: attempt.order):
        groups.setdefault(attempt.index, []).append(attempt)
    search: dict[int, RecordedTrial] = {}
    evaluations: dict[int, RecordedTrial] = {}
    for index, group in groups.items():
        last = group[-1]
        is_done = last.is_finished or (last.is_failed and not retry_failed)
        kind = evaluations if last.is_evaluation else search
        kind[index] = RecordedTrial(tuple(group), is_done)
    return search, evaluations


def restart_of_samples(restart: Restart, sampling: Sampling, space_changed: bool) -> Restart:
    """Find what is left of a random or grid search.

    Parameters
    ----------
    restart
        With the recorded trials.
    sampling
        What is sampled now.
    space_changed
        Whether it is something else than what was sampled before. Then a trial of the new search
        counts as done where one with the same values of all grids is: the first of the new ones
        for the first of the old ones, and so on.
    """
    if not space_changed:
        return restart
    same: dict[str, deque[RecordedTrial]] = {}
    for _, trial in sorted(restart.search.items()):
        first = trial.attempts[0]
        key = _place(sampling, first.sampled, first.named_configs, first.repetition)
        same.setdefault(key, deque()).append(trial)
    beyond = 1 + max((trial.last.configuration for trial in restart.search.values()), default=-1)
    index, planned = restart.next_index, []
    for sample in sampling.samples():
        key = _place(sampling, sample.sampled, sample.named_configs, sample.repetition)
        recorded = same[key].popleft() if same.get(key) else None
        # Numbers of their own, so that no mean mixes configurations of both spaces.
        moved = replace(sample, configuration=sample.configuration + beyond)
        if recorded is None:
            planned.append(PlannedTrial(index, moved))
            index += 1
        elif not recorded.is_done:
            again = recorded.again(moved)
            planned.append(replace(again, sample=moved))
    return replace(restart, planned=tuple(planned))


def _place(
    sampling: Sampling, sampled: Mapping[str, Any], names: Sequence[str], repetition: int
) -> str:
    """Return what tells a trial from the others of one draw."""
    values = flatten(sampled)
    entries = sampling.space.entries.values()
    drawn = {path for entry in entries if not entry.has_grid for path in entry.paths}
    given = {path: value for path, value in values.items() if path not in drawn}
    is_chosen = sampling.named_configs is not None and not sampling.named_configs.is_grid
    chosen: Sequence[str] = () if is_chosen else names
    return repr((as_stored(dict(sorted(given.items()))), list(chosen), repetition))


def counts(restart: Restart) -> dict[str, int]:
    """Count the recorded trials of the search by what becomes of them."""
    of_each = Counter(
        "finished" if t.last.is_finished else "failed" if t.last.is_failed else "unfinished"
        for t in restart.search.values()
    )
    return dict(of_each)
