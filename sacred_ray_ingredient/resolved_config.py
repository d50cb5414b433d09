"""From a sampled to a resolved configuration: dependent parameters and the seed of a trial."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.draws import drawing_for
from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.nested import get_path, has_path, merge, set_path
from sacred_ray_ingredient.resolvers import Resolver
from sacred_ray_ingredient.sampling import Sample
from sacred_ray_ingredient.seeds import derive_seed
from sacred_ray_ingredient.tasks import TrialTask

_Updates = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class TrialResolver:
    """Completes what a searcher has sampled to the task of a trial.

    Parameters
    ----------
    updates_of
        Computes the sweep-wide updates of the inner experiment for the parameters of a trial, on
        which its named configs can depend, and for the named configs that the trial has besides.
    resolvers
        Dependent parameters, each after those that it reads.
    outer_seed
        Seed of the outer run.
    config_of
        Computes the inner configuration from updates.
    """

    updates_of: Callable[[Mapping[str, Any], Sequence[str]], Mapping[str, Any]]
    resolvers: Sequence[Resolver]
    outer_seed: int
    config_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]

    def complete(self, index: int, sample: Sample) -> TrialTask:
        """Resolve the dependent parameters and choose the seed.

        Parameters
        ----------
        index
            Index of the trial.
        sample
            What was sampled.

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
        sampled = sample.sampled
        updates_of = functools.partial(self._updates, named_configs=sample.named_configs)
        seed = get_path(sampled, "seed", None)
        if seed is None and sample.repetition == 0:
            seed = updates_of(sampled).get("seed")
        if seed is None:
            seed = derive_seed(self.outer_seed, index)
        # Repetitions differ by their seed alone, not by what dependent parameters draw.
        draw_seed = derive_seed(self.outer_seed, sample.configuration)
        with drawing_for(draw_seed), _seeded(draw_seed):
            resolved = self._resolve(merge({"seed": seed}, sampled), updates_of)
        seed = resolved.get("seed", seed)
        return TrialTask(
            index,
            sampled,
            resolved,
            seed,
            updates=updates_of(merge({"seed": seed}, sampled, resolved)),
            configuration=sample.configuration,
            repetition=sample.repetition,
            named_configs=sample.named_configs,
        )

    def _updates(
        self, parameters: Mapping[str, Any], named_configs: Sequence[str]
    ) -> Mapping[str, Any]:
        return self.updates_of(parameters, named_configs)

    def _resolve(self, sampled: Mapping[str, Any], updates_of: _Updates) -> dict[str, Any]:
        """Compute all dependent parameters, until none changes the configuration of another.

        Their order takes care of what they read directly. What they read through entries that
        the inner experiment derives shows only when they are computed again. Functions are
        computed once, as they may draw random numbers.
        """
        resolved, derived = self._compute(self.resolvers, sampled, {}, updates_of)
        expressions = [resolver for resolver in self.resolvers if resolver.is_repeatable]
        if not derived:
            return resolved
        for _ in range(len(expressions) + 1):
            again, _ = self._compute(expressions, sampled, resolved, updates_of)
            if again == resolved:
                return resolved
            resolved = again
        names = ", ".join(resolver.path for resolver in expressions)
        raise ResolverError(
            f"The parameters of ray.dependent ({names}) depend on each other in a circle, through "
            "entries that the inner experiment derives from them."
        )

    def _compute(
        self,
        resolvers: Sequence[Resolver],
        sampled: Mapping[str, Any],
        before: Mapping[str, Any],
        updates_of: _Updates,
    ) -> tuple[dict[str, Any], bool]:
        """Compute parameters in their order; tell whether an expression read a derived entry."""
        resolved = merge(before)
        derived = False
        for resolver in resolvers:
            parameters = merge(sampled, resolved)
            given = merge(updates_of(parameters), parameters)
            if _is_all_given(resolver, given):
                config: Mapping[str, Any] = given
            else:
                config = self._evaluated(resolver, given)
                derived = derived or resolver.is_repeatable
            set_path(resolved, resolver.path, resolver.resolve(config))
        return resolved, derived

    def _evaluated(self, resolver: Resolver, given: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self.config_of(given)
        except Exception as error:
            raise ResolverError(
                f"ray.dependent.{resolver.path} cannot be computed: the configuration of the "
                f"inner experiment raised {type(error).__name__}: {error}."
            ) from error


def _is_all_given(resolver: Resolver, given: Mapping[str, Any]) -> bool:
    """Tell whether a resolver needs no evaluation of the inner experiment's configuration.

    Of an entry that is a dictionary, only a part may have been given.
    """
    return resolver.reads is not None and all(
        has_path(given, name) and not isinstance(get_path(given, name), Mapping)
        for name in resolver.reads
    )


@contextlib.contextmanager
def _seeded(seed: Any) -> Iterator[None]:
    """Let functions that draw from the global random states draw the same for the same seed."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32 if isinstance(seed, int) else None)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
