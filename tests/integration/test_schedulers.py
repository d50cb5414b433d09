"""Schedulers end, pause and change trials; the record says of each what it was and why."""

import itertools

import pytest

from tests.integration.harness import Command, Sweep

pytestmark = pytest.mark.integration

STEPS = 8
SCHEDULERS = {
    "asha": "asha(max_t=8, grace_period=1, reduction_factor=2)",
    "median_stopping": "median_stopping(grace_period=2, min_samples_required=2)",
    "hyperband": "hyperband(max_t=8, reduction_factor=2)",
    "bohb": "bohb(max_t=8, reduction_factor=2)",
    "pbt": "pbt(perturbation_interval=2)",
    "pb2": "pb2(perturbation_interval=2)",
}
MUTATING = ("pbt", "pb2")


def _segments(database, sweep):
    query = {
        "meta.sweep.sweep_id": sweep.outer["meta"]["sweep"]["sweep_id"],
        "meta.sweep.trial_index": {"$exists": True},
    }
    return list(database.runs.find(query, sort=[("_id", 1)]))


def _metric(database, run, name):
    found = database.metrics.find_one({"run_id": run["_id"], "name": name})
    return found or {"steps": [], "values": []}


# In whole sweeps; the quick tests leave out those that are much like another one.
_LONG = ("hyperband", "bohb", "median_stopping", "pb2")
PARAMS = [
    pytest.param(name, marks=pytest.mark.long if name in _LONG else ()) for name in SCHEDULERS
]


@pytest.fixture(scope="class", params=PARAMS)
def searched(request, home, ray_folder, database):
    name = request.param
    words = ["ray.search_space.quality=uniform(0.5, 2)", f"ray.scheduler={SCHEDULERS[name]}"]
    words += ["ray.metric=height", f"ray.num_samples={4 if name in MUTATING else 8}"]
    words += [f"curve.steps={STEPS}"]
    words += ["ray.search_alg=bohb"] if name == "bohb" else []
    finished = Command(home, ray_folder)("curve_outer", "with", *words)
    outer = database.runs.find_one({"omniboard.tags": "sweep"}, sort=[("_id", -1)])
    sweep = Sweep(outer, [])
    return name, finished, outer, _segments(database, sweep)


class TestEveryScheduler:
    """What holds under each of them."""

    def test_the_command_succeeds_and_every_run_is_complete(self, searched):
        _, finished, outer, runs = searched
        assert finished.code == 0, finished.text
        assert {run["status"] for run in runs} == {"COMPLETED"}
        assert outer["status"] == "COMPLETED"
        assert outer["info"]["sweep"]["scheduler"].startswith(searched[0])

    def test_a_run_either_returned_or_says_why_it_did_not(self, searched):
        _, _, _, runs = searched
        for run in runs:
            tags = set(run["omniboard"]["tags"])
            if run["result"] is None:
                assert run["info"]["sweep"]["stop_reason"]
                assert tags & {"early-stopped", "paused"}
            else:
                assert not tags & {"early-stopped", "paused"}
        assert any(run["result"] is None for run in runs)
        assert any(run["result"] is not None for run in runs)

    def test_output_and_metrics_of_stopped_runs_are_complete(self, searched, database):
        name, _, _, runs = searched
        for run in runs:
            quality = run["config"]["quality"]
            assert f"with quality {quality!r}" in run["captured_out"]
            heights = _metric(database, run, "height")
            costs = _metric(database, run, "cost")
            # Of the last step the second metric need not have been logged.
            assert heights["steps"][: len(costs["steps"])] == costs["steps"]
            if run["result"] is None:
                assert heights["steps"], name
                assert run["stop_time"] is not None

    def test_the_config_in_the_database_is_what_ran(self, searched, database):
        _, _, _, runs = searched
        for run in runs:
            heights = _metric(database, run, "height")["values"]
            rises = [after - before for before, after in itertools.pairwise(heights)]
            assert all(rise == pytest.approx(run["config"]["quality"]) for rise in rises)
            assert run["config"]["total"] == run["config"]["quality"] * STEPS

    def test_the_best_trial_is_the_highest_that_was_reached(self, searched, database):
        _, _, outer, runs = searched
        reached = [max(_metric(database, run, "height")["values"], default=0) for run in runs]
        assert outer["info"]["sweep"]["best"]["value"] == pytest.approx(max(reached))

    def test_paused_trials_go_on_where_they_stopped(self, searched, database):
        name, _, _, runs = searched
        by_trial = {}
        for run in runs:
            by_trial.setdefault(run["meta"]["sweep"]["trial_index"], []).append(run)
        for segments in by_trial.values():
            numbers = [run["meta"]["sweep"]["segment"] for run in segments]
            assert numbers == list(range(len(segments)))
            if name in MUTATING:
                continue  # they can take over from a trial that is behind
            steps = [s for run in segments for s in _metric(database, run, "height")["steps"]]
            assert steps == list(range(1, len(steps) + 1))
        if name in ("hyperband", "bohb", *MUTATING):
            assert any(len(segments) > 1 for segments in by_trial.values())


def test_pbt_resolves_dependent_parameters_of_a_changed_trial_again(command, database, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.quality=uniform(0.5, 2)",
        "ray.dependent.momentum=10 * quality",
        "ray.metric=height",
        "ray.num_samples=4",
        "ray.scheduler=pbt(perturbation_interval=2, resample_probability=1.0, synch=True)",
    )
    assert finished.code == 0, finished.text
    runs = _segments(database, last_sweep())
    changed = [run for run in runs if run["meta"]["sweep"].get("taken_over")]
    assert changed
    for run in runs:
        assert run["config"]["momentum"] == pytest.approx(10 * run["config"]["quality"])
        assert run["meta"]["sweep"]["sampled"]["quality"] == run["config"]["quality"]
        assert 0.5 <= run["config"]["quality"] <= 2
    indices = {run["meta"]["sweep"]["trial_index"] for run in runs}
    assert indices == {0, 1, 2, 3}


def test_a_scheduler_needs_a_metric_that_is_logged_on_the_way(command, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.quality=uniform(0.5, 2)",
        "ray.metric=summit",
        "ray.scheduler=asha(max_t=8)",
    )
    assert finished.code == 2
    assert "did not report while it ran" in finished.err
    assert len(last_sweep().trials) < 10


def test_stop_rules_end_trials_as_completed(command, last_sweep, database):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.quality=[0.1, 1]",
        "ray.stop.height=3.5",
        "ray.stop.cost=< 0.5",
        "ray.metric=height",
        "curve.momentum=0.6",
    )
    assert finished.code == 0, finished.text
    slow, fast = last_sweep().trials
    assert slow["status"] == fast["status"] == "COMPLETED"
    assert slow["result"] == {"summit": pytest.approx(0.8), "steps_done": 8}
    assert fast["result"] is None
    assert fast["info"]["sweep"]["stop_reason"] == "stopped by ray.stop: height >= 3.5 at step 4"
    assert "early-stopped" in fast["omniboard"]["tags"]
    assert _metric(database, fast, "height")["values"] == [1, 2, 3, 4]


@pytest.mark.long
def test_a_function_and_a_plateau_can_stop_a_trial(command, last_sweep, database):
    common = ["ray.metric=height", "ray.search_space.quality=[1]"]
    finished = command("curve_outer", "with", *common, "ray.stop=curve_outer:enough")
    assert finished.code == 0, finished.text
    assert _metric(database, last_sweep().trials[0], "height")["values"] == [1, 2, 3, 4]
    plateau = "ray.stop.plateau={'metric': 'cost', 'num_results': 3, 'grace_period': 3}"
    finished = command("curve_outer", "with", *common, plateau)
    assert finished.code == 0, finished.text
    reason = last_sweep().trials[0]["info"]["sweep"]["stop_reason"]
    assert reason.startswith("stopped by ray.stop: cost has come to a plateau")


@pytest.mark.long
def test_the_time_budget_ends_the_search_and_keeps_what_it_found(command, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.quality=uniform(1, 2)",
        "ray.num_samples=1000",
        "ray.time_budget_s=12",
        "ray.metric=height",
        "curve.pause_s=0.1",
    )
    assert finished.code == 0, finished.text
    assert "ray.time_budget_s=12, was used up" in finished.out
    sweep = last_sweep()
    assert 2 < len(sweep.trials) < 1000
    assert set(sweep.statuses) <= {"COMPLETED", "INTERRUPTED"}
    ended = [trial for trial in sweep.trials if trial["status"] == "INTERRUPTED"]
    assert all("time_budget_s" in trial["info"]["sweep"]["stop_reason"] for trial in ended)
    assert sweep.outer["status"] == "COMPLETED"


def test_a_trial_that_takes_too_long_times_out_and_the_others_do_not(command, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.pause_s=[0.0, 0.5]",
        "ray.trial_timeout_s=2",
        "ray.metric=height",
    )
    assert finished.code == 1
    quick, slow = last_sweep().trials
    assert quick["status"] == "COMPLETED"
    assert slow["status"] == "TIMEOUT"
    assert "from step 1" in slow["captured_out"]
    assert "ray.trial_timeout_s=2" in finished.out


@pytest.mark.slow
@pytest.mark.long
def test_a_trial_that_hangs_in_one_call_is_given_up(command, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.hang_s=[0.0, 120.0]",
        "ray.trial_timeout_s=3",
        "ray.metric=height",
    )
    assert finished.code == 1
    quick, stuck = last_sweep().trials
    assert quick["status"] == "COMPLETED"
    assert stuck["status"] == "TIMEOUT"
    assert "ray.trial_timeout_s=3" in stuck["info"]["sweep"]["stop_reason"]
