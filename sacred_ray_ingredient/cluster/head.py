"""Noticing that the head of a cluster is gone, before Ray ends the process without a word.

Nothing can be asked of Ray without its head: most calls wait for it, and cannot be interrupted;
after a minute Ray gives up and ends the process. So the sweep runs in another thread than the
main one, which looks whether the head answers, and leaves that thread behind if it must.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.cluster.half_open import ask_after_silence
from sacred_ray_ingredient.errors import ClusterLost

# How long Ray waits for a head, in seconds, and its variable for it.
_RAYS_PATIENCE_S = 60.0
_RAYS_VARIABLE = "RAY_gcs_rpc_server_reconnect_timeout_s"
# Share of it after which a sweep ends: as long as Ray waits, a head may come back.
_OURS = 0.75
# Nobody starts again the head of a local Ray of our own.
_OF_OUR_OWN_S = 5.0
# So much longer than a sweep a process of ours waits: its record has to be brought home.
_TO_SETTLE_S = 600
_LOOK_S = 1.0
_ANSWERS_WITHIN_S = 3.0
# What the abandoned thread gets to leave by itself.
_TO_LEAVE_S = 2.0


def patience() -> float:
    """Return how many seconds a head may be away: somewhat less than Ray itself waits."""
    given = os.environ.get(_RAYS_VARIABLE, "")
    return _OURS * (float(given) if given.isdigit() and int(given) else _RAYS_PATIENCE_S)


@contextlib.contextmanager
def ray_waits_longer() -> Iterator[None]:
    """Let this process outlive the head; for the time in which it connects to Ray."""
    before = os.environ.get(_RAYS_VARIABLE)
    os.environ[_RAYS_VARIABLE] = str(int(patience() + _TO_SETTLE_S))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_RAYS_VARIABLE]
        else:
            os.environ[_RAYS_VARIABLE] = before


@dataclass
class Head:
    """The head of the cluster that this process is connected to.

    Parameters
    ----------
    host, port
        Where it answers.
    patience_s
        How long it may be away.
    say
        Prints a line for the user.
    """

    host: str
    port: int
    patience_s: float
    say: Callable[[str], None]
    _away_since: float | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """Its address."""
        return f"{self.host}:{self.port}"

    def look(self) -> None:
        """Find out whether it answers, and say where that has changed.

        Raises
        ------
        ClusterLost
            If it has been away for too long.
        """
        now = time.monotonic()
        if self._answers():
            if self._away_since is not None:
                self.say(f"The head of the Ray cluster ({self.name}) answers again.")
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
            self.say(
                f"The head of the Ray cluster ({self.name}) does not answer; the sweep ends if it "
                f"is not back within {self.patience_s:g} s."
            )
        elif now - self._away_since >= self.patience_s:
            raise ClusterLost(
                f"The Ray cluster is gone: its head, {self.name}, has not answered for "
                f"{self.patience_s:g} s."
            )

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=_ANSWERS_WITHIN_S).close()
        except OSError:
            return False
        return True


def connected_head(address: str | None, say: Callable[[str], None]) -> Head | None:
    """Return the head of the cluster that this process is connected to, if it can be told.

    Parameters
    ----------
    address
        The entry ``ray.address``; None for a local Ray of our own.
    say
        Prints a line for the user.
    """
    import ray
    from ray.util.client import ray as client

    if client.is_connected():  # it knows of nothing but the address that it was given
        found = (address or "").removeprefix("ray://")
    else:
        found = ray.get_runtime_context().gcs_address
    host, _, port = found.partition("/")[0].rpartition(":")
    patience_s = patience() if address else _OF_OUR_OWN_S
    return Head(host.strip("[]"), int(port), patience_s, say) if port.isdigit() else None


def while_head_lives(head: Head | None, work: Callable[[], None]) -> None:
    """Do something that needs the cluster, until it is done or the cluster is gone.

    Parameters
    ----------
    head
        Of the cluster; None where it is not watched.
    work
        Run in a thread of its own; what it raises is raised here.

    Raises
    ------
    ClusterLost
        If the head has been away for too long.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="sweep", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_LOOK_S)
            if head is not None and thread.is_alive():
                head.look()
                ask_after_silence()
    except ClusterLost:
        _leave_behind(thread)
        _forget_ray()
        raise
    except BaseException:  # a second Ctrl-C
        _leave_behind(thread)
        raise
    if raised:
        raise raised[0]


class _LeftBehind(BaseException):
    """Ends a thread whose work nobody waits for."""


def _leave_behind(thread: threading.Thread) -> None:
    """End a thread as soon as it comes back from Ray."""
    if thread.ident is not None:
        number = ctypes.c_ulong(thread.ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(_LeftBehind))
    thread.join(_TO_LEAVE_S)


def _forget_ray() -> None:
    """Let this process end although Ray cannot be left in good order any more.

    Without its head, Ray aborts the process when it is shut down, and breaks it at its end when it
    is not.
    """
    import ray
    from ray._private import auto_init_hook, worker

    # The thread that was left behind must not start a Ray.
    auto_init_hook.enable_auto_connect = False
    atexit.unregister(ray.shutdown)
    atexit.unregister(worker.shutdown)
    atexit.register(_end_process, worker._global_node)


def _end_process(node: Any) -> None:
    with contextlib.suppress(Exception):  # of a local Ray of our own; others have none
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ClusterLost.exit_code)
