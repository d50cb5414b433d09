"""What the terminal shows at the end of a sweep."""

import pytest
from unit_inner import unit_ex

from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.report import final_report
from sacred_ray_ingredient.tasks import TrialOutcome

outer_ex = make_outer("outer_ex", unit_ex)


def make(**ray):
    request = OuterRequest({"ray": ray, "seed": 1}, {"unit_ex": {"env_name": "z"}}, [])
    return make_plan(outer_ex, unit_ex, request)


def outcome(index, value, status="COMPLETED", error=None, **parameters):
    metrics = {} if value is None else {"loss": value}
    base_lr = parameters.get("base_lr", 1.0)
    config = {"base_lr": base_lr, "lr": 2 * base_lr, "env_name": "z", "unit_data": {"size": 3}}
    config["seed"] = 7
    return TrialOutcome(index, 0, status, parameters, 7, 100 + index, metrics, error, config)


@pytest.fixture
def plan():
    return make(search_space={"base_lr": [1.0, 2.0, 3.0]}, metric="loss", mode="min")


@pytest.fixture
def trials():
    return [outcome(index, 0.5 - index / 8, base_lr=index + 1.0) for index in range(3)]


def rows(report):
    """Return the cells of the tables."""
    lines = [line for line in report.splitlines() if "│" in line]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_the_best_trials_come_first(plan, trials):
    report = final_report(plan, trials, RecordTarget(None), None)
    assert "Best trials (lowest loss)" in report
    assert rows(report) == [
        ["102", "2", "0.25", "3"],
        ["101", "1", "0.375", "2"],
        ["100", "0", "0.5", "1"],
    ]


def test_the_config_of_the_best_is_complete(plan, trials):
    report = final_report(plan, trials, RecordTarget(None), None)
    assert "Best config (trial 2, run 102):" in report
    for entry in ("base_lr = 3.0", "lr = 6.0", "seed = 7", "env_name = 'z'", "unit_data.size = 3"):
        assert f"\n  {entry}\n" in report


def test_only_ten_trials_are_shown(plan):
    trials = [outcome(index, index / 8, base_lr=1.0) for index in range(30)]
    report = final_report(plan, trials, RecordTarget(None), None)
    assert [row[1] for row in rows(report)] == [str(index) for index in range(10)]


def test_the_result_is_shown_beside_another_metric(plan, trials):
    trials[0].metrics["result"] = 0.875
    report = final_report(plan, trials, RecordTarget(None), None)
    assert [row[3] for row in rows(report)] == ["-", "-", "0.875"]


def test_the_result_has_one_column():
    plan = make(search_space={"base_lr": [1.0]}, metric="result")
    trial = outcome(0, None, base_lr=1.0)
    trial.metrics = {"result": 0.5}
    report = final_report(plan, [trial], RecordTarget(None), None)
    assert rows(report) == [["100", "0", "0.5", "1"]]


def test_environments_are_compared():
    plan = make(envs=["a", "b"], metric="loss")
    values = [("a", 1.0), ("b", 5.0), ("a", 2.0), ("a", 3.0)]
    trials = [outcome(index, value, env_name=env) for index, (env, value) in enumerate(values)]
    report = final_report(plan, trials, RecordTarget(None), None)
    assert "loss by env_name" in report
    assert rows(report)[-2:] == [
        ["a", "3", "2", "1", "-0.484138 to 4.48414"],
        ["b", "1", "5", "-", "-"],
    ]


def test_failures_are_listed_and_counted(plan, trials):
    trials += [outcome(3 + k, None, "FAILED", "ValueError: broken") for k in range(12)]
    report = final_report(plan, trials, RecordTarget(None), None)
    assert "  trial 3 (run 103) FAILED: ValueError: broken\n" in report
    assert "  and 2 more\n" in report
    assert "Trials: 3 COMPLETED, 12 FAILED (of 3)." in report


def test_a_sweep_without_a_finished_trial_has_no_table(plan):
    report = final_report(plan, [], RecordTarget(None), None)
    assert rows(report) == []
    assert "Trials: none (of 3)." in report


def test_the_end_tells_where_the_record_is(plan, trials):
    target = RecordTarget(MongoAddress("mongodb://unit.test:27017/", db_name="db"))
    report = final_report(plan, trials, target, 99)
    assert "unit.test:27017, database db; the sweep is run 99" in report
    assert plan.sweep_id in report
    assert report.endswith("Browse them: omniboard -m unit.test:27017:db")


def test_without_a_database_the_end_says_so(plan, trials):
    report = final_report(plan, trials, RecordTarget(None), None)
    assert "Nothing was recorded in MongoDB;" in report
