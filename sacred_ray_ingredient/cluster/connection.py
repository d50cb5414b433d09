"""Connecting to a running Ray, or starting one for the time of a sweep."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sacred_ray_ingredient.cluster.head import ray_waits_longer
from sacred_ray_ingredient.cluster.luggage import luggage
from sacred_ray_ingredient.cluster.process_setup import forget_hook
from sacred_ray_ingredient.cluster.reach import address_mistake
from sacred_ray_ingredient.errors import ClusterLost, ConfigMistakes
from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.interruption import SweepInterrupted
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.trial_folder import TravellingTree


@contextlib.contextmanager
def connected_ray(
    settings: SweepSettings,
    folder: str,
    code: FrozenCode | None,
    say: Callable[[str], None],
) -> Iterator[TravellingTree | None]:
    """Connect to Ray for the time of a sweep, and take the project's files along to a cluster.

    A Ray that the process is connected to already is used and left as it was; otherwise the one
    at ``ray.address`` is joined, or a local one is started and ended again.

    Parameters
    ----------
    settings
        ``address``, ``init_kwargs``, ``runtime_env`` and ``storage_path`` are used.
    folder
        Current folder of the driver.
    code
        The project's modules.
    say
        Is told what the user should know.

    Yields
    ------
    TravellingTree or None
        For `SweepTask.tree`.

    Raises
    ------
    ConfigMistakes
        If Ray refuses the address or the arguments, or the project is too large to go along.
    """
    # Ray prints a notice about the statistics it would send; a sweep sends none unless asked.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.exceptions import RayError

    if ray.is_initialized():
        with luggage(settings, folder, code, say) as taken:
            yield taken.tree
        return
    mistake = address_mistake(settings.address)
    if mistake is not None:
        raise ConfigMistakes([mistake])
    with luggage(settings, folder, code, say) as taken:
        is_lost = False
        try:
            _start(settings, taken.runtime_env)
            taken.unpack()
            yield taken.tree
        except ClusterLost:
            is_lost = True
            raise
        finally:
            # Also after a Ctrl-C while Ray was starting. Without its head it would abort here.
            if not is_lost:
                with contextlib.suppress(RayError):  # the head has gone away just now
                    forget_hook()
                ray.shutdown()


def _start(settings: SweepSettings, runtime_env: Mapping[str, Any]) -> None:
    import ray
    from ray.exceptions import RayError

    arguments = _init_arguments(settings, runtime_env)
    try:
        joins = settings.address is not None
        waits = ray_waits_longer() if joins else contextlib.nullcontext()
        with waits, _only_what_is_needed(arguments):
            ray.init(**arguments)
    except SystemExit as error:  # Ray's own answer to SIGTERM while it starts
        raise SweepInterrupted(signal.SIGTERM) from error
    except (ConnectionError, ValueError, TypeError, RuntimeError, RayError) as error:
        raise ConfigMistakes([_refusal(settings, error)]) from error


def _refusal(settings: SweepSettings, error: Exception) -> str:
    """Say why Ray was not joined or started."""
    versions = re.search(
        r"was started with:\s*(?P<there>.*?)\s*This process.*was started with:\s*(?P<here>.*)",
        str(error),
        re.DOTALL,
    )
    if versions is not None:
        there, here = (", ".join(versions[name].split("\n")) for name in ("there", "here"))
        there, here = (re.sub(r"\s+", " ", text).strip(" ,") for text in (there, here))
        return (
            f"The Ray at ray.address={settings.address!r} is another one than that of this Python: "
            f"there {there}; here {here}. Both have to be the same on all nodes."
        )
    # Only the names: a value may be a secret.
    given = f" and ray.init_kwargs ({', '.join(settings.init_kwargs)})"
    return (
        f"Ray cannot be started with ray.address={settings.address!r}"
        f"{given if settings.init_kwargs else ''}: {str(error).strip()}"
    )


@contextlib.contextmanager
def _only_what_is_needed(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Leave out two processes of a local Ray of our own, which take a second to start.

    The autoscaler has nothing to scale there, and the log monitor brings the output of workers to
    a driver that does not show it. ``ray start`` has flags for both, ``ray.init`` has none.
    """
    from ray._private import parameter

    whole: Any = parameter.RayParams
    taken = inspect.signature(whole.__init__).parameters
    lean = {"no_monitor": True, "include_log_monitor": False}
    if arguments.get("address") == "local" and not arguments.get("log_to_driver"):
        known = {name: value for name, value in lean.items() if name in taken}
        parameter.RayParams = functools.partial(whole, **known)
    try:
        yield
    finally:
        parameter.RayParams = whole


def _init_arguments(settings: SweepSettings, runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "address": settings.address or "local",
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if settings.address is None:
        arguments["include_dashboard"] = False
    arguments |= settings.init_kwargs
    arguments.pop("runtime_env", None)
    return {**arguments, "runtime_env": dict(runtime_env)} if runtime_env else arguments
