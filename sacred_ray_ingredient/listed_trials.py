"""Trials that are given one by one, and named configs of the inner experiment as alternatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sacred import Experiment

from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.inner import ingredients_of
from sacred_ray_ingredient.nested import flat_updates, unflatten
from sacred_ray_ingredient.samplers import (
    Sampler,
    is_sampler_data,
    read_domain,
    read_sampler_text,
)
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
    raw: Sequence[Mapping[str, Any]],
    inner: Experiment,
    source: str = "ray.trials",
    *,
    seeds_are_chosen: bool = False,
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
    seeds_are_chosen
        Whether ``ray.seeds`` or ``ray.repeat`` gives the seeds, so that a trial cannot.

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
        updates, wrong_updates = _read_updates(
            entry.get("config_updates") or {}, f"{where}.config_updates"
        )
        mistakes += wrong_names + wrong_updates
        if seeds_are_chosen and "seed" in updates:
            mistakes.append(
                f"{where}.config_updates.seed is {show(updates['seed'])}, but ray.seeds or "
                "ray.repeat chooses the seeds; give one of them."
            )
        trials.append({"named_configs": names, "config_updates": unflatten(plain(updates))})
    return tuple(trials), mistakes


def _read_updates(raw: Any, where: str) -> tuple[dict[str, Any], list[str]]:
    if not isinstance(raw, Mapping):
        return {}, [f"{where} is {show(raw)}; it must be a mapping."]
    flat, mistakes = flat_updates(raw, where, is_sampler_data)
    mistakes += [
        f"{where}.{path} is {show(value)}, which reads as a sampler; ray.trials lists values, and "
        "samplers belong in ray.search_space. If the text itself is meant, set it in a named "
        "config of the inner experiment."
        for path, value in flat.items()
        if _is_sampler(value, f"{where}.{path}")
    ]
    if flat.get("seed", 0) is None:  # as without it, the sweep gives one
        del flat["seed"]
    return flat, mistakes


def _is_sampler(value: Any, where: str) -> bool:
    """Tell whether a value is, or is to be, a sampler."""
    try:
        if isinstance(value, str):
            return read_sampler_text(value, where) is not None
        return is_sampler_data(value) or read_domain(value, where) is not None
    except ConfigMistakes:
        return True
