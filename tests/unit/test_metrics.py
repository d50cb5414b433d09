"""Logged scalars on their way to Tune."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacred_ray_ingredient.metrics import (
    TUNE_NAMES,
    StepReporter,
    Urgent,
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


class TestFastSteps:
    """Steps that come too fast for a report of each."""

    def reported(self, urgent, steps, per_second=1000.0, metric=None, every_s=0.0, after=None):
        clock, reports = Clock(), []
        reporter = StepReporter(reports.append, every_s, metric=metric, clock=clock, urgent=urgent)
        if after is not None:
            reporter.go_on(after, {"accuracy": 0.5})
            assert (reporter.step, reporter.latest) == (after, {"accuracy": 0.5})
        for step in steps:
            reporter.log("loss", 1.0 / (step + 1), step)
            clock.now += 1 / per_second
        self.reporter = reporter
        return [report["step"] for report in reports]

    def test_all_are_reported_unless_it_is_said_what_is_urgent(self):
        assert self.reported(None, range(2_000)) == list(range(2_000))

    def test_the_first_are_all_reported(self):
        assert self.reported(Urgent(), range(2_000))[:50] == list(range(50))

    def test_few_of_the_rest_are(self):
        found = self.reported(Urgent(), range(100_000))
        assert 440 <= len(found) <= 455  # 50, and 4 in each of 100 seconds

    def test_every_second_has_one(self):
        found = self.reported(Urgent(), range(20_000), per_second=300)
        assert {step // 300 for step in found} == set(range(67))

    def test_slow_ones_are_all_reported(self):
        assert self.reported(Urgent(), range(600), per_second=3.9) == list(range(600))

    def test_after_a_pause_many_are_reported_again(self):
        clock, reports = Clock(), []
        reporter = StepReporter(reports.append, clock=clock, urgent=Urgent())
        for step in range(200):
            reporter.log("loss", 1.0, step)
        before = len(reports)
        clock.now += 60
        for step in range(200, 400):
            reporter.log("loss", 1.0, step)
        assert (before, len(reports)) == (50, 100)

    def test_milestones_are_reported(self):
        found = self.reported(Urgent((64.0, 256.0, 1024.0)), range(2_000), per_second=1e6)
        assert found[50:] == [64, 256, 1024]

    def test_the_first_step_past_a_milestone_stands_for_it(self):
        found = self.reported(Urgent((500.0, 700.0)), range(0, 3_000, 7), per_second=1e6)
        assert found[50:] == [504, 700]

    def test_a_milestone_is_reported_once(self):
        steps = [*range(100), 10, 70, 64]
        assert self.reported(Urgent((64.0,)), steps, per_second=1e6)[50:] == [64]

    def test_each_interval_has_one(self):
        found = self.reported(Urgent((), 100), range(1_000), per_second=1e6)
        assert found[50:] == list(range(100, 1_000, 100))

    def test_an_interval_begins_at_the_step_that_was_reported_for_the_last(self):
        found = self.reported(Urgent((), 1_000), range(0, 9_000, 700), per_second=1e9)
        assert len(found) == 13  # few enough to be reported anyway
        found = self.reported(Urgent((), 1_000), range(0, 9_000, 70), per_second=1e9)
        multiples = {4_060, 5_040, 6_020, 7_000, 8_050}
        from_the_last = {4_200, 5_250, 6_300, 7_350, 8_400}
        assert set(found[50:]) == multiples | from_the_last

    def test_steps_within_the_bounds_of_a_rule_are_reported(self):
        urgent = Urgent((), None, (("loss", "<=", 1 / 900),))
        assert self.reported(urgent, range(902), per_second=1e6)[50:] == [899, 900, 901]

    def test_a_bound_counts_where_its_metric_was_logged(self):
        clock, reports = Clock(), []
        urgent = Urgent((), None, (("loss", "<=", 0.1),))
        reporter = StepReporter(reports.append, clock=clock, urgent=urgent)
        reporter.log("loss", 0.05, 0)
        for step in range(1, 200):
            reporter.log("accuracy", 0.5, step)
        assert len(reports) == 50

    def test_steps_with_a_checkpoint_are_reported(self):
        reports = []
        kept = iter([False] * 80 + [True] + [False] * 80)
        reporter = StepReporter(
            reports.append, clock=Clock(), urgent=Urgent(), is_urgent=lambda: next(kept)
        )
        for step in range(120):
            reporter.log("loss", 1.0, step)
        assert [report["step"] for report in reports[50:]] == [80]

    def test_what_was_left_out_is_among_the_latest(self):
        assert self.reported(Urgent(), range(500), per_second=1e6)[-1] == 49
        assert (self.reporter.latest, self.reporter.step) == ({"loss": 1 / 500}, 499)

    def test_milestones_before_a_restored_state_are_past(self):
        urgent = Urgent((10.0, 300.0), 150)
        found = self.reported(urgent, range(201, 500), per_second=1e6, after=200)
        assert found[50:] == [300, 350, 450]

    def test_a_time_between_reports_goes_before(self):
        found = self.reported(Urgent((500.0,)), range(1_000), every_s=0.25)
        assert found == [0, 251, 501, 751]


def test_a_first_report_that_nobody_waits_for_comes_after_the_time_between_reports(reports):
    clock = Clock()
    reporter = StepReporter(reports.append, 1.0, clock=clock)
    reporter.wait()
    for step in range(12):
        reporter.log("loss", 1.0, step)
        clock.now += 0.25
    assert [report["step"] for report in reports] == [4, 8]


class TestRest:
    """Values are taken in less time while nobody waits for a report and none is due."""

    def test_is_between_reports_that_nobody_waits_for(self, reports):
        clock = Clock()
        reporter = StepReporter(reports.append, 1.0, clock=clock)
        assert not reporter.rests
        reporter.wait()
        assert reporter.rests
        clock.now = 1.0
        assert not reporter.rests
        reporter.log("loss", 1.0, 0)
        reporter.log("loss", 1.0, 1)
        assert len(reports) == 1
        assert reporter.rests

    def test_is_not_where_somebody_waits_for_reports(self, reports):
        reporter = StepReporter(reports.append, 1.0, clock=Clock())
        for step in range(3):
            reporter.log("loss", 1.0, step)
            assert not reporter.rests
        assert len(reports) == 1

    @pytest.mark.parametrize(("every_s", "urgent"), [(0.0, None), (0.0, Urgent())])
    def test_is_never_where_every_step_may_be_reported(self, reports, every_s, urgent):
        reporter = StepReporter(reports.append, every_s, clock=Clock(), urgent=urgent)
        reporter.wait()
        assert not reporter.rests

    @given(
        st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.2]), min_size=80, max_size=80),
        st.permutations(["loss", "accuracy", "reward"]),
        st.integers(1, 3),
        st.booleans(),
    )
    def test_changes_no_report_but_when_it_comes(self, pauses, names, count, is_one_step):
        clock, reports, made_at = Clock(), [], []
        reporter = StepReporter(reports.append, 1.0, clock=clock)
        reporter.wait()
        names = names[:count]
        for number, pause in enumerate(pauses):
            clock.now += pause
            name, row = names[number % count], number // count
            step = 0 if is_one_step else row
            if reporter.rests:
                reporter.note(name, float(number), step)
            else:
                reporter.begin(name, float(number), step)
                reporter.log(name, float(number), step)
            assert (reporter.latest[name], reporter.step) == (float(number), step)
            made_at += [(clock.now, row)] * (len(reports) - len(made_at))
        for report, (_, row) in zip(reports, made_at, strict=True):
            of = {int(report[name]) // count for name in names}
            assert len(of) == 1, "a report has the values of one step"
            assert row - 1 <= of.pop() <= row
        times = [time for time, _ in made_at]
        between = [later - before for before, later in pairwise(times)]
        assert all(gap >= 1 - 1e-9 for gap in between)
        # At the latest when the second step after it was due begins.
        gaps = [later - before for before, later in pairwise([0.0, *times])]
        assert all(gap <= 1.0 + 1.2 * 2 * count + 1e-9 for gap in gaps)
