"""Why trials end early: announced by the driver, read by the workers; without Ray."""

import dataclasses
from types import SimpleNamespace

import pytest

from sacred_ray_ingredient.engines import endings as endings_module
from sacred_ray_ingredient.engines.endings import Endings, announced_ending
from sacred_ray_ingredient.tasks import Ending, TrialTask

STOP = Ending("stop", "stopped by asha at step=3")
PAUSE = Ending("pause", "paused by pbt at step=3")


class Store:
    """What driver and workers share."""

    def __init__(self):
        self.entries = {}

    def _internal_kv_put(self, key, value):
        assert (type(key), type(value)) == (bytes, bytes)
        self.entries[key] = value

    def _internal_kv_get(self, key):
        return self.entries.get(key)

    def _internal_kv_del(self, key, del_by_prefix=False):
        for known in list(self.entries):
            if known == key or (del_by_prefix and known.startswith(key)):
                del self.entries[known]


@pytest.fixture
def store(monkeypatch):
    store = Store()
    monkeypatch.setattr(endings_module, "internal_kv", store)
    return store


@pytest.fixture
def endings(store):
    return Endings("sweep-1")


def task(index=3, attempt=0, segment=0):
    return TrialTask(index, {}, {}, 1, attempt=attempt, segment=segment)


def trial(trial_id="abc", **numbers):
    return SimpleNamespace(trial_id=trial_id, config=task(**numbers).to_config())


def test_a_worker_reads_what_was_announced_to_its_trial(endings):
    endings.announce("abc", task(), STOP)
    assert announced_ending("sweep-1", task()) == STOP


@pytest.mark.parametrize(
    ("sweep_id", "other"),
    [
        ("sweep-1", task(index=33)),
        ("sweep-1", task(attempt=1)),
        ("sweep-1", task(segment=1)),
        ("sweep-11", task()),
    ],
)
def test_others_do_not(endings, sweep_id, other):
    endings.announce("abc", task(), STOP)
    assert announced_ending(sweep_id, other).kind == "interrupt"


def test_without_an_announcement_the_sweep_was_ended(endings):
    ending = Ending("interrupt", "The sweep was ended before this trial was done.")
    assert announced_ending("sweep-1", task()) == ending


def test_the_end_of_the_sweep_is_announced_to_all(endings):
    endings.announce_to_all("The user ended the sweep.")
    for each in (task(), task(index=7)):
        assert announced_ending("sweep-1", each) == Ending("interrupt", "The user ended the sweep.")
    assert announced_ending("sweep-2", task()).reason != "The user ended the sweep."


def test_what_was_announced_to_the_trial_comes_first(endings):
    endings.announce_to_all("The user ended the sweep.")
    endings.announce("abc", task(), PAUSE)
    assert announced_ending("sweep-1", task()) == PAUSE


def test_the_last_announcement_counts(endings):
    endings.announce("abc", task(), PAUSE)
    endings.announce("abc", task(), STOP)
    assert announced_ending("sweep-1", task()) == STOP
    assert endings.ending(trial()) == STOP


def test_the_driver_knows_what_it_announced(endings):
    assert endings.ending(trial()) is None
    endings.announce("abc", task(), STOP)
    assert endings.ending(trial()) == STOP
    assert endings.ending(trial("other")) is None


def test_what_is_cleared_is_that_of_the_sweep(endings, store):
    other = Endings("sweep-11")
    for each in (endings, other):
        each.announce("abc", task(), STOP)
        each.announce_to_all("The end.")
    endings.clear()
    assert announced_ending("sweep-1", task()).kind == "interrupt"
    assert announced_ending("sweep-11", task()) == STOP
    other.clear()
    assert store.entries == {}


def test_starts_are_counted_by_attempt(endings):
    first = trial()
    assert endings.starts(first) == 0
    for _ in range(2):
        endings.started(first)
    assert endings.starts(first) == 2
    again = trial(attempt=1)
    assert endings.starts(again) == 0
    endings.started(again)
    assert (endings.starts(first), endings.starts(again)) == (2, 1)
    assert endings.starts(trial("other")) == 0


@pytest.mark.parametrize("kind", ["stop", "pause", "interrupt"])
def test_all_of_an_ending_arrives(endings, kind):
    ending = Ending(kind, 'Because of "quotes" and ümlauts.')
    endings.announce("abc", task(), ending)
    arrived = announced_ending("sweep-1", task())
    assert dataclasses.asdict(arrived) == dataclasses.asdict(ending)


@pytest.mark.parametrize(
    ("result", "announced", "has_ended"),
    [
        ({"status": "RUNNING", "attempt": 1}, None, False),
        ({"status": "RUNNING", "attempt": 1}, STOP, True),
        ({"status": "RUNNING", "attempt": 1}, PAUSE, True),
        ({"status": "COMPLETED", "attempt": 1}, None, True),
        ({"status": "FAILED", "attempt": 0}, None, False),  # of the attempt before
        ({"done": True}, None, False),
        (None, None, False),
    ],
)
def test_a_trial_has_ended_with_its_last_report_or_an_announcement(
    endings, result, announced, has_ended
):
    one = trial(attempt=1)
    one.last_result = result
    if announced is not None:
        endings.announce("abc", task(attempt=1), announced)
    assert endings.has_ended(one) == has_ended


def test_a_trial_that_was_paused_and_runs_again_has_not_ended(endings):
    one = trial()
    one.last_result = {"status": "RUNNING", "attempt": 0}
    endings.announce("abc", task(), PAUSE)
    endings.started(one)
    assert not endings.has_ended(one)
