"""Seeds of trials, derived from the seed of the outer run.

Sacred draws an automatic seed from the global random state, which every run sets again: in a
worker process that is used for one trial after the other these seeds repeat. Therefore every
trial is given its seed explicitly.
"""

from __future__ import annotations

from collections.abc import Sequence

# Sacred draws its own seeds from 1 to 10^9.
_SEED_RANGE = 10**9


def derive_seed(outer_seed: int, index: int) -> int:
    """Derive an independent seed.

    Parameters
    ----------
    outer_seed
        Seed of the outer run, from 0.
    index
        Index of the trial, or of the repetition, from 0.

    Returns
    -------
    int
        From 1 to 10^9; the same for the same arguments on every machine.

    Notes
    -----
    The derivation is NumPy's ``SeedSequence`` over both numbers, which mixes them so that
    neighbouring indices give unrelated streams.
    """
    import numpy as np

    state = np.random.SeedSequence([outer_seed, index]).generate_state(1, np.uint64)
    return 1 + int(state[0] % _SEED_RANGE)


def seed_values(seeds: int | Sequence[int], outer_seed: int) -> list[int]:
    """Return the seeds that ``ray.seeds`` asks for.

    Parameters
    ----------
    seeds
        How many, or which ones.
    outer_seed
        Seed of the outer run, from which a number of them is derived.
    """
    if isinstance(seeds, int):
        return [derive_seed(outer_seed, repetition) for repetition in range(seeds)]
    return [int(seed) for seed in seeds]
