"""What must be computed before what: orders and cycles among parameters that read each other."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Collection, Mapping
from typing import Any


def overlap(one: str, other: str) -> bool:
    """Tell whether two dotted paths are the same entry, or one is a part of the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def find_cycle(reads: Mapping[str, Collection[str]]) -> list[str] | None:
    """Find names that need each other.

    Parameters
    ----------
    reads
        What each name reads.

    Returns
    -------
    list of str or None
        Each name reads the next one and the last one is the first; None where there is no cycle.
    """
    try:
        graphlib.TopologicalSorter(reads).prepare()
    except graphlib.CycleError as error:
        # It lists what is read before what reads it; "a -> b" shall say that a reads b.
        found: list[str] = error.args[1]
        return found[::-1]
    return None


def without_cycles(
    reads: Mapping[str, Collection[str]],
) -> tuple[dict[str, set[str]], list[list[str]]]:
    """Leave out names that need each other.

    Parameters
    ----------
    reads
        What each name reads.

    Returns
    -------
    tuple
        The other names with what they read of each other, and the cycles.
    """
    left = {name: set(read) for name, read in reads.items()}
    cycles = []
    while (cycle := find_cycle(left)) is not None:
        cycles.append(cycle)
        left = {name: read - set(cycle) for name, read in left.items() if name not in cycle}
    return left, cycles


def in_order(
    reads: Mapping[str, Collection[str]], rank: Callable[[str], Any] | None = None
) -> list[str]:
    """Sort names so that each comes after what it reads.

    Parameters
    ----------
    reads
        What each name reads, without cycles and without names that are not among the keys.
    rank
        Of the names that could come next the one with the lowest rank does; without it the
        first one as given.
    """
    position = {name: index for index, name in enumerate(reads)}
    sorter = graphlib.TopologicalSorter(reads)
    sorter.prepare()
    ready: list[str] = []
    ordered: list[str] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=rank or position.__getitem__)
        name = ready.pop(0)
        sorter.done(name)
        ordered.append(name)
    return ordered
