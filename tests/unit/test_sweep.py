"""The driver's end of a sweep: what it is worth, and what is wrong with it."""

import pytest
from unit_inner import unit_ex

from sacred_ray_ingredient.errors import MetricNotReported, SweepFailed
from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.progress import SweepProgress
from sacred_ray_ingredient.sweep import _best_value, _complete_best_config, _tell_what_is_replaced
from sacred_ray_ingredient.tasks import TrialOutcome

outer_ex = make_outer("outer_ex", unit_ex)


class Quiet:
    """A run whose metrics nobody reads."""

    def log_scalar(self, name, value, step):
        pass


def plan_of(ray, **updates):
    ray = {"metric": "loss", "mode": "min", "search_space": {"base_lr": [1.0, 2.0]}, **ray}
    return make_plan(outer_ex, unit_ex, OuterRequest({"ray": ray, "seed": 1}, updates, []))


@pytest.fixture
def plan():
    return plan_of({})


@pytest.fixture
def progress():
    return SweepProgress(Quiet(), None, "loss", "min", 9, str)


def outcome(index, metrics, **named):
    named = {"status": "COMPLETED", "configuration": index, "run_id": 100 + index, **named}
    return TrialOutcome(index=index, attempt=0, parameters={}, seed=1, metrics=metrics, **named)


class TestValue:
    def test_is_that_of_the_best_trial(self, plan, progress):
        for index, loss in enumerate([2.0, 1.0, 3.0]):
            progress.trial_finished(outcome(index, {"loss": loss}))
        assert _best_value(plan, progress) == 1.0

    def test_is_the_mean_over_repetitions(self, plan, progress):
        for index, loss in enumerate([0.0, 9.0, 2.0, 4.0]):
            progress.trial_finished(outcome(index, {"loss": loss}, configuration=index // 2))
        assert _best_value(plan, progress) == 3.0

    def test_is_not_changed_by_the_evaluation(self, plan, progress):
        progress.trial_finished(outcome(0, {"loss": 2.0}))
        progress.end_search()
        progress.trial_finished(outcome(1, {"loss": 0.0}))
        assert _best_value(plan, progress) == 2.0

    def test_needs_the_metric(self, plan, progress):
        progress.trial_finished(outcome(4, {"b": 1.0, "a": 1.0}))
        match = (
            r"^ray\.metric is 'loss', which trial 4 \(run 104\) never reported; it reported a, b\. "
            r"The sweep was ended; choose a metric that is logged\.$"
        )
        with pytest.raises(MetricNotReported, match=match):
            _best_value(plan, progress)

    def test_needs_the_metric_on_the_way_where_a_scheduler_compares(self, plan, progress):
        progress.trial_finished(outcome(4, {"loss": 1.0}, was_compared=False))
        match = r"did not report while it ran; .* logged on the way, or no scheduler\.$"
        with pytest.raises(MetricNotReported, match=match):
            _best_value(plan, progress)

    def test_needs_a_trial(self, plan, progress):
        progress.trial_died(outcome(0, {}, status="FAILED", error="ValueError: x"), False)
        match = (
            r"^None of the 1 trials of sweep-\w+ completed .* The first error was: ValueError: x"
        )
        with pytest.raises(SweepFailed, match=match):
            _best_value(plan, progress)


class TestConfigOfTheBest:
    """A trial that was ended early did not report it; the record has it."""

    def test_is_read(self, plan, progress, target, database):
        database.runs.insert_one({"_id": 100, "config": {"base_lr": 2.0}})
        progress.trial_finished(outcome(0, {"loss": 2.0}))
        _complete_best_config(plan, target, progress, print)
        assert progress.trials[0].config == {"base_lr": 2.0}

    def test_stays_what_was_reported(self, plan, progress, target, database):
        database.runs.insert_one({"_id": 100, "config": {"base_lr": 2.0}})
        progress.trial_finished(outcome(0, {"loss": 2.0}, config={"base_lr": 1.0}))
        _complete_best_config(plan, target, progress, print)
        assert progress.trials[0].config == {"base_lr": 1.0}


def test_what_the_search_replaces_is_told():
    lines = []
    plan = plan_of({}, unit_ex={"base_lr": 9.0, "env_name": "b"})
    _tell_what_is_replaced(plan, lines.append)
    assert lines == [
        "Note: unit_ex.base_lr=9.0 is replaced in each trial by what the search gives."
    ]
