"""Counts, the best trial and groups."""

import math

import pytest

from sacred_ray_ingredient.summary import (
    candidates,
    count_by_status,
    group_of,
    group_statistics,
    pareto_front,
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


def repetition(index, configuration, value=None, status="COMPLETED", **metrics):
    repeated = outcome(index, value, status)
    repeated.configuration = configuration
    repeated.metrics |= metrics
    return repeated


class TestCandidates:
    """Configurations, by the mean over their repetitions."""

    def test_are_ordered_by_the_mean_and_not_by_the_best_repetition(self):
        trials = [repetition(0, 0, 9.0), repetition(1, 0, 1.0)]
        trials += [repetition(2, 1, 6.0), repetition(3, 1, 7.0)]
        found = candidates(trials, "loss", "max")
        assert [each.statistics.mean for each in found] == [6.5, 5.0]
        assert [[trial.index for trial in each.trials] for each in found] == [[2, 3], [0, 1]]

    @pytest.mark.parametrize(("mode", "order"), [("max", [1, 0, 2, 3]), ("min", [3, 0, 2, 1])])
    def test_that_are_equal_are_ordered_by_index(self, mode, order):
        trials = [repetition(index, index, value) for index, value in enumerate([2.0, 3.0, 2.0, 1])]
        assert [each.trial.index for each in candidates(trials[::-1], "loss", mode)] == order

    def test_leave_out_repetitions_that_have_no_value(self):
        trials = [
            repetition(0, 0, 9.0, "FAILED"),
            repetition(1, 0, 2.0),
            repetition(2, 0, math.nan),
            repetition(3, 1),
        ]
        (found,) = candidates(trials, "loss", "max")
        assert (found.trial.index, found.statistics.n, found.statistics.mean) == (1, 1, 2.0)

    def test_have_the_deviation_of_their_repetitions(self):
        trials = [repetition(index, 5, float(index)) for index in range(3)]
        (found,) = candidates(trials, "loss", "min")
        assert (found.statistics.group, found.statistics.std) == (5, 1.0)

    def test_there_are_none_without_trials(self):
        assert candidates([], "loss", "max") == []


class TestParetoFront:
    @staticmethod
    def front(points, modes=("max", "max")):
        trials = [
            repetition(index, index, first, **({} if second is None else {"size": second}))
            for index, (first, second) in enumerate(points)
        ]
        found = candidates(trials, "loss", modes[0])
        return [each.trial.index for each in pareto_front(found, ["loss", "size"], modes)]

    def test_has_what_no_other_one_beats_in_every_metric(self):
        assert self.front([(1.0, 5.0), (3.0, 3.0), (2.0, 2.0), (5.0, 1.0)]) == [3, 1, 0]

    def test_follows_the_mode_of_each_metric(self):
        points = [(1.0, 5.0), (3.0, 3.0), (2.0, 2.0), (5.0, 1.0)]
        assert self.front(points, ("max", "min")) == [3]
        assert self.front(points, ("min", "max")) == [0]
        assert self.front(points, ("min", "min")) == [0, 2, 3]

    def test_leaves_out_what_is_beaten_in_one_and_equal_in_the_other(self):
        assert self.front([(1.0, 5.0), (1.0, 4.0)]) == [0]

    def test_has_all_of_those_that_are_equal(self):
        assert self.front([(1.0, 5.0), (1.0, 5.0)]) == [0, 1]

    def test_leaves_out_what_has_not_all_metrics(self):
        assert self.front([(9.0, None), (8.0, math.inf), (1.0, 1.0)]) == [2]

    def test_compares_means_over_repetitions(self):
        trials = [repetition(0, 0, 1.0, size=9.0), repetition(1, 0, 1.0, size=1.0)]
        trials += [repetition(2, 1, 1.0, size=6.0)]
        found = candidates(trials, "loss", "max")
        front = pareto_front(found, ["loss", "size"], ["max", "max"])
        assert [each.trial.index for each in front] == [2]


class TestGroupOf:
    def test_has_the_completed_trials_with_a_value(self):
        trials = [outcome(0, 1.0), outcome(1, 3.0), outcome(2, 9.0, "FAILED"), outcome(3)]
        group = group_of(trials, "loss", "fresh seeds")
        assert (group.group, group.n, group.mean) == ("fresh seeds", 2, 2.0)

    def test_is_none_without_a_value(self):
        assert group_of([outcome(0), outcome(1, math.nan)], "loss", "x") is None


def test_the_table_has_every_attempt_and_empty_cells_for_what_is_missing():
    trials = [
        outcome(1, 2.0, lr=0.5),
        outcome(0, 1.0, attempt=1, lr=0.25),
        outcome(0, None, "FAILED", lr=0.25),
    ]
    trials[2].error = "ValueError: broken"
    trials[0].metrics["accuracy"] = 0.75
    trials[0].configuration = 4
    trials[0].stop_reason = "enough"
    header, rows = table_rows(trials, ["seed", "lr", "decay"])
    assert header == [
        *("run_id", "trial", "configuration", "attempt", "status", "stop_reason"),
        *("config.seed", "config.lr", "config.decay"),
        *("metric.accuracy", "metric.loss", "error"),
    ]
    assert rows == [
        [1, 0, 0, 0, "FAILED", "", 100, 0.25, "", "", "", "ValueError: broken"],
        [1, 0, 0, 1, "COMPLETED", "", 100, 0.25, "", "", 1.0, ""],
        [2, 1, 4, 0, "COMPLETED", "enough", 101, 0.5, "", 0.75, 2.0, ""],
    ]
