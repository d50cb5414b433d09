"""What the driver keeps and tells while trials run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from sacred.run import Run

from sacred_ray_ingredient.record.reconcile import (
    close_dead_runs,
    note_early_stop,
    recorded_statuses,
    telling_of_outages,
)
from sacred_ray_ingredient.record.target import RecordTarget
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
    sweep_id
        The sweep.
    target
        Where trials are recorded.
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
        sweep_id: str,
        target: RecordTarget,
        metric: str,
        mode: str,
        total: int,
        say: Callable[[str], None] = print,
    ) -> None:
        self._run = run
        self._sweep_id = sweep_id
        self._target = target
        self._metric = metric
        self._mode = mode
        self._total = total
        self._say = say
        self._outcomes: dict[tuple[int, int], TrialOutcome] = {}
        self._best: float | None = None
        self._started = time.monotonic()
        self._last_line = 0.0
        self._ended = 0
        self._end_of_search: float = math.inf
        self.unreported: TrialOutcome | None = None
        self.uncompared: TrialOutcome | None = None

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
        return [trial for trial in self.trials if trial.index < self._end_of_search]

    @property
    def evaluated(self) -> list[TrialOutcome]:
        """The trials after it, of the best configuration."""
        return [trial for trial in self.trials if trial.index >= self._end_of_search]

    def end_search(self) -> None:
        """Take all further trials for an evaluation of the best configuration."""
        self._end_of_search = 1 + max((index for index, _ in self._outcomes), default=-1)

    @property
    def completed(self) -> list[TrialOutcome]:
        """The trials whose last attempt completed."""
        return [outcome for outcome in self.trials if outcome.status == "COMPLETED"]

    def trial_started(self, outcome: TrialOutcome) -> None:
        """Keep an attempt that has begun."""
        self._outcomes[outcome.index, outcome.attempt] = outcome

    def trial_died(self, outcome: TrialOutcome, will_retry: bool) -> None:
        """Keep and tell an attempt that failed; its document is closed if it could not be."""
        if self._target.address is not None:
            with telling_of_outages(self._say):
                self._close(outcome)
        self._outcomes[outcome.index, outcome.attempt] = outcome
        if not will_retry:
            self._log_throughput()
        self._tell(outcome, " and is tried again" if will_retry else "", important=True)

    def _close(self, outcome: TrialOutcome) -> None:
        """Make the record of an attempt agree with how it ended, or take over what it says."""
        runs = self._target.runs()
        reason = f"Trial {outcome.index} could not write its own end: {outcome.error}."
        closed = close_dead_runs(runs, self._sweep_id, outcome.status, reason, outcome.index)
        if closed:
            outcome.run_id = closed[-1] if outcome.run_id is None else outcome.run_id
            return
        recorded = recorded_statuses(runs, self._sweep_id, outcome.index)
        run_id, status = recorded.get((outcome.index, outcome.attempt), (None, outcome.status))
        if status != outcome.status:
            outcome.run_id, outcome.status = run_id, status
            outcome.error = f"the worker process ended itself with the trial {status}"

    def trial_finished(self, outcome: TrialOutcome) -> None:
        """Keep and tell an attempt that came to its end."""
        self._outcomes[outcome.index, outcome.attempt] = outcome
        # A later segment may find nothing left to do: what it takes over was at the end.
        is_first = outcome.segment == 0
        if outcome.status == "COMPLETED" and is_first and self._metric not in outcome.metrics:
            self.unreported = self.unreported or outcome
        if outcome.status == "COMPLETED" and not outcome.was_compared:
            self.uncompared = self.uncompared or outcome
        if outcome.stop_reason is not None and self._target.address is not None:
            with telling_of_outages(self._say):
                note_early_stop(self._target.runs(), outcome.run_id, outcome.stop_reason)
        value = value_of(outcome, self._metric)
        if value is not None:
            better = max if self._mode == "max" else min
            self._best = value if self._best is None else better(self._best, value)
        self._log_throughput()
        self._tell(outcome, "", important=False)

    def _log_throughput(self) -> None:
        self._ended += 1
        seconds = time.monotonic() - self._started
        if self._best is not None:
            self._run.log_scalar(f"best_{self._metric}", self._best, self._ended)
        if seconds > 0:
            self._run.log_scalar("trials_per_second", self._ended / seconds, self._ended)

    def _tell(self, outcome: TrialOutcome, suffix: str, important: bool) -> None:
        now = time.monotonic()
        is_last = self._ended >= self._total
        if self._total > _CALM_FROM and not important and not is_last and now - self._last_line < 1:
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
            f"[{self._ended}/{self._total}] trial {outcome.index}{run_id}  "
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
