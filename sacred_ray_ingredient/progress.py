"""What the driver keeps and tells while trials run."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sacred.run import Run

from sacred_ray_ingredient.record.settlement import SweepRecord
from sacred_ray_ingredient.summary import value_of
from sacred_ray_ingredient.tasks import TrialOutcome

# Sweeps of more trials than this print at most one line a second.
_CALM_FROM = 100


class Budget:
    """The time that a sweep may take, counted from its first trial.

    Parameters
    ----------
    seconds
        None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._started: float | None = None

    def start(self) -> None:
        """Begin to count."""
        self._started = time.monotonic()

    @property
    def is_used_up(self) -> bool:
        """Whether the time is over."""
        if self._seconds is None or self._started is None:
            return False
        return time.monotonic() - self._started >= self._seconds

    @property
    def reason(self) -> str:
        """What is recorded and told of trials that it ends."""
        return f"The sweep's time, ray.time_budget_s={self._seconds}, was used up."


class SweepProgress:
    """Hears of trials from the engine, tells the terminal and the sweep's own record.

    Parameters
    ----------
    run
        The outer run; best value so far and throughput become its metrics.
    record
        The driver's hand on the record; None for a sweep that is not in a database.
    metric, mode
        What is compared and which way.
    total
        Number of trials.
    say
        Prints one line.
    """

    def __init__(
        self,
        run: Run,
        record: SweepRecord | None,
        metric: str,
        mode: str,
        total: int,
        say: Callable[[str], None] = print,
    ) -> None:
        self._run = run
        self._record = record
        self._metric = metric
        self._mode = mode
        self.total = total
        self._say = say
        self._outcomes: dict[tuple[int, int], TrialOutcome] = {}
        self._best: float | None = None
        self._started = time.monotonic()
        self._last_line = 0.0
        self._ended = 0
        self._ended_before = 0
        # Indices of the search, once it is over; and recorded ones of after an earlier end of it.
        self._searched: frozenset[int] | None = None
        self._evaluated_before: frozenset[int] = frozenset()
        self._evaluated_again: frozenset[int] = frozenset()
        self.unreported: TrialOutcome | None = None
        self.uncompared: TrialOutcome | None = None
        # Why the sweep was ended before its trials were.
        self.ended_by: str | None = None

    def note(self, sentence: str) -> None:
        """Tell the terminal something besides what becomes of trials."""
        self._say(sentence)

    @property
    def attempts(self) -> list[TrialOutcome]:
        """All attempts so far."""
        return list(self._outcomes.values())

    @property
    def trials(self) -> list[TrialOutcome]:
        """The last attempt of each trial, by index."""
        last: dict[int, TrialOutcome] = {}
        for (index, _), outcome in sorted(self._outcomes.items()):
            last[index] = outcome
        return list(last.values())

    @property
    def searched(self) -> list[TrialOutcome]:
        """The trials of the search."""
        return [trial for trial in self.trials if self._is_searched(trial.index)]

    @property
    def evaluated(self) -> list[TrialOutcome]:
        """The trials after it, of the best configuration."""
        if self._searched is None:
            return []
        stale = self._searched | (self._evaluated_before - self._evaluated_again)
        return [trial for trial in self.trials if trial.index not in stale]

    def _is_searched(self, index: int) -> bool:
        if self._searched is not None:
            return index in self._searched
        return index not in self._evaluated_before

    def end_search(self) -> None:
        """Take all further trials for an evaluation of the best configuration."""
        indices = {index for index, _ in self._outcomes}
        self._searched = frozenset(indices - self._evaluated_before)

    def count_evaluations(self, indices: Collection[int], done: int) -> None:
        """Let recorded trials count that ran what is still the best configuration.

        Parameters
        ----------
        indices
            Of these trials.
        done
            How many of them are not run again.
        """
        self._evaluated_again = frozenset(indices)
        self._ended += done
        self._ended_before += done

    def take_over(self, outcomes: Sequence[TrialOutcome], done: int, evaluated: set[int]) -> None:
        """Begin with what is recorded of a sweep that goes on.

        Parameters
        ----------
        outcomes
            All recorded attempts.
        done
            How many trials are not run again.
        evaluated
            Indices of the trials that ran the best configuration after an earlier end.
        """
        self._evaluated_before = frozenset(evaluated)
        self._ended = self._ended_before = done
        for outcome in sorted(outcomes, key=lambda each: (each.index, each.attempt, each.segment)):
            self._outcomes[outcome.index, outcome.attempt] = outcome
        for outcome in self.completed:
            self._compare(outcome)

    @property
    def completed(self) -> list[TrialOutcome]:
        """The trials whose last attempt completed."""
        return [outcome for outcome in self.trials if outcome.status == "COMPLETED"]

    def trial_started(self, outcome: TrialOutcome) -> None:
        """Keep an attempt that has begun."""
        self._outcomes[outcome.index, outcome.attempt] = outcome

    def has_begun(self, outcome: TrialOutcome) -> bool:
        """Tell whether the record knows of an attempt whose worker has died."""
        return self._record is not None and self._record.has_begun(outcome)

    def trial_died(self, outcome: TrialOutcome, will_retry: bool) -> None:
        """Keep and tell an attempt that failed; its document is closed if it could not be."""
        if self._record is not None:
            self._record.died(outcome)
        self._outcomes[outcome.index, outcome.attempt] = outcome
        if outcome.status == "COMPLETED":  # it had come to its end; only its worker died
            if not will_retry:
                self.trial_finished(outcome)
            return
        self.trial_failed(outcome, will_retry)

    def trial_failed(self, outcome: TrialOutcome, will_retry: bool) -> None:
        """Keep and tell an attempt that raised."""
        self._outcomes[outcome.index, outcome.attempt] = outcome
        if not will_retry:
            self._log_throughput()
        self._tell(outcome, " and is tried again" if will_retry else "", important=True)

    def trial_finished(self, outcome: TrialOutcome) -> None:
        """Keep and tell an attempt that came to its end."""
        self._outcomes[outcome.index, outcome.attempt] = outcome
        # A later segment may find nothing left to do: what it takes over was at the end.
        is_first = outcome.segment == 0
        if outcome.status == "COMPLETED" and is_first and self._metric not in outcome.metrics:
            self.unreported = self.unreported or outcome
        if outcome.status == "COMPLETED" and not outcome.was_compared:
            self.uncompared = self.uncompared or outcome
        if outcome.stop_reason is not None and self._record is not None:
            self._record.not_continued(outcome)
        self._compare(outcome)
        self._log_throughput()
        self._tell(outcome, "", important=False)

    def _compare(self, outcome: TrialOutcome) -> None:
        value = value_of(outcome, self._metric)
        if value is not None:
            better = max if self._mode == "max" else min
            self._best = value if self._best is None else better(self._best, value)

    def _log_throughput(self) -> None:
        self._ended += 1
        seconds = time.monotonic() - self._started
        if self._best is not None:
            self._run.log_scalar(f"best_{self._metric}", self._best, self._ended)
        if seconds > 0:
            here = self._ended - self._ended_before
            self._run.log_scalar("trials_per_second", here / seconds, self._ended)

    def _tell(self, outcome: TrialOutcome, suffix: str, important: bool) -> None:
        now = time.monotonic()
        is_last = self._ended >= self.total
        if self.total > _CALM_FROM and not important and not is_last and now - self._last_line < 1:
            return
        self._last_line = now
        value = outcome.metrics.get(self._metric)
        shown = outcome.error or ("" if value is None else f"{self._metric}={value:.6g}")
        shown += f" ({outcome.stop_reason})" if outcome.stop_reason else ""
        run_id = "" if outcome.run_id is None else f"  run {outcome.run_id}"
        parameters = "  ".join(
            f"{name}={_short(value)}" for name, value in outcome.parameters.items()
        )
        self._say(
            f"[{self._ended}/{self.total}] trial {outcome.index}{run_id}  "
            f"{outcome.status}{suffix}  {shown}  {parameters}".rstrip()
        )


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def settle(
    outcomes: Sequence[TrialOutcome], statuses: dict[tuple[int, int], tuple[Any, str]]
) -> None:
    """Give attempts without a final report the end that the record has of them.

    Parameters
    ----------
    outcomes
        Attempts; those that still say RUNNING are changed in place.
    statuses
        Run id and status by trial index and attempt, from the record.
    """
    for outcome in outcomes:
        if outcome.status == "RUNNING":
            run_id, status = statuses.get(
                (outcome.index, outcome.attempt), (outcome.run_id, "INTERRUPTED")
            )
            outcome.run_id, outcome.status = run_id, status
