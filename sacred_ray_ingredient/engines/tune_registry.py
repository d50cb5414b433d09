"""Keeping Ray Tune's list of trainables in this process.

Tune writes it into the key-value store of the cluster, where it would stay, with the code of the
sweep in it. Only the driver ever reads it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def own_registry() -> Iterator[None]:
    """Let Tune register what it is given here, for the time of a search."""
    from ray.tune import registry

    before = registry._internal_kv_initialized
    registry._internal_kv_initialized = _never
    try:
        yield
    finally:
        registry._internal_kv_initialized = before
        # Else the next connection of this process would bring it to that cluster.
        registry._global_registry._to_flush.clear()


def _never() -> bool:
    return False
