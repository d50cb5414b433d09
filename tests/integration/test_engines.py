"""What every engine promises: the same trials, the same record, the same ends.

One class for all of it, run with each engine.
"""

import itertools
import os
import re
import signal
import time
from collections import Counter

import pytest

from tests.integration.harness import Command, end_marked

pytestmark = pytest.mark.integration

ENGINES = ["direct", "tune"]
STATUS, RESUME = "status_outer", "resume_outer"


# The quick tests leave out one of two long twins.
LATER_WITH_TUNE = pytest.mark.parametrize(
    "engine", ["direct", pytest.param("tune", marks=pytest.mark.long)], indirect=True
)


@pytest.fixture(params=ENGINES, scope="class")
def engine(request):
    return request.param


@pytest.fixture
def sweep_with(command, engine):
    """Return a function that runs a sweep with the engine."""

    def run(outer, *words):
        return command(outer, "with", *words, f"ray.engine={engine}")

    return run


def place(trial):
    meta = trial["meta"]["sweep"]
    return meta["trial_index"], meta["attempt"]


def reason(trial):
    return trial["info"]["sweep"].get("stop_reason")


def newer_trials(database):
    newest = database.runs.find_one(sort=[("_id", -1)])
    began = {"_id": {"$gt": newest["_id"] if newest else 0}}
    return {**began, "meta.sweep.trial_index": {"$exists": True}}


class TestEveryEngine:
    @LATER_WITH_TUNE
    def test_every_ending_has_its_status_and_its_text(self, engine, sweep_with, last_sweep):
        endings = ["return", "raise", "exit", "kill", "loop", "log"]
        words = [f"ray.search_space.ending={endings}", "ray.stop.height=2", "ray.metric=begun"]
        words += ["ray.trial_timeout_s=8", "ray.init_kwargs.num_cpus=3"]
        finished = sweep_with(STATUS, *words)
        assert finished.code == 1, finished.text
        sweep = last_sweep()
        assert sweep.outer["info"]["sweep"]["engine"] == engine
        counts = {"COMPLETED": 2, "FAILED": 3, "TIMEOUT": 1}
        assert sweep.outer["info"]["sweep"]["counts"] == counts
        found = {trial["config"]["ending"]: trial for trial in sweep.trials}
        assert [place(trial) for trial in sweep.trials] == [(index, 0) for index in range(6)]
        assert {trial["meta"]["sweep"]["engine"] for trial in sweep.trials} == {engine}
        assert found["return"]["status"] == "COMPLETED"
        for ending, text in (
            ("raise", "ValueError: point 0 is a bad one"),
            ("exit", "SystemExit: 3"),
            ("kill", "the worker process died"),
        ):
            assert found[ending]["status"] == "FAILED"
            assert text in "".join(found[ending]["fail_trace"])
        assert found["loop"]["status"] == "TIMEOUT"
        assert reason(found["loop"]) == "It took longer than ray.trial_timeout_s=8."
        assert found["log"]["status"] == "COMPLETED"
        assert reason(found["log"]) == "stopped by ray.stop: height >= 2 at step 2"
        assert "early-stopped" in found["log"]["omniboard"]["tags"]
        for ending in ("return", "raise", "exit", "log", "loop"):
            assert "the last line" in found[ending]["captured_out"], ending

    def test_failed_and_killed_trials_are_tried_again_from_their_checkpoint(
        self, sweep_with, last_sweep, tmp_path
    ):
        words = ["ray.search_space.k=[1, 2, 3]", "resume_inner.sleep_s=0.3", "ray.metric=height"]
        words += [f"resume_inner.starts_folder={tmp_path}", "resume_inner.epochs=6"]
        (tmp_path / "kill").mkdir()
        (tmp_path / "kill" / "2").write_text("3")
        words += [f"resume_inner.kill_folder={tmp_path}/kill", "ray.max_failures=1"]
        finished = sweep_with(RESUME, *words)
        assert finished.code == 0, finished.text
        found = last_sweep().trials
        assert [place(trial) for trial in found] == [(0, 0), (1, 0), (1, 1), (2, 0)]
        assert [trial["status"] for trial in found].count("FAILED") == 1
        killed, again = found[1], found[2]
        assert killed["status"] == "FAILED"
        assert again["status"] == "COMPLETED"
        assert again["config"] == killed["config"]
        assert again["info"]["sweep"]["restored"]
        starts = [int(line) for line in (tmp_path / "2").read_text().split()]
        assert starts == [1, 3]

    @LATER_WITH_TUNE
    def test_ctrl_c_ends_running_trials_and_begins_no_more(
        self, engine, command, database, last_sweep
    ):
        query = newer_trials(database)
        words = ["ray.search_space.point=[0, 1, 2, 3]", "faulty_ex.seconds=30"]
        words += [f"ray.engine={engine}", "ray.init_kwargs.num_cpus=2"]
        process, mark = command.start("faulty_outer", "with", *words)
        try:
            deadline = time.monotonic() + 90
            while database.runs.count_documents({**query, "status": "RUNNING"}) < 2:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGINT)
            finished = command.finish(process, mark)
        finally:
            end_marked(mark)
        assert finished.code == 130, finished.text
        sweep = last_sweep()
        assert sweep.outer["status"] == "INTERRUPTED"
        assert sweep.statuses == ["INTERRUPTED", "INTERRUPTED"]
        assert {reason(trial) for trial in sweep.trials} == {"The user ended the sweep."}

    @LATER_WITH_TUNE
    def test_a_sweep_whose_driver_was_killed_goes_on_where_it_was(
        self, engine, command, database, last_sweep
    ):
        words = ["grid", f"ray.engine={engine}", "resume_inner.sleep_s=0.6"]
        query = newer_trials(database)
        process, mark = command.start(RESUME, "with", *words)
        try:
            deadline = time.monotonic() + 90
            while database.runs.count_documents({**query, "status": "COMPLETED"}) < 3:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate(timeout=60)
        finally:
            end_marked(mark)
        finished = command(RESUME, "resume", "last")
        assert finished.code == 0, finished.text
        found = last_sweep().trials
        done = [trial for trial in found if trial["status"] == "COMPLETED"]
        assert Counter(place(trial)[0] for trial in done) == dict.fromkeys(range(8), 1)
        assert max(Counter(map(place, found)).values()) == 1
        assert {trial["meta"]["sweep"]["engine"] for trial in found} == {engine}

    @LATER_WITH_TUNE
    def test_trials_get_what_they_ask_for_and_run_as_many_at_once(
        self, sweep_with, last_sweep, tmp_path
    ):
        words = ["ray.search_space.k=[1, 2, 3, 4, 5]", "resume_inner.sleep_s=0.5"]
        words += ["ray.resources_per_trial={'cpu': 2, 'thing': 0.5}", "ray.metric=height"]
        words += ["ray.init_kwargs={'num_cpus': 5, 'resources': {'thing': 4}}"]
        finished = sweep_with(RESUME, *words)
        assert finished.code == 0, finished.text
        found = last_sweep().trials
        times = [(trial["start_time"], trial["stop_time"]) for trial in found]
        at_once = [sum(a <= start < b for a, b in times) for start, _ in times]
        assert max(at_once) == 2
        for trial in found:
            given = trial["info"]["sweep"]["resources"]
            assert (given["CPU"], given["thing"]) == (2, 0.5)

    @LATER_WITH_TUNE
    def test_most_trials_at_once_are_as_many_as_were_allowed(self, sweep_with, last_sweep):
        words = ["ray.search_space.k=[1, 2, 3]", "ray.max_concurrent_trials=1"]
        assert sweep_with(RESUME, *words, "ray.metric=height").code == 0
        found = sorted(last_sweep().trials, key=lambda trial: trial["start_time"])
        assert [place(trial)[0] for trial in found] == [0, 1, 2]
        for before, after in itertools.pairwise(found):
            assert before["stop_time"] <= after["start_time"]


@pytest.fixture(scope="module")
def same_sweep(home, ray_folder, database):
    """Run one sweep with each engine; return the trials of each."""
    found = {}
    for engine in ENGINES:
        words = ["ray.search_space.exponent=[2, 5]", "ray.repeat=2", "seed=3", "ray.num_samples=1"]
        words += ["ray.search_space.offset=uniform(0, 9)", "inner_ex.n_draws=500"]
        finished = Command(home, ray_folder)(
            "experiments.outer", "with", *words, f"ray.engine={engine}"
        )
        assert finished.code == 0, finished.text
        sweep_id = re.search(r"sweep-\w+", finished.out)[0]
        query = {"meta.sweep.sweep_id": sweep_id, "meta.sweep.trial_index": {"$exists": True}}
        found[engine] = list(database.runs.find(query, sort=[("meta.sweep.trial_index", 1)]))
    return found


def test_both_engines_run_the_same_trials_with_the_same_results(same_sweep, database):
    def facts(trial):
        metrics = database.metrics.find({"run_id": trial["_id"]}, sort=[("name", 1)])
        meta = trial["meta"]["sweep"]
        same = ("trial_index", "attempt", "segment", "configuration", "repetition", "sampled")
        return {
            "config": trial["config"],
            "result": trial["result"],
            "status": trial["status"],
            "captured_out": re.sub(r"\d+:\d+:\d+|ID \"\d+\"", "", trial["captured_out"]),
            "metrics": [(each["name"], each["steps"], each["values"]) for each in metrics],
            **{name: meta[name] for name in same},
        }

    direct, tune = (list(map(facts, same_sweep[engine])) for engine in ENGINES)
    assert len(direct) == 4
    assert direct == tune


def test_documents_of_both_engines_have_the_same_entries(same_sweep):
    def paths(value, path=""):
        if not isinstance(value, dict):
            return {path}
        return set().union(*(paths(below, f"{path}.{key}") for key, below in value.items()), {path})

    direct, tune = (paths(same_sweep[engine][0]) for engine in ENGINES)
    optional = {".meta.record.seen", ".meta.record.reserved"}
    assert direct - optional == tune - optional


def test_run_ids_follow_the_trials(same_sweep):
    ids = [trial["_id"] for trial in same_sweep["direct"]]
    assert ids == sorted(ids)
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_a_search_that_needs_ray_tune_is_refused_by_the_direct_engine(command):
    words = ["ray.search_space.k=[1, 2]", "ray.engine=direct", "ray.search_alg=optuna"]
    refused = command(RESUME, "with", *words, "ray.metric=height", "ray.scheduler=asha")
    assert refused.code == 2, refused.text
    assert "ray.engine is 'direct'" in refused.err
    assert "ray.search_alg is" in refused.err
