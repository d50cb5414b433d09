"""The worker's end of the ``direct`` engine: an actor that runs one trial after the other."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from sacred.run import Run

from sacred_ray_ingredient.capture import use_file
from sacred_ray_ingredient.engines.endings import ending_of_sweep, note_taken
from sacred_ray_ingredient.errors import SacredRayError, TrialFailed
from sacred_ray_ingredient.metrics import reported_metrics
from sacred_ray_ingredient.record.target import close_clients
from sacred_ray_ingredient.stop_rules import StopRule, reason_to_stop
from sacred_ray_ingredient.storage import Storage, StoredTrial
from sacred_ray_ingredient.tasks import Ending, SweepTask, TrialTask
from sacred_ray_ingredient.trial import TrialContext, TrialStopped, check_import, run_trial
from sacred_ray_ingredient.trial_folder import move_in
from sacred_ray_ingredient.trial_log import logged
from sacred_ray_ingredient.watchdog import Watchdog, note_reason

# Seconds between two looks at whether the sweep has been ended.
_LOOK_S = 0.5
# A batch that takes longer gives back what it has not begun.
_LONGEST_BATCH_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialReport:
    """What a worker tells the driver about an attempt; small, since there are many.

    Parameters
    ----------
    status
        Sacred's status of the run.
    run_id
        Id of the run in the record.
    metrics
        Last values by name.
    error
        What went wrong, in a line.
    config
        The complete configuration, where there is no record that has it.
    stop_reason
        Why it was ended early.
    has_raised
        Whether the experiment raised, whatever status that gave the run.
    """

    status: str
    run_id: int | str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    config: dict[str, Any] | None = None
    stop_reason: str | None = None
    has_raised: bool = False


@dataclass(frozen=True)
class BatchReport:
    """What became of the first trials of a batch; the others were not begun.

    Parameters
    ----------
    trials
        Of each trial that was run, in their order.
    seconds
        How long they took together.
    mistake
        A sentence, if a rule of ``ray.stop`` failed; the sweep is to be ended.
    """

    trials: list[TrialReport]
    seconds: float
    mistake: str | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a worker cannot run trials.

    Parameters
    ----------
    sentence
        What is wrong.
    node_id
        Ray's id of its node.
    node
        Name of that machine.
    """

    sentence: str
    node_id: str
    node: str


class TrialWorker:
    """Runs trials in its process, in the main thread; an actor.

    Parameters
    ----------
    sweep
        What all trials share.
    stop_rules
        Reference to the list of what ends trials, in a list.
    storage
        For checkpoints and logs, of the job.
    """

    def __init__(self, sweep: SweepTask, stop_rules: Sequence[Any], storage: Storage) -> None:
        move_in(sweep.folder, sweep.code, sweep.tree)
        use_file()
        # Slurm sends it to all processes of a job that it ends. Ray would raise it in the trial,
        # which would be recorded as failed by itself.
        signal.signal(signal.SIGTERM, _leave)
        self._sweep = sweep
        self._stop_rules: list[StopRule] = ray.get(stop_rules[0])
        self._storage = storage
        context = ray.get_runtime_context()
        self._resources = context.get_assigned_resources()
        self._worker_id = context.get_actor_id()
        # Of the trial before, for the first step of the next one.
        self._expected_names: set[str] = set()
        self._watch = _SweepWatch(sweep.sweep_id)

    def ready(self) -> Refusal | None:
        """Tell if this process cannot import the inner experiment."""
        sweep = self._sweep
        sentence = check_import(sweep.inner, sweep.folder, sweep.code, sweep.tree)
        if sentence is None:
            return None
        return Refusal(sentence, ray.get_runtime_context().get_node_id(), platform.node())

    def run(self, trials: Sequence[TrialTask]) -> BatchReport:
        """Run trials until one does not complete, it has taken long, or the sweep ends.

        Parameters
        ----------
        trials
            To be run in this order.
        """
        started = time.monotonic()
        reports: list[TrialReport] = []
        seconds, mistake = 0.0, None
        if trials:
            note_taken(self._sweep.sweep_id, self._worker_id, trials[0])
        for trial in trials:
            if self._watch.ending is not None:
                break
            report, mistake = self._run_one(trial)
            reports.append(report)
            seconds = time.monotonic() - started
            if report.status != "COMPLETED" or seconds > _LONGEST_BATCH_S or mistake is not None:
                break
        return BatchReport(reports, seconds, mistake)

    def close(self) -> None:
        """Bring home what has been recorded."""
        self._watch.stop()
        close_clients()

    def _run_one(self, trial: TrialTask) -> tuple[TrialReport, str | None]:
        trial_id = f"{self._sweep.sweep_id.rpartition('-')[2]}_{trial.index:05d}"
        stored = self._storage.of_trial(trial)
        reports = _Reports(trial_id, self._stop_rules, stored)
        context = TrialContext(
            reports.take,
            trial_id=trial_id,
            resources=self._resources,
            expected_names=self._expected_names,
            stored_checkpoint=stored.take_kept,
            watched=self._watch.watch,
        )
        with self._watch.off_afterwards():
            try:
                with (
                    self._storage.opened(trial.restore_from) as context.restored,
                    logged(stored, trial.segment) as context.logs,
                ):
                    run_trial(self._sweep, trial, context)
            except TrialFailed:  # it has reported what there is to say
                return reports.final(has_raised=True), reports.mistake
            except TrialStopped as stopped:
                return self._stopped(stopped), reports.mistake
            except Exception as error:
                # Not of the experiment, whose own are reported.
                line = f"{type(error).__name__}: {error}"
                return TrialReport("FAILED", trial.run_id, error=line, has_raised=True), None
        return reports.final(), reports.mistake

    def _stopped(self, stopped: TrialStopped) -> TrialReport:
        ending = stopped.ending or self._watch.ending or Ending("interrupt", "")
        return TrialReport(
            ending.status, stopped.run_id, stopped.metrics, stop_reason=ending.reason
        )


def _leave(number: int, frame: Any) -> None:
    """Die as if killed; the trial's record is in its journal, and the driver sees to it."""
    os._exit(128 + number)


class _Reports:
    """Takes the reports of a trial: looks whether it is to end, keeps checkpoints and the last."""

    def __init__(self, trial_id: str, rules: Sequence[StopRule], stored: StoredTrial) -> None:
        self._trial_id = trial_id
        self._rules = rules
        self._stored = stored
        self._started = time.monotonic()
        self._count = 0
        self._last: dict[str, Any] = {}
        self.mistake: str | None = None

    def take(self, values: dict[str, Any], checkpoint: Path | None) -> None:
        """Take a report; the argument ``report`` of a trial's context."""
        if checkpoint is not None:
            self._stored.keep(checkpoint)
        if values["status"] != "RUNNING":
            self._last = values
            return
        self._count += 1
        if self._rules:
            self._stop_by_rule(values)

    def final(self, has_raised: bool = False) -> TrialReport:
        """Return what the driver is told of a trial that came to its end."""
        last = self._last
        return TrialReport(
            last["status"],
            last["run_id"],
            reported_metrics(last),
            last.get("error"),
            last.get("run_config"),
            has_raised=has_raised,
        )

    def _stop_by_rule(self, values: dict[str, Any]) -> None:
        counted = {
            "training_iteration": self._count,
            "time_total_s": time.monotonic() - self._started,
        }
        try:
            reason = reason_to_stop(self._rules, self._trial_id, {**counted, **values})
        except SacredRayError as error:
            self.mistake = str(error)
            raise TrialStopped(Ending("interrupt", self.mistake)) from error
        if reason is not None:
            raise TrialStopped(Ending("stop", reason))


class _SweepWatch:
    """Looks whether the sweep has been ended, and ends the trial that runs then.

    Attributes
    ----------
    ending : Ending or None
        Of the sweep; None as long as it goes on.
    """

    def __init__(self, sweep_id: str) -> None:
        self._sweep_id = sweep_id
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._running: tuple[Run, Watchdog] | None = None
        self.ending: Ending | None = None
        threading.Thread(target=self._look, name="sweep-watch", daemon=True).start()

    def watch(self, run: Run, watchdog: Watchdog) -> None:
        """End this run with the sweep; the argument ``watched`` of a trial's context."""
        with self._lock:
            self._running = (run, watchdog)
            if self.ending is not None:
                self._end()

    @contextlib.contextmanager
    def off_afterwards(self) -> Iterator[None]:
        """Forget the run after the block."""
        try:
            yield
        finally:
            with self._lock:
                self._running = None

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _look(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            try:
                ending = ending_of_sweep(self._sweep_id)
            except Exception as error:  # Ray's store may answer the next time
                _log.debug("cannot ask whether the sweep goes on: %s", error)
                continue
            if ending is not None:
                with self._lock:
                    self.ending = ending
                    self._end()
                return

    def _end(self) -> None:
        if self._running is not None and self.ending is not None:
            run, watchdog = self._running
            note = functools.partial(note_reason, run, self.ending.reason)
            watchdog.interrupt(TrialStopped, note)
