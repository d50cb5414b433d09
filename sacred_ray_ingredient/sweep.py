"""The driver's story of a sweep: check, launch, summarise."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacred.run import Run

from sacred_ray_ingredient.cluster import ImportProbe, check_resources, connected_ray
from sacred_ray_ingredient.engines.base import EngineJob
from sacred_ray_ingredient.errors import MetricNotReported, SweepFailed
from sacred_ray_ingredient.interruption import Interruption
from sacred_ray_ingredient.mongo.folder import project_folder
from sacred_ray_ingredient.nested import get_path, has_path, unflatten
from sacred_ray_ingredient.plan import SweepPlan, trial_options
from sacred_ray_ingredient.progress import SweepProgress, settle
from sacred_ray_ingredient.record.documents import storable
from sacred_ray_ingredient.record.observer import recorded_id
from sacred_ray_ingredient.record.reconcile import (
    close_dead_runs,
    recorded_statuses,
    telling_of_outages,
)
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.report import final_report
from sacred_ray_ingredient.summary import count_by_status, ranked, table_rows, value_of
from sacred_ray_ingredient.tasks import SweepTask

ENGINE = "tune"


def run_sweep(
    plan: SweepPlan, run: Run, target: RecordTarget, say: Callable[[str], None] = print
) -> float:
    """Run all trials of a plan and record what comes out.

    Parameters
    ----------
    plan
        What is to be done.
    run
        The outer run, which has started.
    target
        Where the trials are recorded.
    say
        Prints a line, or several, for the user.

    Returns
    -------
    float
        The best value of the metric.

    Raises
    ------
    ConfigMistakes, InnerImportError
        If the cluster cannot run the trials; none has begun then.
    MetricNotReported
        If a completed trial has no value of the metric; no further trials begin then.
    SweepFailed
        If no trial completed.
    SweepInterrupted
        If the user ended it.
    """
    settings = plan.settings
    sweep = _task(plan, run, target)
    say(_headline(plan, target))
    updates = plan.updates_of({})
    for path in plan.parameters:
        if has_path(updates, path):
            given = f"{plan.inner.path}.{path}={get_path(updates, path)!r}"
            say(f"Note: {given} is replaced in each trial by what the search gives.")
    progress = SweepProgress(
        run, plan.sweep_id, target, settings.metric, settings.mode, plan.total_trials, say
    )
    with Interruption() as interruption:
        try:
            _run_trials(plan, sweep, progress, interruption)
        finally:
            # Whatever happened, the record says of no trial that it runs, and of the sweep what
            # it has.
            _settle_record(sweep, progress, say)
            run.info["sweep"] = _sweep_info(plan, progress)
        is_complete = len(progress.completed) == plan.total_trials
        _add_table(run, progress, plan)
        say(final_report(plan, progress.trials, target, recorded_id(run)))
        if not is_complete:  # a Ctrl-C after the last trial has nothing left to end
            interruption.raise_if_requested()
    return _best_value(plan, progress)


def _task(plan: SweepPlan, run: Run, target: RecordTarget) -> SweepTask:
    return SweepTask(
        sweep_id=plan.sweep_id,
        exp_name=plan.exp_name,
        engine=ENGINE,
        inner=plan.reference,
        options=trial_options(run.meta_info["options"]),
        target=target,
        folder=os.getcwd(),
        outer_run_id=recorded_id(run),
        report_every=plan.settings.report_every,
    )


def _headline(plan: SweepPlan, target: RecordTarget) -> str:
    where = "recorded in " + target.address.describe() if target.address else "not in MongoDB"
    trials = "1 trial" if plan.total_trials == 1 else f"{plan.total_trials} trials"
    return f"{plan.sweep_id} ({plan.exp_name}): {trials} of {plan.inner.path}, {where}"


def _run_trials(
    plan: SweepPlan, sweep: SweepTask, progress: SweepProgress, interruption: Interruption
) -> None:
    settings = plan.settings
    job = EngineJob(
        sweep=sweep,
        space=plan.space,
        num_samples=plan.num_samples,
        seed=plan.outer_seed,
        resolver=plan.trial_resolver,
        settings=settings,
        storage_path=str(Path(settings.storage_path or project_folder() / "tune").absolute()),
    )
    with connected_ray(settings):
        interruption.take_back()  # Ray has its own way with SIGTERM
        check_resources(settings.resources_per_trial)
        probe = ImportProbe(plan.reference, sweep.folder)
        # Importing Tune takes a second, in which the worker can answer.
        from sacred_ray_ingredient.engines.tune import TuneEngine

        probe.wait()
        interruption.raise_if_requested()
        TuneEngine().run(
            job, progress, lambda: interruption.requested() or progress.unreported is not None
        )


def _settle_record(sweep: SweepTask, progress: SweepProgress, say: Callable[[str], None]) -> None:
    """Make the driver's outcomes and the record agree, in whichever way is the later news."""
    statuses: dict[tuple[int, int], tuple[Any, str]] = {}
    if sweep.target.address is not None:
        with telling_of_outages(say):
            runs = sweep.target.runs()
            recorded = recorded_statuses(runs, sweep.sweep_id)
            for outcome in progress.attempts:
                is_open = recorded.get((outcome.index, outcome.attempt), (0, ""))[1] == "RUNNING"
                if is_open and outcome.status != "RUNNING":  # it could not write its own end
                    reason = outcome.error or "It came to its end while the database was away."
                    close_dead_runs(runs, sweep.sweep_id, outcome.status, reason, outcome.index)
            reason = "The sweep ended before this trial did."
            close_dead_runs(runs, sweep.sweep_id, "INTERRUPTED", reason)
            statuses = recorded_statuses(runs, sweep.sweep_id)
    settle(progress.attempts, statuses)


def _sweep_info(plan: SweepPlan, progress: SweepProgress) -> dict[str, Any]:
    """Summarise a sweep for its own document; small, as each heartbeat writes it again."""
    settings = plan.settings
    info: dict[str, Any] = {
        "sweep_id": plan.sweep_id,
        "exp_name": plan.exp_name,
        "engine": ENGINE,
        "inner": str(plan.reference),
        "searcher": "random and grid search",
        "scheduler": "FIFO",
        "search_space": plan.space.text(),
        "dependent": unflatten({resolver.path: resolver.text for resolver in plan.resolvers}),
        "dependent_source": unflatten(
            {
                resolver.path: resolver.source_code
                for resolver in plan.resolvers
                if resolver.source_code is not None
            }
        ),
        "metric": settings.metric,
        "mode": settings.mode,
        "total": plan.total_trials,
        "counts": count_by_status(progress.trials),
        "best": None,
    }
    best = ranked(progress.trials, settings.metric, settings.mode)[:1]
    if best:
        info["best"] = {
            "run_id": best[0].run_id,
            "trial_index": best[0].index,
            "value": value_of(best[0], settings.metric),
            "metrics": best[0].metrics,
            "config": best[0].config,
        }
    summary: dict[str, Any] = storable(info)
    return summary


def _add_table(run: Run, progress: SweepProgress, plan: SweepPlan) -> None:
    """Attach the table of all attempts to the sweep's run."""
    header, rows = table_rows(progress.attempts, plan.parameters)
    with tempfile.TemporaryDirectory(prefix="sacred-ray-") as folder:
        path = Path(folder) / "trials.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
        run.add_artifact(path, name="trials.csv", content_type="text/csv")


def _best_value(plan: SweepPlan, progress: SweepProgress) -> float:
    settings = plan.settings
    if progress.unreported is not None:
        trial = progress.unreported
        reported = ", ".join(sorted(trial.metrics)) or "nothing"
        raise MetricNotReported(
            f"ray.metric is {settings.metric!r}, which trial {trial.index} (run {trial.run_id}) "
            f"never reported; it reported {reported}. The sweep was ended; choose one of these."
        )
    best = ranked(progress.trials, settings.metric, settings.mode)[:1]
    value = value_of(best[0], settings.metric) if best else None
    if value is None:
        errors = [trial.error for trial in progress.trials if trial.error]
        first = f" The first error was: {errors[0]}." if errors else ""
        raise SweepFailed(
            f"None of the {len(progress.trials)} trials of {plan.sweep_id} completed with a "
            f"finite value of {settings.metric!r}.{first}"
        )
    return value
