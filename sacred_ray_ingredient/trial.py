"""The worker's story of a trial: build the configuration, run the inner experiment, report."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sacred.run import Run

from sacred_ray_ingredient import checkpoints
from sacred_ray_ingredient.errors import InnerImportError, TrialFailed
from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.host_info import remember_host_info
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.metrics import (
    StepReporter,
    report_name,
    reported_metrics,
    result_metrics,
)
from sacred_ray_ingredient.record.documents import storable
from sacred_ray_ingredient.record.observer import RunObserver, observer_of, recorded_id
from sacred_ray_ingredient.tasks import Ending, SweepTask, TrialTask
from sacred_ray_ingredient.trial_folder import TravellingTree, in_folder, move_in
from sacred_ray_ingredient.trial_record import about_trial, observe_trial, record_stillborn
from sacred_ray_ingredient.values import plain
from sacred_ray_ingredient.watchdog import TrialTimeout, Watchdog, end_process, note_reason

# Lies in each checkpoint.
_METRICS_FILE = ".sacred_ray_metrics.json"
_NUMBERS = frozenset({float, int})


class TrialStopped(KeyboardInterrupt):
    """The engine ended the trial at one of its reports.

    A ``KeyboardInterrupt``, so that an ``except Exception`` of the inner experiment does not
    hold it up, and so that Sacred ends the run with the status of the ending.

    Parameters
    ----------
    ending
        What kind of end it is, and why; None where another thread has raised it, which knows.

    Attributes
    ----------
    metrics : dict
        Last values by name, once the run has ended.
    run_id : int, str or None
        Id of the run, once it has ended.
    """

    STATUS = "INTERRUPTED"

    def __init__(self, ending: Ending | None = None) -> None:
        super().__init__("" if ending is None else ending.reason)
        self.ending = ending
        self.metrics: dict[str, float] = {}
        self.run_id: int | str | None = None
        if ending is not None:
            self.STATUS = ending.status


@dataclass
class TrialContext:
    """What an engine gives a trial in its worker process.

    Parameters
    ----------
    report
        Takes metrics on their way and at the end, with the folder of a checkpoint or None; raises
        `TrialStopped` to end the trial.
    trial_id
        The engine's own name of the trial.
    resources
        What the engine gave the trial, by name.
    restored
        Folder of the checkpoint to go on from.
    expected_names
        Names that a step is known to have, kept over the trials of a process.
    stored_checkpoint
        Tells the folder in which the engine keeps the last checkpoint, None where there is none.
    logs
        Paths or URLs of the files that what it prints is written to, beside the record.
    watched
        Given the run as it starts, with what can end it from another thread.
    """

    report: Callable[[dict[str, Any], Path | None], None]
    trial_id: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    restored: Path | None = None
    expected_names: set[str] = field(default_factory=set)
    stored_checkpoint: Callable[[], str | None] = field(default_factory=lambda: _nowhere)
    logs: Sequence[str] = ()
    watched: Callable[[Run, Watchdog], None] = field(default_factory=lambda: _unwatched)


def _nowhere() -> None:
    return None


def _unwatched(run: Run, watchdog: Watchdog) -> None:
    return None


def run_trial(sweep: SweepTask, trial: TrialTask, context: TrialContext) -> None:
    """Run one trial in this process and record it.

    Parameters
    ----------
    sweep
        What all trials share.
    trial
        This trial.
    context
        The engine's side of it.

    Raises
    ------
    TrialFailed
        If the inner experiment raised; its trace is in the record.
    TrialStopped
        If the engine ended it at a report; the run is recorded with the status of the ending.
    """
    remember_host_info()
    folder = move_in(sweep.folder, sweep.code, sweep.tree)
    with in_folder(folder), _NextCheckpoint() as checkpoint:
        try:
            run = _make_run(sweep, trial, context)
        except (Exception, SystemExit) as error:
            trace = traceback.format_exc().splitlines(True)
            run_id = record_stillborn(sweep, trial, context.trial_id, trace)
            raise _failed(trial, run_id, "FAILED", error, context) from None
        reporter = StepReporter(
            _progress_report(context, run, trial, checkpoint),
            sweep.report_every,
            metric=None if sweep.metric == "result" else sweep.metric,
            expected=context.expected_names,
            is_urgent=checkpoint.join_step,
            urgent=sweep.urgent,
        )
        if not sweep.is_watched:
            reporter.wait()
        _take_over_metrics(context.restored, reporter)
        _forward_metrics(run, reporter, checkpoint)
        checkpoints.set_keeper(checkpoints.Keeper(context.restored, checkpoint.keep))
        limit = sweep.trial_timeout_s
        too_long = f"It took longer than ray.trial_timeout_s={limit}."
        try:
            give_up, note = (partial(end, run, too_long) for end in (end_process, note_reason))
            with Watchdog(limit, give_up, note) as watchdog:
                context.watched(run, watchdog)
                run()
        except TrialStopped as stopped:
            stopped.metrics, stopped.run_id = dict(reporter.latest), recorded_id(run)
            raise
        except TrialTimeout:
            context.report(_last_report(run, trial, reporter, error=too_long), None)
            return
        except BaseException as error:
            raise _failed(trial, recorded_id(run), run.status, error, context) from None
        finally:
            checkpoints.set_keeper(None)
    context.report(_last_report(run, trial, reporter), None)


def check_import(
    inner: InnerReference,
    folder: str,
    code: FrozenCode | None = None,
    tree: TravellingTree | None = None,
) -> str | None:
    """Try what each trial begins with.

    Parameters
    ----------
    inner
        The inner experiment.
    folder
        Current folder of the driver.
    code
        The project's modules, as the driver has them.
    tree
        What came along to another node.

    Returns
    -------
    str or None
        A sentence if the experiment cannot be imported here.
    """
    with in_folder(move_in(folder, code, tree)):
        try:
            inner.load()
        except InnerImportError as error:
            return str(error)
    return None


class _NextCheckpoint:
    """The checkpoint that goes along with the report of its step.

    The step before may not have been reported when it is saved; it is none of that step's.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._saved: Path | None = None
        self._path: Path | None = None

    def __enter__(self) -> _NextCheckpoint:
        """Begin; a folder is made when there is something to keep."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Delete what was not reported."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def keep(self, path: Path) -> None:
        """Copy a checkpoint of the step that is logged next."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sacred-ray-"))
        if self._saved is not None:
            shutil.rmtree(self._saved)
        self._saved = Path(shutil.copytree(path, self._folder / uuid.uuid4().hex))

    def join_step(self) -> bool:
        """Give what was saved to the step that is being logged; tell whether that has one."""
        if self._saved is not None:
            self.drop()
            self._path, self._saved = self._saved, None
        return self._path is not None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be reported."""
        return self._saved is None and self._path is None

    def path(self) -> Path | None:
        """Return where it is."""
        return self._path

    def note(self, values: Mapping[str, Any]) -> None:
        """Keep the metrics of its step with it."""
        if self._path is not None:
            (self._path / _METRICS_FILE).write_text(json.dumps(values), encoding="utf-8")

    def drop(self) -> None:
        """Delete it, once it has been reported."""
        if self._path is not None:
            shutil.rmtree(self._path)
        self._path = None


def _rays_node() -> dict[str, str]:
    """Say which of Ray's nodes this is; several can have the same name."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return {}
    return {"node_id": ray.get_runtime_context().get_node_id()}


def _make_run(sweep: SweepTask, trial: TrialTask, context: TrialContext) -> Run:
    experiment = sweep.inner.load()
    place = {
        "node": platform.node(),
        "pid": os.getpid(),
        "resources": dict(context.resources),
        # On how many threads numerical libraries add up decides the last bits of a result.
        "threads": os.environ.get("OMP_NUM_THREADS"),
        **({"restored": True} if context.restored is not None else {}),
        **({"log": list(context.logs)} if context.logs else {}),
    }
    run = experiment._create_run(
        config_updates=trial.config_updates(),
        info={"sweep": place},
        # Of a trial that loses its node nothing else may say where it was.
        meta_info={"sweep": {**about_trial(sweep, trial, context.trial_id), **_rays_node()}},
        options=dict(sweep.options),
    )
    # On the run and not on the experiment, which the next trial of this process uses again.
    observe_trial(run, sweep, trial)
    return run


def _failed(
    trial: TrialTask,
    run_id: int | str | None,
    status: str,
    error: BaseException,
    context: TrialContext,
) -> TrialFailed:
    """Tell the driver about a trial that raised, and make the exception that ends it."""
    first_line = str(error).strip().split("\n", 1)[0]
    line = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    values = {"run_id": run_id, "attempt": trial.attempt, "status": status, "error": line}
    context.report(values, None)
    # Text only: the exception of the experiment may be one that no other process can load.
    return TrialFailed(f"Trial {trial.index} (run {run_id}) ended {status}: {line}")


def _take_over_metrics(restored: Path | None, reporter: StepReporter) -> None:
    """Begin with the metrics of the state that the trial goes on from."""
    path = None if restored is None else restored / _METRICS_FILE
    if path is None or not path.is_file():
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    reporter.go_on(values.get("step"), reported_metrics(values))


def _forward_metrics(run: Run, reporter: StepReporter, checkpoint: _NextCheckpoint) -> None:
    """Let each logged scalar reach the reporter too; the record gets it as before."""
    logger = run._metrics
    log_scalar_metric = logger.log_scalar_metric
    steps = logger._metric_step_counter

    def log_and_report(metric_name: str, value: Any, step: int | None = None) -> None:
        if type(value) in _NUMBERS and checkpoint.is_empty and reporter.rests:
            log_scalar_metric(metric_name, value, step)
            reporter.note(metric_name, value, steps[metric_name])
            return
        value = plain(value)  # a NumPy or Torch scalar becomes a number
        counted = logger._metric_step_counter.get(metric_name, -1) + 1
        reporter.begin(metric_name, value, counted if step is None else step)
        log_scalar_metric(metric_name, value, step)
        reporter.log(metric_name, value, logger._metric_step_counter[metric_name])

    logger.log_scalar_metric = log_and_report


def _progress_report(
    context: TrialContext, run: Run, trial: TrialTask, checkpoint: _NextCheckpoint
) -> Callable[[dict[str, Any]], None]:
    """Add the run to each report, and note in the run that a report ended it."""

    def report_progress(values: dict[str, Any]) -> None:
        own = {"run_id": recorded_id(run), "attempt": trial.attempt, "status": "RUNNING"}
        checkpoint.note(values)
        try:
            context.report({**values, **own}, checkpoint.path())
        except TrialStopped as stopped:
            if stopped.ending is not None:  # else it has noted it where it raised
                run.info["sweep"]["stop_reason"] = stopped.ending.reason
                for observer in run.observers:
                    if isinstance(observer, RunObserver):
                        observer.tag_at_end(stopped.ending.tags)
            raise
        finally:
            if checkpoint.path() is not None:
                _note_checkpoint(run, context.stored_checkpoint())
            checkpoint.drop()

    return report_progress


def _note_checkpoint(run: Run, path: str | None) -> None:
    """Write into the run where it can go on from."""
    if path is not None:
        run.info["sweep"]["checkpoint"] = path
        for observer in run.observers:
            if isinstance(observer, RunObserver):
                observer.add_to_document({"info.sweep.checkpoint": path}, [])
                observer.sync()


def _last_report(
    run: Run, trial: TrialTask, reporter: StepReporter, error: str | None = None
) -> dict[str, Any]:
    metrics = {**reporter.latest, **result_metrics(plain(run.result))}
    values: dict[str, Any] = {report_name(name): value for name, value in metrics.items()}
    values |= {} if reporter.step is None else {"step": reporter.step}
    values |= {} if error is None else {"error": error}
    if observer_of(run) is None:  # else the record has it
        values["run_config"] = storable(run.config)
    own = {"run_id": recorded_id(run), "attempt": trial.attempt, "status": run.status}
    return {**values, **own}
