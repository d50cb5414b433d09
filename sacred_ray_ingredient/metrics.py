"""From ``log_scalar`` calls of an unchanged experiment to reports for Tune.

Values logged for the same step are reported together. A step is known to be complete when
another step begins, when a name comes again, or, from the second step on, as soon as all names
of the step before are there.
"""

from __future__ import annotations

import operator
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

# Names that Tune gives a meaning of its own; a metric called ``done`` would end its trial.
TUNE_NAMES = frozenset(
    {
        "attempt",
        "checkpoint_dir_name",
        "config",
        "date",
        "done",
        "error",
        "experiment_id",
        "experiment_tag",
        "hostname",
        "iterations_since_restore",
        "node_ip",
        "pid",
        "run_config",
        "run_id",
        "should_checkpoint",
        "status",
        "step",
        "time_since_restore",
        "time_this_iter_s",
        "time_total_s",
        "timestamp",
        "training_iteration",
        "trial_id",
    }
)

_PREFIX = "metric_"


def report_name(metric: str) -> str:
    """Return the name under which a metric is reported to Tune."""
    taken = metric in TUNE_NAMES or metric.startswith(_PREFIX)
    return _PREFIX + metric if taken else metric


def reported_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Pick the metrics of the experiment, under its own names, out of a result of Tune."""
    return {
        name.removeprefix(_PREFIX): value
        for name, value in result.items()
        if name not in TUNE_NAMES and isinstance(value, float)
    }


def result_metrics(result: Any) -> dict[str, float]:
    """Turn what an inner main returned into metrics.

    Parameters
    ----------
    result
        A number becomes the metric ``result``; of a dictionary the numbers are taken under
        their names; anything else gives no metric.
    """
    if _is_number(result):
        return {"result": float(result)}
    if isinstance(result, Mapping):
        return {str(name): float(value) for name, value in result.items() if _is_number(value)}
    return {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
# Steps that come faster than this, in a second, are reported in part, after so many at first.
_FAST = 4.0
_BURST = 50.0


@dataclass(frozen=True)
class Urgent:
    """Which reports must not be left out, where others are that come fast; plain data.

    Parameters
    ----------
    steps
        In ascending order; of each, the first step that comes to it or past it.
    interval
        Steps from one such report to the next, at most.
    bounds
        Metric, comparison and number; steps that fulfil one.
    """

    steps: tuple[float, ...] = ()
    interval: float | None = None
    bounds: tuple[tuple[str, str, float], ...] = ()


class FastReports:
    """Decides which reports are made where they come too fast for all of them.

    The first ones are, and those that come slowly; that leaves the reports of most experiments as
    they are. Of others, a few in each second are made, and the urgent ones.

    Parameters
    ----------
    urgent
        What must not be left out.
    clock
        Returns seconds.
    """

    def __init__(self, urgent: Urgent, clock: Callable[[], float]) -> None:
        self._urgent = urgent
        self._clock = clock
        self._allowed = _BURST
        self._counted_at = clock()
        self._mark: float = 0
        self._passed = 0
        self._periods = 0

    def begin_at(self, step: float) -> None:
        """Take a step, at which a trial goes on, for one that was reported."""
        self._is_at_mark(step)
        self._mark = step

    def is_made(self, step: float, latest: Mapping[str, float], names: Collection[str]) -> bool:
        """Tell whether a complete step is reported.

        Parameters
        ----------
        step
            The step.
        latest
            Last values by name.
        names
            Which of them are of this step.
        """
        now = self._clock()
        refilled = self._allowed + (now - self._counted_at) * _FAST
        self._allowed, self._counted_at = min(refilled, _BURST), now
        is_urgent = self._is_at_mark(step) or any(
            name in names and _COMPARE[sign](latest[name], number)
            for name, sign, number in self._urgent.bounds
        )
        if self._allowed < 1 and not is_urgent:
            return False
        self._allowed = max(self._allowed - 1, 0.0)
        return True

    def _is_at_mark(self, step: float) -> bool:
        passed = bisect_right(self._urgent.steps, step)
        is_new = passed > self._passed
        self._passed = max(self._passed, passed)
        interval = self._urgent.interval
        if interval:
            # Counted from the beginning, and from the step at which the time was up before, as
            # one scheduler does this and another that.
            periods = int(step // interval)
            if periods > self._periods:
                self._periods, is_new = periods, True
            if step - self._mark >= interval:
                self._mark, is_new = step, True
        return is_new


class StepReporter:
    """Groups logged scalars by step and hands them on.

    Parameters
    ----------
    report
        Takes the latest value of every metric and ``step``; may raise to end the trial.
    every_s
        Shortest time between two reports, in seconds; 0 reports every step. The steps between
        are only in the record.
    urgent
        What is reported of steps that come fast, where ``every_s`` is 0; None for all of them.
    metric
        What trials are compared by; a step with it is reported as soon as its names are
        complete, others when the next step begins. None: every step as soon as it is complete.
    expected
        Names of an earlier step with the metric, as of the trial before in the same process; is
        kept up to date.
    is_urgent
        Asked with each value, once the step before it was reported; tells whether the report of
        its own step must not be left out.
    clock
        Returns seconds; for tests.

    Attributes
    ----------
    latest : dict
        The last value of every metric logged so far.
    step : int or None
        The last step.
    """

    def __init__(
        self,
        report: Callable[[dict[str, Any]], None],
        every_s: float = 0.0,
        metric: str | None = None,
        expected: set[str] | None = None,
        is_urgent: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        urgent: Urgent | None = None,
    ) -> None:
        self.latest: dict[str, float] = {}
        self.step: int | None = None
        self._report = report
        self._every_s = every_s
        self._metric = metric
        self._expected = set() if expected is None else expected
        self._is_urgent = is_urgent
        self._clock = clock
        self._last_report = float("-inf")
        self._fast = None if urgent is None or every_s else FastReports(urgent, clock)
        self._pending: set[str] = set()
        self._must_report = False
        self._is_watched = True

    def wait(self) -> None:
        """Let the first report wait, too; short trials whose reports nobody reads have none."""
        self._last_report = self._clock()
        self._is_watched = False

    @property
    def rests(self) -> bool:
        """Whether no report is due, and nobody waits for one."""
        if self._is_watched or self._fast is not None:
            return False
        return self._clock() - self._last_report < self._every_s

    def note(self, name: str, value: float, step: int) -> None:
        """Take one logged scalar while the reporter rests, in less time than `log`.

        Parameters
        ----------
        name, value, step
            As for `log`.
        """
        pending = self._pending
        if step != self.step or name in pending:
            pending.clear()
            self.step = step
        pending.add(name)
        self.latest[name] = float(value)

    def go_on(self, step: int | None, latest: Mapping[str, float]) -> None:
        """Begin where an earlier part of the trial was.

        Parameters
        ----------
        step
            Its last step.
        latest
            The last value of every metric.
        """
        self.step = step
        self.latest.update(latest)
        if self._fast is not None and step is not None:
            self._fast.begin_at(step)

    def begin(self, name: str, value: Any, step: int) -> None:
        """Report the step before this scalar, if it shows that that one is complete.

        To be called before the scalar is recorded: a trial that this report ends has not logged
        it, and one that goes on from there logs it then.

        Parameters
        ----------
        name, value, step
            As for `log`.
        """
        is_next = step != self.step or name in self._pending
        if self._pending and is_next and _is_number(value):
            self._complete_step()

    def log(self, name: str, value: Any, step: int) -> None:
        """Take one logged scalar; may report the step before it, or its own.

        Parameters
        ----------
        name
            Name of the metric.
        value
            A Python number; others are left to the record.
        step
            Step as the experiment counts it.
        """
        if not _is_number(value):
            return
        self.begin(name, value, step)
        self._must_report = self._is_urgent()
        self.step = step
        self._pending.add(name)
        self.latest[name] = float(value)
        if self._expected and self._pending >= self._expected:
            self._complete_step()

    def _complete_step(self) -> None:
        if self._metric is None or self._metric in self._pending:
            self._expected.clear()
            self._expected.update(self._pending)
        names = set(self._pending)
        self._pending.clear()
        now = self._clock()
        if not self._is_made(now, names):
            return
        self._last_report = now
        values = {report_name(name): value for name, value in self.latest.items()}
        self._report({**values, "step": self.step})

    def _is_made(self, now: float, names: Collection[str]) -> bool:
        if self._fast is not None and self.step is not None:
            # Asked each time, as it counts.
            return self._fast.is_made(self.step, self.latest, names) or self._must_report
        return now - self._last_report >= self._every_s or self._must_report
