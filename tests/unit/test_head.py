"""Watching the head of a cluster while something else goes on."""

import os
import socket
import threading
import time

import pytest

from sacred_ray_ingredient.cluster import head as head_module
from sacred_ray_ingredient.cluster.head import Head, patience, ray_waits_longer, while_head_lives
from sacred_ray_ingredient.errors import ClusterLost

VARIABLE = "RAY_gcs_rpc_server_reconnect_timeout_s"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Note instead that Ray is given up: this process has others to run."""
    calls = []
    monkeypatch.setattr(head_module, "_forget_ray", lambda: calls.append(True))
    return calls


@pytest.fixture
def said():
    return []


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def head(server, said, monkeypatch):
    monkeypatch.setattr(head_module, "_LOOK_S", 0.01)
    monkeypatch.setattr(head_module, "_TO_LEAVE_S", 5.0)
    host, port = server.getsockname()
    return Head(host, port, 0.05, said.append)


class TestHead:
    def test_that_answers_is_not_spoken_of(self, head, said):
        head.look()
        assert said == []

    def test_that_is_away_is_waited_for(self, head, said, server):
        server.close()
        head.look()
        head.look()
        assert said == [
            f"The head of the Ray cluster ({head.name}) does not answer; the sweep ends if it is "
            "not back within 0.05 s."
        ]
        with socket.create_server((head.host, head.port)):
            head.look()
        assert said[1:] == [f"The head of the Ray cluster ({head.name}) answers again."]

    def test_that_stays_away_is_gone(self, head, server):
        server.close()
        head.look()
        time.sleep(0.06)
        with pytest.raises(ClusterLost, match=rf"its head, {head.name}, has not answered for 0.05"):
            head.look()

    def test_that_was_back_is_waited_for_anew(self, head, server):
        server.close()
        head.look()
        time.sleep(0.06)
        with socket.create_server((head.host, head.port)):
            head.look()
        head.look()


@pytest.mark.parametrize(
    ("given", "expected"), [(None, 45), ("20", 15), ("0", 45), ("soon", 45), ("", 45)]
)
def test_patience_is_shorter_than_that_of_ray(monkeypatch, given, expected):
    monkeypatch.delenv(VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(VARIABLE, given)
    assert patience() == expected
    with ray_waits_longer():
        assert int(os.environ[VARIABLE]) > expected + 100
    assert os.environ.get(VARIABLE) == given


class TestWork:
    def test_is_done_in_another_thread(self, head):
        names = []
        while_head_lives(head, lambda: names.append(threading.current_thread().name))
        while_head_lives(None, lambda: names.append(threading.current_thread().name))
        assert names == ["sweep", "sweep"]

    def test_raises_where_it_is_waited_for(self, head):
        def fail():
            raise SystemExit(3)

        with pytest.raises(SystemExit, match="3"):
            while_head_lives(head, fail)

    def test_is_left_when_the_head_is_gone(self, head, server, forgotten):
        server.close()
        is_left = threading.Event()

        def work():
            try:
                while True:
                    time.sleep(0.01)
            finally:
                is_left.set()

        with pytest.raises(ClusterLost, match="The Ray cluster is gone"):
            while_head_lives(head, work)
        assert is_left.is_set()
        assert forgotten == [True]

    def test_is_left_at_a_second_ctrl_c_too(self, head, monkeypatch, forgotten):
        def interrupt():
            raise KeyboardInterrupt("again")

        monkeypatch.setattr(head, "look", interrupt)
        is_left = threading.Event()

        def work():
            try:
                while True:
                    time.sleep(0.01)
            finally:
                is_left.set()

        with pytest.raises(KeyboardInterrupt, match="again"):
            while_head_lives(head, work)
        assert is_left.is_set()
        assert forgotten == []

    def test_that_does_not_come_back_is_not_waited_for(self, head, server, monkeypatch):
        monkeypatch.setattr(head_module, "_TO_LEAVE_S", 0.05)
        server.close()
        released = threading.Event()
        with pytest.raises(ClusterLost, match="The Ray cluster is gone"):
            while_head_lives(head, lambda: bool(released.wait(30)) and None)
        released.set()
