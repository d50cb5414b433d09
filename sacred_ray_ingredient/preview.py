"""What a sweep would do, without doing it: the ``preview`` command of an outer experiment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from rich.table import Table

from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.report import as_text, table_text
from sacred_ray_ingredient.summary import parameter_of
from sacred_ray_ingredient.tasks import TrialTask

_SHOWN = 10
# Configurations that are gone through where their number cannot be known otherwise.
_MOST_COUNTED = 20_000


def preview(plan: SweepPlan) -> str:
    """Write the number of trials, and the first and last ten of them.

    Parameters
    ----------
    plan
        What is to be done; nothing of it is done.
    """
    settings = plan.settings
    resolver = plan.trial_resolver
    sampling = plan.sampling
    count = sampling.total_within(_MOST_COUNTED)
    first = list(enumerate(itertools.islice(sampling.samples(), _SHOWN)))
    last = [] if count is None else sampling.last(_SHOWN, count)
    last = [numbered for numbered in last if numbered[0] >= _SHOWN]
    if plan.searcher is None and count is not None:
        lines = [f"{count} trials of {plan.inner.path}"]
    elif plan.searcher is not None:
        lines = [f"{plan.total_trials} trials of {plan.inner.path}"]
    else:
        lines = [f"At most {sampling.total(suggested=True)} trials of {plan.inner.path}"]
    lines += [f"Searcher: {plan.searcher.text() if plan.searcher else 'random and grid search'}"]
    lines += [f"Scheduler: {plan.scheduler.text() if plan.scheduler else 'FIFO'}"]
    lines += [f"Stop rule: {rule.text}" for rule in plan.stop_rules]
    if settings.evaluate_best:
        lines.append(f"Then the best configuration on {settings.evaluate_best} fresh seeds")
    if plan.searcher is not None:
        lines.append(
            "The searcher chooses as results come in; these are random points of its space:"
        )
    tasks = [resolver.complete(index, sample) for index, sample in (*first, *last)]
    lines.append(table_text(_table(plan, tasks, gap_before=None if not last else last[0][0])))
    if count is None:
        lines.append(
            f"These are the first {len(first)}: as grids are under conditions, there is no telling "
            "how many there are before they are drawn."
        )
    changed = flatten(tasks[0].config_updates())
    lines.append("The first trial changes of the inner experiment's configuration:")
    lines += [f"  {name} = {value!r}" for name, value in sorted(changed.items())]
    return "\n".join(lines)


def _table(plan: SweepPlan, tasks: list[TrialTask], gap_before: int | None) -> Table:
    table = Table()
    names = [name for name in plan.parameters if name != "seed"]
    for name in ("trial", *names, "seed"):
        table.add_column(name, overflow="fold")
    for cells in _rows(tasks, names, gap_before):
        table.add_row(*cells)
    return table


def _rows(tasks: list[TrialTask], names: list[str], gap_before: int | None) -> Iterator[list[str]]:
    for task in tasks:
        if task.index == gap_before and gap_before > _SHOWN:
            yield ["..."] * (len(names) + 2)
        shown = task.shown()
        values = [as_text(parameter_of(shown, name)) for name in names]
        yield [str(task.index), *values, str(task.seed)]
