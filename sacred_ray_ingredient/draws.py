"""Random draws in expressions of dependent parameters, the same in each repetition of a trial."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import operator
from collections.abc import Iterator
from typing import Any

from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.values import show

DRAWS = (
    *("uniform", "quniform", "loguniform", "qloguniform", "randn", "qrandn"),
    *("randint", "qrandint", "lograndint", "qlograndint", "choice"),
)


_configuration_seed: contextvars.ContextVar[int | None] = contextvars.ContextVar(
    "configuration_seed", default=None
)


@contextlib.contextmanager
def drawing_for(seed: int) -> Iterator[None]:
    """Let the trials of one configuration draw alike, whatever their own seeds are.

    Parameters
    ----------
    seed
        Of the configuration; used instead of that of the trial.
    """
    token = _configuration_seed.set(seed)
    try:
        yield
    finally:
        _configuration_seed.reset(token)


class TrialDraws:
    """What one evaluation of one dependent parameter draws.

    A draw depends on the seed of the configuration, on the parameter and on how many were drawn
    before in the same evaluation: computed again the parameter gets the same numbers, and a
    further dependent parameter changes those of no other.

    Parameters
    ----------
    seed
        Seed of the trial, for what is computed outside of `drawing_for`.
    path
        Dotted path of the parameter.
    """

    def __init__(self, seed: Any, path: str) -> None:
        own = _configuration_seed.get()
        self._seed = seed if own is None else own
        self._path = path
        self._drawn = 0

    def __call__(self, sampler: Sampler) -> Any:
        """Draw the next value.

        Parameters
        ----------
        sampler
            What to draw from; no grid.

        Raises
        ------
        ResolverError
            If the trial has no usable seed.
        """
        import numpy as np

        try:
            seed = operator.index(self._seed)
        except TypeError:
            seed = -1
        if seed < 0:
            raise ResolverError(
                f"the seed of the trial is {show(self._seed)}, and to draw it must be a whole "
                "number from 0"
            )
        # Not Python's own hash, which differs from process to process.
        digest = hashlib.sha256(self._path.encode("utf-8", "surrogatepass")).digest()
        stream = np.random.SeedSequence(
            seed, spawn_key=(int.from_bytes(digest[:16], "big"), self._drawn)
        )
        self._drawn += 1
        return sampler.quantile(np.random.Generator(np.random.PCG64(stream)).random())
