"""Experiment files of early Tune as config files of an outer experiment.

Early Tune and RLlib ran experiments from YAML and JSON files with ``run``, ``stop``,
``num_samples`` and a ``config`` whose values are constants, ``grid_search`` and ``eval``. Their
content is translated into updates of the outer experiment.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sacred import Experiment
from sacred.config.config_dict import ConfigDict

from sacred_ray_ingredient.config_files import read_config_file
from sacred_ray_ingredient.early_expressions import rewrite
from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.inner import as_outer_updates, evaluate_config, ingredients_of
from sacred_ray_ingredient.nested import flat_updates, unflatten
from sacred_ray_ingredient.values import show

_FORMATS = (".yaml", ".yml", ".json")
_SAMPLES = ("num_samples", "num_trials", "repeat")
_RESOURCES = ("resources_per_trial", "trial_resources", "resources")
_KEYS = ("config", "stop", *_SAMPLES, *_RESOURCES, "env", "run")


def is_early_tune_file(content: Any, names: Collection[str] = ("ray", "seed")) -> bool:
    """Tell whether the content of a file has the shape of an early Tune experiment.

    Parameters
    ----------
    content
        As it was loaded.
    names
        Top-level entries and ingredients of the outer experiment: a file with one of them is
        one of Sacred's.
    """
    if not isinstance(content, Mapping) or not content or not set(names).isdisjoint(content):
        return False
    return "config" in content or all(
        isinstance(level, Mapping) and "config" in level for level in content.values()
    )


def translate(content: Mapping[str, Any], inner_path: str, source: str) -> dict[str, Any]:
    """Translate the content of an early Tune file.

    Parameters
    ----------
    content
        As it was loaded.
    inner_path
        Path of the inner experiment.
    source
        Name of the file, for the sentences.

    Returns
    -------
    dict
        Updates of the outer experiment, nested: what is varied and how under ``ray``, constants
        under the path of the inner experiment.

    Raises
    ------
    ConfigMistakes
        With all that cannot be translated.
    """
    ray: dict[str, Any] = {}
    if "config" not in content:
        if len(content) != 1:
            listed = ", ".join(str(name) for name in content)
            raise ConfigMistakes(
                [f"{source} has several experiments ({listed}); keep one of them."]
            )
        ((name, content),) = content.items()
        ray["exp_name"] = str(name)
    mistakes = [
        f"{source} has the entry {key!r}{did_you_mean(str(key), _KEYS)}, which is not understood; "
        f"an early Tune file can have {', '.join(_KEYS)}."
        for key in content
        if key not in _KEYS
    ]
    if content.get("run") not in (None, inner_path):
        mistakes.append(
            f"{source} is to run {show(content['run'])}, and here {inner_path!r} is run; take the "
            "entry out if that is meant."
        )
    stop = content.get("stop")
    if stop is not None and not isinstance(stop, Mapping):
        mistakes.append(f"{source}: stop is {show(stop)}; it must be a mapping of limits by name.")
    # Early Tune took one sample where nothing was said.
    ray["num_samples"] = _one_of(content, _SAMPLES, source, mistakes) or 1
    ray["resources_per_trial"] = _one_of(content, _RESOURCES, source, mistakes)
    ray["stop"] = stop
    constants = _read_config(_with_env(content, source, mistakes), ray, source, mistakes)
    if mistakes:
        raise ConfigMistakes(mistakes)
    given = {name: value for name, value in ray.items() if value not in (None, {})}
    return {"ray": given, **({inner_path: constants} if constants else {})}


def _one_of(
    content: Mapping[str, Any], names: Sequence[str], source: str, mistakes: list[str]
) -> Any:
    given = [name for name in names if content.get(name) is not None]
    if len(given) > 1:
        mistakes.append(f"{source} has {' and '.join(given)}, which mean the same; keep one.")
    return content[given[0]] if given else None


def _with_env(content: Mapping[str, Any], source: str, mistakes: list[str]) -> Any:
    config, env = content["config"], content.get("env")
    if env is None or not isinstance(config, Mapping):
        return config
    if "env" in config:
        mistakes.append(f"{source} has env twice, beside config and in it; keep one of them.")
    return {"env": env, **config}


def _read_config(
    config: Any, ray: dict[str, Any], source: str, mistakes: list[str]
) -> dict[str, Any]:
    """Put what is varied into the entries of ``ray`` and return the constants."""
    flat, wrong = flat_updates(config, f"{source}: config", _is_leaf)
    mistakes += wrong
    space: dict[str, Any] = {}
    dependent: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for path, value in flat.items():
        where = f"{source}: config.{path}"
        kind = next(iter(value)) if _is_special(value) else None
        if kind == "grid_search":
            space[path] = value
            if not isinstance(value[kind], list) or not value[kind]:
                mistakes.append(f"{where} is {show(value)}; grid_search needs a list of values.")
            elif any(_has_special(item) for item in value[kind]):
                mistakes.append(_too_deep(where, value))
        elif kind == "eval":
            if not isinstance(value[kind], str):
                mistakes.append(f"{where} is {show(value)}; eval needs an expression as text.")
                continue
            try:
                text, is_draw = rewrite(value[kind], where)
            except ConfigMistakes as error:
                mistakes += error.mistakes
            else:
                (space if is_draw else dependent)[path] = text
        elif _has_special(value):
            mistakes.append(_too_deep(where, value))
        else:
            constants[path] = value
    ray["search_space"] = unflatten(space)
    ray["dependent"] = unflatten(dependent)
    return unflatten(constants)


def _too_deep(where: str, value: Any) -> str:
    return (
        f"{where} is {show(value)}, with eval or grid_search inside a list; only whole entries can "
        "be varied: make a grid_search over the whole lists."
    )


def _is_special(value: Any) -> bool:
    return isinstance(value, Mapping) and list(value) in (["grid_search"], ["eval"])


def _is_leaf(value: Any) -> bool:
    return not value or _is_special(value)


def _has_special(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_special(value) or any(_has_special(below) for below in value.values())
    return isinstance(value, list) and any(_has_special(item) for item in value)


def with_tune_files(
    outer: Experiment, named_configs: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Put named configs in the place of early Tune files.

    Parameters
    ----------
    outer
        The outer experiment, which gets the named configs.
    named_configs
        Names of named configs and config files, as Sacred got them.

    Returns
    -------
    tuple
        The names to give to Sacred, and the path of the file by name for each early Tune file.

    Raises
    ------
    ConfigMistakes
        With all that cannot be translated.
    """
    names: list[str] = []
    files: dict[str, str] = {}
    mistakes: list[str] = []
    for given in named_configs:
        content = _loaded(given)
        if not is_early_tune_file(content, _entries_of(outer) if content else ()):
            names.append(given)
            continue
        try:
            updates = translate(content, outer.inner_experiment.path, given)
        except ConfigMistakes as error:
            mistakes += error.mistakes
            continue
        # Sacred takes what is before a dot for an ingredient.
        name = f"tune_file:{given.replace('.', '_')}"
        constants = updates.pop(outer.inner_experiment.path, {})
        moved = as_outer_updates(outer.inner_experiment, constants)
        outer.named_configs[name] = ConfigDict({**updates, **moved})
        names.append(name)
        files[name] = os.path.abspath(given)
    if mistakes:
        raise ConfigMistakes(mistakes)
    return names, files


def _entries_of(outer: Experiment) -> set[str]:
    paths = {ingredient.path.partition(".")[0] for ingredient in ingredients_of(outer)}
    return {"seed", *paths, *evaluate_config(outer, {})}


def _loaded(name: str) -> Any:
    if not name.lower().endswith(_FORMATS) or not os.path.isfile(name):
        return None
    try:
        return read_config_file(name)
    except ConfigMistakes:
        # What is wrong with the file is told where Sacred's own files are looked at.
        return None
