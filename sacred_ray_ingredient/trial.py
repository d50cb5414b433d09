"""The worker's story of a trial: build the configuration, run the inner experiment, report."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import shutil
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacred.host_info import get_host_info
from sacred.run import Run

from sacred_ray_ingredient import checkpoints
from sacred_ray_ingredient.errors import InnerImportError, TrialFailed
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.metrics import (
    StepReporter,
    report_name,
    reported_metrics,
    result_metrics,
)
from sacred_ray_ingredient.record.documents import storable
from sacred_ray_ingredient.record.observer import RunObserver, recorded_id
from sacred_ray_ingredient.tasks import Ending, SweepTask, TrialTask
from sacred_ray_ingredient.values import plain
from sacred_ray_ingredient.watchdog import TrialTimeout, Watchdog, end_process

# Lies in each checkpoint.
_METRICS_FILE = ".sacred_ray_metrics.json"


class TrialStopped(KeyboardInterrupt):
    """The engine ended the trial at one of its reports.

    A ``KeyboardInterrupt``, so that an ``except Exception`` of the inner experiment does not
    hold it up, and so that Sacred ends the run with the status of the ending.

    Parameters
    ----------
    ending
        What kind of end it is, and why.
    """

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending
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
    """

    report: Callable[[dict[str, Any], Path | None], None]
    trial_id: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    restored: Path | None = None
    expected_names: set[str] = field(default_factory=set)


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
    with _in_folder(sweep.folder), tempfile.TemporaryDirectory(prefix="sacred-ray-") as spare:
        try:
            run = _make_run(sweep, trial, context)
        except (Exception, SystemExit) as error:
            run_id = _record_stillborn(sweep, trial, context)
            raise _failed(trial, run_id, "FAILED", error, context) from None
        checkpoint = _NextCheckpoint(Path(spare))
        reporter = StepReporter(
            _progress_report(context, run, trial, checkpoint),
            sweep.report_every,
            metric=None if sweep.metric == "result" else sweep.metric,
            expected=context.expected_names,
            is_urgent=checkpoint.join_step,
        )
        _take_over_metrics(context.restored, reporter)
        _forward_metrics(run, reporter)
        checkpoints.set_keeper(checkpoints.Keeper(context.restored, checkpoint.keep))
        limit = sweep.trial_timeout_s
        too_long = f"It took longer than ray.trial_timeout_s={limit}."
        try:
            with Watchdog(limit, lambda: end_process(run, too_long)):
                run()
        except TrialStopped:
            raise
        except TrialTimeout:
            context.report(_last_report(run, trial, reporter, error=too_long), None)
            return
        except BaseException as error:
            raise _failed(trial, recorded_id(run), run.status, error, context) from None
        finally:
            checkpoints.set_keeper(None)
    context.report(_last_report(run, trial, reporter), None)


def check_import(inner: InnerReference, folder: str) -> str | None:
    """Try what each trial begins with.

    Parameters
    ----------
    inner
        The inner experiment.
    folder
        Current folder of the driver.

    Returns
    -------
    str or None
        A sentence if the experiment cannot be imported here.
    """
    with _in_folder(folder):
        try:
            inner.load()
        except InnerImportError as error:
            return str(error)
    return None


class _NextCheckpoint:
    """The checkpoint that goes along with the report of its step.

    The step before may not have been reported when it is saved; it is none of that step's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saved: Path | None = None
        self._path: Path | None = None

    def keep(self, path: Path) -> None:
        """Copy a checkpoint of the step that is logged next."""
        if self._saved is not None:
            shutil.rmtree(self._saved)
        self._saved = Path(shutil.copytree(path, self._folder / uuid.uuid4().hex))

    def join_step(self) -> bool:
        """Give what was saved to the step that is being logged; tell whether that has one."""
        if self._saved is not None:
            self.drop()
            self._path, self._saved = self._saved, None
        return self._path is not None

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


def _make_run(sweep: SweepTask, trial: TrialTask, context: TrialContext) -> Run:
    experiment = sweep.inner.load()
    place = {"node": platform.node(), "pid": os.getpid(), "resources": dict(context.resources)}
    run = experiment._create_run(
        config_updates=trial.config_updates(),
        info={"sweep": place},
        meta_info={"sweep": _sweep_meta(sweep, trial, context.trial_id)},
        options=dict(sweep.options),
    )
    # On the run and not on the experiment, which the next trial of this process uses again.
    sweep.target.observe(run, extra_tags=["trial"])
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


def _sweep_meta(sweep: SweepTask, trial: TrialTask, trial_id: str | None) -> dict[str, Any]:
    return {
        "sweep_id": sweep.sweep_id,
        "outer_run_id": sweep.outer_run_id,
        "exp_name": sweep.exp_name,
        "trial_index": trial.index,
        "trial_id": trial_id,
        "attempt": trial.attempt,
        "segment": trial.segment,
        "configuration": trial.configuration,
        "repetition": trial.repetition,
        "engine": sweep.engine,
        "sampled": dict(trial.sampled),
        "resolved": dict(trial.resolved),
        "named_configs": list(trial.named_configs),
        **({"taken_over": trial.taken_over} if trial.taken_over else {}),
    }


def _record_stillborn(sweep: SweepTask, trial: TrialTask, context: TrialContext) -> int | None:
    """Record a trial that failed before Sacred had a run of it; called while handling why."""
    trace = traceback.format_exc().splitlines(True)
    if sweep.target.address is None or sweep.options.get("--unobserved"):
        return None
    observer = sweep.target.observe(_RunStandIn(), extra_tags=["trial"])
    try:
        experiment = sweep.inner.load()
        info = experiment.get_experiment_info()
        command = experiment.default_command
        hosts = experiment.additional_host_info
    except InnerImportError:
        info = {"name": sweep.inner.attribute, "base_dir": sweep.folder, "sources": []}
        command, hosts = None, []
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    run_id: int = observer.started_event(
        ex_info=info,
        command=command,
        host_info=get_host_info(hosts),
        start_time=now,
        config=trial.config_updates(),
        meta_info={"options": sweep.options, "sweep": _sweep_meta(sweep, trial, context.trial_id)},
        _id=None,
    )
    observer.failed_event(fail_time=now, fail_trace=trace)
    return run_id


class _RunStandIn:
    """What an observer needs of a run, where there is none."""

    def __init__(self) -> None:
        self.observers: list[Any] = []
        self._output_file = None


def _take_over_metrics(restored: Path | None, reporter: StepReporter) -> None:
    """Begin with the metrics of the state that the trial goes on from."""
    path = None if restored is None else restored / _METRICS_FILE
    if path is None or not path.is_file():
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    reporter.step = values.get("step")
    reporter.latest.update(reported_metrics(values))


def _forward_metrics(run: Run, reporter: StepReporter) -> None:
    """Let each logged scalar reach the reporter too; the record gets it as before."""
    logger = run._metrics
    log_scalar_metric = logger.log_scalar_metric

    def log_and_report(metric_name: str, value: Any, step: int | None = None) -> None:
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
            run.info["sweep"]["stop_reason"] = stopped.ending.reason
            for observer in run.observers:
                if isinstance(observer, RunObserver):
                    observer.tag_at_end(stopped.ending.tags)
            raise
        finally:
            checkpoint.drop()

    return report_progress


def _last_report(
    run: Run, trial: TrialTask, reporter: StepReporter, error: str | None = None
) -> dict[str, Any]:
    metrics = {**reporter.latest, **result_metrics(plain(run.result))}
    values: dict[str, Any] = {report_name(name): value for name, value in metrics.items()}
    values |= {} if reporter.step is None else {"step": reporter.step}
    values |= {} if error is None else {"error": error}
    return {
        **values,
        "run_id": recorded_id(run),
        "attempt": trial.attempt,
        "status": run.status,
        "run_config": storable(run.config),
    }


@contextlib.contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    """Run a trial where the sweep was started, and leave the process as it was found.

    Relative paths to data mean the same as when the experiment is run alone, and the next trial
    of the worker starts fresh.
    """
    before = os.getcwd()
    environment = dict(os.environ)
    if os.path.isdir(folder):  # on another node it need not be
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
