"""Connecting to Ray and looking at it before the first trial."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes, InnerImportError
from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.interruption import SweepInterrupted
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.trial import check_import

# Ray Tune's names of resources that Ray has another for.
RAY_NAMES = {"cpu": "CPU", "gpu": "GPU"}
_IMPORT_TIMEOUT_S = 120
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


def check_resources(resources_per_trial: Mapping[str, float]) -> None:
    """Find out whether the cluster can give a trial what it asks for.

    Parameters
    ----------
    resources_per_trial
        What each trial asks for.

    Raises
    ------
    ConfigMistakes
        If a trial asks for more than the whole cluster has.
    """
    import ray

    total = ray.cluster_resources()
    mistakes = [
        f"ray.resources_per_trial.{name} is {amount}; the cluster has "
        f"{total.get(RAY_NAMES.get(name, name), 0):g} in all."
        for name, amount in resources_per_trial.items()
        if amount > total.get(RAY_NAMES.get(name, name), 0)
    ]
    if mistakes:
        raise ConfigMistakes(mistakes)


def room_for(resources: Mapping[str, float], there: Mapping[str, float]) -> int:
    """Count how many workers a cluster has room for, at least one.

    Parameters
    ----------
    resources
        What each worker takes, by Ray Tune's names.
    there
        What the cluster has in all, by Ray's.
    """
    shares = [
        int(there.get(RAY_NAMES.get(name.lower(), name), 0) / amount + 1e-9)
        for name, amount in resources.items()
        if amount > 0
    ]
    # Trials that ask for nothing: as many at once as there are processors.
    return max(min(shares) if shares else int(there.get("CPU", 1)), 1)


class ImportProbe:
    """Asks a worker to import the inner experiment, while the driver does something else.

    Parameters
    ----------
    inner
        The inner experiment.
    folder
        Current folder of the driver.
    code
        The project's modules, as the driver has them.
    """

    def __init__(self, inner: InnerReference, folder: str, code: FrozenCode | None = None) -> None:
        import ray

        self._inner = inner
        self._answer = ray.remote(num_cpus=0, max_retries=0)(check_import).remote(
            inner, folder, code
        )

    def wait(self) -> None:
        """Wait for the answer.

        Raises
        ------
        InnerImportError
            If the worker cannot import the inner experiment.
        """
        import ray

        try:
            sentence = ray.get(self._answer, timeout=_IMPORT_TIMEOUT_S)
        except ray.exceptions.RayError as error:
            first_line = str(error).strip().split("\n", 1)[0]
            raise InnerImportError(
                f"A worker process cannot import the inner experiment {self._inner}: {first_line}"
            ) from error
        if sentence is not None:
            raise InnerImportError(f"On a worker process: {sentence}")
