"""Letting every process of a sweep on a cluster import the project, not only those of trials.

Tasks and actors that a trial starts have processes of their own. Ray calls a function as each of
them starts; what it needs has come along with the working tree.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.trial_folder import SETUP_CODE, SETUP_TREE, TravellingTree

HOOK = "worker_process_setup_hook"
_FORGET_S = 5


def setup_files(tree: TravellingTree, code: FrozenCode | None) -> dict[str, bytes]:
    """Return what goes along besides the working tree, by its name there.

    Parameters
    ----------
    tree
        What workers must know of the driver's folder.
    code
        The project's modules.
    """
    if code is None:
        return {}
    about = json.dumps(dataclasses.asdict(tree)).encode()
    return {SETUP_TREE: about, SETUP_CODE: code.to_archive()}


def with_hook(env: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Add the function to a runtime environment, unless the user has one there.

    Parameters
    ----------
    env
        Of the sweep.
    name
        Tells this sweep from others: Ray keeps equal functions once, and this one is deleted
        with its sweep.
    """
    return {HOOK: _named(name), **env}


def _named(name: str) -> Callable[[], str]:
    # A function within another travels by its value, and needs nothing of this package.
    def set_up() -> str:
        try:
            from sacred_ray_ingredient.trial_folder import set_up_process

            set_up_process()
        except Exception:
            # Another package there, or none. The look at all nodes says so, for which it needs a
            # process on each; and a trial does the same again, and fails.
            return ""
        return name

    return set_up


def forget_hook() -> None:
    """Delete the function from the cluster, where Ray would keep it for ever."""
    import ray
    from ray._private import ray_constants, worker
    from ray._private.runtime_env import setup_hook

    if not worker.global_worker.connected:  # the start was interrupted, or Ray Client is used
        return
    env_vars = ray.get_runtime_context().runtime_env.get("env_vars") or {}
    name = env_vars.get(ray_constants.WORKER_PROCESS_SETUP_HOOK_ENV_VAR, "")
    if name.startswith(setup_hook.RUNTIME_ENV_FUNC_IDENTIFIER):
        key = setup_hook._encode_function_key(name)
        place = ray_constants.KV_NAMESPACE_FUNCTION_TABLE
        worker.global_worker.gcs_client.internal_kv_del(key, False, place, timeout=_FORGET_S)
