"""What the driver keeps and tells while trials run."""

import time

import pytest

from sacred_ray_ingredient.progress import Budget, SweepProgress, settle
from sacred_ray_ingredient.tasks import TrialOutcome


class FakeRecord:
    """Keeps what it is told, as the record of a sweep would."""

    def __init__(self, completed=None):
        self.told = []
        self.completed = completed

    def died(self, outcome):
        outcome.run_id = 7
        if self.completed is not None:
            outcome.status, outcome.error = "COMPLETED", None
            outcome.metrics = {"loss": self.completed}
        self.told.append(("died", outcome))

    def not_continued(self, outcome):
        self.told.append(("not continued", outcome))


class FakeRun:
    def __init__(self):
        self.scalars = []

    def log_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def values(self, name):
        return [(value, step) for logged, value, step in self.scalars if logged == name]


@pytest.fixture
def run():
    return FakeRun()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def make_progress(run, lines):
    def make(mode="max", total=3, record=None):
        return SweepProgress(run, record, "loss", mode, total, lines.append)

    return make


def outcome(index, value=None, status="COMPLETED", attempt=0, run_id=None, error=None):
    metrics = {} if value is None else {"loss": value}
    return TrialOutcome(
        index, attempt, status, {"lr": 0.123456789}, 1, run_id, metrics, error=error
    )


@pytest.mark.parametrize(("mode", "best"), [("max", [2.0, 2.0, 3.0]), ("min", [2.0, 1.0, 1.0])])
def test_the_best_value_so_far_is_a_metric_of_the_sweep(make_progress, run, mode, best):
    progress = make_progress(mode)
    for index, value in enumerate([2.0, 1.0, 3.0]):
        progress.trial_finished(outcome(index, value))
    assert run.values("best_loss") == list(zip(best, [1, 2, 3], strict=True))
    assert len(run.values("trials_per_second")) == 3


def test_a_value_that_is_not_finite_is_never_the_best(make_progress, run):
    progress = make_progress()
    progress.trial_finished(outcome(0, float("inf")))
    progress.trial_finished(outcome(1, 1.0))
    assert run.values("best_loss") == [(1.0, 2)]


def test_a_line_tells_number_run_status_value_and_parameters(make_progress, lines):
    make_progress().trial_finished(outcome(4, 0.5, run_id=17))
    assert lines == ["[1/3] trial 4  run 17  COMPLETED  loss=0.5  lr=0.123457"]


def test_long_parameters_are_cut(make_progress, lines):
    long = outcome(0, 0.5)
    long.parameters = {"text": "x" * 200}
    make_progress().trial_finished(long)
    assert lines[0].endswith(f"text={'x' * 37}...")


def test_many_trials_are_told_calmly_but_failures_and_the_end_always(make_progress, lines):
    progress = make_progress(total=200)
    for index in range(199):
        progress.trial_finished(outcome(index, 1.0))
    calm = len(lines)
    progress.trial_died(outcome(199, status="FAILED", error="ValueError: x"), will_retry=True)
    progress.trial_finished(outcome(199, 1.0, attempt=1))
    assert calm < 20
    assert "[199/200] trial 199  FAILED and is tried again  ValueError: x" in lines[calm]
    assert lines[-1].startswith("[200/200]")


def test_an_attempt_that_is_tried_again_is_kept_but_not_counted(make_progress, run):
    progress = make_progress()
    progress.trial_died(outcome(0, status="FAILED"), will_retry=True)
    progress.trial_started(outcome(0, status="RUNNING", attempt=1))
    assert run.scalars == []
    assert [(each.attempt, each.status) for each in progress.attempts] == [
        (0, "FAILED"),
        (1, "RUNNING"),
    ]
    assert [each.attempt for each in progress.trials] == [1]


def test_trials_are_listed_by_index(make_progress):
    progress = make_progress()
    for index in (2, 0, 1):
        progress.trial_finished(outcome(index, 1.0))
    assert [each.index for each in progress.trials] == [0, 1, 2]


def test_the_first_trial_without_the_metric_is_remembered(make_progress):
    progress = make_progress()
    progress.trial_finished(outcome(0, status="INTERRUPTED"))
    assert progress.unreported is None
    progress.trial_finished(outcome(1))
    progress.trial_finished(outcome(2))
    assert progress.unreported.index == 1


def test_a_later_segment_need_not_report_the_metric_again(make_progress):
    progress = make_progress()
    later = outcome(0)
    later.segment = 1
    progress.trial_finished(later)
    assert progress.unreported is None


def test_the_first_completed_trial_that_no_scheduler_could_compare_is_remembered(make_progress):
    progress = make_progress()
    for index, status in enumerate(["FAILED", "COMPLETED", "COMPLETED"]):
        blind = outcome(index, 1.0, status)
        blind.was_compared = False
        progress.trial_finished(blind)
    assert progress.uncompared.index == 1


def test_compared_trials_are_not_remembered(make_progress):
    progress = make_progress()
    progress.trial_finished(outcome(0, 1.0))
    assert progress.uncompared is None


class TestEndOfTheSearch:
    def test_parts_its_trials_from_those_after_it(self, make_progress):
        progress = make_progress()
        for index in (1, 0):
            progress.trial_finished(outcome(index, 1.0))
        assert [each.index for each in progress.searched] == [0, 1]
        assert progress.evaluated == []
        progress.end_search()
        progress.trial_finished(outcome(2, 1.0))
        assert [each.index for each in progress.searched] == [0, 1]
        assert [each.index for each in progress.evaluated] == [2]
        assert [each.index for each in progress.trials] == [0, 1, 2]

    def test_of_a_search_without_trials(self, make_progress):
        progress = make_progress()
        progress.end_search()
        progress.trial_finished(outcome(0, 1.0))
        assert (progress.searched, len(progress.evaluated)) == ([], 1)


class TestTakingOver:
    def take_over(self, progress, run):
        recorded = [
            outcome(1, 9.0, attempt=1),
            outcome(0, 5.0),
            outcome(1, status="FAILED"),
            outcome(2, status="INTERRUPTED"),
            outcome(3, 7.0),
        ]
        progress.take_over(recorded, done=2, evaluated={3})

    def test_best_counts_and_lines_go_on_from_the_record(self, make_progress, run, lines):
        progress = make_progress(total=3)
        self.take_over(progress, run)
        assert [each.status for each in progress.searched] == [
            *("COMPLETED", "COMPLETED", "INTERRUPTED")
        ]
        progress.trial_finished(outcome(2, 1.0, attempt=1))
        assert run.values("best_loss") == [(9.0, 3)]
        assert lines[-1].startswith("[3/3] trial 2 ")

    def test_the_throughput_is_that_of_what_ran_here(self, make_progress, run):
        progress = make_progress(total=3)
        self.take_over(progress, run)
        progress._started -= 10
        progress.trial_finished(outcome(2, 1.0, attempt=1))
        ((rate, _),) = run.values("trials_per_second")
        assert rate == pytest.approx(0.1, rel=0.01)

    def test_evaluations_count_only_where_the_best_is_still_the_same(self, make_progress, run):
        progress = make_progress(total=3)
        self.take_over(progress, run)
        progress.end_search()
        assert [each.index for each in progress.searched] == [0, 1, 2]
        assert progress.evaluated == []
        progress.trial_finished(outcome(4, 1.0))
        assert [each.index for each in progress.evaluated] == [4]
        progress.count_evaluations([3], done=1)
        assert [each.index for each in progress.evaluated] == [3, 4]


def test_completed_are_those_whose_last_attempt_is(make_progress):
    progress = make_progress()
    progress.trial_died(outcome(0, status="FAILED"), will_retry=True)
    progress.trial_finished(outcome(0, 1.0, attempt=1))
    progress.trial_died(outcome(1, status="FAILED"), will_retry=False)
    assert [(each.index, each.attempt) for each in progress.completed] == [(0, 1)]


class TestTrialThatWasEndedEarly:
    @pytest.fixture
    def stopped(self):
        stopped = outcome(0, 0.5, run_id=7)
        stopped.stop_reason = "stopped by asha"
        return stopped

    def test_is_told_with_the_reason(self, make_progress, lines, stopped):
        make_progress().trial_finished(stopped)
        assert "COMPLETED  loss=0.5 (stopped by asha)  lr=" in lines[0]

    def test_is_told_to_the_record(self, make_progress, stopped):
        record = FakeRecord()
        make_progress(record=record).trial_finished(stopped)
        assert record.told == [("not continued", stopped)]

    def test_without_a_record_is_told_to_nobody(self, make_progress, stopped):
        make_progress().trial_finished(stopped)

    def test_is_told_apart_from_others(self, make_progress):
        record = FakeRecord()
        make_progress(record=record).trial_finished(outcome(0, 0.5, run_id=7))
        assert record.told == []


class TestBudget:
    def test_is_used_up_after_its_time(self, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        budget = Budget(2.0)
        budget.start()
        now[0] = 101.9
        assert not budget.is_used_up
        now[0] = 102.0
        assert budget.is_used_up

    def test_counts_from_its_start(self, monkeypatch):
        monkeypatch.setattr(time, "monotonic", lambda: 1e9)
        assert not Budget(1.0).is_used_up

    def test_without_a_limit_never_ends(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        budget = Budget(None)
        budget.start()
        now[0] = 1e9
        assert not budget.is_used_up

    def test_says_what_it_was(self):
        assert Budget(2.5).reason == "The sweep's time, ray.time_budget_s=2.5, was used up."


def test_a_trial_whose_worker_died_is_told_to_the_record(make_progress, lines):
    record = FakeRecord()
    dead = outcome(0, status="FAILED", error="the worker was lost")
    make_progress(record=record).trial_died(dead, will_retry=False)
    assert record.told == [("died", dead)]
    assert "run 7" in lines[0]


class TestTrialWhoseWorkerDiedAfterItsEnd:
    @pytest.fixture
    def die(self, make_progress, lines):
        def die(will_retry, **named):
            record = FakeRecord(completed=0.5)
            progress = make_progress(record=record, **named)
            dead = outcome(0, status="FAILED", error="the worker was lost")
            progress.trial_died(dead, will_retry=will_retry)
            assert record.told == [("died", dead)]
            return progress

        return die

    def test_is_told_as_any_other_that_completed(self, die, lines):
        die(will_retry=False)
        assert lines == ["[1/3] trial 0  run 7  COMPLETED  loss=0.5  lr=0.123457"]

    def test_counts_and_is_compared(self, die, run):
        progress = die(will_retry=False)
        assert run.values("best_loss") == [(0.5, 1)]
        assert len(run.values("trials_per_second")) == 1
        assert [each.status for each in progress.completed] == ["COMPLETED"]

    def test_counts_once_where_the_engine_tries_it_again(self, die, run, lines):
        progress = die(will_retry=True)
        assert (lines, run.scalars) == ([], [])
        assert [each.status for each in progress.attempts] == ["COMPLETED"]
        progress.trial_finished(outcome(0, 0.5, attempt=1))
        assert run.values("best_loss") == [(0.5, 1)]
        assert lines[0].startswith("[1/3] trial 0  COMPLETED")


def test_open_attempts_get_the_end_that_the_record_has():
    outcomes = [
        outcome(0, status="RUNNING"),
        outcome(1, status="RUNNING", run_id=9),
        outcome(2, status="FAILED", run_id=3),
    ]
    settle(outcomes, {(0, 0): (5, "COMPLETED"), (2, 0): (3, "COMPLETED")})
    assert [(each.run_id, each.status) for each in outcomes] == [
        (5, "COMPLETED"),
        (9, "INTERRUPTED"),
        (3, "FAILED"),
    ]
