"""What a trial asks for, and how much of that a set of nodes can hold; pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Ray Tune's names of resources that Ray has another for.
RAY_NAMES = {"cpu": "CPU", "gpu": "GPU"}
BUNDLES, STRATEGY = "bundles", "strategy"
STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
# The finest that Ray counts in.
_LEAST = 1e-4
_ROUNDING = 1e-9

Resources = Mapping[str, float]


@dataclass(frozen=True)
class TrialResources:
    """What a trial is given, by Ray's names.

    Parameters
    ----------
    own
        For the process that the trial runs in.
    bundles
        For the tasks and actors that it starts, one each; reserved together with its own.
    strategy
        How these are placed on nodes, in Ray's words.
    """

    own: Resources
    bundles: tuple[Resources, ...] = ()
    strategy: str = "PACK"

    @property
    def group(self) -> list[Resources]:
        """All bundles, that of the trial's own process first; it may be empty."""
        return [self.own, *self.bundles]


def read_resources(entry: Mapping[str, Any]) -> TrialResources:
    """Read ``ray.resources_per_trial``.

    Parameters
    ----------
    entry
        Of which `is_resources` holds.
    """
    own = {name: amount for name, amount in entry.items() if name not in (BUNDLES, STRATEGY)}
    return TrialResources(
        _by_rays_names(own),
        tuple(_by_rays_names(bundle) for bundle in entry.get(BUNDLES) or ()),
        entry.get(STRATEGY) or "PACK",
    )


def is_resources(entry: Any) -> bool:
    """Tell whether an entry is amounts by name, with bundles and a strategy or without."""
    if not isinstance(entry, Mapping):
        return False
    own = {name: amount for name, amount in entry.items() if name not in (BUNDLES, STRATEGY)}
    bundles = entry.get(BUNDLES) or []
    is_list = isinstance(bundles, Sequence) and not isinstance(bundles, str)
    right_strategy = entry.get(STRATEGY) in (None, *STRATEGIES)
    return _is_bundle(own) and is_list and all(map(_is_bundle, bundles)) and right_strategy


def _is_bundle(bundle: Any) -> bool:
    return isinstance(bundle, Mapping) and all(
        isinstance(name, str) and bool(name) and _is_amount(name, amount)
        for name, amount in bundle.items()
    )


def _is_amount(name: str, amount: Any) -> bool:
    is_number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    if not is_number or not 0 <= amount < math.inf or 0 < amount < _LEAST:
        return False
    # Ray shares one GPU, and gives several only as a whole.
    return name.lower() != "gpu" or amount <= 1 or float(amount).is_integer()


def _by_rays_names(bundle: Resources) -> dict[str, float]:
    return {
        RAY_NAMES.get(name.lower(), name): amount for name, amount in bundle.items() if amount > 0
    }


def room_for(resources: TrialResources, nodes: Sequence[Resources]) -> int:
    """Count how many trials nodes can hold at the same time, at least one.

    Parameters
    ----------
    resources
        What each trial takes.
    nodes
        What each node has in all.
    """
    group = [bundle for bundle in resources.group if bundle]
    if not group:  # as many at once as there are processors
        return max(int(sum(node.get("CPU", 1) for node in nodes)), 1)
    if len(group) == 1:
        return max(sum(_times(group[0], node) for node in nodes), 1)
    left, count = [dict(node) for node in nodes], 0
    while _place(group, resources.strategy, left):
        count += 1
    return max(count, 1)


def _times(bundle: Resources, node: Resources) -> int:
    return min(int(node.get(name, 0) / amount + _ROUNDING) for name, amount in bundle.items())


def holds(bundle: Resources, node: Resources) -> bool:
    """Tell whether a node has what a bundle asks for."""
    return all(node.get(name, 0) + _ROUNDING >= amount for name, amount in bundle.items())


def _place(group: Sequence[Resources], strategy: str, left: list[dict[str, float]]) -> bool:
    """Take a group from what is left on nodes; where it does not fit, nothing is to be used."""
    if strategy == "STRICT_PACK":
        group = [_sum(group)]
    used: set[int] = set()
    for bundle in group:
        found = (
            number
            for number, node in enumerate(left)
            if holds(bundle, node) and not (strategy == "STRICT_SPREAD" and number in used)
        )
        number = next(found, None)
        if number is None:
            return False
        used.add(number)
        for name, amount in bundle.items():
            left[number][name] -= amount
    return True


def _sum(group: Sequence[Resources]) -> dict[str, float]:
    names = {name for bundle in group for name in bundle}
    return {name: sum(bundle.get(name, 0) for bundle in group) for name in names}


def mistakes_in(
    resources: TrialResources, nodes: Sequence[Resources], could_be: Sequence[Resources] = ()
) -> list[str]:
    """Find what a cluster can never give.

    Parameters
    ----------
    resources
        What each trial asks for.
    nodes
        What each node has in all.
    could_be
        What each node would have that could still be started.

    Returns
    -------
    list of str
        A sentence for each; empty where a trial fits.
    """
    everything = [*nodes, *could_be]
    group = [bundle for bundle in resources.group if bundle]
    if resources.strategy == "STRICT_PACK" and group:
        group = [_sum(group)]
    mistakes = []
    for bundle in group:
        if not any(holds(bundle, node) for node in everything):
            mistakes += _what_is_missing(bundle, everything, bool(could_be))
    left = [dict(node) for node in everything]
    if not mistakes and not _place(group, resources.strategy, left):
        mistakes.append(
            f"ray.resources_per_trial asks for {len(group)} bundles at once with the strategy "
            f"{resources.strategy}; each fits on a node, but all nodes together do not hold them."
        )
    return list(dict.fromkeys(mistakes))


def _what_is_missing(bundle: Resources, nodes: Sequence[Resources], may_grow: bool) -> list[str]:
    which = "no node that it has or can start" if may_grow else "no node of the cluster"
    missing = []
    for name, amount in bundle.items():
        most = max((node.get(name, 0) for node in nodes), default=0)
        if most + _ROUNDING < amount:
            shown = next((ours for ours, rays in RAY_NAMES.items() if rays == name), name)
            missing.append(
                f"ray.resources_per_trial asks for {shown}={amount:g} in one process; {which} "
                f"has as much (the most is {most:g})."
            )
    asked = ", ".join(f"{name}={amount:g}" for name, amount in bundle.items())
    return missing or [f"ray.resources_per_trial asks for {asked} in one process; {which} has all."]
