"""Earlier sweeps whose driver was killed, and whose journals other nodes still have."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from sacred_ray_ingredient.record.arrivals import Arrivals
from sacred_ray_ingredient.record.reconcile import telling_of_outages
from sacred_ray_ingredient.record.sync import sync
from sacred_ray_ingredient.record.target import RecordTarget

# What is not there by then is brought by the next command.
_PATIENCE_S = 2.0

_log = logging.getLogger(__name__)


class LeftSweeps:
    """Takes the journals of earlier sweeps, and brings them to the database.

    Parameters
    ----------
    target
        Of the sweep that runs; earlier ones are those of its database.
    say
        Tells the user a sentence.
    """

    def __init__(self, target: RecordTarget, say: Callable[[str], None]) -> None:
        self._target = target
        self._say = say
        self._arrivals: dict[str, Arrivals] = {}

    def ours(self, groups: Iterable[str]) -> list[str]:
        """Choose the sweeps that are in this database, and that no driver works on.

        Parameters
        ----------
        groups
            Names of folders on a node.
        """
        others = [group for group in groups if group != self._target.group]
        if not others:
            return []
        query = {
            "meta.sweep.sweep_id": {"$in": others},
            "meta.sweep.trial_index": {"$exists": False},
        }
        running: set[str] = set()
        found: set[str] = set()
        with telling_of_outages(_log.debug):
            for run in self._target.runs().find(query, {"status": 1, "meta.sweep.sweep_id": 1}):
                sweep_id = run["meta"]["sweep"]["sweep_id"]
                (running if run.get("status") == "RUNNING" else found).add(sweep_id)
        return sorted(found - running)

    def arrivals(self, group: str) -> Arrivals:
        """Return what takes the journals of a sweep."""
        if group not in self._arrivals:
            self._arrivals[group] = Arrivals(self._folder(group))
        return self._arrivals[group]

    def fetched(self, node: str, group: str) -> None:
        """Bring what a node had of a sweep to the database."""
        self.arrivals(group).release(node)
        self._bring(group)

    def release(self, node: str) -> None:
        """Take note that nothing more comes from a node."""
        for arrivals in self._arrivals.values():
            arrivals.release(node)

    def settle(self) -> None:
        """Bring what has come by now to the database."""
        for group, arrivals in self._arrivals.items():
            arrivals.release()
            self._bring(group)

    def _bring(self, group: str) -> None:
        address = self._target.address
        sync(self._folder(group), self._say, patience_s=_PATIENCE_S, only_to=address)

    def _folder(self, group: str) -> Path:
        return replace(self._target, group=group).home()
