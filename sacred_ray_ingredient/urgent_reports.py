"""Which steps of a trial a scheduler or a rule must see, however fast they come."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.metrics import Urgent
from sacred_ray_ingredient.schedulers import scheduler_arguments
from sacred_ray_ingredient.stop_rules import StopRule

# Counts reports, so that none can be left out.
_COUNTS_REPORTS = "training_iteration"
# Tune's own, where the user gives none.
_GRACE_PERIOD = 1
_REDUCTION_FACTORS = {"asha": 4, "hyperband": 3, "bohb": 3}


def urgent_reports(scheduler: Choice | None, rules: Sequence[StopRule]) -> Urgent | None:
    """Find out which reports must not be left out of those that come fast.

    Parameters
    ----------
    scheduler
        Ends and pauses trials; None for first in, first out.
    rules
        Rules of ``ray.stop``.

    Returns
    -------
    Urgent or None
        None where every report counts, or nothing looks at them.
    """
    bounds = [rule.bound for rule in rules if rule.bound is not None]
    counted = any(name == _COUNTS_REPORTS for name, _, _ in bounds)
    if (scheduler is None and not rules) or counted or len(bounds) < len(rules):
        return None
    steps = {
        # The first step above a number is the first from the next number on.
        math.nextafter(number, math.inf) if sign == ">" else number
        for name, sign, number in bounds
        if name == "step" and sign.startswith(">")
    }
    of_metrics = tuple(bound for bound in bounds if bound[0] not in ("step", "time_total_s"))
    interval = None
    if scheduler is not None:
        arguments = scheduler_arguments(scheduler)
        if arguments["time_attr"] == _COUNTS_REPORTS:
            return None
        if arguments["time_attr"] == "step":
            steps |= milestones(scheduler)
            interval = arguments.get("perturbation_interval")
    return Urgent(tuple(sorted(steps)), interval, of_metrics)


def milestones(scheduler: Choice) -> set[float]:
    """Return the steps at which a scheduler compares trials.

    Parameters
    ----------
    scheduler
        One whose time is the step; those that compare at regular intervals have an interval.
    """
    arguments = scheduler_arguments(scheduler)
    full = arguments.get("max_t")
    grace_period = arguments.get("grace_period", _GRACE_PERIOD)
    factor = arguments.get("reduction_factor", _REDUCTION_FACTORS.get(scheduler.name, 0))
    if full is None:
        further = (arguments.get(name) for name in ("grace_period", "burn_in_period"))
        return {float(step) for step in further if step is not None}
    if scheduler.name == "asha":
        return {float(full), *_rungs(grace_period, full, factor)}
    brackets = round(math.log(full) / math.log(factor)) + 1
    firsts = (int(full * factor**-number) for number in range(brackets))
    return {step for first in firsts for step in _whole_rungs(first, full, factor)}


def _rungs(first: float, full: float, factor: float) -> list[float]:
    steps = []
    while 0 < first <= full:
        steps.append(float(first))
        first *= factor
    return steps


def _whole_rungs(first: int, full: float, factor: float) -> list[float]:
    """Return the steps at which a bracket of HyperBand is looked at, which are whole numbers."""
    steps = [float(first)]
    while 0 < first < full:
        following = int(min(first * factor, full))
        if following <= first:
            break
        first = following
        steps.append(float(first))
    return steps
