"""The driver's story of a sweep: check, launch, summarise."""

from __future__ import annotations

import contextlib
import csv
import functools
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sacred.run import Run

from sacred_ray_ingredient.errors import ClusterLost, MetricNotReported, SweepFailed
from sacred_ray_ingredient.frozen_code import FrozenCode, freeze
from sacred_ray_ingredient.interruption import Interruption
from sacred_ray_ingredient.nested import get_path, has_path
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.progress import Budget, SweepProgress, settle
from sacred_ray_ingredient.record.observer import RunObserver, observer_of, recorded_id
from sacred_ray_ingredient.record.reconcile import telling_of_outages
from sacred_ray_ingredient.record.settlement import SweepRecord
from sacred_ray_ingredient.record.sync import driver_file
from sacred_ray_ingredient.record.target import RecordTarget, given_to
from sacred_ray_ingredient.report import final_report
from sacred_ray_ingredient.running import Running
from sacred_ray_ingredient.summary import candidates, table_rows
from sacred_ray_ingredient.sweep_info import sweep_info
from sacred_ray_ingredient.tasks import SweepTask
from sacred_ray_ingredient.trial_options import trial_options
from sacred_ray_ingredient.trial_record import record_missing
from sacred_ray_ingredient.urgent_reports import urgent_reports

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
    ConfigMistakes, NodeMistakes, InnerImportError
        If the cluster cannot run the trials; none has begun then.
    MetricNotReported
        If a completed trial has no value of the metric; no further trials begin then.
    SweepFailed
        If no trial completed.
    SweepInterrupted
        If the user ended it.
    """
    observer = observer_of(run)
    target = replace(target, group=plan.sweep_id, driver=driver_file())
    sweep = _task(plan, run, target, observer)
    record = _record(sweep, target, observer, say)
    _tell_what_is_done(plan, target, say)
    progress = _progress(plan, run, record, say)
    budget = Budget(plan.settings.time_budget_s)
    kept = contextlib.nullcontext() if record is None else record.kept_by_this_process()
    with kept, Interruption() as interruption:
        try:
            Running(plan, sweep, progress, record, interruption, budget).run()
        except ClusterLost as error:
            progress.ended_by = "The Ray cluster was lost."
            raise ClusterLost(f"{error}{_how_to_go_on(sweep)}") from error
        finally:
            # Whatever happened, the record says of no trial that it runs, and of the sweep what
            # it has.
            _settle(record, progress)
            _complete_best_config(plan, target, progress, say)
            run.info["sweep"] = sweep_info(plan, progress, budget)
        is_complete = len(progress.completed) == progress.total
        _add_table(run, progress, plan)
        say(final_report(plan, progress, target, recorded_id(run)))
        _tell_what_was_not_seen(plan, progress, say)
        _tell_of_budget(plan, progress, budget, say)
        if not is_complete:  # a Ctrl-C after the last trial has nothing left to end
            interruption.raise_if_requested()
    return _best_value(plan, progress)


def _how_to_go_on(sweep: SweepTask) -> str:
    if sweep.target.address is None:
        return ""
    return (
        f" What is complete is recorded; `resume {sweep.sweep_id} with ray.address=HOST:PORT` "
        "goes on with the rest on another cluster."
    )


def _record(
    sweep: SweepTask, target: RecordTarget, observer: RunObserver | None, say: Callable[[str], None]
) -> SweepRecord | None:
    if target.address is None:
        return None
    write_missing = functools.partial(record_missing, sweep)
    return SweepRecord(target, sweep.sweep_id, observer, say, write_missing)


def _progress(
    plan: SweepPlan, run: Run, record: SweepRecord | None, say: Callable[[str], None]
) -> SweepProgress:
    """Begin to count, with what is recorded already of a sweep that goes on."""
    settings = plan.settings
    total = plan.total_trials + settings.evaluate_best
    metric, mode = settings.metrics[0], settings.modes[0]
    progress = SweepProgress(run, record, metric, mode, total, say)
    if plan.restart is not None:
        restart = plan.restart
        progress.take_over(restart.outcomes(), len(restart.done), set(restart.evaluations))
    return progress


def _tell_of_budget(
    plan: SweepPlan, progress: SweepProgress, budget: Budget, say: Callable[[str], None]
) -> None:
    if budget.is_used_up:
        say(budget.reason)
        if plan.settings.evaluate_best and not progress.evaluated:
            say("The best configuration was not run on fresh seeds.")


def _settle(record: SweepRecord | None, progress: SweepProgress) -> None:
    statuses = record.settle(progress.attempts, progress.ended_by) if record else {}
    settle(progress.attempts, statuses)


def _tell_what_was_not_seen(
    plan: SweepPlan, progress: SweepProgress, say: Callable[[str], None]
) -> None:
    """Tell of stop rules that no trial could fulfil, as a misspelt one."""
    reported = {name for trial in progress.trials for name in trial.metrics}
    for rule in plan.stop_rules:
        if rule.metric is not None and reported and rule.metric not in reported:
            names = ", ".join(sorted(reported))
            say(f"Note: ray.stop has {rule.text!r}, but no trial reported that; there are {names}.")


def _keep_code(observer: RunObserver, code: FrozenCode) -> str:
    """Store the project's code with the sweep; return its id in the database."""
    return observer.keep_bytes(code.to_archive(), f"code-{code.digest[:12]}.zip")


def _task(
    plan: SweepPlan, run: Run, target: RecordTarget, observer: RunObserver | None
) -> SweepTask:
    settings = plan.settings
    code = freeze(plan.reference)
    code_id = None
    if observer is not None and target.address is not None:
        code_id = _keep_code(observer, code)
        observer.add_to_document({"meta.sweep.code": code_id}, [])
        observer.give_sources(plan.inner.get_experiment_info())
        about = {"experiment": str(plan.reference)}
        target = replace(target, stored=given_to(target.address), about=about)
    return SweepTask(
        sweep_id=plan.sweep_id,
        exp_name=plan.exp_name,
        engine=plan.engine,
        inner=plan.reference,
        options=trial_options(run.meta_info["options"]),
        target=target,
        folder=os.getcwd(),
        outer_run_id=recorded_id(run),
        metric=settings.metrics[0],
        report_every=settings.seconds_between_reports,
        trial_timeout_s=settings.trial_timeout_s,
        code=code,
        code_id=code_id,
        **_reporting(plan),
    )


def _reporting(plan: SweepPlan) -> dict[str, Any]:
    """Decide what trials report on their way, where the user has not."""
    if plan.settings.report_every is not None:
        return {}
    return {
        "urgent": urgent_reports(plan.scheduler, plan.stop_rules),
        "is_watched": plan.scheduler is not None or bool(plan.stop_rules),
    }


def _headline(plan: SweepPlan, target: RecordTarget) -> str:
    where = "recorded in " + target.address.describe() if target.address else "not in MongoDB"
    trials = "1 trial" if plan.total_trials == 1 else f"{plan.total_trials} trials"
    again = plan.settings.evaluate_best
    trials += f" and {again} more of the best" if again else ""
    return f"{plan.sweep_id} ({plan.exp_name}): {trials} of {plan.inner.path}, {where}"


def _tell_what_is_done(plan: SweepPlan, target: RecordTarget, say: Callable[[str], None]) -> None:
    say(_headline(plan, target))
    _tell_what_is_replaced(plan, say)


def _tell_what_is_replaced(plan: SweepPlan, say: Callable[[str], None]) -> None:
    updates = plan.updates_of({}, ())
    for path in plan.parameters:
        if has_path(updates, path):
            given = f"{plan.inner.path}.{path}={get_path(updates, path)!r}"
            say(f"Note: {given} is replaced in each trial by what the search gives.")


def _complete_best_config(
    plan: SweepPlan, target: RecordTarget, progress: SweepProgress, say: Callable[[str], None]
) -> None:
    """Read the configuration of the best trial, which one that was ended early did not report."""
    best = candidates(progress.searched, plan.settings.metrics[0], plan.settings.modes[0])[:1]
    if best and best[0].trial.config is None and target.address is not None:
        with telling_of_outages(say):
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
