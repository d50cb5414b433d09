"""The record stays whole beside observers, ids and configurations of every kind."""

import json
import os
import signal
import time

import bson
import pytest

pytestmark = pytest.mark.integration

POINTS = ("with", "ray.search_space.point=[1, 2]")


def _documents(database, before=10**9):
    """Return the runs up to an id as bytes, in which NaN is equal to itself."""
    return [bson.encode(run) for run in database.runs.find({"_id": {"$lt": before}})]


def test_observers_of_the_users_own_write_where_they_did_and_no_run_is_overwritten(
    command, last_sweep, database, tmp_path
):
    # Both of the user's folders hold as many runs as there can be confusion about.
    for folder in ("runs", "outer_runs"):
        for index in range(1, 6):
            (tmp_path / folder / str(index)).mkdir(parents=True)
    before = _documents(database)
    finished = command("own_observers", *POINTS, cwd=tmp_path)
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert sweep.statuses == ["COMPLETED", "COMPLETED"]
    assert _documents(database, before=sweep.outer["_id"]) == before
    files = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/run.json")]
    assert [run["status"] for run in files] == ["COMPLETED", "COMPLETED"]
    assert len(list((tmp_path / "outer_runs").glob("*/run.json"))) == 1


def test_an_inner_with_a_mongo_observer_of_its_own_has_two_records(
    command, last_sweep, home, database, tmp_path
):
    from sacred_ray_ingredient import mongo

    command.environment["OTHER_MONGO"] = mongo.EmbeddedServer(
        home / ".sacred_ray"
    ).uri_with_password()
    before = _documents(database)
    assert command("own_observers", *POINTS, cwd=tmp_path).code == 0
    sweep = last_sweep()
    assert sweep.statuses == ["COMPLETED", "COMPLETED"]
    assert _documents(database, before=sweep.outer["_id"]) == before
    other = database.client["other"].runs
    assert [run["_id"] for run in other.find(sort=[("_id", 1)])] == [1, 2]


def test_a_run_id_of_the_users_choice_is_refused(command, database):
    before = database.runs.count_documents({})
    finished = command("draws_its_config", *POINTS, "-i", "7")
    assert finished.code == 2
    assert "-i asks for the run id '7'" in finished.err
    assert database.runs.count_documents({}) == before


@pytest.mark.long
def test_files_go_to_a_folder_that_has_runs_already(command, last_sweep, tmp_path):
    for _ in range(2):
        assert command("draws_its_config", *POINTS, "-F", str(tmp_path), "-r").code == 0
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")]
    assert [run["status"] for run in runs] == ["COMPLETED"] * 6
    assert last_sweep().statuses == ["COMPLETED"] * 2


def test_the_best_config_is_what_ran(command, last_sweep):
    assert command("draws_its_config", *POINTS).code == 0
    sweep = last_sweep()
    best = sweep.outer["info"]["sweep"]["best"]
    (trial,) = [trial for trial in sweep.trials if trial["_id"] == best["run_id"]]
    assert best["config"] == trial["config"]


def test_a_named_config_of_the_inner_follows_the_swept_entries(command, last_sweep):
    assert command("draws_its_config", *POINTS, "drawn_ex.by_point").code == 0
    assert last_sweep().configs("weight") == [10, 20]


def test_a_trial_that_ends_itself_is_not_taken_for_completed(command, last_sweep):
    finished = command("draws_its_config", "with", "ray.search_space.point=[1, -1]")
    assert finished.code == 1
    assert "1 of the sweep's trials did not complete." in finished.err
    assert sorted(last_sweep().statuses) == ["COMPLETED", "INTERRUPTED"]


@pytest.mark.long
def test_two_sweeps_at_once_in_one_project_get_their_own_runs(command, database):
    started = [command.start("draws_its_config", *POINTS) for _ in range(2)]
    finished = [command.finish(*one) for one in started]
    assert [one.code for one in finished] == [0, 0]
    runs = list(database.runs.find(sort=[("_id", -1)], limit=6))
    assert [run["status"] for run in runs] == ["COMPLETED"] * 6
    sweeps = {run["meta"]["sweep"]["sweep_id"] for run in runs}
    assert len(sweeps) == 2


def test_a_ray_that_does_not_answer_is_a_sentence(command):
    finished = command("draws_its_config", *POINTS, "ray.address=127.0.0.1:1")
    assert finished.code == 2
    assert "ray.address is '127.0.0.1:1', where nothing answers" in finished.err


@pytest.mark.parametrize(
    "text", ["mongodb://u:s3cret@h/db", "host:notaport:db", "localhost:1:db.runs:3"]
)
def test_a_wrong_address_is_a_sentence(command, text):
    finished = command("draws_its_config", *POINTS, "-m", text)
    assert finished.code == 2
    assert finished.err.startswith("-m was given ")
    assert "s3cret" not in finished.text


@pytest.mark.parametrize(
    "update", ["ray.mongo.url=mongodb://u:s3cr@t@host:1/db", "ray.mongo.password=s3cr@t"]
)
def test_what_may_be_a_password_is_not_printed(command, update):
    finished = command("draws_its_config", "print_config", "with", update)
    assert finished.code == 2
    assert "s3cr@t" not in finished.text


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)],
)
def test_the_sweep_can_be_ended_while_ray_starts(command, last_sweep, number, code):
    process, mark = command.start("draws_its_config", *POINTS)
    for line in process.stdout:
        if "2 trials" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, number)
    finished = command.finish(process, mark)
    assert finished.code == code, finished.text
    sweep = last_sweep()
    assert (sweep.outer["status"], sweep.trials) == ("INTERRUPTED", [])


DIES_EARLY = """
import os
import signal
from pathlib import Path

from sacred import Experiment

early_ex = Experiment("early")
imports = Path(__file__).parent / "imports"
imports.mkdir(exist_ok=True)
(imports / str(os.getpid())).touch()
if len(list(imports.iterdir())) == 3:  # the driver and the probe have imported it before
    os.kill(os.getpid(), signal.SIGKILL)


@early_ex.config
def config():
    size = 3


@early_ex.main
def main(size):
    return size
"""
DIES_EARLY_OUTER = """
from early_inner import early_ex

from sacred_ray_ingredient import make_outer

outer_ex = make_outer("early_outer", early_ex)

if __name__ == "__main__":
    outer_ex.run_commandline()
"""


@pytest.mark.long
def test_a_worker_that_dies_before_its_trial_begins_leaves_a_document(
    command, last_sweep, tmp_path
):
    (tmp_path / "early_inner.py").write_text(DIES_EARLY)
    (tmp_path / "early_outer.py").write_text(DIES_EARLY_OUTER)
    words = ["ray.max_failures=1", "ray.search_space.size=[4]", "early.seed=9", "ray.engine=tune"]
    finished = command("early_outer", "with", *words, cwd=tmp_path)
    assert finished.code == 0, finished.text
    first, second = last_sweep().trials
    assert (first["status"], first["meta"]["sweep"]["attempt"]) == ("FAILED", 0)
    assert first["config"]["size"] == 4
    assert "the worker process died" in "".join(first["fail_trace"])
    assert (second["status"], second["meta"]["sweep"]["attempt"]) == ("COMPLETED", 1)
