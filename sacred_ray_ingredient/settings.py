"""The entries of ``ray.*``: their types and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sacred_ray_ingredient.errors import did_you_mean

RANDOM_SEARCH_SAMPLES = 10


@dataclass(frozen=True)
class SweepSettings:
    """The configuration of a sweep, as the ``ray`` ingredient has it.

    The entries are described where they are defined, in the configuration of
    ``sacred_ray_ingredient.ingredient.ray_ingredient``.
    """

    search_space: Mapping[str, Any] = field(default_factory=dict)
    dependent: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "result"
    mode: str = "max"
    num_samples: int | None = None
    envs: Sequence[Any] = ()
    env_key: str = "env_name"
    seeds: int | Sequence[int] | None = None
    max_concurrent_trials: int | None = None
    max_failures: int = 0
    resources_per_trial: Mapping[str, float] = field(default_factory=lambda: {"cpu": 1})
    address: str | None = None
    init_kwargs: Mapping[str, Any] = field(default_factory=dict)
    storage_path: str | None = None
    exp_name: str | None = None
    report_every: float = 1.0
    mongo: Mapping[str, Any] = field(default_factory=dict)


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_seeds(value: Any) -> bool:
    if value is None or _is_int(value, 1):
        return True
    return isinstance(value, Sequence) and bool(value) and all(_is_int(seed, 0) for seed in value)


def _is_resources(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _is_number(amount) and amount >= 0
        for name, amount in value.items()
    )


def _is_optional_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and bool(value))


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "search_space": (lambda v: isinstance(v, Mapping), "a mapping of parameters to samplers"),
    "dependent": (lambda v: isinstance(v, Mapping), "a mapping of parameters to expressions"),
    "metric": (lambda v: isinstance(v, str) and bool(v), "the name of a logged metric or 'result'"),
    "mode": (lambda v: v in ("min", "max"), "'min' or 'max'"),
    "num_samples": (lambda v: v is None or _is_int(v, 1), "a whole number from 1, or None"),
    "envs": (
        lambda v: (
            isinstance(v, Sequence)
            and not isinstance(v, str)
            and all(isinstance(env, (str, int, float)) for env in v)
        ),
        "a list of names or numbers, such as ['uniform', 'normal']",
    ),
    "env_key": (
        lambda v: isinstance(v, str) and bool(v),
        "the name of the parameter that picks the environment",
    ),
    "seeds": (_is_seeds, "the number of seeds, from 1, or a list of whole numbers from 0"),
    "max_concurrent_trials": (
        lambda v: v is None or _is_int(v, 1),
        "a whole number from 1, or None",
    ),
    "max_failures": (lambda v: _is_int(v, 0), "a whole number from 0"),
    "resources_per_trial": (_is_resources, "amounts by name, such as {'cpu': 1, 'gpu': 0.5}"),
    "address": (_is_optional_text, "'auto', the address of a Ray cluster, or None"),
    "init_kwargs": (lambda v: isinstance(v, Mapping), "arguments of ray.init by name"),
    "storage_path": (_is_optional_text, "a folder, or None"),
    "exp_name": (_is_optional_text, "a name, or None"),
    "report_every": (lambda v: _is_number(v) and v >= 0, "seconds, from 0"),
    "mongo": (
        lambda v: isinstance(v, Mapping),
        "a mapping such as {'url': 'mongodb://host:27017'}",
    ),
}


def read_settings(ray_config: Mapping[str, Any]) -> tuple[SweepSettings, list[str]]:
    """Build the settings from the configuration of the ``ray`` ingredient.

    Parameters
    ----------
    ray_config
        The resolved entries of ``ray``.

    Returns
    -------
    settings : SweepSettings
        With the default in the place of each wrong value.
    mistakes : list of str
        A sentence for each wrong value and each unknown entry.
    """
    known = {entry.name for entry in fields(SweepSettings)}
    mistakes = []
    right: dict[str, Any] = {}
    for name, value in ray_config.items():
        if name in ("seed", "__doc__"):  # Sacred's own; trials are seeded from the outer seed
            continue
        if name not in known:
            hint = did_you_mean(name, known)
            mistakes.append(f"ray.{name} is not an entry of the ray ingredient{hint}.")
            continue
        accepts, wanted = _RULES[name]
        if accepts(value):
            right[name] = value
        else:
            mistakes.append(f"ray.{name} is {value!r}; it must be {wanted}.")
    return SweepSettings(**right), mistakes
