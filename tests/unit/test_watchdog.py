"""A limit to the time of a trial."""

import contextlib
import threading
import time

import pytest

from sacred_ray_ingredient import watchdog
from sacred_ray_ingredient.watchdog import TrialTimeout, Watchdog, end_process


@pytest.fixture
def given_up():
    return threading.Event()


@pytest.fixture
def short_patience(monkeypatch):
    monkeypatch.setattr(watchdog, "_PATIENCE_S", 0.1)


def loop(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


def test_a_loop_that_takes_too_long_is_interrupted(given_up):
    begun = time.monotonic()
    with pytest.raises(TrialTimeout, match=r"^$"), Watchdog(0.1, given_up.set):
        loop(10)
    assert 0.1 <= time.monotonic() - begun < 5
    assert not given_up.is_set()


def test_a_block_in_time_is_left_alone(given_up):
    with Watchdog(0.2, given_up.set):
        pass
    loop(0.4)
    assert not given_up.is_set()


def test_without_a_limit_nothing_is_watched(given_up):
    before = threading.active_count()
    with Watchdog(None, given_up.set):
        assert threading.active_count() == before


class Late:
    """A lock during whose acquisition the limit is reached."""

    def __init__(self, error):
        self.error = error

    def __enter__(self):
        raise self.error

    def __exit__(self, *exception):
        pass


@pytest.mark.usefixtures("short_patience")
def test_an_exception_that_comes_too_late_is_taken_back(given_up):
    with Watchdog(0.1, given_up.set) as watched:
        watched._lock = Late(TrialTimeout())
    loop(0.4)
    assert not given_up.is_set()


def test_the_thread_is_told_to_forget_an_exception_that_is_on_its_way(monkeypatch, given_up):
    raised = []
    monkeypatch.setattr(watchdog, "_raise_in_thread", lambda *given: raised.append(given))
    with Watchdog(60.0, given_up.set):
        assert raised == []
    assert raised == [(threading.get_ident(), None)]


def test_a_handler_of_errors_does_not_hold_it_up(given_up):
    def keep_trying():
        for _ in range(1000):
            try:
                loop(0.01)
            except Exception:
                continue

    with pytest.raises(TrialTimeout, match=r"^$"), Watchdog(0.1, given_up.set):
        keep_trying()


@pytest.mark.usefixtures("short_patience")
def test_a_block_that_cannot_be_interrupted_is_given_up(given_up):
    # The wait for a lock is compiled code: the exception is raised when it is over.
    with pytest.raises(TrialTimeout, match=r"^$"), Watchdog(0.1, given_up.set):
        given_up.wait(10)
    assert given_up.is_set()


@pytest.mark.usefixtures("short_patience")
def test_a_block_that_cleans_up_in_time_is_not_given_up(given_up):
    with pytest.raises(TrialTimeout, match=r"^$"), Watchdog(0.05, given_up.set):
        loop(10)
    loop(0.3)
    assert not given_up.is_set()


class TestEndOfTheProcess:
    @pytest.fixture
    def exits(self, monkeypatch):
        exits = []
        monkeypatch.setattr(watchdog.os, "_exit", exits.append)
        return exits

    @staticmethod
    def run(observer):
        class Run:
            info = {"sweep": {"pid": 1}}  # noqa: RUF012
            observers = (observer,)
            captured_out = "the last line"

        return Run()

    def test_is_in_the_record(self, exits):
        events = []

        class Observer:
            def heartbeat_event(self, info, captured_out, beat_time, result):
                events.append((info["sweep"]["stop_reason"], captured_out, beat_time.tzinfo))

            def interrupted_event(self, interrupt_time, status):
                events.append((interrupt_time.tzinfo, status))

        run = self.run(Observer())
        end_process(run, "It took too long.")
        assert run.info == {"sweep": {"pid": 1, "stop_reason": "It took too long."}}
        assert events == [("It took too long.", "the last line", None), (None, "TIMEOUT")]
        assert exits == [1]

    def test_does_not_depend_on_the_record(self, exits):
        with pytest.raises(AttributeError, match="_event"):
            end_process(self.run(object()), "It took too long.")
        assert exits == [1]


def test_the_reason_is_noted_before_the_exception_comes_and_only_then():
    noted = []
    with Watchdog(60, pytest.fail, lambda: noted.append("in vain")):
        pass
    seen = None
    with (
        contextlib.suppress(TrialTimeout),
        Watchdog(0.05, pytest.fail, lambda: noted.append("now")),
    ):
        try:
            time.sleep(0.01)
            while True:
                time.sleep(0.001)
        finally:
            seen = list(noted)
    assert seen == ["now"]


class Ended(KeyboardInterrupt):
    """What another thread ends a block with."""


class TestInterruptionFromAnotherThread:
    def test_ends_the_block_after_the_note(self, given_up):
        noted, told = [], []
        begun = time.monotonic()

        def interrupt():
            told.append(watched.interrupt(Ended, lambda: noted.append("why")))

        timer = threading.Timer(0.05, interrupt)
        watched = Watchdog(None, given_up.set)
        timer.start()
        with pytest.raises(Ended, match=r"^$"), watched:
            loop(10)
        assert (noted, told) == (["why"], [True])
        assert time.monotonic() - begun < 5
        assert not given_up.is_set()

    def test_does_nothing_after_the_block(self, given_up):
        with Watchdog(None, given_up.set) as watched:
            pass
        assert watched.interrupt(Ended, pytest.fail) is False
        loop(0.05)

    def test_that_comes_as_the_block_ends_is_taken_back(self, given_up):
        with Watchdog(None, given_up.set) as watched:
            watched._raised = Ended
            watched._lock = Late(Ended())
        assert watched._ended.is_set()

    def test_that_is_on_its_way_does_not_leave_the_block(self, monkeypatch, given_up):
        raised = []
        monkeypatch.setattr(watchdog, "_raise_in_thread", lambda *given: raised.append(given))
        with Watchdog(None, given_up.set) as watched:
            assert watched.interrupt(Ended, lambda: None) is True
        me = threading.get_ident()
        assert raised == [(me, Ended), (me, None)]

    def test_is_told_from_an_interruption_by_the_user(self, given_up):
        def end():
            with Watchdog(None, given_up.set) as watched:
                watched._lock = Late(KeyboardInterrupt("by the user"))

        with pytest.raises(KeyboardInterrupt, match=r"^by the user$"):
            end()

    def test_by_the_user_within_the_block_passes(self, given_up):
        with pytest.raises(KeyboardInterrupt, match=r"^by the user$"), Watchdog(60, given_up.set):
            raise KeyboardInterrupt("by the user")

    def test_leaves_the_limit_as_it_was(self, given_up):
        watched = Watchdog(0.05, given_up.set)
        with pytest.raises(TrialTimeout, match=r"^$"), watched:
            loop(10)
        assert watched.interrupt(Ended, pytest.fail) is False
