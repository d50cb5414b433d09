"""What a sweep is going to do, checked: everything that can be wrong is found here at once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacred import Experiment
from sacred.run import Run

from sacred_ray_ingredient.checks import InnerRequest, inner_mistakes, missing_content
from sacred_ray_ingredient.errors import ConfigMistakes, InnerImportError, ResolverError
from sacred_ray_ingredient.inner import (
    InnerReference,
    as_outer_updates,
    collect_updates,
    evaluate_config,
    has_own_named_configs,
    reference_to,
)
from sacred_ray_ingredient.mongo.sources import config_mistakes
from sacred_ray_ingredient.nested import merge
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.resolvers import Resolver, parse_dependent
from sacred_ray_ingredient.search_space import Sampler, SearchSpace, parse_search_space
from sacred_ray_ingredient.settings import RANDOM_SEARCH_SAMPLES, SweepSettings, read_settings

# Options of Sacred that concern the outer run alone.
_OPTIONS_OF_THE_SWEEP = {
    "--enforce_clean",
    "--help",
    "--id",
    "--mongo_db",
    "--pdb",
    "--print-config",
    "--print_config",
    "--priority",
    "--queue",
    "--record",
}
_OPTIONS_WITH_PATHS = {"--file_storage", "--tiny_db"}
# As many points are tried with the resolvers before the first trial.
_TRIED_POINTS = 1000


@dataclass(frozen=True)
class OuterRequest:
    """What was asked of an outer experiment.

    Parameters
    ----------
    config
        Its evaluated configuration.
    config_updates
        As Sacred got them.
    named_configs
        As Sacred got them, config files included.
    force
        Whether entries that are not known are to be accepted.
    """

    config: Mapping[str, Any]
    config_updates: Mapping[str, Any]
    named_configs: Sequence[str]
    force: bool = False

    @classmethod
    def of_run(cls, run: Run) -> OuterRequest:
        """Read it from a run of the outer experiment, which need not have started."""
        meta = run.meta_info
        return cls(run.config, meta.get("config_updates", {}), meta["named_configs"], run.force)


@dataclass(frozen=True)
class SweepPlan:
    """A sweep without mistakes.

    Parameters
    ----------
    sweep_id
        Its name in the database.
    exp_name
        Its name for people.
    inner
        The inner experiment.
    reference
        Where workers find it.
    updates_of
        Computes what the user changed of it for all trials; the argument is the parameters of a
        trial, on which named configs of the inner experiment can depend.
    settings
        The entries of ``ray``.
    space
        The search space, environments and seeds included.
    resolvers
        Dependent parameters in their order.
    outer_seed
        Seed of the outer run.
    num_samples
        How often the space is sampled.
    """

    sweep_id: str
    exp_name: str
    inner: Experiment
    reference: InnerReference
    updates_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    settings: SweepSettings
    space: SearchSpace
    resolvers: Sequence[Resolver]
    outer_seed: int
    num_samples: int

    @property
    def total_trials(self) -> int:
        """Number of trials."""
        return self.num_samples * self.space.grid_size()

    @property
    def parameters(self) -> list[str]:
        """Dotted names of what differs between trials, in the order of tables."""
        return [*self.space.paths(), *(resolver.path for resolver in self.resolvers)]

    @property
    def trial_resolver(self) -> TrialResolver:
        """Completes samples to trials."""
        return TrialResolver(
            self.updates_of,
            self.resolvers,
            self.outer_seed,
            lambda updates: evaluate_config(self.inner, updates),
        )

    @property
    def group_by(self) -> str | None:
        """Parameter over whose values the results are summarised."""
        return self.settings.env_key if self.settings.envs else None


def make_plan(outer: Experiment, inner: Experiment, request: OuterRequest) -> SweepPlan:
    """Read the configuration of an outer run and check it.

    Parameters
    ----------
    outer
        The outer experiment.
    inner
        The inner experiment.
    request
        What was asked of the outer experiment.

    Returns
    -------
    SweepPlan
        What is going to be done.

    Raises
    ------
    ConfigMistakes
        With all that is wrong.
    """
    settings, mistakes = read_settings(request.config["ray"])
    mistakes += config_mistakes(settings.mongo)
    space, space_mistakes = parse_search_space(settings.search_space)
    seed = request.config.get("seed", 0)
    if isinstance(seed, int) and seed >= 0:
        space = _with_envs_and_seeds(space, settings, seed, mistakes)
    else:
        mistakes.append(f"seed is {seed!r}; it must be a whole number from 0.")
    resolvers, resolver_mistakes = parse_dependent(settings.dependent, space.functions)
    mistakes += space_mistakes + resolver_mistakes
    names = request.named_configs
    if not mistakes:  # what is wrong may be the very content that seems to be missing
        mistakes += missing_content(outer, inner, settings, space, resolvers, names)
    updates = collect_updates(outer, inner, request.config_updates, names)
    request_of_inner = InnerRequest(inner, updates, space, resolvers, settings)
    mistakes += inner_mistakes(request_of_inner, request.force)
    reference = None
    try:
        reference = reference_to(inner)
    except InnerImportError as error:
        mistakes.append(str(error))
    if mistakes or reference is None:
        raise ConfigMistakes(mistakes)
    plan = SweepPlan(
        sweep_id=f"sweep-{secrets.token_hex(5)}",
        exp_name=settings.exp_name or outer.path,
        inner=inner,
        reference=reference,
        updates_of=_updates_of(outer, inner, request, updates),
        settings=settings,
        space=space,
        resolvers=resolvers,
        outer_seed=seed,
        num_samples=settings.num_samples or _default_samples(space),
    )
    _try_resolvers(plan)
    return plan


def _updates_of(
    outer: Experiment, inner: Experiment, request: OuterRequest, updates: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    if not has_own_named_configs(inner, request.named_configs):
        return lambda parameters: updates

    def updates_of(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        given = merge(request.config_updates, as_outer_updates(inner, parameters))
        return collect_updates(outer, inner, given, request.named_configs)

    return updates_of


def trial_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Pick Sacred's options that each trial gets too.

    Parameters
    ----------
    options
        Of the outer run, by long flag.

    Returns
    -------
    dict
        Options of a trial; paths are absolute. ``--force`` is on, as the configuration has been
        checked more strictly than Sacred would.
    """
    chosen: dict[str, Any] = {}
    for name, value in options.items():
        if name.startswith("--") and name not in _OPTIONS_OF_THE_SWEEP and value:
            chosen[name] = os.path.abspath(value) if name in _OPTIONS_WITH_PATHS else value
    return {**chosen, "--force": True}


def _default_samples(space: SearchSpace) -> int:
    random = any(sampler.name != "grid_search" for sampler in space.samplers.values())
    return RANDOM_SEARCH_SAMPLES if random else 1


def _with_envs_and_seeds(
    space: SearchSpace, settings: SweepSettings, outer_seed: int, mistakes: list[str]
) -> SearchSpace:
    """Add the grids of ``ray.envs`` and ``ray.seeds`` to the space."""
    from sacred_ray_ingredient.seeds import seed_values

    grids: dict[str, tuple[str, Sequence[Any]]] = {}
    if settings.envs:
        grids[settings.env_key] = ("ray.envs", settings.envs)
    if settings.seeds is not None:
        grids["seed"] = ("ray.seeds", seed_values(settings.seeds, outer_seed))
    for path, (source, _) in grids.items():
        if path in space.paths():
            mistakes.append(
                f"{path!r} is given twice: by {source} and by ray.search_space.{path}; "
                "give one of them."
            )
    added = {
        path: Sampler("grid_search", {"values": list(values)})
        for path, (_, values) in grids.items()
    }
    return SearchSpace({**added, **space.samplers}, space.constants, space.functions)


def _try_resolvers(plan: SweepPlan) -> None:
    """Resolve the first points of the space, so that no trial is lost to an expression."""
    if not plan.resolvers:
        return
    from sacred_ray_ingredient.engines.tune_search import first_samples

    resolver = plan.trial_resolver
    mistakes: dict[str, None] = {}
    samples = first_samples(plan.space, plan.num_samples, plan.outer_seed, _TRIED_POINTS)
    for index, sampled in enumerate(samples):
        try:
            resolver.complete(index, sampled)
        except ResolverError as error:
            mistakes[str(error)] = None
    if mistakes:
        raise ConfigMistakes(list(mistakes))
