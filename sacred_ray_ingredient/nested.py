"""Nested dictionaries addressed by dotted paths, as Sacred's configs are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sacred_ray_ingredient.values import show

_MISSING = object()


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn ``{"a": {"b": 1}}`` into ``{"a.b": 1}``; an empty dictionary is a leaf.

    Parameters
    ----------
    nested
        Dictionaries within dictionaries; other values are leaves.
    prefix
        Path that the result's keys start with.
    """
    return dict(_leaves(nested, prefix))


def _leaves(nested: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"a.b": 1}`` into ``{"a": {"b": 1}}``."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        set_path(nested, path, value)
    return nested


def set_path(nested: dict[str, Any], path: str, value: Any) -> None:
    """Set the entry at a dotted path, in place; what is in the way is replaced."""
    *parents, last = path.split(".")
    for parent in parents:
        below = nested.get(parent)
        if not isinstance(below, dict):
            below = nested[parent] = {}
        nested = below
    nested[last] = value


def get_path(nested: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """Return the entry at a dotted path, or the default where there is none."""
    here: Any = nested
    for key in path.split("."):
        here = here.get(key, _MISSING) if isinstance(here, Mapping) else _MISSING
        if here is _MISSING:
            return default
    return here


def has_path(nested: Mapping[str, Any], path: str) -> bool:
    """Tell whether there is an entry at a dotted path."""
    return get_path(nested, path, _MISSING) is not _MISSING


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge dictionaries deeply into a new one; later layers win.

    Siblings of a nested entry are kept: ``merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})``
    is ``{"a": {"b": 3, "c": 2}}``.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = merged.get(key)
            if isinstance(value, Mapping):
                merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
            else:
                merged[key] = value
    return merged


def flat_entries(
    raw: Any, source: str, is_leaf: Callable[[Any], bool] = lambda value: False
) -> tuple[dict[str, Any], list[str]]:
    """Flatten what a user wrote nested, dotted or mixed, and find what contradicts itself.

    Parameters
    ----------
    raw
        The mapping, or None for an empty one.
    source
        Config path of it, for the sentences.
    is_leaf
        Tells which mappings are values, not levels.

    Returns
    -------
    tuple
        Values by dotted path, without those that are None, and the mistakes as sentences.
    """
    flat: dict[str, Any] = {}
    mistakes: list[str] = []
    if raw is not None and not isinstance(raw, Mapping):
        return {}, [f"{source} is {show(raw)}; it must be a mapping from parameters to values."]
    for path, value in _entries(raw or {}, "", is_leaf):
        if not all(path.split(".")):
            mistakes.append(f"{source} has the entry {path!r}; names must be text and not empty.")
        elif path in flat:
            mistakes.append(f"{source}.{path} is given twice, dotted and nested; keep one of them.")
        else:
            flat[path] = value
    flat = {path: value for path, value in flat.items() if value is not None}
    for path in flat:
        inside = [other for other in flat if other.startswith(f"{path}.")]
        mistakes += [
            f"{source} has both {path!r} and {other!r}, which is a part of it; keep one of them."
            for other in inside
        ]
    return flat, mistakes


def _entries(
    level: Mapping[Any, Any], prefix: str, is_leaf: Callable[[Any], bool]
) -> Iterator[tuple[str, Any]]:
    for key, value in level.items():
        # A key that is no text gets an empty name, which the caller refuses.
        path = prefix + (key if isinstance(key, str) else f".{key!r}")
        if isinstance(value, Mapping) and not is_leaf(value):
            yield from _entries(value, f"{path}.", is_leaf)
        else:
            yield path, value


# In the place of None, which would leave an entry out.
_NONE = object()


def flat_updates(
    raw: Any, source: str, is_leaf: Callable[[Any], bool] = lambda value: False
) -> tuple[dict[str, Any], list[str]]:
    """Flatten updates of a config, in which None is a value like others.

    Parameters
    ----------
    raw
        Nested, dotted or mixed.
    source
        Where it comes from, for the sentences.
    is_leaf
        Tells which mappings are values, not levels.

    Returns
    -------
    tuple
        Values by dotted path, and the mistakes as sentences.
    """
    flat, mistakes = flat_entries(_mark_none(raw, is_leaf), source, is_leaf)
    return {path: None if value is _NONE else value for path, value in flat.items()}, mistakes


def _mark_none(value: Any, is_leaf: Callable[[Any], bool]) -> Any:
    if isinstance(value, Mapping) and not is_leaf(value):
        return {key: _mark_none(below, is_leaf) for key, below in value.items()}
    return _NONE if value is None else value
