"""From a sampled to a resolved configuration: dependent parameters and the seed of a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.nested import get_path, has_path, merge, set_path
from sacred_ray_ingredient.resolvers import Resolver
from sacred_ray_ingredient.seeds import derive_seed
from sacred_ray_ingredient.tasks import TrialTask


@dataclass(frozen=True)
class TrialResolver:
    """Completes what a searcher has sampled to the task of a trial.

    Parameters
    ----------
    updates
        Sweep-wide updates of the inner experiment.
    resolvers
        Dependent parameters, each after those that it reads.
    outer_seed
        Seed of the outer run.
    config_of
        Computes the inner configuration from updates.
    """

    updates: Mapping[str, Any]
    resolvers: Sequence[Resolver]
    outer_seed: int
    config_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]

    def complete(self, index: int, sampled: Mapping[str, Any]) -> TrialTask:
        """Resolve the dependent parameters and choose the seed.

        Parameters
        ----------
        index
            Index of the trial.
        sampled
            Sampled parameters, nested.

        Returns
        -------
        TrialTask
            The first attempt of the trial. Its seed is the sampled one, else the one that the
            user set for the whole sweep, else one derived from the outer seed and the index.

        Raises
        ------
        ResolverError
            If a dependent parameter cannot be computed from these values.
        """
        seed = get_path(sampled, "seed", self.updates.get("seed"))
        if seed is None:
            seed = derive_seed(self.outer_seed, index)
        resolved = self._resolve(merge({"seed": seed}, sampled))
        seed = resolved.get("seed", seed)
        return TrialTask(index=index, sampled=sampled, resolved=resolved, seed=seed)

    def _resolve(self, sampled: Mapping[str, Any]) -> dict[str, Any]:
        resolved: dict[str, Any] = {}
        for resolver in self.resolvers:
            given = merge(self.updates, sampled, resolved)
            set_path(resolved, resolver.path, resolver.resolve(self._view(resolver, given)))
        return resolved

    def _view(self, resolver: Resolver, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give a resolver the configuration as it stands when its turn comes.

        Entries that the inner experiment derives from others follow them here too, which takes
        an evaluation of its configuration; expressions over given values do without.
        """
        if resolver.reads is not None and all(has_path(given, name) for name in resolver.reads):
            return given
        try:
            return self.config_of(given)
        except Exception as error:
            raise ResolverError(
                f"ray.dependent.{resolver.path} cannot be computed: the configuration of the "
                f"inner experiment raised {type(error).__name__}: {error}."
            ) from error
