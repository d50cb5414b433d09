"""What the terminal shows at the end of a sweep."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sacred_ray_ingredient.evaluation import evaluation_statistics
from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.progress import SweepProgress
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.summary import (
    Candidate,
    GroupStatistics,
    candidates,
    count_by_status,
    group_statistics,
    parameter_of,
    pareto_front,
)
from sacred_ray_ingredient.tasks import TrialOutcome

_BEST_SHOWN = 10
_FRONT_SHOWN = 20
_PARAMETERS_SHOWN = 8


def final_report(
    plan: SweepPlan,
    progress: SweepProgress,
    target: RecordTarget,
    outer_run_id: int | str | None,
) -> str:
    """Write the end of a sweep: the best trials, the groups, and where the record is.

    Parameters
    ----------
    plan
        What was done.
    progress
        What came out.
    target
        Where the trials are recorded.
    outer_run_id
        Run id of the sweep itself.
    """
    settings, trials = plan.settings, progress.trials
    best = candidates(progress.searched, settings.metrics[0], settings.modes[0])
    parts = [table_text(_best_table(plan, best))] if best else []
    if best and len(settings.metrics) > 1:
        front = pareto_front(best, settings.metrics, settings.modes)
        parts.append(table_text(_pareto_table(plan, front)))
    if plan.group_by is not None:
        parts.append(table_text(_group_table(plan, progress.searched)))
    if best:
        parts.append(_best_config(best[0]))
    evaluated = evaluation_statistics(progress, settings.metrics[0])
    if evaluated is not None:
        parts.append(_evaluation(evaluated, settings.metrics[0]))
    failed = [trial for trial in trials if trial.error]
    if failed:
        parts.append(_failures(failed))
    stopped = sum(trial.status == "COMPLETED" and bool(trial.stop_reason) for trial in trials)
    early = f"; {stopped} of them ended early" if stopped else ""
    counts = ", ".join(f"{n} {status}" for status, n in sorted(count_by_status(trials).items()))
    total = plan.total_trials + settings.evaluate_best
    parts.append(f"Trials: {counts or 'none'} (of {total}){early}.")
    parts.append(_where(plan, target, outer_run_id))
    return "\n" + "\n".join(parts)


def _best_table(plan: SweepPlan, best: Sequence[Candidate]) -> Table:
    settings = plan.settings
    metric = settings.metrics[0]
    word = "highest" if settings.modes[0] == "max" else "lowest"
    if any(candidate.statistics.n > 1 for candidate in best):
        return _repeated_table(plan, best, f"Best configurations ({word} mean {metric})")
    table = Table(title=f"Best trials ({word} {metric})", title_justify="left")
    return _fill(plan, table, best[:_BEST_SHOWN])


def _pareto_table(plan: SweepPlan, front: Sequence[Candidate]) -> Table:
    names = ", ".join(plan.settings.metrics)
    title = f"Trials that no other one beats in all of {names}"
    return _fill(plan, Table(title=title, title_justify="left"), front[:_FRONT_SHOWN])


def _fill(plan: SweepPlan, table: Table, shown: Sequence[Candidate]) -> Table:
    metrics = list(plan.settings.metrics)
    if "result" not in metrics and any("result" in each.trial.metrics for each in shown):
        metrics.append("result")
    parameters = plan.parameters[:_PARAMETERS_SHOWN]
    for name in ("run id", "trial", *metrics, *parameters):
        table.add_column(escape(name), overflow="fold")
    for candidate in shown:
        trial = candidate.trial
        values = [trial.metrics.get(name) for name in metrics]
        values += [parameter_of(trial.parameters, name) for name in parameters]
        table.add_row(as_text(trial.run_id), str(trial.index), *map(as_text, values))
    return table


def _repeated_table(plan: SweepPlan, best: Sequence[Candidate], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    parameters = [name for name in plan.parameters if name != "seed"][:_PARAMETERS_SHOWN]
    for name in ("run ids", "n", "mean", "std", *parameters):
        table.add_column(escape(name), overflow="fold")
    for candidate in best[:_BEST_SHOWN]:
        statistics = candidate.statistics
        run_ids = ", ".join(as_text(trial.run_id) for trial in candidate.trials)
        values = [parameter_of(candidate.trial.parameters, name) for name in parameters]
        table.add_row(
            run_ids,
            str(statistics.n),
            as_text(statistics.mean),
            _std(statistics),
            *map(as_text, values),
        )
    return table


def _evaluation(evaluated: GroupStatistics, metric: str) -> str:
    seeds = "seed" if evaluated.n == 1 else "seeds"
    return (
        f"On {evaluated.n} fresh {seeds} it has a mean {metric} of {as_text(evaluated.mean)} "
        f"(std {_std(evaluated)}, 95 % interval {_interval(evaluated)})."
    )


def _group_table(plan: SweepPlan, trials: Sequence[TrialOutcome]) -> Table:
    metric = plan.settings.metrics[0]
    table = Table(title=f"{metric} by {plan.group_by}", title_justify="left")
    for name in (str(plan.group_by), "n", "mean", "std", "95 % interval"):
        table.add_column(escape(name), overflow="fold")
    for group in group_statistics(trials, metric, str(plan.group_by)):
        values = (as_text(group.mean), _std(group), _interval(group))
        table.add_row(as_text(group.group), str(group.n), *values)
    return table


def _interval(group: GroupStatistics) -> str:
    if math.isnan(group.half_width):
        return "-"
    return f"{as_text(group.mean - group.half_width)} to {as_text(group.mean + group.half_width)}"


def _std(group: GroupStatistics) -> str:
    return "-" if math.isnan(group.std) else as_text(group.std)


def _best_config(candidate: Candidate) -> str:
    best = candidate.trial
    config = flatten(best.config or {**best.parameters, "seed": best.seed})
    listed = "\n".join(f"  {name} = {value!r}" for name, value in sorted(config.items()))
    run_id = "" if best.run_id is None else f", run {best.run_id}"
    return f"Best config (trial {best.index}{run_id}):\n{listed}"


def _failures(failed: Sequence[TrialOutcome]) -> str:
    shown = "\n".join(
        f"  trial {trial.index} (run {trial.run_id}) {trial.status}: {trial.error}"
        for trial in failed[:10]
    )
    more = f"\n  and {len(failed) - 10} more" if len(failed) > 10 else ""
    return f"Failed trials; the traces are in the record:\n{shown}{more}"


def _where(plan: SweepPlan, target: RecordTarget, outer_run_id: int | str | None) -> str:
    if target.address is None:
        return "Nothing was recorded in MongoDB; -F and the like have recorded where they say."
    return (
        f"Results: {target.address.describe()}; the sweep is run {outer_run_id}, its trials have "
        f"the tag {plan.sweep_id}.\nBrowse them: {target.address.omniboard_command()}"
    )


def table_text(table: Table) -> str:
    """Write a table as wide as the terminal."""
    buffer = io.StringIO()
    Console(file=buffer, width=_width()).print(table)
    return buffer.getvalue().rstrip()


def fits(table: Table) -> bool:
    """Tell whether the terminal is wide enough for a table without broken cells."""
    console = Console(file=io.StringIO(), width=10**4)
    return console.measure(table).maximum <= _width()


def _width() -> int:
    return max(shutil.get_terminal_size(fallback=(110, 24)).columns, 80)


def as_text(value: Any) -> str:
    """Write a value for a table."""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))
