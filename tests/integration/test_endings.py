"""However trials and sweeps end: a sentence, an exit code, a true record, no process left."""

import itertools
import os
import re
import signal
import time

import pytest

pytestmark = pytest.mark.integration

OUTER = "experiments.outer"
FAULTY = "faulty_outer"


def _wait_for_line(process, pattern, seconds=60):
    deadline = time.monotonic() + seconds
    for line in process.stdout:
        if re.search(pattern, line):
            return
        assert time.monotonic() < deadline, "the sweep does not come so far"
    raise AssertionError(f"the sweep ended before {pattern!r}")


def test_failed_trials_are_recorded_with_their_trace_and_the_others_finish(command, last_sweep):
    words = ["ray.search_space.ending=['return', 'raise', 'exit', 'bad config']"]
    finished = command(FAULTY, "with", *words)
    assert finished.code == 1
    sweep = last_sweep()
    by_ending = {trial["config"]["ending"]: trial for trial in sweep.trials}
    assert by_ending["return"]["status"] == "COMPLETED"
    for ending, text in {
        "raise": "ValueError: point 0 is a bad one",
        "exit": "SystemExit: 0",
        "bad config": "ZeroDivisionError: division by zero",
    }.items():
        assert by_ending[ending]["status"] == "FAILED"
        assert text in "".join(by_ending[ending]["fail_trace"])
        assert text in finished.out
    assert "point 0 begins" in by_ending["raise"]["captured_out"]
    assert "Traceback" not in finished.text


def test_a_sweep_with_failed_trials_is_completed_and_says_so_with_its_exit_code(
    command, last_sweep
):
    finished = command(FAULTY, "with", "ray.search_space.ending=['return', 'raise']")
    assert finished.code == 1
    assert "1 of the sweep's trials did not complete." in finished.err
    sweep = last_sweep()
    assert sweep.outer["status"] == "COMPLETED"
    assert sweep.outer["info"]["sweep"]["counts"] == {"COMPLETED": 1, "FAILED": 1}


def test_a_sweep_without_a_completed_trial_fails(command, last_sweep):
    finished = command(FAULTY, "with", "ray.search_space.ending=['raise', 'nan']")
    assert finished.code == 1
    assert "None of the 2 trials" in finished.err
    assert "ValueError: point 0 is a bad one" in finished.err
    sweep = last_sweep()
    assert sweep.outer["status"] == "FAILED"
    assert sorted(sweep.statuses) == ["COMPLETED", "FAILED"]


def test_a_killed_worker_is_tried_again_as_an_attempt_of_its_own(command, last_sweep, tmp_path):
    words = ["ray.search_space.point=[0, 1]", f"faulty_ex.marker={tmp_path}/once"]
    finished = command(FAULTY, "with", *words, "faulty_ex.ending=kill", "ray.max_failures=3")
    assert finished.code == 0
    sweep = last_sweep()
    assert sweep.outer["info"]["sweep"]["counts"] == {"COMPLETED": 2}
    attempts = [
        (trial["meta"]["sweep"]["trial_index"], trial["meta"]["sweep"]["attempt"], trial["status"])
        for trial in sweep.trials
    ]
    assert len(attempts) > 2
    assert {status for _, attempt, status in attempts if attempt == 0} >= {"FAILED"}
    assert all(status != "RUNNING" for *_, status in attempts)
    dead = next(trial for trial in sweep.trials if trial["status"] == "FAILED")
    assert "the worker process died" in "".join(dead["fail_trace"])
    again = [trial for trial in sweep.trials if trial["meta"]["sweep"]["attempt"] == 1]
    assert all(trial["config"]["seed"] for trial in again)


def test_a_killed_worker_without_retries_is_a_failed_trial(command, last_sweep):
    finished = command(FAULTY, "with", "ray.search_space.ending=['kill', 'return']")
    assert finished.code == 1
    assert sorted(last_sweep().statuses) == ["COMPLETED", "FAILED"]


def test_ctrl_c_ends_trials_and_sweep_interrupted(command, last_sweep):
    words = ["ray.search_space.point=[0, 1, 2, 3]", "faulty_ex.seconds=30"]
    process, mark = command.start(FAULTY, "with", *words)
    _wait_for_line(process, "4 trials")
    _wait_for_running_trials(last_sweep, 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    begun = time.monotonic()
    finished = command.finish(process, mark)
    assert finished.code == 130
    assert time.monotonic() - begun < 30
    assert "Traceback" not in finished.text
    sweep = last_sweep()
    assert sweep.outer["status"] == "INTERRUPTED"
    assert sweep.statuses == ["INTERRUPTED", "INTERRUPTED"]
    for trial in sweep.trials:
        assert "begins" in trial["captured_out"]
        assert "caught" not in trial["captured_out"]
        assert trial["info"]["sweep"]["stop_reason"] == "The user ended the sweep."


def _wait_for_running_trials(last_sweep, count, seconds=60):
    deadline = time.monotonic() + seconds
    while last_sweep().statuses.count("RUNNING") < count:
        assert time.monotonic() < deadline, "the trials do not start"
        time.sleep(0.2)
    time.sleep(1.5)


def test_ctrl_c_ends_trials_that_do_not_report(command, last_sweep):
    words = ["ray.search_space.point=[0, 1]", "faulty_ex.ending=silent"]
    process, mark = command.start(FAULTY, "with", *words)
    _wait_for_line(process, "2 trials")
    _wait_for_running_trials(last_sweep, 2)
    os.killpg(process.pid, signal.SIGINT)
    finished = command.finish(process, mark)
    assert finished.code == 130
    sweep = last_sweep()
    assert sweep.outer["status"] == "INTERRUPTED"
    assert sweep.statuses == ["INTERRUPTED", "INTERRUPTED"]
    for trial in sweep.trials:
        assert trial["info"]["sweep"]["stop_reason"] == "The user ended the sweep."


def test_termination_ends_the_sweep_in_good_order_too(command, last_sweep):
    words = ["ray.search_space.point=[0]", "faulty_ex.seconds=30"]
    process, mark = command.start(FAULTY, "with", *words)
    _wait_for_line(process, "1 trial of")
    _wait_for_running_trials(last_sweep, 1)
    os.kill(process.pid, signal.SIGTERM)
    finished = command.finish(process, mark)
    assert finished.code == 143
    sweep = last_sweep()
    assert (sweep.outer["status"], *sweep.statuses) == ("INTERRUPTED", "INTERRUPTED")


def test_a_metric_that_is_never_reported_ends_the_sweep_early(command, last_sweep):
    words = ["ray.search_space.point=grid_search(range(100))", "ray.metric=acuracy"]
    finished = command(FAULTY, "with", *words)
    assert finished.code == 2
    assert "ray.metric is 'acuracy'" in finished.err
    assert "it reported begun, result" in finished.err
    sweep = last_sweep()
    assert sweep.outer["status"] == "FAILED"
    assert len(sweep.trials) < 20
    assert set(sweep.statuses) <= {"COMPLETED", "INTERRUPTED"}


def test_an_inner_that_workers_cannot_import_is_found_before_the_first_trial(command, last_sweep):
    finished = command("driver_only_outer", "with", "ray.search_space.point=[1, 2]")
    assert finished.code == 2
    assert "driver_only_inner:driver_only_ex cannot be imported" in finished.err
    assert "only_on_the_driver" in finished.err
    assert "Traceback" not in finished.err
    sweep = last_sweep()
    assert (sweep.outer["status"], sweep.trials) == ("FAILED", [])


def test_more_than_the_cluster_has_is_found_before_the_first_trial(command, last_sweep):
    words = ["ray.search_space.point=[1]", "ray.resources_per_trial.gpu=64"]
    finished = command(FAULTY, "with", *words)
    assert finished.code == 2
    assert "ray.resources_per_trial asks for gpu=64 in one process; no node" in finished.err
    assert last_sweep().trials == []


def test_a_database_that_cannot_be_reached_is_found_at_once(command):
    finished = command(OUTER, "with", "hyperparameter_search", "-m", "127.0.0.1:1:lab")
    assert finished.code == 2
    assert "The MongoDB at 127.0.0.1:1, database lab cannot be reached" in finished.err
    assert "Traceback" not in finished.text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ray.search_space.exponnent=[1]"], "(did you mean 'exponent'?)"),
        (["hyperparameter_search", "inner_ex.ofset=1"], "(did you mean 'offset'?)"),
        (["hyperparameter_search", "ray.nun_samples=1"], "(did you mean 'num_samples'?)"),
        (["hyperparametersearch"], "(did you mean 'hyperparameter_search'"),
        ([], "choose a named config (dependent_params, hyperparameter_search, multi_env_eval)"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_recorded(command, database, words, sentence):
    before = database.runs.count_documents({})
    finished = command(OUTER, *(["with", *words] if words else []))
    assert finished.code == 2
    (line,) = [line for line in finished.err.splitlines() if not line.startswith("INFO")]
    assert sentence in line
    assert database.runs.count_documents({}) == before


def test_all_mistakes_are_named_at_once(command):
    words = ["ray.search_space.exponnent=[1]", "ray.search_space.offset=loguniform(0, 1)"]
    words += ["ray.mode=best", "inner_ex.n_draw=2", "ray.dependent.n_draws=offfset + 1"]
    finished = command(OUTER, "with", *words)
    assert finished.code == 2
    assert finished.err.startswith("5 mistakes in the configuration:\n")


@pytest.mark.long
def test_an_outer_and_inner_in_one_script_with_a_main_of_its_own(command, last_sweep):
    finished = command("own_main_script", "with", "ray.search_space.point=[1, 3]", "bonus=7")
    assert finished.code == 0
    sweep = last_sweep()
    assert sweep.results == [10, 30]
    assert sweep.outer["result"] == 37


def test_trials_run_where_the_sweep_was_started_one_at_a_time_if_asked(
    command, last_sweep, tmp_path
):
    (tmp_path / "number.txt").write_text("42")
    words = ["ray.search_space.point=[1, 2, 3]", "ray.max_concurrent_trials=1"]
    finished = command("reads_a_file", "with", *words, cwd=tmp_path)
    assert finished.code == 0
    sweep = last_sweep()
    assert sweep.results == [42, 84, 126]
    spans = sorted((trial["start_time"], trial["stop_time"]) for trial in sweep.trials)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_arguments_of_ray_init_are_passed_on(command, last_sweep):
    words = ["ray.search_space.point=[1]", "ray.init_kwargs.num_cpus=1"]
    finished = command(FAULTY, "with", *words, "ray.resources_per_trial.cpu=2")
    assert finished.code == 2
    assert "asks for cpu=2 in one process; no node of the cluster has as much (the most is 1)" in (
        finished.err
    )
    wrong = command(FAULTY, "with", words[0], "ray.init_kwargs.nun_cpus=1")
    assert wrong.code == 2
    assert (
        "ray.init_kwargs.nun_cpus is no argument of ray.init (did you mean 'num_cpus' or"
        in wrong.err
    )


def test_a_ray_that_runs_already_is_used_and_left_as_it_was(command, last_sweep):
    finished = command("within_ray", "with", "ray.search_space.point=[1, 2]")
    assert finished.code == 0
    assert "Ray is still there" in finished.out
    assert last_sweep().statuses == ["COMPLETED", "COMPLETED"]
