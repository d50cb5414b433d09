"""Ray's runtime environment of the trials: what the user gives, and what is wrong with it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.settings import SweepSettings

_ENTRY = "ray.runtime_env"
_IN_INIT = "ray.init_kwargs.runtime_env"
# Words of names whose values are secret; as whole words, so that MAX_TOKENS is none.
_SECRET = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|APIKEY|(API|ACCESS|SECRET|PRIVATE)_KEY)(_|$)",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"://[^/@\s:]*:[^/@\s]+@")


def runtime_env_of(settings: SweepSettings) -> dict[str, Any]:
    """Put together what the user gives.

    Parameters
    ----------
    settings
        ``runtime_env`` and ``init_kwargs.runtime_env``; variables that are None are taken from the
        environment of this process.

    Raises
    ------
    ConfigMistakes
        With all that is wrong, as far as that can be told without a cluster.
    """
    merged, mistakes = _merged(settings)
    if mistakes:
        raise ConfigMistakes(mistakes)
    return merged


def runtime_env_mistakes(settings: SweepSettings) -> list[str]:
    """Return what is wrong in the arguments for Ray, a sentence each.

    Parameters
    ----------
    settings
        ``runtime_env`` and ``init_kwargs`` are looked at; both have to be mappings.
    """
    mistakes = _init_mistakes(settings.init_kwargs) if settings.init_kwargs else []
    return mistakes + _merged(settings)[1]


def _init_mistakes(init_kwargs: Mapping[str, Any]) -> list[str]:
    import inspect

    import ray

    known = [name for name in inspect.signature(ray.init).parameters if name != "kwargs"]
    # What begins so is Ray's own business, and not in its signature.
    unknown = [name for name in init_kwargs if name not in known and not name.startswith("_")]
    mistakes = [
        f"ray.init_kwargs.{name} is no argument of ray.init{did_you_mean(name, known)}."
        for name in unknown
        if name not in ("object_spilling_directory", "allow_multiple")
    ]
    if "address" in init_kwargs:
        mistakes.append("ray.init_kwargs has an address; give ray.address instead.")
    return mistakes


def _merged(settings: SweepSettings) -> tuple[dict[str, Any], list[str]]:
    given = {_ENTRY: settings.runtime_env, _IN_INIT: settings.init_kwargs.get("runtime_env") or {}}
    mistakes = [
        f"{name} is {type(env).__name__}, it has to be a mapping."
        for name, env in given.items()
        if not isinstance(env, Mapping)
    ]
    if mistakes or not any(given.values()):
        return {}, mistakes
    first, second = (_plain(env) for env in given.values())
    env = {**second, **first}
    both = sorted(set(first) & set(second))
    if "env_vars" in both and _go_together(first["env_vars"], second["env_vars"]):
        both.remove("env_vars")
        env["env_vars"] = {**second["env_vars"], **first["env_vars"]}
    mistakes = [f"{_ENTRY}.{key} is given, and {_IN_INIT}.{key} too; give one." for key in both]
    variables, wrong = _variables(env.get("env_vars"))
    mistakes += wrong
    if variables is not None:
        env["env_vars"] = variables
    return env, mistakes or _mistakes_for_ray(env)


def _plain(value: Any) -> Any:
    """Return Sacred's containers as Python's own, which Ray insists on."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _go_together(first: Any, second: Any) -> bool:
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return False
    return all(first[name] == second[name] for name in set(first) & set(second))


def _variables(env_vars: Any) -> tuple[dict[str, str] | None, list[str]]:
    """Read environment variables: numbers become texts, and None what is set here."""
    if env_vars is None:
        return None, []
    where = f"{_ENTRY}.env_vars"
    if not isinstance(env_vars, Mapping):
        return None, [f"{where} is {type(env_vars).__name__}, it has to be texts by name."]
    found: dict[str, str] = {}
    mistakes = []
    for name, value in env_vars.items():
        if value is None:
            if name in os.environ:
                found[name] = os.environ[name]
            else:
                mistakes.append(
                    f"{where}.{name} is None, which stands for its value here, but the "
                    f"environment has no {name}."
                )
        elif _is_secret(name, value):
            mistakes.append(
                f"{where}.{name} seems to be a secret, which would be stored with the run: set the "
                f"environment variable {name} for the sweep, and give {where}.{name}=None, which "
                "takes it from there."
            )
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
            mistakes.append(f"{where}.{name} is {value!r}, it has to be a text.")
        else:
            found[name] = str(value)
    return found, mistakes


def _is_secret(name: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    return bool(value and _SECRET.search(name)) or bool(_PASSWORD_IN_URL.search(value))


def _mistakes_for_ray(env: Mapping[str, Any]) -> list[str]:
    """Let Ray look at it; what it does not know it would pass over."""
    from ray._private.runtime_env.constants import RAY_RUNTIME_ENV_PLUGINS_ENV_VAR
    from ray.runtime_env import RuntimeEnv

    known = {name for name in RuntimeEnv.known_fields if not name.startswith("_")}
    known |= {"nsight", "rocprof_sys"}
    if not os.environ.get(RAY_RUNTIME_ENV_PLUGINS_ENV_VAR):
        unknown = [key for key in env if key not in known and not key.startswith("_")]
        if unknown:
            listed = ", ".join(sorted(known))
            return [
                f"{_ENTRY}.{key} is no entry of Ray's runtime environments"
                f"{did_you_mean(key, known)}; known are {listed}."
                for key in unknown
            ]
    try:
        RuntimeEnv(**env)
    except Exception as error:  # also the checker of its schemas has exceptions of its own
        first_line = str(error).strip().partition("\n")[0]
        return [f"{_ENTRY} is refused by Ray: {first_line}"]
    return _folder_mistakes(env.get("working_dir"))


def _folder_mistakes(working_dir: Any) -> list[str]:
    if working_dir is None or "://" in str(working_dir) or os.path.exists(str(working_dir)):
        return []
    return [f"{_ENTRY}.working_dir is {working_dir!r}, which is not there."]
