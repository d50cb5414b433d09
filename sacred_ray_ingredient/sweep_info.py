"""The summary of a sweep in its own document: what was asked, and what came out."""

from __future__ import annotations

from typing import Any

from sacred_ray_ingredient.evaluation import evaluation_statistics
from sacred_ray_ingredient.nested import unflatten
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.progress import Budget, SweepProgress
from sacred_ray_ingredient.record.documents import storable
from sacred_ray_ingredient.summary import Candidate, candidates, count_by_status, pareto_front


def sweep_info(plan: SweepPlan, progress: SweepProgress, budget: Budget) -> dict[str, Any]:
    """Summarise a sweep for its own document; small, as each heartbeat writes it again.

    Parameters
    ----------
    plan
        What was to be done.
    progress
        What has been done.
    budget
        The time that it could take.
    """
    settings = plan.settings
    metric, mode = settings.metrics[0], settings.modes[0]
    found = candidates(progress.searched, metric, mode)
    info: dict[str, Any] = {
        "sweep_id": plan.sweep_id,
        "exp_name": plan.exp_name,
        "engine": plan.engine,
        "inner": str(plan.reference),
        "searcher": plan.searcher.text() if plan.searcher else "random and grid search",
        "scheduler": plan.scheduler.text() if plan.scheduler else "FIFO",
        "stop": [rule.text for rule in plan.stop_rules],
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
        "time_budget_used_up": budget.is_used_up,
        "total": plan.total_trials + settings.evaluate_best,
        "counts": count_by_status(progress.trials),
        "best": _best(found[0], metric) if found else None,
    }
    if plan.sampling.named_configs is not None:
        info["named_configs"] = plan.sampling.named_configs.text()
    if len(settings.metrics) > 1:
        front = pareto_front(found, settings.metrics, settings.modes)
        info["pareto_front"] = [_best(candidate, metric) for candidate in front]
    evaluated = evaluation_statistics(progress, metric)
    if evaluated is not None:
        runs = [trial.run_id for trial in progress.evaluated]
        values = {"n": evaluated.n, "mean": evaluated.mean, "std": evaluated.std}
        info["evaluated"] = {**values, "run_ids": runs}
    summary: dict[str, Any] = storable(info)
    return summary


def _best(candidate: Candidate, metric: str) -> dict[str, Any]:
    trial, statistics = candidate.trial, candidate.statistics
    best: dict[str, Any] = {
        "run_id": trial.run_id,
        "trial_index": trial.index,
        "value": statistics.mean,
        "metrics": trial.metrics,
        "config": trial.config,
    }
    if statistics.n > 1:
        runs = [each.run_id for each in candidate.trials]
        best |= {"n": statistics.n, "std": statistics.std, "run_ids": runs}
    return best
