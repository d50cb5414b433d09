"""Connections whose other side is asked whether it is still there."""

import contextlib
import socket
import sys
from pathlib import Path

import pytest

from sacred_ray_ingredient.cluster import half_open
from sacred_ray_ingredient.cluster.half_open import ask_after_silence

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@contextlib.contextmanager
def connected(there, here):
    """Give a connection between two addresses of this machine."""
    with (
        socket.create_server((there, 0)) as server,
        socket.create_connection(server.getsockname(), source_address=(here, 0)) as connection,
    ):
        yield connection


def is_asked(connection):
    return bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


def test_other_machines_are_asked_after_some_silence():
    with connected("127.0.0.2", "127.0.0.1") as connection:
        assert ask_after_silence() >= 1
        assert is_asked(connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        assert ask_after_silence() == 0


def test_this_machine_is_not_asked():
    ask_after_silence()
    with connected("127.0.0.1", "127.0.0.1") as connection:
        assert ask_after_silence() == 0
        assert not is_asked(connection)


def test_nothing_of_it_stays_open():
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    with connected("127.0.0.2", "127.0.0.1"):
        before = count()
        ask_after_silence()
        assert count() == before


def test_a_system_without_such_a_list_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(half_open, "_DESCRIPTORS", Path("/nowhere"))
    assert ask_after_silence() == 0
