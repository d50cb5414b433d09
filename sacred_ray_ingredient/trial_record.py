"""What is written into the record about a trial besides the run itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacred.host_info import get_host_info
from sacred.metrics_logger import MetricsLogger
from sacred.run import Run

from sacred_ray_ingredient.errors import InnerImportError
from sacred_ray_ingredient.frozen_import import frozen_source
from sacred_ray_ingredient.nested import flatten, unflatten
from sacred_ray_ingredient.record.documents import utc_now
from sacred_ray_ingredient.sampling import NAMED_CONFIGS
from sacred_ray_ingredient.tasks import SweepTask, TrialOutcome, TrialTask


def observe_trial(run: Run, sweep: SweepTask, trial: TrialTask) -> Any:
    """Let a run be recorded as a trial; return its observer, None where there is no database."""
    return sweep.target.observe(
        run,
        extra_tags=["trial"],
        run_id=trial.run_id,
        name=trial.name,
        sources=None if sweep.code is None else frozen_source,
        is_patient=False,
    )


def about_trial(sweep: SweepTask, trial: TrialTask, trial_id: str | None) -> dict[str, Any]:
    """Return what the document of a trial has under ``meta.sweep``."""
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
        "experiment": str(sweep.inner),
        "code": sweep.code_id,
        "sampled": dict(trial.sampled),
        "resolved": dict(trial.resolved),
        "named_configs": list(trial.named_configs),
        **({"taken_over": trial.taken_over} if trial.taken_over else {}),
    }


def record_stillborn(
    sweep: SweepTask, trial: TrialTask, trial_id: str | None, trace: Sequence[str]
) -> int | None:
    """Record a trial that failed before Sacred had a run of it.

    Parameters
    ----------
    sweep
        What all trials share.
    trial
        The trial.
    trial_id
        The engine's own name of it.
    trace
        What went wrong.

    Returns
    -------
    int or None
        Id of the run; None without a record, or where the database does not answer.
    """
    if sweep.target.address is None or sweep.options.get("--unobserved"):
        return None
    observer = observe_trial(_RunStandIn(), sweep, trial)
    try:
        experiment = sweep.inner.load()
        info = experiment.get_experiment_info()
        command = experiment.default_command
        hosts = experiment.additional_host_info
    except InnerImportError:
        info = {"name": sweep.inner.attribute, "base_dir": sweep.folder, "sources": []}
        command, hosts = None, []
    now = utc_now()
    observer.started_event(
        ex_info=info,
        command=command,
        host_info=get_host_info(hosts),
        start_time=now,
        config=trial.config_updates(),
        meta_info={"options": sweep.options, "sweep": about_trial(sweep, trial, trial_id)},
        _id=None,
    )
    observer.failed_event(fail_time=now, fail_trace=trace)
    run_id: int | None = observer.run_id
    return run_id


def record_missing(sweep: SweepTask, outcome: TrialOutcome, reason: str) -> int | None:
    """Record an attempt whose worker died before it could begin to; called by the driver.

    Parameters
    ----------
    sweep
        What all trials share.
    outcome
        What the driver knows of the attempt.
    reason
        Why it died.
    """
    sampled = flatten(outcome.sampled)
    resolved = {
        path: value
        for path, value in outcome.parameters.items()
        if path not in sampled and path != NAMED_CONFIGS
    }
    trial = TrialTask(
        index=outcome.index,
        sampled=outcome.sampled,
        resolved=unflatten(resolved),
        seed=outcome.seed,
        attempt=outcome.attempt,
        segment=outcome.segment,
        configuration=outcome.configuration,
        named_configs=tuple(outcome.named_configs),
    )
    return record_stillborn(sweep, trial, None, [f"{reason}\n"])


class _RunStandIn:
    """What an observer needs of a run, where there is none."""

    def __init__(self) -> None:
        self.observers: list[Any] = []
        self.info: dict[str, Any] = {}
        self.captured_out = ""
        self.result = None
        self.beat_interval = 0
        self._output_file = None
        self._metrics = MetricsLogger()
