"""Tune's random and grid search, completed by dependent parameters and seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.variant_generator import generate_variants

from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.search_space import SearchSpace
from sacred_ray_ingredient.values import plain

_NUMPY_SEEDS = 2**32


class ResolvingGenerator(BasicVariantGenerator):
    """Tune's generator, which completes each sample to the task of a trial.

    A subclass, since Tune asks for this very class when it decides how many trials to prepare.

    Parameters
    ----------
    resolver
        Completes samples.
    seed
        Seed of the sampling.
    max_concurrent
        Most trials at once; 0 for as many as the resources allow.
    """

    def __init__(self, resolver: TrialResolver, seed: int, max_concurrent: int = 0) -> None:
        super().__init__(max_concurrent=max_concurrent, random_state=seed % _NUMPY_SEEDS)
        self._resolver = resolver
        self._next_index = 0

    def next_trial(self) -> Trial | None:
        """Return the next trial with its dependent parameters and its seed."""
        trial = super().next_trial()
        if trial is not None:
            task = self._resolver.complete(self._next_index, plain(trial.config))
            self._next_index += 1
            trial.set_config(task.to_config())
            trial.evaluated_params = flatten(task.parameters())
        return trial

    def get_state(self) -> bool:
        """Keep no state in Tune's files: the record in MongoDB is the state of a sweep."""
        return False

    def save_to_dir(self, dirpath: str, session_str: str) -> bool:
        """Write nothing; see `get_state`."""
        return False


def first_samples(
    space: SearchSpace, num_samples: int, seed: int, limit: int
) -> Iterator[Mapping[str, Any]]:
    """Sample a space as `ResolvingGenerator` does, without trials.

    Parameters
    ----------
    space
        The search space.
    num_samples
        How often the space is sampled.
    seed
        Seed of the sampling.
    limit
        Most samples.

    Yields
    ------
    dict
        Sampled parameters, nested, in the order of the trials.
    """
    from ray.tune.search.sample import _BackwardsCompatibleNumpyRng

    random_state = _BackwardsCompatibleNumpyRng(seed % _NUMPY_SEEDS)
    spec = {"config": space.param_space()}
    variants = itertools.chain.from_iterable(
        generate_variants(spec, random_state=random_state) for _ in range(num_samples)
    )
    for _, variant in itertools.islice(variants, limit):
        yield plain(variant["config"])
