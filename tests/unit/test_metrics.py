"""Logged scalars on their way to Tune."""

import math

import pytest

from sacred_ray_ingredient.metrics import (
    TUNE_NAMES,
    StepReporter,
    report_name,
    reported_metrics,
    result_metrics,
)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def reports():
    return []


@pytest.fixture
def reporter(reports):
    return StepReporter(reports.append)


def test_a_single_metric_is_reported_when_its_next_step_begins_and_then_at_once(reporter, reports):
    reporter.log("loss", 3.0, 0)
    assert reports == []
    reporter.log("loss", 2.0, 1)
    assert reports == [{"loss": 3.0, "step": 0}, {"loss": 2.0, "step": 1}]
    reporter.log("loss", 1.0, 2)
    assert reports[2:] == [{"loss": 1.0, "step": 2}]


def test_values_of_one_step_are_reported_together(reporter, reports):
    for step in range(3):
        reporter.log("loss", 1.0 - step, step)
        reporter.log("accuracy", step / 2, step)
    assert reports == [
        {"loss": 1.0, "accuracy": 0.0, "step": 0},
        {"loss": 0.0, "accuracy": 0.5, "step": 1},
        {"loss": -1.0, "accuracy": 1.0, "step": 2},
    ]


def test_a_repeated_name_ends_a_step_whose_number_stays(reporter, reports):
    reporter.log("loss", 2.0, 7)
    reporter.log("accuracy", 0.1, 7)
    reporter.log("loss", 1.0, 7)
    assert reports == [{"loss": 2.0, "accuracy": 0.1, "step": 7}]


def test_a_metric_of_an_earlier_step_is_carried_forward(reporter, reports):
    reporter.log("loss", 3.0, 0)
    reporter.log("val_loss", 9.0, 0)
    reporter.log("loss", 2.0, 1)
    reporter.log("loss", 1.0, 2)
    assert reports[1] == {"loss": 2.0, "val_loss": 9.0, "step": 1}


def test_the_latest_values_are_there_before_they_are_reported(reporter, reports):
    reporter.log("loss", 3, 0)
    assert reporter.latest == {"loss": 3.0}
    assert reports == []


def test_what_is_no_number_is_left_out(reporter, reports):
    for step in range(3):
        for value in ("text", None, True, [1.0]):
            reporter.log("odd", value, step)
    assert reports == []
    assert reporter.latest == {}


def test_steps_within_the_throttle_are_not_reported(reports):
    clock = Clock()
    reporter = StepReporter(reports.append, every_s=1.0, clock=clock)
    for step in range(10):
        reporter.log("loss", float(step), step)
        clock.now += 0.25
    assert [values["step"] for values in reports] == [0, 5, 9]
    assert reporter.latest == {"loss": 9.0}


def test_the_latest_step_is_known(reporter):
    assert reporter.step is None
    reporter.log("loss", 1.0, 7)
    assert reporter.step == 7


class TestWithTheMetricThatIsCompared:
    @pytest.fixture
    def reporter(self, reports):
        return StepReporter(reports.append, metric="accuracy")

    def test_a_step_with_it_is_reported_once_its_names_are_complete(self, reporter, reports):
        for step in range(2):
            reporter.log("loss", 1.0, step)
            reporter.log("accuracy", step / 2, step)
        assert [values["accuracy"] for values in reports] == [0.0, 0.5]

    def test_a_step_without_it_waits_as_it_may_follow(self, reporter, reports):
        for step in range(3):
            reporter.log("loss", 1.0, step)
        assert [values["step"] for values in reports] == [0, 1]
        reporter.log("accuracy", 0.5, 2)
        assert len(reports) == 2
        reporter.log("loss", 1.0, 3)
        assert reports[-1] == {"loss": 1.0, "accuracy": 0.5, "step": 2}

    def test_names_of_steps_without_it_do_not_count(self, reporter, reports):
        reporter.log("accuracy", 0.5, 0)
        for step in (0, 1, 2):
            reporter.log("loss", 1.0, step)
        reporter.log("accuracy", 0.75, 2)
        assert [values["step"] for values in reports] == [0, 1, 2]

    def test_names_of_the_trial_before_are_expected_and_kept_up_to_date(self, reports):
        expected = {"loss", "accuracy"}
        reporter = StepReporter(reports.append, metric="accuracy", expected=expected)
        reporter.log("loss", 1.0, 0)
        assert reports == []
        reporter.log("accuracy", 0.5, 0)
        assert reports == [{"loss": 1.0, "accuracy": 0.5, "step": 0}]
        reporter.log("accuracy", 0.75, 1)
        reporter.log("accuracy", 0.75, 2)
        assert expected == {"accuracy"}


class TestWhatIsUrgent:
    """A step with a checkpoint is reported in any case."""

    @pytest.fixture
    def urgent(self):
        return set()

    @pytest.fixture
    def reporter(self, reports, urgent):
        reporter = StepReporter(
            reports.append, every_s=60.0, is_urgent=lambda: bool(urgent), clock=Clock()
        )
        reporter.log("loss", 1.0, 0)
        reporter.log("loss", 1.0, 1)
        return reporter

    def test_is_not_held_back_by_the_throttle(self, reporter, reports, urgent):
        reporter.log("loss", 1.0, 2)
        urgent.add("now")
        reporter.log("loss", 1.0, 3)
        assert [values["step"] for values in reports] == [0, 3]

    def test_is_known_when_the_step_begins_and_not_when_the_next_one_does(self, reports, urgent):
        reporter = StepReporter(
            reports.append, 60.0, "loss", is_urgent=lambda: bool(urgent), clock=Clock()
        )
        for step in range(3):
            reporter.log("other", 1.0, step)  # step by step, but without the metric
        urgent.add("now")
        reporter.log("other", 1.0, 3)
        assert [values["step"] for values in reports] == [0]
        reporter.log("other", 1.0, 4)
        assert [values["step"] for values in reports] == [0, 3]


def test_a_metric_with_a_name_of_tune_is_reported_under_another(reporter, reports):
    reporter.log("done", 1.0, 0)
    reporter.log("done", 2.0, 1)
    assert reports[0] == {"metric_done": 1.0, "step": 0}


def test_an_exception_of_the_report_ends_the_logging():
    def refuse(values):
        raise RuntimeError("stop here")

    reporter = StepReporter(refuse)
    reporter.log("loss", 1.0, 0)
    with pytest.raises(RuntimeError, match="stop here"):
        reporter.log("loss", 0.5, 1)


@pytest.mark.parametrize("name", [*sorted(TUNE_NAMES), "loss", "result", "val/loss", "metric_loss"])
def test_reported_metrics_gives_back_the_own_name(name):
    assert reported_metrics({report_name(name): 1.0}) == {name: 1.0}


def test_entries_of_tune_are_no_metrics():
    result = {"time_total_s": 1.5, "done": False, "loss": 0.5, "run_id": 3, "status": "RUNNING"}
    assert reported_metrics(result) == {"loss": 0.5}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (3, {"result": 3.0}),
        (0.5, {"result": 0.5}),
        (math.inf, {"result": math.inf}),
        ({"loss": 1, "name": "x", "ok": True, "nested": {"a": 1}}, {"loss": 1.0}),
        (True, {}),
        (None, {}),
        ("0.5", {}),
        ([1.0], {}),
    ],
)
def test_what_of_a_result_is_a_metric(result, expected):
    assert result_metrics(result) == expected
