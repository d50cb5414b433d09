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
        self.syncs = 0

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

    def read(self):
        raise ValueError("it is not ordinary")

    def delete(self):
        self.is_deleted = True

    def sync(self):
        self.syncs += 1


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


@pytest.fixture
def lingering():
    """A shipper that lets runs rest for a moment, and goes on with them after a long time only."""
    shipper = Shipper(interval_s=1000.0, linger_s=0.3)
    yield shipper
    shipper.stop()


class TestRunThatRests:
    def test_is_shipped_after_a_moment(self, lingering):
        shipment = FakeShipment(3)
        began = time.monotonic()
        lingering.add(shipment, rests=True)
        assert until(lambda: shipment.times)
        assert shipment.times[0] - began >= 0.3

    def test_is_not_waited_for_by_others(self, lingering):
        resting, other = FakeShipment(3), FakeShipment(3)
        lingering.add(resting, rests=True)
        lingering.add(other)
        assert until(lambda: other.times)
        assert not resting.times

    def test_that_ends_is_shipped_once(self, lingering):
        shipment = FakeShipment(1)
        lingering.add(shipment, rests=True)
        lingering.finish(shipment, rests=True)
        assert shipped(lingering, shipment)
        assert len(shipment.times) == 1

    def test_that_ends_after_long_is_shipped_soon(self, lingering):
        shipment = FakeShipment(2)
        lingering.add(shipment, rests=True)
        assert until(lambda: shipment.times)
        began = time.monotonic()
        lingering.finish(shipment, rests=True)
        assert until(lambda: len(shipment.times) == 2)
        assert time.monotonic() - began >= 0.3

    def test_that_does_not_rest_at_its_end_is_shipped_at_once(self):
        shipper = Shipper(interval_s=1000.0, linger_s=1000.0)
        shipment = FakeShipment(1)
        shipper.add(shipment, rests=True)
        shipper.finish(shipment)
        assert until(lambda: shipment.is_deleted)
        shipper.stop()

    def test_that_has_ended_goes_along_with_one_that_is_due(self):
        shipper = Shipper(interval_s=1000.0, linger_s=1000.0)
        ended, running, due = FakeShipment(1), FakeShipment(2), FakeShipment(2)
        for shipment in (ended, running):
            shipper.add(shipment, rests=True)
        shipper.finish(ended, rests=True)
        shipper.add(due)
        assert until(lambda: ended.is_deleted and due.times)
        assert not running.times
        shipper.stop()

    def test_is_brought_when_the_thread_is_stopped(self):
        shipper = Shipper(interval_s=1000.0, linger_s=1000.0)
        shipment = FakeShipment(1)
        shipper.add(shipment, rests=True)
        shipper.finish(shipment, rests=True)
        shipper.stop(LONG_S)
        assert shipment.is_deleted

    def test_wakes_the_thread_for_nothing(self, lingering):
        first = FakeShipment(3)
        lingering.add(first, rests=True)
        assert until(lambda: lingering._sleeps_until > time.monotonic())
        woken = []
        lingering._changed.notify_all = lambda: woken.append(1)
        for _ in range(5):
            another = FakeShipment(1)
            lingering.add(another, rests=True)
            lingering.finish(another, rests=True)
        assert woken == []
        del lingering._changed.notify_all


class TestTogether:
    @pytest.fixture
    def resting(self):
        """A shipper that does nothing before it is told to hurry."""
        shipper = Shipper(interval_s=1000.0, linger_s=1000.0)
        yield shipper
        shipper.stop()

    @staticmethod
    def end_all(shipper, shipments):
        for shipment in shipments:
            shipper.add(shipment, rests=True)
            shipper.finish(shipment, rests=True)
        shipper.hurry(shipments[-1])

    @pytest.fixture
    def groups(self, monkeypatch):
        """What is shipped together; all of it is done then."""
        groups = []

        def ship_together(group):
            groups.append(list(group))
            for shipment in group:
                shipment.left = 0
            return []

        monkeypatch.setattr(shipper_module, "ship_together", ship_together)
        return groups

    def test_are_those_that_have_ended(self, resting, groups):
        shipments = [FakeShipment() for _ in range(20)]
        self.end_all(resting, shipments)
        assert until(lambda: all(shipment.is_deleted for shipment in shipments))
        assert [set(group) for group in groups] == [set(shipments)]
        assert all(not shipment.times for shipment in shipments)
        assert until(lambda: resting.waiting == 0)

    def test_are_not_too_many(self, lingering, groups, monkeypatch):
        monkeypatch.setattr(shipper_module, "_MOST_TOGETHER", 8)
        shipments = [FakeShipment() for _ in range(20)]
        for shipment in shipments:
            lingering.add(shipment, rests=True)
            lingering.finish(shipment, rests=True)
        assert until(lambda: all(shipment.is_deleted for shipment in shipments))
        assert max(len(group) for group in groups) == 8
        assert sum(len(group) for group in groups) == 20

    def test_a_database_that_is_away_is_asked_once_for_all(self, resting, monkeypatch):
        monkeypatch.setattr(shipper_module, "_FIRST_PAUSE_S", 1000.0)
        asked = []

        def refuse(group):
            asked.append(len(group))
            raise AutoReconnect("away")

        monkeypatch.setattr(shipper_module, "ship_together", refuse)
        shipments = [FakeShipment() for _ in range(20)]
        self.end_all(resting, shipments)
        assert until(lambda: resting.is_failing)
        assert asked == [20]
        assert resting.waiting == 20
        assert all(not shipment.times for shipment in shipments)

    def test_what_goes_wrong_is_tried_one_by_one(self, lingering, monkeypatch):
        def refuse(group):
            raise OperationFailure("no")

        monkeypatch.setattr(shipper_module, "ship_together", refuse)
        broken = FakeShipment(1, [ValueError("broken")] * 99)
        shipments = [FakeShipment() for _ in range(5)]
        for shipment in (broken, *shipments):
            lingering.add(shipment, rests=True)
        assert until(lambda: all(shipment.is_deleted for shipment in shipments))
        assert until(lambda: broken.refusal == "ValueError: broken")

    def test_the_rest_is_not_asked_for_while_the_database_is_away(self, resting, monkeypatch):
        monkeypatch.setattr(shipper_module, "_FIRST_PAUSE_S", 1000.0)
        shipments = [FakeShipment(1, [AutoReconnect("away")]) for _ in range(5)]
        self.end_all(resting, shipments)
        assert until(lambda: resting.is_failing)
        time.sleep(0.1)
        assert sum(len(shipment.times) for shipment in shipments) == 1


class TestForcingToTheDisk:
    def test_is_not_needed_where_the_database_has_it(self, lingering):
        shipment = FakeShipment(1)
        lingering.add(shipment, rests=True)
        lingering.finish(shipment, rests=True)
        assert shipped(lingering, shipment)
        assert shipment.syncs == 0

    @pytest.mark.parametrize("error", [AutoReconnect, OperationFailure])
    @pytest.mark.usefixtures("short_pauses")
    def test_is_done_once_where_it_does_not_take_it(self, lingering, error):
        shipment, running = FakeShipment(1, [error("no")] * 3), FakeShipment(9, [error("no")])
        lingering.add(running, rests=True)
        lingering.add(shipment, rests=True)
        lingering.finish(shipment, rests=True)
        assert shipped(lingering, shipment)
        assert (shipment.syncs, running.syncs) == (1, 0)

    def test_is_done_at_the_stop_of_the_thread(self, lingering, monkeypatch):
        monkeypatch.setattr(shipper_module, "_FIRST_PAUSE_S", 1000.0)
        lingering.add(FakeShipment(1, [AutoReconnect("away")]))
        assert until(lambda: lingering.is_failing)
        late = FakeShipment(1)
        lingering.add(late, rests=True)
        lingering.finish(late, rests=True)
        lingering.stop(1.0)
        assert late.syncs == 1


class TestNodeThatTheDriverFetchesFrom:
    AWAY = ServerSelectionTimeoutError("away")

    def test_says_that_the_database_cannot_be_reached(self, shipper, short_pauses, tmp_path):
        shipper.beacon = tmp_path / ".unreachable"
        shipper.add(FakeShipment(errors=[self.AWAY] * 3))
        assert until(shipper.beacon.exists)

    def test_says_so_too_where_it_lacks_the_password(self, shipper, short_pauses, tmp_path):
        shipper.beacon = tmp_path / ".unreachable"
        shipper.add(FakeShipment(errors=[ValueError("no password")] * 3))
        assert until(shipper.beacon.exists)

    def test_does_not_say_so_for_a_single_refusal(self, shipper, short_pauses, tmp_path):
        shipper.beacon = tmp_path / ".unreachable"
        shipment = FakeShipment(errors=[OperationFailure("a lost race")])
        shipper.add(shipment)
        assert shipped(shipper, shipment)
        assert not shipper.beacon.exists()

    def test_forgets_what_the_driver_has_fetched(self, shipper, short_pauses, tmp_path):
        shipper.beacon = tmp_path / ".unreachable"
        fetched = FakeShipment(errors=[self.AWAY] * 10_000)
        kept = FakeShipment(errors=[self.AWAY] * 10_000)
        for shipment in (fetched, kept):
            shipper.add(shipment)
        fetched.is_deleted = True
        assert until(lambda: shipper.waiting == 1)
        tried = len(fetched.times)
        before = len(kept.times)
        assert until(lambda: len(kept.times) > before + 2)
        assert len(fetched.times) <= tried + 1


def test_a_shipment_that_is_forgotten_is_not_tried_again(shipper, short_pauses):
    shipment = FakeShipment(errors=[ServerSelectionTimeoutError("away")] * 10_000)
    shipper.add(shipment)
    assert until(lambda: shipment.times)
    shipper.forget(shipment)
    time.sleep(0.05)
    tried = len(shipment.times)
    time.sleep(0.1)
    assert (shipper.waiting, len(shipment.times)) == (0, tried)
