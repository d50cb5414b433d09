"""Deaths of workers in plain words, and none of them ends the search."""

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from sacred_ray_ingredient.engines.death_words import in_plain_words
from sacred_ray_ingredient.engines.deaths import deaths_of_single_trials, why

DIED = "the worker process died"
DEAD = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
The actor is dead because its worker process has died. Some common causes include: (1) the process
was killed by the OOM killer due to high memory usage, (2) ray stop --force was called."""
LOST = """The actor died unexpectedly before finishing this task.
The actor died because its node has died. Node Id: 52c94a48"""
AWAY = (
    "The actor db6f is unavailable: The actor is temporarily unavailable: RpcError: Socket closed"
)
MEMORY = """The actor died: 2 worker(s) were killed due to the node running low on memory. Memory on
the node (IP: 192.0.2.2, ID: 77cf) was 6.84GB used / 23.54GB limit (0.290438)
OOM kill reason: Memory usage 7240585216B exceeded threshold"""
TRACE = "ray::ImplicitFunc.train() (pid=1)\n  File x\nValueError: no such thing"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("", DIED),
        (DEAD, DIED),
        (LOST, "its node was lost"),
        (AWAY, f"{DIED}, or its node was lost"),
        (MEMORY, f"{DIED}: out of memory (6.84 GB of the 23.54 GB of its node were in use)"),
        ("The actor died: the node is running low on memory.", f"{DIED}: out of memory"),
        (TRACE, "ValueError: no such thing"),
    ],
)
def test_in_plain_words(error, words):
    assert in_plain_words(error) == words


class _Trial:
    def __init__(self, path):
        self.error_file = path


def test_only_the_last_error_of_a_trial_counts(tmp_path):
    path = tmp_path / "error.txt"
    path.write_text(
        f"Failure # 1 (occurred at 2026-11-21_14-12-04)\n{MEMORY}\n"
        f"Failure # 2 (occurred at 2026-11-21_14-12-44)\n{LOST}\n"
    )
    assert why(_Trial(path.as_posix())) == "its node was lost"


@pytest.mark.parametrize("path", [None, "/nowhere/error.txt"])
def test_an_error_that_is_not_known(path):
    assert why(_Trial(path)) == DIED


class _Task:
    _on_error = None

    def __init__(self, actor):
        self._tracked_actor = actor


class _Actor:
    actor_id = 1

    def __init__(self):
        self.errors = []

    def _on_error(self, actor, error):
        self.errors.append(error)


@pytest.fixture
def manager(monkeypatch):
    monkeypatch.setattr(RayActorManager, "__init__", lambda manager: None)
    monkeypatch.setattr(RayActorManager, "__del__", lambda manager: None, raising=False)
    monkeypatch.setattr(RayActorManager, "_cleanup_actor", lambda manager, tracked_actor: None)
    manager = RayActorManager()
    manager._failed_actor_ids = set()
    return manager


def test_a_worker_killed_for_memory_is_a_dead_worker_for_tune(manager):
    actor, before = _Actor(), RayActorManager._actor_task_failed
    with deaths_of_single_trials():
        manager._actor_task_failed(_Task(actor), OutOfMemoryError(MEMORY))
    (error,) = actor.errors
    assert isinstance(error, RayActorError)
    assert "out of memory" in in_plain_words(str(error))
    assert RayActorManager._actor_task_failed is before
    with pytest.raises(RuntimeError, match="Caught unexpected exception"):
        manager._actor_task_failed(_Task(actor), OutOfMemoryError(MEMORY))


@pytest.mark.parametrize(
    ("error", "is_dead"),
    [
        (RayActorError(error_msg=DEAD), True),
        (RayTaskError("train", TRACE, ValueError("no such thing")), False),
    ],
)
def test_other_errors_reach_tune_as_they_are(manager, error, is_dead):
    actor = _Actor()
    with deaths_of_single_trials():
        manager._actor_task_failed(_Task(actor), error)
    assert actor.errors == ([error] if is_dead else [])


def test_a_mistake_of_ours_is_not_taken_for_a_death(manager):
    with deaths_of_single_trials(), pytest.raises(RuntimeError, match="unexpected exception: ours"):
        manager._actor_task_failed(_Task(_Actor()), TypeError("ours"))
