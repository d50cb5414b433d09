"""A configuration as the functions of ``ray.dependent`` see it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from sacred_ray_ingredient.errors import did_you_mean


class ConfigView(Mapping[str, Any]):
    """A read-only view of a config, as a function in ``ray.dependent`` gets it.

    Entries are reached as ``config["optimizer"]["lr"]`` and ``config.optimizer.lr``; a name that
    mappings use themselves, such as ``items``, only in brackets. ``config.config`` is the view
    itself where there is no such entry, as functions for ``tune.sample_from`` may expect.

    Parameters
    ----------
    entries
        The config.
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = entries

    # What follows raises what Python's own mappings raise, as the functions of a user expect.

    def __getitem__(self, key: str) -> Any:
        if key not in self._entries:
            raise KeyError(f"there is no config entry {key!r}{did_you_mean(str(key), self)}")
        value = self._entries[key]
        if isinstance(value, Mapping):
            return ConfigView(value)
        # A copy, so that a function that sorts or extends a list does not change the trial.
        return copy.deepcopy(value) if isinstance(value, (list, set)) else value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._entries:
            return self[name]
        if name == "config":
            return self
        raise AttributeError(f"there is no config entry {name!r}{did_you_mean(name, self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(dict(self._entries))
