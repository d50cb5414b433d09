"""The best configuration of a search, run again on fresh seeds.

The value by which a configuration won is biased upwards: it is the best of many. Its mean over
seeds that had no part in the choice is not.
"""

from __future__ import annotations

from dataclasses import replace

from sacred_ray_ingredient.engines.base import EngineJob
from sacred_ray_ingredient.nested import flatten, unflatten
from sacred_ray_ingredient.progress import SweepProgress
from sacred_ray_ingredient.restart import PlannedTrial, RecordedTrial, Restart
from sacred_ray_ingredient.sampling import Sampling
from sacred_ray_ingredient.search_space import SearchSpace
from sacred_ray_ingredient.seeds import derive_seed
from sacred_ray_ingredient.summary import GroupStatistics, candidates, group_of

# Of the runs on fresh seeds, which had no part in the choice of the best.
TAG = "evaluate-best"


def evaluation_job(job: EngineJob, progress: SweepProgress) -> EngineJob | None:
    """Make the trials of ``ray.evaluate_best``.

    Parameters
    ----------
    job
        The search, which is over.
    progress
        What it has found; is told that the search is over.

    Returns
    -------
    EngineJob or None
        None if nothing is asked for, or nothing was found. Neither scheduler nor stop rules end
        these trials.
    """
    progress.end_search()
    restart = job.restart
    found = candidates(progress.searched, job.metric, job.mode)
    if not job.settings.evaluate_best or not found:
        return None
    best = found[0].trial
    # Without its seed, which had a part in the choice. Dependent parameters are computed again,
    # and draw as before, since the configuration has its number.
    sampled = {path: value for path, value in flatten(best.sampled).items() if path != "seed"}
    listed = {"named_configs": tuple(best.named_configs), "config_updates": unflatten(sampled)}
    recorded = {} if restart is None else _of_configuration(best.configuration, restart)
    progress.count_evaluations(recorded, sum(trial.is_done for trial in recorded.values()))
    first_index = max(outcome.index for outcome in progress.attempts) + 1
    indices = sorted(recorded)
    indices += range(first_index, first_index + job.settings.evaluate_best - len(indices))
    sampling = Sampling(
        space=SearchSpace({}, {}),
        num_samples=1,
        seed=job.sampling.seed,
        seeds=tuple(derive_seed(job.sampling.seed, index) for index in indices),
        trials=(listed,),
        fixed=job.sampling.fixed,
    )
    target = replace(job.sweep.target, tags=(*job.sweep.target.tags, TAG))
    evaluation = replace(
        job,
        sweep=replace(job.sweep, target=target),
        sampling=sampling,
        searcher=None,
        scheduler=None,
        stop_rules=(),
        first_index=first_index,
        first_configuration=best.configuration,
        restart=None,
    )
    if restart is None:
        return evaluation
    planned = [
        PlannedTrial(index, sample) if index not in recorded else recorded[index].again(sample)
        for index, sample in zip(indices, evaluation.samples(), strict=False)
        if index not in recorded or not recorded[index].is_done
    ]
    return replace(evaluation, restart=Restart(restart.outer_run_ids, planned=tuple(planned)))


def _of_configuration(configuration: int, restart: Restart) -> dict[int, RecordedTrial]:
    """Return the recorded trials that ran this configuration after the search."""
    return {
        index: trial
        for index, trial in restart.evaluations.items()
        if trial.last.configuration == configuration
    }


def evaluation_statistics(progress: SweepProgress, metric: str) -> GroupStatistics | None:
    """Summarise a metric over the trials on fresh seeds.

    Parameters
    ----------
    progress
        The sweep.
    metric
        Name of the metric.

    Returns
    -------
    GroupStatistics or None
        None if there are none with a value.
    """
    return group_of(progress.evaluated, metric, "fresh seeds")
