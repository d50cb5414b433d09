"""Which steps a scheduler or a rule must see."""

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandScheduler

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.metrics import Urgent
from sacred_ray_ingredient.stop_rules import parse_stop
from sacred_ray_ingredient.urgent_reports import milestones, urgent_reports


def rules(raw):
    found, mistakes = parse_stop(raw)
    assert mistakes == []
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_t": 100},
        {"max_t": 81, "grace_period": 2, "reduction_factor": 3},
        {"max_t": 50, "grace_period": 3, "reduction_factor": 2.5, "brackets": 2},
        {"max_t": 64, "grace_period": 1, "reduction_factor": 2},
    ],
)
def test_asha_sees_the_rungs_that_tune_has(arguments):
    scheduler = AsyncHyperBandScheduler(metric="x", mode="max", **arguments)
    rungs = {float(step) for bracket in scheduler._brackets for step, _ in bracket._rungs}
    assert milestones(Choice("asha", arguments)) == {*rungs, float(arguments["max_t"])}


@pytest.mark.parametrize("name", ["hyperband", "bohb"])
@pytest.mark.parametrize(("max_t", "factor"), [(81, 3), (100, 3), (16, 2), (9, 4), (27, 2.5)])
def test_hyperband_sees_the_ends_of_the_rounds_that_tune_has(name, max_t, factor):
    scheduler = HyperBandScheduler(
        metric="x", mode="max", max_t=max_t, reduction_factor=factor, stop_last_trials=False
    )
    ends = set()
    for number in range(scheduler._s_max_1):
        bracket = scheduler._create_bracket(number)
        ends.add(bracket._cumul_r)
        while bracket._halves > 0:
            bracket.successive_halving("x", 1.0)
            ends.add(bracket._cumul_r)
    found = milestones(Choice(name, {"max_t": max_t, "reduction_factor": factor}))
    assert found >= ends
    assert max(found) == max_t


def test_tunes_own_factor_counts_where_none_is_given():
    assert milestones(Choice("asha", {"max_t": 20})) == {1, 4, 16, 20}
    assert milestones(Choice("hyperband", {"max_t": 9})) == {1, 3, 9}


def test_pbt_sees_a_step_in_each_interval_and_the_end_of_its_burn_in():
    choice = Choice("pbt", {"perturbation_interval": 5, "burn_in_period": 12})
    assert urgent_reports(choice, ()) == Urgent((12.0,), 5)


def test_median_stopping_sees_the_end_of_the_grace_period():
    assert urgent_reports(Choice("median_stopping", {"grace_period": 7}), ()) == Urgent((7.0,))


def test_thresholds_of_steps_and_metrics_are_seen():
    found = urgent_reports(None, rules({"step": 20, "loss": "<= 0.1"}))
    assert found == Urgent((20.0,), None, (("loss", "<=", 0.1),))


def test_the_first_step_above_a_threshold_is_seen():
    (step,) = urgent_reports(None, rules({"step": "> 20"})).steps
    assert 20 < step < 20.001


def test_a_scheduler_and_rules_are_seen_together():
    found = urgent_reports(Choice("asha", {"max_t": 4}), rules({"step": 3}))
    assert found.steps == (1.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("scheduler", "raw"),
    [
        (None, {}),
        (Choice("asha", {"max_t": 9, "time_attr": "training_iteration"}), {}),
        (None, {"training_iteration": 100}),
        (None, {"plateau": "loss"}),
        (Choice("asha", {"max_t": 9}), {"plateau": "loss"}),
        (None, {"function": lambda trial_id, result: False}),
    ],
)
def test_nothing_is_left_out_where_reports_are_counted_or_nobody_looks(scheduler, raw):
    assert urgent_reports(scheduler, rules(raw)) is None


def test_seconds_are_no_steps():
    choice = Choice("asha", {"max_t": 60, "time_attr": "time_total_s"})
    assert urgent_reports(choice, rules({"time_total_s": 50})) == Urgent()
