"""What was asked of an outer experiment, as text in its document from which it is asked again.

Another machine needs no file for that: the content of config files goes along.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacred import Experiment
from sacred.config.config_dict import ConfigDict
from sacred.utils import convert_to_nested_dict

from sacred_ray_ingredient.config_files import read_config_file
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.nested import merge
from sacred_ray_ingredient.values import plain

# Names of named configs that were made of the content of files.
_FILES = ("tune_file:", "file:")
# What is asked anew each time, and where the database is, which may have moved.
_NOT_KEPT = ("resume", "retry_failed", "accept_changes", "mongo")
_SCALARS = (str, int, float, bool, type(None))


def to_text(data: Mapping[str, Any]) -> str:
    """Write plain data as text, in which keys may have dots.

    Parameters
    ----------
    data
        A request or a fingerprint.
    """
    return json.dumps(data)


def from_text(text: Any) -> dict[str, Any]:
    """Read what `to_text` wrote; an empty mapping where it is none.

    Parameters
    ----------
    text
        From a document.
    """
    try:
        data = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


@dataclass(frozen=True)
class StoredRequest:
    """A request as it was recorded.

    Attributes
    ----------
    config_updates : dict
        As Sacred got them.
    named_configs : tuple
        Each a name, or a pair of a name and the content of a file.
    seed : int or None
        Seed of the outer run.
    force : bool
        Whether unknown entries were accepted.
    reason : str or None
        Why it cannot be asked again from this alone.
    """

    config_updates: Mapping[str, Any]
    named_configs: tuple[str | tuple[str, Mapping[str, Any]], ...] = ()
    seed: int | None = None
    force: bool = False
    reason: str | None = None

    def text(self) -> str:
        """Write it for the document; without what is no plain data."""
        if self.reason is not None:
            return to_text({"reason": self.reason, "seed": self.seed})
        return to_text(
            {
                "config_updates": self.config_updates,
                "named_configs": list(self.named_configs),
                "seed": self.seed,
                "force": self.force,
            }
        )

    @classmethod
    def from_text(cls, text: Any) -> StoredRequest:
        """Read what a document has."""
        data = from_text(text)
        updates, names = data.get("config_updates"), data.get("named_configs")
        if data.get("reason") or not isinstance(updates, dict) or not isinstance(names, list):
            reason = str(data.get("reason") or "the sweep was recorded without its command")
            return cls({}, seed=data.get("seed"), reason=reason)
        listed = tuple(name if isinstance(name, str) else (name[0], name[1]) for name in names)
        return cls(updates, listed, data.get("seed"), bool(data.get("force")))

    def asked_again(
        self, outer: Experiment, config_updates: Mapping[str, Any], named_configs: Sequence[str]
    ) -> tuple[dict[str, Any], list[str]]:
        """Lay a new request over the recorded one.

        Parameters
        ----------
        outer
            The outer experiment, which gets named configs with the content of files.
        config_updates, named_configs
            What is asked besides; comes last.
        """
        names = []
        for entry in self.named_configs:
            if isinstance(entry, str):
                names.append(entry)
                continue
            name, content = entry
            outer.named_configs[name] = ConfigDict(without_own_entries(content))
            names.append(name)
        return merge(without_own_entries(self.config_updates), config_updates), [
            *names,
            *named_configs,
        ]


def without_own_entries(updates: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the entries of ``ray`` that a later command has to give itself.

    Parameters
    ----------
    updates
        Nested, of an outer experiment.
    """
    ray = updates.get("ray")
    if not isinstance(ray, Mapping):
        return dict(updates)
    kept = {name: value for name, value in ray.items() if name not in _NOT_KEPT}
    return {**updates, "ray": kept}


def request_to_store(
    outer: Experiment,
    config_updates: Mapping[str, Any],
    named_configs: Sequence[str],
    seed: int | None,
    force: bool = False,
) -> StoredRequest:
    """Collect what has to be stored of a request.

    Parameters
    ----------
    outer
        The outer experiment.
    config_updates, named_configs
        As Sacred got them.
    seed
        Seed of the outer run.
    force
        Whether unknown entries are accepted.
    """
    updates = plain(without_own_entries(convert_to_nested_dict(dict(config_updates))))
    odd = _no_data(updates, "")
    listed: list[str | tuple[str, Mapping[str, Any]]] = []
    for name in named_configs:
        content = _content(outer, name)
        if content is None:
            listed.append(name)
            continue
        odd = odd or _no_data(content, name)
        listed.append((_file_name(name), content))
    reason = None if odd is None else f"{odd}, which cannot be stored as text"
    return StoredRequest(updates, tuple(listed), seed, force, reason)


def _file_name(name: str) -> str:
    # Sacred takes what is before a dot for an ingredient.
    return name if name.startswith(_FILES) else f"file:{name.replace('.', '_')}"


def _content(outer: Experiment, name: str) -> dict[str, Any] | None:
    """Return the content of a file that was given as a named config; None for any other one."""
    if name.startswith(_FILES) and name in outer.named_configs:
        content = plain(dict(outer.named_configs[name]()))
    elif os.path.isfile(name):
        try:
            content = plain(read_config_file(name))
        except ConfigMistakes:  # told where the request is checked
            return None
    else:
        return None
    return {key: below for key, below in without_own_entries(content).items() if key != "__doc__"}


def _no_data(value: Any, path: str) -> str | None:
    """Name the first value that is no plain data, or that text would not give back."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            if not isinstance(key, str):
                return f"{path or 'an entry'} has the key {key!r}"
            found = _no_data(below, f"{path}.{key}" if path else key)
            if found is not None:
                return found
        return None
    if isinstance(value, (list, tuple)):
        return next((f for f in (_no_data(item, path) for item in value) if f is not None), None)
    if isinstance(value, _SCALARS):
        return None
    return f"{path} is an object of the type {type(value).__name__}"
