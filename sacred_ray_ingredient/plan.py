"""What a sweep is going to do, checked: everything that can be wrong is found here at once."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacred import Experiment
from sacred.run import Run

from sacred_ray_ingredient.checks import InnerRequest, inner_mistakes, missing_content
from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.cluster.runtime_env import runtime_env_mistakes
from sacred_ray_ingredient.errors import ConfigMistakes, InnerImportError, ResolverError
from sacred_ray_ingredient.inner import (
    InnerReference,
    as_outer_updates,
    collect_updates,
    evaluate_config,
    has_own_named_configs,
    reference_to,
)
from sacred_ray_ingredient.listed_trials import as_outer_names
from sacred_ray_ingredient.mongo.sources import config_mistakes
from sacred_ray_ingredient.nested import flatten, merge
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.resolvers import Resolver
from sacred_ray_ingredient.restart import Restart
from sacred_ray_ingredient.sampling import NAMED_CONFIGS, Sampling
from sacred_ray_ingredient.search_request import SearchRequest, read_search, search_mistakes
from sacred_ray_ingredient.search_space import SearchSpace
from sacred_ray_ingredient.settings import SweepSettings, read_settings
from sacred_ray_ingredient.stop_rules import StopRule
from sacred_ray_ingredient.stored_request import StoredRequest, request_to_store
from sacred_ray_ingredient.tasks import TrialTask

# As many points are tried with the resolvers before the first trial.
_TRIED_POINTS = 1000
# And the whole configuration of so many.
_EVALUATED_POINTS = 30


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
        Computes what the user changed of it for all trials; the arguments are the parameters of a
        trial, on which named configs of the inner experiment can depend, and the named configs
        that the trial has besides.
    settings
        The entries of ``ray``.
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
    earlier
        Results of earlier sweeps that the searcher is told.
    request
        What was asked for, as it is stored.
    restart
        Where the sweep goes on; None for one that begins.
    changes
        What is not as it was when it began, a sentence each; the user has accepted it.
    """

    sweep_id: str
    exp_name: str
    inner: Experiment
    reference: InnerReference
    updates_of: Callable[[Mapping[str, Any], Sequence[str]], Mapping[str, Any]]
    settings: SweepSettings
    sampling: Sampling
    resolvers: Sequence[Resolver]
    searcher: Choice | None = None
    scheduler: Choice | None = None
    stop_rules: Sequence[StopRule] = ()
    earlier: Sequence[Any] = ()
    request: StoredRequest | None = None
    restart: Restart | None = None
    changes: Sequence[str] = ()

    @property
    def engine(self) -> str:
        """What executes the trials: Ray Tune where a searcher or scheduler asks for it."""
        if self.settings.engine != "auto":
            return self.settings.engine
        return "direct" if self.searcher is None and self.scheduler is None else "tune"

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.sampling.space

    @property
    def total_trials(self) -> int:
        """Number of trials of the search; with a searcher, the most that there can be."""
        total = self.sampling.total(suggested=self.searcher is not None)
        return total if self.restart is None else self.restart.total(total)

    @property
    def parameters(self) -> list[str]:
        """Dotted names of what differs between trials, in the order of tables."""
        sampling = self.sampling
        named = [NAMED_CONFIGS] if sampling.named_configs is not None else []
        envs = [sampling.env_key] if sampling.envs else []
        seeds = ["seed"] if sampling.seeds is not None else []
        listed: list[str] = []
        for trial in sampling.trials:
            listed += flatten(trial["config_updates"])
            named = named or ([NAMED_CONFIGS] if trial["named_configs"] else [])
        resolved = [resolver.path for resolver in self.resolvers]
        every = [*named, *envs, *seeds, *self.space.paths(), *listed, *resolved]
        return list(dict.fromkeys(every))

    @property
    def trial_resolver(self) -> TrialResolver:
        """Completes samples to trials."""
        return TrialResolver(
            self.updates_of,
            self.resolvers,
            self.sampling.seed,
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
    mistakes += config_mistakes(settings.mongo) + runtime_env_mistakes(settings)
    names = request.named_configs
    updates = collect_updates(outer, inner, request.config_updates, names)
    search, wrong = read_search(inner, settings, request.config.get("seed", 0))
    mistakes += wrong
    if not mistakes:  # what is wrong may be the very content that seems to be missing
        mistakes += missing_content(
            outer, inner, settings, search.sampling, search.resolvers, names
        )
    asked = InnerRequest(inner, updates, search.sampling, search.resolvers, settings)
    found, fixed = inner_mistakes(asked, request.force)
    mistakes += found
    if not mistakes:
        search = search.on(fixed, settings)
        mistakes += search_mistakes(inner, settings, search)
    mistakes += _engine_mistakes(settings, search)
    reference = _reference(inner, mistakes)
    if mistakes or reference is None:
        raise ConfigMistakes(mistakes)
    plan = SweepPlan(
        sweep_id=f"sweep-{secrets.token_hex(5)}",
        exp_name=settings.exp_name or outer.path,
        inner=inner,
        reference=reference,
        updates_of=_updates_of(outer, inner, request, updates),
        settings=settings,
        sampling=search.sampling,
        resolvers=search.resolvers,
        searcher=search.searcher,
        scheduler=search.scheduler,
        stop_rules=search.stop_rules,
        request=request_to_store(
            outer, request.config_updates, names, search.sampling.seed, request.force
        ),
    )
    _try_first_points(plan)
    return plan


def _engine_mistakes(settings: SweepSettings, search: SearchRequest) -> list[str]:
    """Find what only Ray Tune can do and another engine is asked for."""
    if settings.engine != "direct":
        return []
    asked = {"search_alg": search.searcher, "scheduler": search.scheduler}
    return [
        f"ray.engine is 'direct', which runs trials that do not depend on each other, and "
        f"ray.{name} is {choice.text()}; use ray.engine=auto."
        for name, choice in asked.items()
        if choice is not None
    ]


def _reference(inner: Experiment, mistakes: list[str]) -> InnerReference | None:
    try:
        return reference_to(inner)
    except InnerImportError as error:
        mistakes.append(str(error))
    return None


def _updates_of(
    outer: Experiment, inner: Experiment, request: OuterRequest, updates: Mapping[str, Any]
) -> Callable[[Mapping[str, Any], Sequence[str]], Mapping[str, Any]]:
    own_named_configs = has_own_named_configs(inner, request.named_configs)

    def updates_of(parameters: Mapping[str, Any], named_configs: Sequence[str]) -> Any:
        if not own_named_configs and not named_configs:
            return updates
        given = merge(request.config_updates, as_outer_updates(inner, parameters))
        chosen = as_outer_names(inner, named_configs)
        # Before those of the command line, which has the last word on what is the same everywhere.
        return collect_updates(outer, inner, given, [*chosen, *request.named_configs])

    return updates_of


def _try_first_points(plan: SweepPlan) -> None:
    """Complete the first points of the space, so that no trial is lost to an expression."""
    sampling = plan.sampling
    has_conditions = any(entry.has_conditions for entry in sampling.space.entries.values())
    is_computed = plan.resolvers or has_conditions or sampling.named_configs is not None
    if not is_computed and not sampling.trials:
        return
    mistakes: dict[str, None] = {}
    tasks: list[TrialTask] = []
    samples = itertools.islice(sampling.samples(), _TRIED_POINTS)
    while True:
        try:
            tasks.append(plan.trial_resolver.complete(len(tasks), next(samples)))
        except StopIteration:
            break
        except ResolverError as error:
            mistakes[str(error)] = None
    if has_conditions and not mistakes:
        mistakes |= dict.fromkeys(sampling.condition_mistakes(_derived_entries(plan, tasks)))
    if mistakes:
        raise ConfigMistakes(list(mistakes))


def _derived_entries(plan: SweepPlan, tasks: Sequence[TrialTask]) -> set[str]:
    """Find the entries of the inner experiment that follow from what is sampled."""
    fixed = flatten(plan.sampling.fixed)
    changed: set[str] = set()
    for task in tasks[:_EVALUATED_POINTS]:
        config = flatten(evaluate_config(plan.inner, task.config_updates()))
        changed |= {path for path, value in config.items() if fixed.get(path) != value}
    return changed - set(plan.parameters)
