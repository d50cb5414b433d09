"""The worker's end of the ``tune`` engine: a Tune trainable that runs one trial."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune

from sacred_ray_ingredient.capture import use_file
from sacred_ray_ingredient.engines.endings import announced_ending
from sacred_ray_ingredient.engines.tune_storage import as_tune_checkpoint
from sacred_ray_ingredient.record.target import close_clients
from sacred_ray_ingredient.storage import Storage, StoredTrial
from sacred_ray_ingredient.tasks import Ending, SweepTask, TrialTask
from sacred_ray_ingredient.trial import TrialContext, TrialStopped, run_trial
from sacred_ray_ingredient.trial_log import logged

# Shorter than what Tune waits for an actor before it kills it (10 s).
_STOP_PATIENCE_S = 8.0


# Read by Tune in this process. A stopped trial may take its time over its last words before the
# process is given up.
_ENVIRONMENT = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "60"}


class _FinishBeforeExit:
    """Part of the trainable class: its process waits for the run's last words.

    Tune's own clean-up sets the thread of the trial free and lets the process end at once, in
    which case the record of a stopped trial would stay RUNNING.
    """

    def cleanup(self) -> None:
        """Let a stopped trial write its end, for a bounded time."""
        from ray.train._internal.session import get_session

        session = get_session()
        if session is not None and session.training_started:
            session.stop_event.set()
            session.continue_lock.release()
            session.training_thread.join(timeout=_STOP_PATIENCE_S)
        # Left to the end of the process, the threads of its clients would hold it up for seconds.
        close_clients()
        super().cleanup()  # type: ignore[misc]


def make_trainable(sweep: SweepTask, storage: Storage) -> Callable[[Mapping[str, Any]], None]:
    """Make the function that Tune runs for each trial.

    Parameters
    ----------
    sweep
        What all trials share; travels to the workers with the function.
    storage
        For their checkpoints and logs.
    """
    # Of the trial before in the same process, for the first step of the next one.
    expected_names: set[str] = set()

    def trainable(config: Mapping[str, Any]) -> None:
        os.environ.update(_ENVIRONMENT)
        use_file()
        trial = TrialTask.from_config(config)
        stored = storage.of_trial(trial)
        report = functools.partial(_report_to_tune, sweep.sweep_id, trial, stored)
        with _restored_folder(storage, trial) as restored, logged(stored, trial.segment) as logs:
            context = TrialContext(
                report,
                trial_id=tune.get_context().get_trial_id(),
                resources=ray.get_runtime_context().get_assigned_resources(),
                restored=restored,
                expected_names=expected_names,
                stored_checkpoint=stored.take_kept,
                logs=logs,
            )
            try:
                if trial.reported is not None:
                    report(dict(trial.reported), None)
                else:
                    run_trial(sweep, trial, context)
            except TrialStopped:
                # Returning would make Tune take the end of the stopped trial for a new result
                # and, where the actor is used again, for the end of the next trial.
                sys.exit(0)

    trainable.__mixins__ = (_FinishBeforeExit,)  # type: ignore[attr-defined]
    return trainable


@contextlib.contextmanager
def _restored_folder(storage: Storage, trial: TrialTask) -> Iterator[Path | None]:
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        # Of before the sweep was resumed, which may have been on another machine.
        opened = storage.opened(trial.restore_from)
    else:
        opened = storage.opened_within(checkpoint.filesystem, checkpoint.path)
    with opened as folder:
        yield folder


def _report_to_tune(
    sweep_id: str,
    trial: TrialTask,
    stored: StoredTrial,
    values: dict[str, Any],
    checkpoint: Path | None,
) -> None:
    """Report values to Tune.

    Raises
    ------
    TrialStopped
        If Tune ends the trial, which it says with a ``SystemExit`` out of its report.
    """
    is_last = values["status"] != "RUNNING"
    if is_last and values["status"] != "FAILED":
        # Said here, so that no scheduler can pause a trial that has come to its end.
        values = {**values, "done": True}
    kept = None
    if checkpoint is not None:
        kept = as_tune_checkpoint(stored.storage, stored.keep(checkpoint))
    try:
        tune.report(values, checkpoint=kept)
    except SystemExit as error:
        ending = Ending("stop", "") if is_last else announced_ending(sweep_id, trial)
        raise TrialStopped(ending) from error
