"""The ``direct`` engine: trials in batches on long-lived Ray actors, without Ray Tune.

For searches in which no trial depends on another: neither searcher nor scheduler. What Tune does
for each trial costs ten to twenty milliseconds; this costs a fraction of one.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from sacred_ray_ingredient.cluster.resources import read_resources
from sacred_ray_ingredient.engines.base import EngineJob, TrialListener
from sacred_ray_ingredient.engines.death_words import in_plain_words
from sacred_ray_ingredient.engines.direct_crew import Came, Crew, starter
from sacred_ray_ingredient.engines.direct_queue import BatchSize, TaskQueue
from sacred_ray_ingredient.engines.direct_worker import TrialReport
from sacred_ray_ingredient.engines.endings import Endings, was_taken
from sacred_ray_ingredient.engines.node_loss import FREE_LOSSES, node_was_lost
from sacred_ray_ingredient.errors import SacredRayError
from sacred_ray_ingredient.tasks import TrialOutcome, TrialTask

# Seconds between two questions whether the sweep is to end.
_TICK_S = 0.1
# What trials get for their last words when the sweep ends.
_PATIENCE_S = 12.0

_log = logging.getLogger(__name__)


class DirectEngine:
    """Runs trials on Ray actors; see `sacred_ray_ingredient.engines.base.Engine`."""

    def run(
        self, job: EngineJob, listener: TrialListener, should_stop: Callable[[], str | None]
    ) -> None:
        """Run all trials of a job on the connected Ray."""
        _Search(job, listener, should_stop).run()


class _Search:
    """One job, from its first trial to its last."""

    def __init__(
        self, job: EngineJob, listener: TrialListener, should_stop: Callable[[], str | None]
    ) -> None:
        settings = job.settings
        self._listener = listener
        self._should_stop = should_stop
        self._max_failures = settings.max_failures
        self._storage = job.storage.of_job(job.name)
        self._left = job.total if job.restart is None else job.total - len(job.restart.done)
        self._failures: Counter[int] = Counter()
        self._node_losses: Counter[int] = Counter()
        self._mistake: str | None = None
        # Of a batch whose worker dies, only the record knows what has come to its end.
        self._sizes = BatchSize(most=None if job.is_recorded else 1)
        self._endings = Endings(job.sweep.sweep_id)
        resources = read_resources(settings.resources_per_trial)
        start = starter(job.sweep, job.stop_rules, self._storage, resources)
        self._sweep_id = job.sweep.sweep_id
        self._not_taken: set[int] = set()
        self._is_ending = False
        self._is_recorded = job.is_recorded
        most = settings.max_concurrent_trials or max(job.total, 1)
        can_grow = job.autoscaler is not None
        self._crew = Crew(start, resources, most, can_grow, listener.note)
        self._queue = TaskQueue(job.trials(), job.resolver, job.sweep.target.reserve_ids)

    def run(self) -> None:
        """Run the trials until there are no more, or the sweep is to end.

        Raises
        ------
        SacredRayError
            If a rule of ``ray.stop`` or a dependent parameter failed, or no worker can start;
            running trials are ended first.
        """
        self._endings.clear()  # of a driver that was killed as it ended the same sweep
        try:
            try:
                self._run()
            except SacredRayError as error:
                self._end(str(error))
                raise
            self._crew.close()
        finally:
            self._crew.dismiss_all()
            self._endings.clear()

    def _run(self) -> None:
        while True:
            reason = self._should_stop()
            if reason is not None:
                self._end(reason)
                return
            self._hand_out()
            if self._queue.is_empty and not self._crew.busy:
                return
            for came in self._crew.wait(_TICK_S):
                self._take(came)
            if self._mistake is not None:
                raise SacredRayError(self._mistake)

    def _hand_out(self) -> None:
        if self._queue.is_empty:
            self._crew.shrink()
            return
        # What is left is an estimate where a sweep goes on.
        self._crew.grow(max(self._left, 1) + self._crew.busy)
        # Those that are starting have their share: a trial can be much longer than those before.
        workers = self._crew.expected
        ahead = self._sizes.batches_ahead(self._left, workers)
        for worker in self._crew.idle(ahead):
            tasks = self._queue.take(self._sizes.choose(self._left, workers))
            if not tasks:
                return
            self._left -= len(tasks)
            self._crew.give(worker, tasks)

    def _take(self, came: Came) -> None:
        if came.report is None:
            self._take_loss(came)
            return
        trials = came.report.trials
        self._sizes.learn(len(trials), came.report.seconds)
        for task, report in zip(came.tasks, trials, strict=False):
            self._tell(task, report)
        self._put_back(came.tasks[len(trials) :])
        self._mistake = self._mistake or came.report.mistake

    def _tell(self, task: TrialTask, report: TrialReport) -> None:
        outcome = _outcome(task, report)
        if report.has_raised:
            self._listener.trial_failed(outcome, self._retry(task))
        else:
            self._listener.trial_finished(outcome)

    def _take_loss(self, came: Came) -> None:
        """Find out which of its trials a dead worker had begun: the last of them it died of."""
        node_lost = node_was_lost(came.error, came.worker)
        reason = in_plain_words(came.error, node_lost)
        begun = [task for task in came.tasks if self._listener.has_begun(_outcome(task))]
        lost = begun or self._died_early(came)
        others = [task for task in came.tasks if task not in lost]
        # What a lost node has recorded of the others may come to light later, as of this attempt.
        self._put_back([_next_attempt(task) for task in others] if node_lost else others)
        for task in lost:
            self._node_losses[task.index] += node_lost
            outcome = _outcome(task, TrialReport("FAILED", task.run_id, error=reason))
            outcome.node_lost = node_lost
            is_free = node_lost and self._node_losses[task.index] <= FREE_LOSSES
            will_retry = self._may_retry(task, is_free)
            self._listener.trial_died(outcome, will_retry)
            if outcome.status == "COMPLETED" and will_retry:
                self._listener.trial_finished(outcome)
            elif outcome.status != "COMPLETED":
                self._retry(task, is_free)

    def _died_early(self, came: Came) -> list[TrialTask]:
        """Return the first trial of a dead worker, unless it had died before it was given that.

        That can be so once, not again and again.
        """
        first = came.tasks[:1]
        is_known = not self._is_recorded or first[0].index in self._not_taken
        if is_known or was_taken(self._sweep_id, came.worker, first[0]):
            return first
        self._not_taken.add(first[0].index)
        return []

    def _may_retry(self, task: TrialTask, is_free: bool = False) -> bool:
        has_left = is_free or self._failures[task.index] < self._max_failures
        return has_left and not self._is_ending

    def _retry(self, task: TrialTask, is_free: bool = False) -> bool:
        """Let a trial that failed be tried again, unless that was the last time.

        Parameters
        ----------
        task
            The attempt that failed.
        is_free
            Whether this does not count as a failure of the trial.
        """
        if not self._may_retry(task, is_free):
            return False
        self._failures[task.index] += not is_free
        kept = self._storage.of_trial(task).last_checkpoint()
        self._put_back([_next_attempt(task, restore_from=kept or task.restore_from)])
        return True

    def _put_back(self, tasks: list[TrialTask]) -> None:
        self._left += len(tasks)
        self._queue.put_back(tasks)

    def _end(self, reason: str) -> None:
        """Tell the workers that the sweep ends, and hear what becomes of the trials that run."""
        self._is_ending = True
        self._crew.dismiss_unready()
        self._endings.announce_to_all(reason)
        deadline = time.monotonic() + _PATIENCE_S
        while self._crew.busy and time.monotonic() < deadline:
            for came in self._crew.wait(_TICK_S):
                self._take(came)
        for tasks in self._crew.close():
            for outcome in map(_outcome, tasks):
                is_first = outcome.index == tasks[0].index
                if self._listener.has_begun(outcome) or (is_first and not self._is_recorded):
                    self._listener.trial_started(outcome)  # the record says how it ended


def _next_attempt(task: TrialTask, **changes: Any) -> TrialTask:
    return dataclasses.replace(task, attempt=task.attempt + 1, run_id=None, **changes)


def _outcome(task: TrialTask, report: TrialReport | None = None) -> TrialOutcome:
    found = TrialReport("RUNNING", task.run_id) if report is None else report
    return TrialOutcome(
        index=task.index,
        attempt=task.attempt,
        status=found.status,
        parameters=task.shown(),
        seed=task.seed,
        run_id=found.run_id,
        metrics=found.metrics,
        error=found.error,
        config=found.config,
        segment=task.segment,
        configuration=task.configuration,
        stop_reason=found.stop_reason,
        sampled=task.sampled,
        named_configs=task.named_configs,
    )
