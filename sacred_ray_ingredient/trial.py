"""The worker's story of a trial: build the configuration, run the inner experiment, report."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sacred.host_info import get_host_info
from sacred.run import Run

from sacred_ray_ingredient.errors import InnerImportError, TrialFailed
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.metrics import StepReporter, report_name, result_metrics
from sacred_ray_ingredient.record.documents import storable
from sacred_ray_ingredient.record.observer import recorded_id
from sacred_ray_ingredient.tasks import SweepTask, TrialTask
from sacred_ray_ingredient.values import plain


class TrialStopped(KeyboardInterrupt):
    """The engine ended the trial at one of its reports.

    A ``KeyboardInterrupt``, so that an ``except Exception`` of the inner experiment does not
    hold it up, and so that Sacred ends the run with the status below.
    """

    STATUS = "INTERRUPTED"


def run_trial(
    sweep: SweepTask,
    trial: TrialTask,
    report: Callable[[dict[str, Any]], None],
    trial_id: str | None = None,
    resources: Mapping[str, float] | None = None,
) -> None:
    """Run one trial in this process and record it.

    Parameters
    ----------
    sweep
        What all trials share.
    trial
        This trial.
    report
        Takes metrics on their way and at the end; raises `TrialStopped` to end the trial.
    trial_id
        The engine's own name of the trial.
    resources
        What the engine gave the trial, by name.

    Raises
    ------
    TrialFailed
        If the inner experiment raised; its trace is in the record.
    TrialStopped
        If ``report`` raised it; the run is recorded as INTERRUPTED.
    """
    with _in_folder(sweep.folder):
        try:
            run = _make_run(sweep, trial, trial_id, resources or {})
        except (Exception, SystemExit) as error:
            run_id = _record_stillborn(sweep, trial, trial_id)
            raise _failed(trial, run_id, "FAILED", error, report) from None
        reporter = StepReporter(_progress_report(report, run, trial), sweep.report_every)
        _forward_metrics(run, reporter)
        try:
            run()
        except TrialStopped:
            raise
        except BaseException as error:
            raise _failed(trial, recorded_id(run), run.status, error, report) from None
    report(_final_report(run, reporter, trial))


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


def _make_run(
    sweep: SweepTask, trial: TrialTask, trial_id: str | None, resources: Mapping[str, float]
) -> Run:
    experiment = sweep.inner.load()
    place = {"node": platform.node(), "pid": os.getpid(), "resources": dict(resources)}
    run = experiment._create_run(
        config_updates=trial.config_updates(),
        info={"sweep": place},
        meta_info={"sweep": _sweep_meta(sweep, trial, trial_id)},
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
    report: Callable[[dict[str, Any]], None],
) -> TrialFailed:
    """Tell the driver about a trial that raised, and make the exception that ends it."""
    first_line = str(error).strip().split("\n", 1)[0]
    line = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
    report({"run_id": run_id, "attempt": trial.attempt, "status": status, "error": line})
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
        "segment": 0,
        "engine": sweep.engine,
        "sampled": dict(trial.sampled),
        "resolved": dict(trial.resolved),
    }


def _record_stillborn(sweep: SweepTask, trial: TrialTask, trial_id: str | None) -> int | None:
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
        meta_info={"options": sweep.options, "sweep": _sweep_meta(sweep, trial, trial_id)},
        _id=None,
    )
    observer.failed_event(fail_time=now, fail_trace=trace)
    return run_id


class _RunStandIn:
    """What an observer needs of a run, where there is none."""

    def __init__(self) -> None:
        self.observers: list[Any] = []
        self._output_file = None


def _forward_metrics(run: Run, reporter: StepReporter) -> None:
    """Let each logged scalar reach the reporter too; the record gets it as before."""
    logger = run._metrics
    log_scalar_metric = logger.log_scalar_metric

    def log_and_report(metric_name: str, value: Any, step: int | None = None) -> None:
        value = plain(value)  # a NumPy or Torch scalar becomes a number
        log_scalar_metric(metric_name, value, step)
        reporter.log(metric_name, value, logger._metric_step_counter[metric_name])

    logger.log_scalar_metric = log_and_report


def _progress_report(
    report: Callable[[dict[str, Any]], None], run: Run, trial: TrialTask
) -> Callable[[dict[str, Any]], None]:
    """Add the run to each report, and note in the run that a report ended it."""

    def report_progress(values: dict[str, Any]) -> None:
        try:
            report(
                {
                    **values,
                    "run_id": recorded_id(run),
                    "attempt": trial.attempt,
                    "status": "RUNNING",
                }
            )
        except TrialStopped:
            run.info["sweep"]["stop_reason"] = "stopped by the sweep"
            raise

    return report_progress


def _final_report(run: Run, reporter: StepReporter, trial: TrialTask) -> dict[str, Any]:
    metrics = {**reporter.latest, **result_metrics(plain(run.result))}
    values = {report_name(name): value for name, value in metrics.items()}
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
