"""The loss of a node, told from the death of one process on it."""

import socket

import pytest

from sacred_ray_ingredient.engines import node_loss
from sacred_ray_ingredient.engines.death_words import in_plain_words
from sacred_ray_ingredient.engines.node_loss import node_was_lost

UNAVAILABLE = "The actor 8b43 is unavailable: The actor is temporarily unavailable: Socket closed"
WORKER = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
PREEMPTED = "the actor's node was preempted: Node received SIGTERM; draining before shutdown."


@pytest.fixture
def node(monkeypatch):
    """Give a node that answers, and is what Ray knows of every worker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address, port = server.getsockname()
        known = {"Alive": True, "NodeManagerAddress": address, "NodeManagerPort": port}
        known["is_dead"] = True
        monkeypatch.setattr(node_loss, "_node_of", lambda actor_id: known)
        monkeypatch.setattr(node_loss, "_is_dead", lambda actor_id: known["is_dead"])
        known["server"] = server
        yield known


@pytest.mark.parametrize("error", ["The actor died because its node has died.", PREEMPTED])
def test_ray_may_say_that_a_node_was_lost(error):
    assert node_was_lost(error, None)
    assert in_plain_words(error) == "its node was lost"


def test_a_node_that_answers_is_not_lost(node):
    assert not node_was_lost(UNAVAILABLE, "8b43")
    assert in_plain_words(UNAVAILABLE, node_lost=False) == "the worker process died"


def test_a_worker_that_lives_on_a_node_that_answers_has_lost_its_connection(node):
    node["is_dead"] = False
    assert node_was_lost(UNAVAILABLE, "8b43")


def test_a_node_that_does_not_answer_is_lost(node):
    node["server"].close()
    assert node_was_lost(UNAVAILABLE, "8b43")


def test_a_node_that_ray_has_given_up_is_lost(node):
    node["Alive"] = False
    assert node_was_lost(UNAVAILABLE, "8b43")


@pytest.mark.parametrize(("error", "actor_id"), [(WORKER, "8b43"), (UNAVAILABLE, None)])
def test_no_node_is_asked_where_there_is_nothing_to_ask(node, error, actor_id):
    node["server"].close()
    assert not node_was_lost(error, actor_id)


def test_what_cannot_be_found_out_is_said_in_the_log(monkeypatch):
    said = []
    monkeypatch.setattr(node_loss._log, "warning", lambda text, *values: said.append(text % values))

    def fail(actor_id):
        raise RuntimeError("no answer")

    monkeypatch.setattr(node_loss, "_node_of", fail)
    assert not node_was_lost(UNAVAILABLE, "8b43")
    assert said == ["cannot find out whether a worker's node was lost: no answer"]
