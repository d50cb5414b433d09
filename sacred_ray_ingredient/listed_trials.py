"""Trials that are given one by one, and named configs of the inner experiment as alternatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sacred import Experiment

from sacred_ray_ingredient.errors import did_you_mean
from sacred_ray_ingredient.inner import ingredients_of
from sacred_ray_ingredient.nested import flat_entries, unflatten
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.search_space import parse_search_space
from sacred_ray_ingredient.values import plain, show

_PARTS = {"named_configs", "config_updates"}


def parse_named_configs(
    raw: Any, inner: Experiment, source: str = "ray.named_configs"
) -> tuple[Sampler | None, list[str]]:
    """Read the named configs to search over.

    Parameters
    ----------
    raw
        A list of alternatives, each a name or a list of names (an empty one for none), or
        ``choice([...])`` and ``grid_search([...])`` of these.
    inner
        The inner experiment, which has them.
    source
        Config path of it, for the sentences.

    Returns
    -------
    tuple
        A sampler of tuples of names, None if there is nothing to search; and a sentence for each
        thing that is wrong.
    """
    if raw is None or (isinstance(raw, (list, tuple, dict)) and not raw):
        return None, []
    above, _, name = source.rpartition(".")
    space, mistakes = parse_search_space({name: raw}, above)
    if mistakes:
        return None, mistakes
    cases = space.entries[name].cases if name in space.entries else ()
    sampler = cases[0].sampler if len(cases) == 1 and cases[0].condition is None else None
    values = None if sampler is None else sampler.values()
    if sampler is None or values is None:
        return None, [
            f"{source} is {show(raw)}; it must be a list of alternatives, each a named config of "
            f"{inner.path!r} or a list of them, or choice(...) of such a list."
        ]
    alternatives = []
    for value in values:
        names, wrong_names = _read_names(value, inner, source)
        alternatives.append(names)
        mistakes += wrong_names
    (argument,) = (name for name in sampler.arguments if name != "weights")
    return Sampler(sampler.name, {**sampler.arguments, argument: alternatives}), mistakes


def _read_names(value: Any, inner: Experiment, source: str) -> tuple[tuple[str, ...], list[str]]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        return (), [f"{source} has {show(value)}; it must be a name or a list of names."]
    short = tuple(name.removeprefix(f"{inner.path}.") for name in names)
    known = known_named_configs(inner)
    mistakes = [
        f"{source} has {name!r}, which is not a named config of the inner experiment "
        f"{inner.path!r}{did_you_mean(name, known) or _listed(known)}."
        for name in short
        if name not in known
    ]
    return short, mistakes


def _listed(known: Sequence[str]) -> str:
    return f"; it has {', '.join(known)}" if known else ", which has none"


def known_named_configs(inner: Experiment) -> list[str]:
    """List the named configs of the inner experiment and, with their path, of its ingredients."""
    names = list(inner.named_configs)
    for ingredient in ingredients_of(inner):
        names += [f"{ingredient.path}.{name}" for name in ingredient.named_configs]
    return sorted(names)


def as_outer_names(inner: Experiment, names: Sequence[str]) -> list[str]:
    """Turn named configs of the inner experiment into names that the outer one understands."""
    return [f"{inner.path}.{name}" if name in inner.named_configs else name for name in names]


def parse_trials(
    raw: Sequence[Mapping[str, Any]], inner: Experiment, source: str = "ray.trials"
) -> tuple[tuple[Mapping[str, Any], ...], list[str]]:
    """Read the trials that are given one by one.

    Parameters
    ----------
    raw
        Each with ``named_configs`` and ``config_updates``, or one of them.
    inner
        The inner experiment.
    source
        Config path of it, for the sentences.

    Returns
    -------
    tuple
        The trials with both parts, names as tuples and updates nested; and a sentence for each
        thing that is wrong.
    """
    trials, mistakes = [], []
    for number, entry in enumerate(raw):
        where = f"{source}[{number}]"
        for name in entry:
            if name not in _PARTS:
                hint = did_you_mean(str(name), _PARTS) or "; it has named_configs, config_updates"
                mistakes.append(f"{where} has {name!r}, which is no part of a trial{hint}.")
        names, wrong_names = _read_names(entry.get("named_configs") or [], inner, where)
        updates = entry.get("config_updates") or {}
        if not isinstance(updates, Mapping):
            mistakes.append(f"{where}.config_updates is {show(updates)}; it must be a mapping.")
            updates = {}
        flat, wrong_updates = flat_entries(updates, f"{where}.config_updates")
        mistakes += wrong_names + wrong_updates
        trials.append({"named_configs": names, "config_updates": unflatten(plain(flat))})
    return tuple(trials), mistakes
