"""Noticing connections to other nodes that only this side takes for open.

A node that was cut off for half a minute has given its connections up, of which this process hears
nothing; Ray would wait five minutes for the answer of a worker there. The operating system asks
the other side sooner, if it is told to.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")  # on Linux
# Seconds of silence before the other side is asked, between two questions, and how many of them:
# longer in all than Ray waits for a node that does not answer.
_IDLE_S, _BETWEEN_S, _QUESTIONS = 15, 10, 20


def ask_after_silence() -> int:
    """Let the other sides of all connections to other machines be asked after some silence.

    Returns
    -------
    int
        How many connections were told to that were not before.
    """
    try:
        descriptors = [int(path.name) for path in _DESCRIPTORS.iterdir()]
    except OSError:
        return 0
    told = 0
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # no socket, or closed meanwhile
            told += _tell(descriptor)
    return told


def _tell(descriptor: int) -> bool:
    if not os.readlink(f"{_DESCRIPTORS}/{descriptor}").startswith("socket:"):
        return False
    with _copy(descriptor) as connection:
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        if connection.getpeername()[0] == connection.getsockname()[0]:  # on this machine
            return False
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            return False
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, _IDLE_S),
            (socket.TCP_KEEPINTVL, _BETWEEN_S),
            (socket.TCP_KEEPCNT, _QUESTIONS),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        return True


def _copy(descriptor: int) -> socket.socket:
    number = os.dup(descriptor)
    try:
        return socket.socket(fileno=number)
    except OSError:
        os.close(number)
        raise
