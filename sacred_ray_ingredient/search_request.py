"""What a sweep searches, and how: read from the entries of ``ray`` and checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sacred import Experiment

from sacred_ray_ingredient.checkpoints import has_checkpoints
from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.listed_trials import parse_named_configs, parse_trials
from sacred_ray_ingredient.points import point_values, points_mistakes
from sacred_ray_ingredient.resolvers import Resolver, parse_dependent
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.sampling import NAMED_CONFIGS, Sampling
from sacred_ray_ingredient.schedulers import parse_scheduler, scheduler_mistakes
from sacred_ray_ingredient.search_space import SearchSpace, parse_search_space
from sacred_ray_ingredient.searcher_checks import searcher_mistakes
from sacred_ray_ingredient.searchers import parse_search_alg
from sacred_ray_ingredient.seeds import seed_values
from sacred_ray_ingredient.settings import RANDOM_SEARCH_SAMPLES, SweepSettings
from sacred_ray_ingredient.stop_rules import StopRule, parse_stop

# As many configurations are made to find errors of conditions.
_COUNTED_FIRST = 1000


@dataclass(frozen=True)
class SearchRequest:
    """What the entries of ``ray`` ask for.

    Parameters
    ----------
    sampling
        What is sampled, and how often.
    resolvers
        Dependent parameters in their order.
    searcher
        Chooses what is sampled; None for random and grid search.
    scheduler
        Ends and pauses trials; None for first in, first out.
    stop_rules
        End a trial.
    """

    sampling: Sampling
    resolvers: Sequence[Resolver]
    searcher: Choice | None
    scheduler: Choice | None
    stop_rules: Sequence[StopRule]

    def on(self, fixed: Mapping[str, Any], settings: SweepSettings) -> SearchRequest:
        """Return the search on an inner experiment with this configuration."""
        points = _first_points(settings, self.sampling)
        return replace(self, sampling=replace(self.sampling, fixed=fixed, points=points))


def read_search(
    inner: Experiment, settings: SweepSettings, outer_seed: Any
) -> tuple[SearchRequest, list[str]]:
    """Read the entries of ``ray`` that say what is searched and how.

    Parameters
    ----------
    inner
        The inner experiment.
    settings
        The entries of ``ray``.
    outer_seed
        Seed of the outer run.

    Returns
    -------
    tuple
        The request without what is wrong, and a sentence for each thing that is wrong.
    """
    space, mistakes = parse_search_space(settings.search_space)
    resolvers, wrong_resolvers = parse_dependent(settings.dependent, space.functions)
    searcher, wrong_searcher = parse_search_alg(settings.search_alg)
    scheduler, wrong_scheduler = parse_scheduler(settings.scheduler)
    stop_rules, wrong_rules = parse_stop(settings.stop)
    mistakes += wrong_resolvers + wrong_searcher + wrong_scheduler + wrong_rules
    sampling, wrong = _make_sampling(inner, settings, outer_seed, space, searcher is not None)
    request = SearchRequest(sampling, resolvers, searcher, scheduler, stop_rules)
    return request, mistakes + wrong


def _make_sampling(
    inner: Experiment,
    settings: SweepSettings,
    outer_seed: Any,
    space: SearchSpace,
    has_searcher: bool,
) -> tuple[Sampling, list[str]]:
    """Put together what is sampled."""
    named_configs, mistakes = parse_named_configs(settings.named_configs, inner)
    seeds_are_chosen = settings.repeat > 1 or settings.seeds is not None
    trials, wrong_trials = parse_trials(settings.trials, inner, seeds_are_chosen=seeds_are_chosen)
    mistakes += wrong_trials
    if not isinstance(outer_seed, int) or outer_seed < 0:
        mistakes.append(f"seed is {outer_seed!r}; it must be a whole number from 0.")
        outer_seed = 0
    own_grids = {"ray.envs": settings.env_key} if settings.envs else {}
    if settings.seeds is not None:
        own_grids["ray.seeds"] = "seed"
    elif settings.repeat > 1:
        own_grids["ray.repeat"] = "seed"
    for source, path in own_grids.items():
        if path in space.paths():
            mistakes.append(
                f"{path!r} is given twice: by {source} and by ray.search_space.{path}; "
                "give one of them."
            )
    if named_configs is not None and NAMED_CONFIGS in space.paths():
        mistakes.append(
            "ray.search_space.named_configs and ray.named_configs have the same name in tables and "
            "for searchers; rename the parameter, or list the trials under ray.trials."
        )
    is_random = has_searcher or space.dimensions() or _is_drawn(named_configs)
    seeds = settings.seeds
    sampling = Sampling(
        space=space,
        num_samples=settings.num_samples or (RANDOM_SEARCH_SAMPLES if is_random else 1),
        seed=outer_seed,
        envs=tuple(settings.envs),
        env_key=settings.env_key,
        seeds=None if seeds is None else tuple(seed_values(seeds, outer_seed)),
        repeat=settings.repeat,
        named_configs=named_configs,
        trials=trials,
    )
    return sampling, mistakes


def _first_points(settings: SweepSettings, sampling: Sampling) -> tuple[Mapping[str, Any], ...]:
    dimensions = sampling.dimensions()
    points = settings.points_to_evaluate
    return tuple(point_values(point, dimensions)[0] for point in points)


def _is_drawn(named_configs: Sampler | None) -> bool:
    return named_configs is not None and not named_configs.is_grid


def search_mistakes(inner: Experiment, settings: SweepSettings, search: SearchRequest) -> list[str]:
    """Find what does not go together in a search.

    Parameters
    ----------
    inner
        The inner experiment.
    settings
        The entries of ``ray``.
    search
        What they ask for.

    Returns
    -------
    list of str
        A sentence for each mistake.
    """
    sampling, searcher, scheduler = search.sampling, search.searcher, search.scheduler
    dimensions = sampling.dimensions()
    one_by_one = replace(sampling, num_samples=1)
    try:
        sampling.total_within(_COUNTED_FIRST)
    except ResolverError as error:  # of a condition
        return [str(error)]
    mistakes = sampling.condition_mistakes([resolver.path for resolver in search.resolvers])
    mistakes += searcher_mistakes(
        searcher,
        dimensions,
        settings.metrics,
        repeats_or_grid=one_by_one.total(suggested=True) > 1,
        scheduler=None if scheduler is None else scheduler.name,
        warm_start=settings.warm_start is not None,
    )
    mistakes += _mistakes_of_points(settings, sampling)
    mistakes += _mistakes_of_endings(settings)
    if scheduler is not None:
        repeats = settings.repeat > 1 or settings.seeds is not None or bool(settings.envs)
        mistakes += scheduler_mistakes(
            scheduler,
            settings.metrics[0],
            sampling.space,
            has_checkpoints(inner),
            repeats=repeats,
        )
    if searcher is not None and not mistakes:
        from sacred_ray_ingredient.engines.make_searcher import refused_by_library

        refused = refused_by_library(
            searcher, dimensions, settings.metrics, settings.modes, sampling.num_samples
        )
        mistakes += [] if refused is None else [refused]
    return mistakes


def _mistakes_of_points(settings: SweepSettings, sampling: Sampling) -> list[str]:
    dimensions = sampling.dimensions()
    others = set(sampling.space.paths()) - set(dimensions)
    mistakes = points_mistakes(settings.points_to_evaluate, dimensions, others)
    if len(settings.points_to_evaluate) > sampling.num_samples:
        mistakes.append(
            f"ray.points_to_evaluate has {len(settings.points_to_evaluate)} points, but "
            f"ray.num_samples is {sampling.num_samples}; give as many samples at least."
        )
    return mistakes


def _mistakes_of_endings(settings: SweepSettings) -> list[str]:
    mistakes = []
    if settings.evaluate_best and settings.envs:
        mistakes.append(
            f"ray.evaluate_best={settings.evaluate_best} runs the best configuration again, but "
            "with ray.envs the best is that of one environment; give one of them, or more "
            "ray.seeds."
        )
    stop = settings.stop if isinstance(settings.stop, Mapping) else {}
    bound = stop.get(settings.metrics[0])
    if settings.modes[0] == "min" and isinstance(bound, (int, float)):
        mistakes.append(
            f"ray.stop.{settings.metrics[0]} is {bound!r}, which ends a trial that reaches it from "
            f"below, but ray.mode is 'min'; write '<= {bound!r}', or '>= {bound!r}'."
        )
    if settings.stop and settings.metrics[0] == "result":
        mistakes.append(
            "ray.stop ends trials before they return their result, but ray.metric is 'result'; "
            "give the name of a metric that the experiment logs."
        )
    return mistakes
