"""What the terminal shows at the end of a sweep."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.summary import count_by_status, group_statistics, ranked
from sacred_ray_ingredient.tasks import TrialOutcome

_BEST_SHOWN = 10
_PARAMETERS_SHOWN = 8


def final_report(
    plan: SweepPlan,
    trials: Sequence[TrialOutcome],
    target: RecordTarget,
    outer_run_id: int | str | None,
) -> str:
    """Write the end of a sweep: the best trials, the groups, and where the record is.

    Parameters
    ----------
    plan
        What was done.
    trials
        The last attempt of each trial.
    target
        Where they are recorded.
    outer_run_id
        Run id of the sweep itself.
    """
    settings = plan.settings
    best = ranked(trials, settings.metric, settings.mode)
    parts = [_table_text(_best_table(plan, best))] if best else []
    if plan.group_by is not None:
        parts.append(_table_text(_group_table(plan, trials)))
    if best:
        parts.append(_best_config(best[0]))
    failed = [trial for trial in trials if trial.error]
    if failed:
        parts.append(_failures(failed))
    counts = ", ".join(f"{n} {status}" for status, n in sorted(count_by_status(trials).items()))
    parts.append(f"Trials: {counts or 'none'} (of {plan.total_trials}).")
    parts.append(_where(plan, target, outer_run_id))
    return "\n" + "\n".join(parts)


def _best_table(plan: SweepPlan, best: Sequence[TrialOutcome]) -> Table:
    settings = plan.settings
    word = "highest" if settings.mode == "max" else "lowest"
    table = Table(title=f"Best trials ({word} {settings.metric})", title_justify="left")
    metrics = [settings.metric]
    if settings.metric != "result" and any("result" in trial.metrics for trial in best):
        metrics.append("result")
    parameters = plan.parameters[:_PARAMETERS_SHOWN]
    for name in ("run id", "trial", *metrics, *parameters):
        table.add_column(name, overflow="fold")
    for trial in best[:_BEST_SHOWN]:
        values = [trial.metrics.get(name) for name in metrics]
        values += [trial.parameters.get(name) for name in parameters]
        table.add_row(_text(trial.run_id), str(trial.index), *map(_text, values))
    return table


def _group_table(plan: SweepPlan, trials: Sequence[TrialOutcome]) -> Table:
    settings = plan.settings
    table = Table(title=f"{settings.metric} by {plan.group_by}", title_justify="left")
    for name in (str(plan.group_by), "n", "mean", "std", "95 % interval"):
        table.add_column(name, overflow="fold")
    for group in group_statistics(trials, settings.metric, str(plan.group_by)):
        interval = "-"
        if not math.isnan(group.half_width):
            low, high = group.mean - group.half_width, group.mean + group.half_width
            interval = f"{_text(low)} to {_text(high)}"
        std = "-" if math.isnan(group.std) else _text(group.std)
        table.add_row(_text(group.group), str(group.n), _text(group.mean), std, interval)
    return table


def _best_config(best: TrialOutcome) -> str:
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


def _table_text(table: Table) -> str:
    width = shutil.get_terminal_size(fallback=(110, 24)).columns
    buffer = io.StringIO()
    Console(file=buffer, width=max(width, 80)).print(table)
    return buffer.getvalue().rstrip()


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
