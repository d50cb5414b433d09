"""Sweeps whose driver is killed go on, and end as if nothing had happened."""

import os
import signal
import time
from collections import Counter

import pytest

from sacred_ray_ingredient import mongo
from tests.integration.harness import Command, end_marked

pytestmark = pytest.mark.integration

OUTER = "resume_outer"


@pytest.fixture
def killed(command, database):
    """Return a function that starts a sweep and kills its driver after some finished trials."""

    def kill(*words, after=3, status="COMPLETED", **query):
        before = database.runs.find_one(sort=[("_id", -1)])
        started = {"_id": {"$gt": 0 if before is None else before["_id"]}}
        wanted = {**started, "meta.sweep.trial_index": {"$exists": True}, "status": status, **query}
        process, mark = command.start(OUTER, "with", *words)
        deadline = time.monotonic() + 90
        while database.runs.count_documents(wanted) < after:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        end_marked(mark)  # what Ray leaves behind for a while
        outer = database.runs.find_one({**started, "omniboard.tags": "sweep"})
        return outer["meta"]["sweep"]["sweep_id"]

    return kill


@pytest.fixture
def trials(database):
    """Return a function that reads the trials of a sweep, attempt by attempt."""

    def read(sweep_id, **query):
        wanted = {"meta.sweep.sweep_id": sweep_id, "meta.sweep.trial_index": {"$exists": True}}
        order = [("meta.sweep.trial_index", 1), ("meta.sweep.attempt", 1), ("_id", 1)]
        return list(database.runs.find({**wanted, **query}, sort=order))

    return read


def place(trial):
    meta = trial["meta"]["sweep"]
    return meta["trial_index"], meta["attempt"], meta["segment"]


def index(trial):
    return trial["meta"]["sweep"]["trial_index"]


def completed(found):
    return [trial for trial in found if trial["status"] == "COMPLETED"]


def check_once(found):
    """No two documents are of the same attempt, and no finished trial was run again."""
    assert max(Counter(map(place, found)).values()) == 1
    assert max(Counter(map(index, completed(found))).values()) == 1
    assert {trial["status"] for trial in found} <= {"COMPLETED", "INTERRUPTED", "FAILED"}
    for trial in completed(found):
        assert not any(index(t) == index(trial) and place(t) > place(trial) for t in found)


def by_index(found, *names):
    return {index(t): tuple(t["config"][name] for name in names) for t in completed(found)}


@pytest.mark.long
def test_a_grid_ends_with_the_configurations_of_the_uninterrupted_sweep(
    command, killed, trials, last_sweep
):
    assert command(OUTER, "with", "grid").code == 0
    whole = last_sweep()
    sweep_id = killed("grid")
    finished = command(OUTER, "resume", "last")
    assert finished.code == 0, finished.text
    found = trials(sweep_id)
    check_once(found)
    assert by_index(found, "k", "x", "seed") == by_index(whole.trials, "k", "x", "seed")
    assert f"{sweep_id} goes on: " in finished.out
    assert "[8/8]" in finished.out
    assert "Trials: 8 COMPLETED (of 8)." in finished.out
    outer = last_sweep().outer
    assert outer["meta"]["sweep"]["sweep_id"] == sweep_id
    (first,) = outer["meta"]["sweep"]["resumed"]
    assert first < outer["_id"]
    assert outer["result"] == max(trial["result"] for trial in completed(found))
    assert outer["config"]["seed"] == 5
    assert outer["info"]["sweep"]["counts"] == {"COMPLETED": 8}


@pytest.mark.long
def test_a_sweep_with_nothing_left_says_so_and_runs_nothing(command, trials, last_sweep):
    words = ["ray.search_space.k=[1, 2]", "ray.evaluate_best=1", "resume_inner.sleep_s=0"]
    assert command(OUTER, "with", *words).code == 0
    sweep_id = last_sweep().outer["meta"]["sweep"]["sweep_id"]
    finished = command(OUTER, "resume", sweep_id)
    assert finished.code == 0, finished.text
    assert "Nothing is left to do." in finished.out
    assert "Trials: 3 COMPLETED (of 3)." in finished.out
    assert len(trials(sweep_id)) == 3
    assert last_sweep().outer["info"]["sweep"]["evaluated"]["n"] == 1


@pytest.mark.long
def test_more_samples_go_on_with_indices_and_seeds(command, trials, last_sweep):
    words = ["ray.search_space.x=uniform(0, 1)", "resume_inner.sleep_s=0", "seed=11"]
    assert command(OUTER, "with", *words, "ray.num_samples=5").code == 0
    whole = by_index(last_sweep().trials, "x", "seed")
    assert command(OUTER, "with", *words, "ray.num_samples=2").code == 0
    sweep_id = last_sweep().outer["meta"]["sweep"]["sweep_id"]
    # As a command of its own, and without the seed, which is that of the sweep.
    again = [*words[:2], f"ray.resume={sweep_id}", "ray.num_samples=5"]
    finished = command(OUTER, "with", *again)
    assert finished.code == 0, finished.text
    found = trials(sweep_id)
    check_once(found)
    assert by_index(found, "x", "seed") == whole
    fewer = command(OUTER, "resume", sweep_id, "with", "ray.num_samples=4")
    assert fewer.code == 2
    assert "ray.num_samples is 4, but 5 samples of sweep-" in fewer.err


@pytest.mark.long
def test_a_searcher_goes_on_and_its_unfinished_trials_run_first(command, killed, trials):
    sweep_id = killed("searched")
    finished = command(OUTER, "resume", sweep_id)
    assert finished.code == 0, finished.text
    found = trials(sweep_id)
    check_once(found)
    assert len(by_index(found, "k")) == 8
    sampled = {}
    for trial in found:
        meta = trial["meta"]["sweep"]
        same = sampled.setdefault(index(trial), (meta["sampled"], trial["config"]["seed"]))
        assert same == (meta["sampled"], trial["config"]["seed"])
    assert len({repr(value) for value in sampled.values()}) == len(sampled)
    assert {trial["meta"]["sweep"]["configuration"] for trial in found} == set(sampled)


@pytest.mark.long
def test_a_changed_search_is_refused_until_it_is_accepted(command, trials, last_sweep):
    words = ["ray.search_space.k=[1, 2]", "resume_inner.sleep_s=0"]
    assert command(OUTER, "with", *words).code == 0
    sweep_id = last_sweep().outer["meta"]["sweep"]["sweep_id"]
    changed = ["with", "ray.search_space.k=[1, 2, 3]", "resume_inner.scale=2"]
    refused = command(OUTER, "resume", "last", *changed)
    assert refused.code == 2
    assert (
        "ray.search_space.k was 'grid_search([1, 2])', is now 'grid_search([1, 2, 3])'."
        in refused.err
    )
    assert "resume_inner.scale was 1, is now 2." in refused.err
    assert "resume_inner.scaled was 10, is now 20." in refused.err
    assert "ray.accept_changes=True" in refused.err
    assert len(trials(sweep_id)) == 2
    finished = command(OUTER, "resume", "last", *changed, "ray.accept_changes=True")
    assert finished.code == 0, finished.text
    found = trials(sweep_id)
    check_once(found)
    assert by_index(found, "k", "scaled") == {0: (1, 10), 1: (2, 10), 2: (3, 20)}
    assert len(last_sweep().outer["meta"]["sweep"]["changes"]) == 3


@pytest.mark.long
def test_failed_trials_run_again_on_request_only(command, trials, last_sweep, tmp_path):
    (tmp_path / "2").touch()
    words = ["ray.search_space.k=[1, 2, 3]", "resume_inner.sleep_s=0"]
    assert command(OUTER, "with", *words, f"resume_inner.fail_folder={tmp_path}").code == 1
    sweep_id = last_sweep().outer["meta"]["sweep"]["sweep_id"]
    (tmp_path / "2").unlink()
    left = command(OUTER, "resume", "last")
    assert left.code == 1
    assert "1 failed and left (ray.retry_failed=True runs them again)" in left.out
    assert len(trials(sweep_id)) == 3
    finished = command(OUTER, "resume", "last", "with", "ray.retry_failed=True")
    assert finished.code == 0, finished.text
    found = trials(sweep_id)
    check_once(found)
    assert list(map(place, found)) == [(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 0, 0)]
    assert "Trials: 3 COMPLETED (of 3)." in finished.out


@pytest.mark.long
def test_a_trial_goes_on_from_its_checkpoint(command, killed, trials, tmp_path):
    words = ["ray.search_space.k=[4]", "resume_inner.epochs=40", "ray.report_every=0"]
    words += [f"resume_inner.starts_folder={tmp_path}", "ray.metric=height"]
    path = {"info.sweep.checkpoint": {"$exists": True}}
    sweep_id = killed(*words, after=1, status="RUNNING", **path)
    finished = command(OUTER, "resume", "last")
    assert finished.code == 0, finished.text
    found = trials(sweep_id)
    check_once(found)
    assert list(map(place, found)) == [(0, 0, 0), (0, 1, 0)]
    starts = [int(line) for line in (tmp_path / "4").read_text().split()]
    assert starts[0] == 1
    assert len(starts) == 2
    assert starts[1] > 1


@pytest.mark.long
def test_another_folder_and_config_file_need_nothing_but_the_database(
    home, ray_folder, killed, trials, tmp_path, database
):
    file = tmp_path / "search.yaml"
    file.write_text("ray:\n  search_space:\n    k: [5, 6, 7]\nresume_inner:\n  sleep_s: 0.3\n")
    sweep_id = killed(str(file), "resume_inner.x=0.25", after=1)
    file.unlink()
    uri = mongo.EmbeddedServer(home / ".sacred_ray").uri_with_password()
    elsewhere = Command(tmp_path / "home", ray_folder, {"SACRED_MONGO_URL": uri})
    finished = elsewhere(OUTER, "resume", sweep_id, cwd=tmp_path)
    assert finished.code == 0, finished.text
    found = trials(sweep_id)
    check_once(found)
    assert sorted(by_index(found, "k", "x", "sleep_s").values()) == [
        (5, 0.25, 0.3),
        (6, 0.25, 0.3),
        (7, 0.25, 0.3),
    ]


@pytest.mark.long
def test_a_sweep_that_is_not_there_or_still_runs_is_refused(command, database):
    unknown = command(OUTER, "resume", "sweep-0000000000")
    assert unknown.code == 2
    assert "There is no sweep 'sweep-0000000000' of 'resume_outer' in " in unknown.err
    assert "the latest ones are: sweep-" in unknown.err
    wrong = command(OUTER, "resume")
    assert wrong.code == 2
    assert "resume is followed by nothing; it must be the id of a sweep" in wrong.err
    words = ["ray.search_space.k=[1, 2]", "resume_inner.sleep_s=15"]
    process, mark = command.start(OUTER, "with", *words)
    deadline = time.monotonic() + 60
    running = {"status": "RUNNING", "meta.sweep.trial_index": {"$exists": True}}
    while not database.runs.count_documents(running) and time.monotonic() < deadline:
        time.sleep(0.1)
    refused = command(OUTER, "resume", "last")
    assert refused.code == 2, refused.text
    assert " still runs (run " in refused.err
    assert command.finish(process, mark).code == 0
