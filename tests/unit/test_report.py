"""What the terminal shows at the end of a sweep."""

import pytest
from unit_inner import unit_ex

from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.progress import SweepProgress
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.report import final_report
from sacred_ray_ingredient.tasks import TrialOutcome

outer_ex = make_outer("outer_ex", unit_ex)


def make(**ray):
    request = OuterRequest({"ray": ray, "seed": 1}, {"unit_ex": {"env_name": "z"}}, [])
    return make_plan(outer_ex, unit_ex, request)


def outcome(index, value, status="COMPLETED", error=None, **parameters):
    """Return a trial of a configuration of its own."""
    metrics = {} if value is None else {"loss": value}
    base_lr = parameters.get("base_lr", 1.0)
    config = {"base_lr": base_lr, "lr": 2 * base_lr, "env_name": "z", "unit_data": {"size": 3}}
    config["seed"] = 7
    return TrialOutcome(
        **{"index": index, "attempt": 0, "status": status, "parameters": parameters, "seed": 7},
        **{"run_id": 100 + index, "metrics": metrics, "error": error, "config": config},
        configuration=index,
    )


class Quiet:
    """A run whose metrics nobody reads."""

    def log_scalar(self, name, value, step):
        pass


def progress_of(trials, evaluated=()):
    progress = SweepProgress(Quiet(), None, "loss", "min", 3, str)
    for trial in trials:
        progress.trial_finished(trial)
    progress.end_search()
    for trial in evaluated:
        progress.trial_finished(trial)
    return progress


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
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert "Best trials (lowest loss)" in report
    assert rows(report) == [
        ["102", "2", "0.25", "3"],
        ["101", "1", "0.375", "2"],
        ["100", "0", "0.5", "1"],
    ]


def test_the_config_of_the_best_is_complete(plan, trials):
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert "Best config (trial 2, run 102):" in report
    for entry in ("base_lr = 3.0", "lr = 6.0", "seed = 7", "env_name = 'z'", "unit_data.size = 3"):
        assert f"\n  {entry}\n" in report


def test_only_ten_trials_are_shown(plan):
    trials = [outcome(index, index / 8, base_lr=1.0) for index in range(30)]
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert [row[1] for row in rows(report)] == [str(index) for index in range(10)]


def test_the_result_is_shown_beside_another_metric(plan, trials):
    trials[0].metrics["result"] = 0.875
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert [row[3] for row in rows(report)] == ["-", "-", "0.875"]


def test_the_result_has_one_column():
    plan = make(search_space={"base_lr": [1.0]}, metric="result")
    trial = outcome(0, None, base_lr=1.0)
    trial.metrics = {"result": 0.5}
    report = final_report(plan, progress_of([trial]), RecordTarget(None), None)
    assert rows(report) == [["100", "0", "0.5", "1"]]


def test_environments_are_compared():
    plan = make(envs=["a", "b"], metric="loss")
    values = [("a", 1.0), ("b", 5.0), ("a", 2.0), ("a", 3.0)]
    trials = [outcome(index, value, env_name=env) for index, (env, value) in enumerate(values)]
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert "loss by env_name" in report
    assert rows(report)[-2:] == [
        ["a", "3", "2", "1", "-0.484138 to 4.48414"],
        ["b", "1", "5", "-", "-"],
    ]


class TestRepeatedConfigurations:
    """Are compared by the mean over their repetitions."""

    @pytest.fixture
    def report(self):
        plan = make(search_space={"base_lr": [1.0, 2.0]}, repeat=2, metric="loss", mode="min")
        trials = [outcome(index, value) for index, value in enumerate([0.0, 1.0, 0.25, 0.5])]
        for trial in trials:
            trial.configuration = trial.index // 2
            trial.parameters = {"base_lr": trial.configuration + 1.0}
        return final_report(plan, progress_of(trials), RecordTarget(None), None)

    def test_have_a_table_of_their_own(self, report):
        assert "Best configurations (lowest mean loss)" in report
        assert rows(report) == [
            ["102, 103", "2", "0.375", "0.176777", "2"],
            ["100, 101", "2", "0.5", "0.707107", "1"],
        ]

    def test_show_the_config_of_the_first_repetition_of_the_best(self, report):
        assert "Best config (trial 2, run 102):" in report


class TestSeveralMetrics:
    @pytest.fixture
    def plan(self):
        space = {"base_lr": [1.0, 2.0, 3.0]}
        return make(search_space=space, metric=["loss", "size"], mode=["min", "max"])

    @pytest.fixture
    def trials(self):
        trials = [outcome(index, 0.5 - index / 8, base_lr=index + 1.0) for index in range(3)]
        for trial, size in zip(trials, (9.0, 2.0, 3.0), strict=True):
            trial.metrics["size"] = size
        return trials

    def test_have_a_table_of_the_trials_that_no_other_one_beats(self, plan, trials):
        report = final_report(plan, progress_of(trials), RecordTarget(None), None)
        assert "Best trials (lowest loss)" in report
        assert "Trials that no other one beats in all of loss, size" in " ".join(report.split())
        _, front = report.split("Trials that no other one beats")
        assert rows(front) == [["102", "2", "0.25", "3", "3"], ["100", "0", "0.5", "9", "1"]]

    def test_are_all_in_the_table_of_the_best(self, plan, trials):
        report = final_report(plan, progress_of(trials), RecordTarget(None), None)
        best, _ = report.split("Trials that no other one beats")
        assert [row[2:4] for row in rows(best)] == [["0.25", "3"], ["0.375", "2"], ["0.5", "9"]]


class TestEvaluation:
    @pytest.fixture
    def report(self, trials):
        plan = make(search_space={"base_lr": [1.0, 2.0, 3.0]}, metric="loss", evaluate_best=2)
        evaluated = [outcome(3 + k, value) for k, value in enumerate([0.125, 0.375])]
        return final_report(plan, progress_of(trials, evaluated), RecordTarget(None), None)

    def test_has_a_line(self, report):
        assert (
            "\nOn 2 fresh seeds it has a mean loss of 0.25 "
            "(std 0.176777, 95 % interval -1.33828 to 1.83828).\n"
        ) in report

    def test_takes_no_part_in_the_choice(self, report):
        assert [row[1] for row in rows(report)] == ["0", "1", "2"]

    def test_is_counted(self, report):
        assert "Trials: 5 COMPLETED (of 5)." in report

    def test_of_one_trial_has_no_interval(self, plan, trials):
        report = final_report(plan, progress_of(trials, [outcome(3, 0.5)]), RecordTarget(None), 1)
        assert "On 1 fresh seed it has a mean loss of 0.5 (std -, 95 % interval -)." in report


def test_trials_that_were_ended_early_are_counted(plan, trials):
    trials[0].stop_reason = trials[1].stop_reason = "stopped by asha"
    trials[1].status = "INTERRUPTED"
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert "Trials: 2 COMPLETED, 1 INTERRUPTED (of 3); 1 of them ended early." in report


def test_a_best_trial_whose_config_is_not_known_shows_its_parameters(plan, trials):
    trials[2].config = None
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert "Best config (trial 2, run 102):\n  base_lr = 3.0\n  seed = 7\n" in report


def test_failures_are_listed_and_counted(plan, trials):
    trials += [outcome(3 + k, None, "FAILED", "ValueError: broken") for k in range(12)]
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert "  trial 3 (run 103) FAILED: ValueError: broken\n" in report
    assert "  and 2 more\n" in report
    assert "Trials: 3 COMPLETED, 12 FAILED (of 3)." in report


def test_a_sweep_without_a_finished_trial_has_no_table(plan):
    report = final_report(plan, progress_of([]), RecordTarget(None), None)
    assert rows(report) == []
    assert "Trials: none (of 3)." in report


def test_the_end_tells_where_the_record_is(plan, trials):
    target = RecordTarget(MongoAddress("mongodb://unit.test:27017/", db_name="db"))
    report = final_report(plan, progress_of(trials), target, 99)
    assert "unit.test:27017, database db; the sweep is run 99" in report
    assert plan.sweep_id in report
    assert report.endswith("Browse them: omniboard -m unit.test:27017:db")


def test_without_a_database_the_end_says_so(plan, trials):
    report = final_report(plan, progress_of(trials), RecordTarget(None), None)
    assert "Nothing was recorded in MongoDB;" in report
