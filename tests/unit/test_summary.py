"""Counts, the best trial and groups."""

import math

import pytest

from sacred_ray_ingredient.summary import (
    count_by_status,
    group_statistics,
    ranked,
    table_rows,
    value_of,
)
from sacred_ray_ingredient.tasks import TrialOutcome


def outcome(index, value=None, status="COMPLETED", attempt=0, **parameters):
    metrics = {} if value is None else {"loss": value}
    return TrialOutcome(index, attempt, status, parameters, 100 + index, index + 1, metrics)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 0.5), (0.0, 0.0), (None, None), (math.nan, None), (-math.inf, None)],
)
def test_only_a_finite_value_can_be_compared(value, expected):
    assert value_of(outcome(0, value), "loss") == expected


@pytest.mark.parametrize(("mode", "order"), [("max", [1, 0, 3, 2]), ("min", [2, 0, 3, 1])])
def test_trials_are_ranked_from_the_best_and_ties_by_index(mode, order):
    trials = [outcome(3, 2.0), outcome(0, 2.0), outcome(1, 3.0), outcome(2, 1.0)]
    assert [trial.index for trial in ranked(trials, "loss", mode)] == order


def test_what_has_not_completed_is_not_ranked():
    trials = [outcome(0, 9.0, "FAILED"), outcome(1, math.nan), outcome(2), outcome(3, 1.0)]
    assert [trial.index for trial in ranked(trials, "loss", "max")] == [3]


def test_statuses_are_counted():
    trials = [outcome(0), outcome(1), outcome(2, status="FAILED")]
    assert count_by_status(trials) == {"COMPLETED": 2, "FAILED": 1}
    assert count_by_status([]) == {}


class TestGroups:
    def test_have_mean_deviation_and_students_interval(self):
        values = [1.0, 2.0, 3.0, 4.0]
        trials = [outcome(index, value, env="a") for index, value in enumerate(values)]
        (group,) = group_statistics(trials, "loss", "env")
        assert (group.group, group.n, group.mean) == ("a", 4, 2.5)
        assert group.std == pytest.approx(1.2909944)
        assert group.half_width == pytest.approx(3.1824463 * 1.2909944 / 2)

    def test_of_one_trial_have_no_deviation(self):
        (group,) = group_statistics([outcome(0, 1.5, env="a")], "loss", "env")
        assert (group.n, group.mean) == (1, 1.5)
        assert math.isnan(group.std)
        assert math.isnan(group.half_width)

    def test_come_in_the_order_of_the_trials(self):
        trials = [outcome(2, 1.0, env="a"), outcome(0, 1.0, env="b"), outcome(1, 1.0, env="a")]
        assert [g.group for g in group_statistics(trials, "loss", "env")] == ["b", "a"]

    def test_are_told_apart_by_value_and_type(self):
        trials = [outcome(0, 1.0, env=1), outcome(1, 1.0, env="1"), outcome(2, 1.0, env=[1])]
        assert [g.group for g in group_statistics(trials, "loss", "env")] == [1, "1", [1]]

    def test_leave_out_what_has_no_value_or_no_group(self):
        trials = [
            outcome(0, math.nan, env="a"),
            outcome(1, 1.0),
            outcome(2, 1.0, "FAILED", env="a"),
        ]
        assert group_statistics(trials, "loss", "env") == []


def test_the_table_has_every_attempt_and_empty_cells_for_what_is_missing():
    trials = [
        outcome(1, 2.0, lr=0.5),
        outcome(0, 1.0, attempt=1, lr=0.25),
        outcome(0, None, "FAILED", lr=0.25),
    ]
    trials[2].error = "ValueError: broken"
    trials[0].metrics["accuracy"] = 0.75
    header, rows = table_rows(trials, ["seed", "lr", "decay"])
    assert header == [
        *("run_id", "trial", "attempt", "status", "config.seed", "config.lr", "config.decay"),
        *("metric.accuracy", "metric.loss", "error"),
    ]
    assert rows == [
        [1, 0, 0, "FAILED", 100, 0.25, "", "", "", "ValueError: broken"],
        [1, 0, 1, "COMPLETED", 100, 0.25, "", "", 1.0, ""],
        [2, 1, 0, "COMPLETED", 101, 0.5, "", 0.75, 2.0, ""],
    ]
