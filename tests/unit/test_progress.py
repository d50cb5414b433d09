"""What the driver keeps and tells while trials run."""

import pytest

from sacred_ray_ingredient.progress import SweepProgress, settle
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.tasks import TrialOutcome

NOWHERE = RecordTarget(None)


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
    def make(mode="max", total=3, target=NOWHERE):
        return SweepProgress(run, "sweep-1", target, "loss", mode, total, lines.append)

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


def test_the_document_of_a_trial_whose_worker_died_is_closed(make_progress, target, database):
    meta = {"sweep": {"sweep_id": "sweep-1", "trial_index": 0}}
    database.runs.insert_one({"_id": 7, "status": "RUNNING", "meta": meta})
    dead = outcome(0, status="FAILED", error="the worker was lost")
    make_progress(target=target).trial_died(dead, will_retry=False)
    assert dead.run_id == 7
    document = database.runs.find_one()
    assert document["status"] == "FAILED"
    assert document["fail_trace"] == ["Trial 0 could not write its own end: the worker was lost.\n"]


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
