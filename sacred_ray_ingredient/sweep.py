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
from sacred_ray_ingredient.evaluation import evaluation_job
from sacred_ray_ingredient.interruption import Interruption
from sacred_ray_ingredient.mongo.folder import project_folder
from sacred_ray_ingredient.nested import get_path, has_path
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.progress import Budget, SweepProgress, settle
from sacred_ray_ingredient.record.observer import recorded_id
from sacred_ray_ingredient.record.reconcile import (
    close_dead_runs,
    recorded_statuses,
    telling_of_outages,
)
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.report import final_report
from sacred_ray_ingredient.summary import candidates, table_rows
from sacred_ray_ingredient.sweep_info import ENGINE, sweep_info
from sacred_ray_ingredient.tasks import SweepTask
from sacred_ray_ingredient.trial_options import trial_options

_NO_NUMBER = ", as its main function returned no number"


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
        The best value of the metric; of several metrics, of the first.

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
    _tell_what_is_replaced(plan, say)
    total = plan.total_trials + settings.evaluate_best
    metric, mode = settings.metrics[0], settings.modes[0]
    progress = SweepProgress(run, plan.sweep_id, target, metric, mode, total, say)
    budget = Budget(settings.time_budget_s)
    with Interruption() as interruption:
        try:
            _run_trials(plan, sweep, progress, interruption, budget)
        finally:
            # Whatever happened, the record says of no trial that it runs, and of the sweep what
            # it has.
            _settle_record(sweep, progress, say)
            _complete_best_config(plan, target, progress)
            run.info["sweep"] = sweep_info(plan, progress, budget)
        is_complete = len(progress.completed) == total
        _add_table(run, progress, plan)
        say(final_report(plan, progress, target, recorded_id(run)))
        _tell_what_was_not_seen(plan, progress, say)
        if budget.is_used_up:
            say(budget.reason)
            if settings.evaluate_best and not progress.evaluated:
                say("The best configuration was not run on fresh seeds.")
        if not is_complete:  # a Ctrl-C after the last trial has nothing left to end
            interruption.raise_if_requested()
    return _best_value(plan, progress)


def _tell_what_was_not_seen(
    plan: SweepPlan, progress: SweepProgress, say: Callable[[str], None]
) -> None:
    """Tell of stop rules that no trial could fulfil, as a misspelt one."""
    reported = {name for trial in progress.trials for name in trial.metrics}
    for rule in plan.stop_rules:
        if rule.metric is not None and reported and rule.metric not in reported:
            names = ", ".join(sorted(reported))
            say(f"Note: ray.stop has {rule.text!r}, but no trial reported that; there are {names}.")


def _task(plan: SweepPlan, run: Run, target: RecordTarget) -> SweepTask:
    settings = plan.settings
    return SweepTask(
        sweep_id=plan.sweep_id,
        exp_name=plan.exp_name,
        engine=ENGINE,
        inner=plan.reference,
        options=trial_options(run.meta_info["options"]),
        target=target,
        folder=os.getcwd(),
        outer_run_id=recorded_id(run),
        metric=settings.metrics[0],
        report_every=settings.seconds_between_reports,
        trial_timeout_s=settings.trial_timeout_s,
    )


def _headline(plan: SweepPlan, target: RecordTarget) -> str:
    where = "recorded in " + target.address.describe() if target.address else "not in MongoDB"
    trials = "1 trial" if plan.total_trials == 1 else f"{plan.total_trials} trials"
    again = plan.settings.evaluate_best
    trials += f" and {again} more of the best" if again else ""
    return f"{plan.sweep_id} ({plan.exp_name}): {trials} of {plan.inner.path}, {where}"


def _tell_what_is_replaced(plan: SweepPlan, say: Callable[[str], None]) -> None:
    updates = plan.updates_of({}, ())
    for path in plan.parameters:
        if has_path(updates, path):
            given = f"{plan.inner.path}.{path}={get_path(updates, path)!r}"
            say(f"Note: {given} is replaced in each trial by what the search gives.")


def _run_trials(
    plan: SweepPlan,
    sweep: SweepTask,
    progress: SweepProgress,
    interruption: Interruption,
    budget: Budget,
) -> None:
    settings = plan.settings
    job = EngineJob(
        sweep=sweep,
        sampling=plan.sampling,
        resolver=plan.trial_resolver,
        settings=settings,
        storage_path=str(Path(settings.storage_path or project_folder() / "tune").absolute()),
        searcher=plan.searcher,
        scheduler=plan.scheduler,
        stop_rules=plan.stop_rules,
        earlier=plan.earlier,
    )

    def should_stop() -> str | None:
        if interruption.requested():
            return "The user ended the sweep."
        if progress.unreported is not None or progress.uncompared is not None:
            return "The sweep was ended, as its metric is not reported."
        return budget.reason if budget.is_used_up else None

    with connected_ray(settings):
        interruption.take_back()  # Ray has its own way with SIGTERM
        check_resources(settings.resources_per_trial)
        probe = ImportProbe(plan.reference, sweep.folder)
        # Importing Tune takes a second, in which the worker can answer.
        from sacred_ray_ingredient.engines.tune import TuneEngine

        probe.wait()
        interruption.raise_if_requested()
        budget.start()
        TuneEngine().run(job, progress, should_stop)
        evaluation = evaluation_job(job, progress) if should_stop() is None else None
        if evaluation is not None:
            TuneEngine().run(evaluation, progress, should_stop)


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


def _complete_best_config(plan: SweepPlan, target: RecordTarget, progress: SweepProgress) -> None:
    """Read the configuration of the best trial, which one that was ended early did not report."""
    best = candidates(progress.searched, plan.settings.metrics[0], plan.settings.modes[0])[:1]
    if best and best[0].trial.config is None and target.address is not None:
        found = target.runs().find_one({"_id": best[0].trial.run_id}, {"config": 1}) or {}
        best[0].trial.config = found.get("config")


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
    metric = settings.metrics[0]
    trial = progress.unreported or progress.uncompared
    if trial is not None:
        reported = ", ".join(sorted(trial.metrics)) or "nothing"
        when = "never reported" if progress.unreported else "did not report while it ran"
        raise MetricNotReported(
            f"ray.metric is {metric!r}, which trial {trial.index} (run {trial.run_id}) {when}"
            f"{_NO_NUMBER if metric == 'result' else ''}; "
            f"it reported {reported}. The sweep was ended; choose a metric that is logged"
            f"{'' if progress.unreported else ' on the way, or no scheduler'}."
        )
    best = candidates(progress.searched, metric, settings.modes[0])[:1]
    if not best:
        errors = [trial.error for trial in progress.trials if trial.error]
        first = f" The first error was: {errors[0]}." if errors else ""
        raise SweepFailed(
            f"None of the {len(progress.trials)} trials of {plan.sweep_id} completed with a "
            f"finite value of {metric!r}.{first}"
        )
    return best[0].statistics.mean
