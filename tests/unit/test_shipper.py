"""The thread that brings journals to the database: waits, hurries, tries again, stops."""

import itertools
import threading
import time

import pytest
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from sacred_ray_ingredient.record import shipper as shipper_module
from sacred_ray_ingredient.record.shipper import Shipper

LONG_S = 20.0


class FakeState:
    has_ended = False


class FakeShipment:
    """Is over after so many advances; some of them raise before."""

    def __init__(self, advances=1, errors=()):
        self.source = self
        self.record_id = "abc"
        self.state = FakeState()
        self.refusal = None
        self.left = advances
        self.errors = list(errors)
        self.times = []
        self.is_deleted = False

    def advance(self):
        self.times.append(time.monotonic())
        if self.errors:
            error = self.errors.pop(0)
            raise error
        self.left -= 1
        return self.is_complete

    @property
    def is_complete(self):
        return self.left <= 0

    def delete(self):
        self.is_deleted = True


@pytest.fixture
def shipper():
    shipper = Shipper(interval_s=0.02)
    yield shipper
    shipper.stop()


@pytest.fixture
def calm():
    """A shipper that comes again after a long time only."""
    shipper = Shipper(interval_s=1000.0)
    yield shipper
    shipper.stop()


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr(shipper_module, "_FIRST_PAUSE_S", 0.01)


def shipped(shipper, shipment):
    """Wait until it is over."""
    return shipper.wait(shipment, lambda: shipment.is_deleted, LONG_S)


def until(condition):
    deadline = time.monotonic() + LONG_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_a_journal_is_shipped_until_it_is_over_and_then_deleted(shipper):
    shipment = FakeShipment(advances=3)
    shipper.add(shipment)
    assert shipped(shipper, shipment)
    assert len(shipment.times) == 3
    assert until(lambda: shipper.waiting == 0)


def test_the_first_shipment_is_at_once_the_next_after_the_interval(calm):
    shipment = FakeShipment(advances=3)
    calm.add(shipment)
    assert until(lambda: len(shipment.times) == 1)
    time.sleep(0.1)
    assert len(shipment.times) == 1


def test_one_that_is_in_a_hurry_is_shipped_at_once(calm):
    shipment, other = FakeShipment(3), FakeShipment(3)
    calm.add(shipment)
    calm.add(other)
    assert until(lambda: len(shipment.times) == len(other.times) == 1)
    calm.hurry(shipment)
    assert until(lambda: len(shipment.times) == 2)
    assert len(other.times) == 1


def test_a_hurry_during_a_shipment_has_its_effect_afterwards(calm):
    began, go_on = threading.Event(), threading.Event()
    shipment = FakeShipment(3)
    advance = shipment.advance

    def slow():
        began.set()
        go_on.wait(LONG_S)
        return advance()

    shipment.advance = slow
    calm.add(shipment)
    assert began.wait(LONG_S)
    calm.hurry(shipment)
    go_on.set()
    assert until(lambda: len(shipment.times) == 2)


class TestWaiting:
    def test_ships_at_once(self, calm):
        shipment = FakeShipment(3)
        calm.add(shipment)
        assert until(lambda: len(shipment.times) == 1)
        assert calm.wait(shipment, lambda: len(shipment.times) == 2, LONG_S)

    def test_ends_in_time(self, calm):
        shipment = FakeShipment(10**9)
        calm.add(shipment)
        began = time.monotonic()
        assert not calm.wait(shipment, lambda: False, 0.2)
        assert 0.2 <= time.monotonic() - began < LONG_S / 2

    def test_for_what_is_there_takes_no_time(self, calm):
        assert calm.wait(FakeShipment(), lambda: True, 0.0)

    def test_for_a_thread_that_has_stopped_takes_no_time(self, calm):
        shipment = FakeShipment(10**9)
        calm.add(shipment)
        calm.stop()
        began = time.monotonic()
        assert not calm.wait(shipment, lambda: False, LONG_S)
        assert time.monotonic() - began < LONG_S / 2


class TestDatabaseThatIsAway:
    @pytest.mark.parametrize("error", [AutoReconnect, ServerSelectionTimeoutError])
    @pytest.mark.usefixtures("short_pauses")
    def test_is_tried_again(self, calm, error):
        shipment = FakeShipment(1, [error("away")] * 4)
        calm.add(shipment)
        assert shipped(calm, shipment)
        assert len(shipment.times) == 5
        assert until(lambda: not calm.is_failing)

    def test_is_tried_ever_less_often(self, monkeypatch, calm):
        monkeypatch.setattr(shipper_module, "_FIRST_PAUSE_S", 0.05)
        monkeypatch.setattr(shipper_module, "_LONGEST_PAUSE_S", 0.15)
        shipment = FakeShipment(1, [AutoReconnect("away")] * 4)
        calm.add(shipment)
        assert until(lambda: shipment.is_deleted)
        times = shipment.times
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        for pause, shortest in zip(pauses, [0.05, 0.1, 0.15, 0.15], strict=True):
            assert pause >= shortest - 0.005

    def test_is_asked_for_by_one_journal_and_not_by_each(self, monkeypatch, calm):
        monkeypatch.setattr(shipper_module, "_FIRST_PAUSE_S", 1000.0)
        first = FakeShipment(1, [AutoReconnect("away")])
        calm.add(first)
        assert until(lambda: calm.is_failing)
        others = [FakeShipment() for _ in range(5)]
        for other in others:
            calm.add(other)
            calm.hurry(other)
        time.sleep(0.1)
        assert [other.times for other in others] == [[]] * 5
        assert calm.waiting == 6

    def test_costs_the_first_journal_no_refusal(self, monkeypatch, calm):
        shipment = FakeShipment(1, [AutoReconnect("away")])
        calm.add(shipment)
        assert shipped(calm, shipment)
        assert shipment.refusal is None

    @pytest.mark.parametrize(
        ("failures", "pause"), [(1, 0.25), (2, 0.5), (3, 1.0), (5, 4.0), (6, 5.0), (10**6, 5.0)]
    )
    def test_pauses_double_up_to_a_limit(self, failures, pause):
        assert shipper_module._pause(failures, 5.0) == pause


class TestRefusedJournal:
    @pytest.mark.parametrize("error", [OperationFailure("no"), ValueError("broken"), KeyError("x")])
    def test_holds_up_no_other(self, calm, error):
        refused = FakeShipment(1, [error] * 1000)
        calm.add(refused)
        assert until(lambda: refused.refusal is not None)
        others = [FakeShipment() for _ in range(3)]
        for other in others:
            calm.add(other)
        assert all(shipped(calm, other) for other in others)
        assert not refused.is_deleted
        assert not calm.is_failing
        assert refused.refusal == f"{type(error).__name__}: {error}"

    @pytest.mark.usefixtures("short_pauses")
    def test_is_tried_again(self, calm):
        shipment = FakeShipment(1, [OperationFailure("no")] * 3)
        calm.add(shipment)
        assert shipped(calm, shipment)

    def test_that_cannot_be_deleted_ends_nothing(self, calm):
        stubborn = FakeShipment()

        def refuse():
            raise PermissionError(1, "Operation not permitted")

        stubborn.delete = refuse
        calm.add(stubborn)
        assert until(lambda: stubborn.refusal is not None)
        other = FakeShipment()
        calm.add(other)
        assert shipped(calm, other)


class TestStopping:
    def test_brings_what_has_ended(self, calm):
        shipment = FakeShipment(2)
        calm.add(shipment)
        assert until(lambda: len(shipment.times) == 1)
        shipment.state.has_ended = True
        calm.stop(LONG_S)
        assert shipment.is_complete

    def test_leaves_what_has_not(self, calm):
        shipment = FakeShipment(10**9)
        calm.add(shipment)
        assert until(lambda: len(shipment.times) == 1)
        began = time.monotonic()
        calm.stop(LONG_S)
        assert time.monotonic() - began < LONG_S / 2
        assert not shipment.is_deleted

    def test_does_not_wait_for_a_database_that_is_away(self, monkeypatch, calm):
        monkeypatch.setattr(shipper_module, "_FIRST_PAUSE_S", 1000.0)
        shipment = FakeShipment(1, [AutoReconnect("away")])
        shipment.state.has_ended = True
        calm.add(shipment)
        assert until(lambda: calm.is_failing)
        began = time.monotonic()
        calm.stop(LONG_S)
        assert time.monotonic() - began < LONG_S / 2

    def test_can_be_followed_by_more(self, calm):
        first, second = FakeShipment(), FakeShipment()
        calm.add(first)
        assert shipped(calm, first)
        calm.stop()
        calm.add(second)
        assert shipped(calm, second)

    def test_that_is_still_going_on_ships_what_is_added(self, calm):
        began, go_on = threading.Event(), threading.Event()
        first, second = FakeShipment(2), FakeShipment()
        advance = first.advance

        def slow():
            began.set()
            go_on.wait(LONG_S)
            return advance()

        first.advance = slow
        calm.add(first)
        assert began.wait(LONG_S)
        calm.stop(0.05)
        calm.add(second)
        go_on.set()
        assert shipped(calm, second)

    def test_ends_the_thread(self, calm):
        calm.add(FakeShipment(10**9))
        thread = calm._thread
        calm.stop(LONG_S)
        thread.join(LONG_S)
        assert not thread.is_alive()
