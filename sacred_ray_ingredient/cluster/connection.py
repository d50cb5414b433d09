"""Connecting to a running Ray, or starting one for the time of a sweep."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.interruption import SweepInterrupted
from sacred_ray_ingredient.settings import SweepSettings

_CONNECT_TIMEOUT_S = 5


@contextlib.contextmanager
def connected_ray(settings: SweepSettings) -> Iterator[None]:
    """Connect to Ray for the time of a sweep.

    A Ray that the process is connected to already is used and left as it was; otherwise the one
    at ``ray.address`` is joined, or a local one is started and ended again.

    Parameters
    ----------
    settings
        ``address`` and ``init_kwargs`` are used.

    Raises
    ------
    ConfigMistakes
        If Ray refuses the address or the arguments.
    """
    # Ray prints a notice about the statistics it would send; a sweep sends none unless asked.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        _start(settings)
        yield
    finally:
        # Also after a Ctrl-C while Ray was starting.
        ray.shutdown()


def _start(settings: SweepSettings) -> None:
    import ray

    mistake = _address_mistake(settings.address)
    if mistake is not None:
        raise ConfigMistakes([mistake])
    arguments = _init_arguments(settings)
    try:
        with _only_what_is_needed(arguments):
            ray.init(**arguments)
    except SystemExit as error:  # Ray's own answer to SIGTERM while it starts
        raise SweepInterrupted(signal.SIGTERM) from error
    except (ConnectionError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigMistakes(
            [
                f"Ray cannot be started with ray.address={settings.address!r} and "
                f"ray.init_kwargs={dict(settings.init_kwargs)!r}: {error}"
            ]
        ) from error


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


def _address_mistake(address: str | None) -> str | None:
    """Find out whether something answers, where Ray itself would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return (
            f"ray.address is {address!r}, where nothing answers ({error}); give the address of a "
            "running Ray, 'auto', or none for a local one."
        )
    return None


def _init_arguments(settings: SweepSettings) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "address": settings.address or "local",
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if settings.address is None:
        arguments["include_dashboard"] = False
    return {**arguments, **settings.init_kwargs}
