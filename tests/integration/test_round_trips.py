"""What a run costs the database: a handful of requests, and nothing stored twice."""

import re

import pytest

pytestmark = pytest.mark.integration

TWO = ("with", "ray.search_space.exponent=[1, 2]", "inner_ex.n_draws=100")
MOST = 4


def _requests(out):
    """Return what each run of the process asked of the database."""
    found = re.findall(r"^slowest=.* commands=(.*)$", out, re.MULTILINE)
    return [commands.split(",") for commands in found]


def test_a_trial_of_a_second_takes_four_requests_however_much_it_logs(command, database):
    finished = command("recorded_alone", "1", "1", "2000", "1")
    assert finished.code == 0, finished.text
    _, *later = _requests(finished.out)  # the first one also logs in and makes the indexes
    assert len(later) == 3
    for requests in later:
        assert len(requests) <= MOST, requests
    assert len({tuple(requests) for requests in later}) == 1, later
    runs = list(database.runs.find({"experiment.name": "alone_ex"}, sort=[("_id", -1)], limit=4))
    assert [run["status"] for run in runs] == ["COMPLETED"] * 4
    lengths = [len(database.metrics.find_one({"run_id": run["_id"]})["values"]) for run in runs]
    assert lengths == [1, 2000, 1, 1]


def _contents(database):
    """Return the names of all stored files, and the ids of all documents about surroundings."""
    files = {file["_id"]: file["filename"] for file in database["fs.files"].find()}
    surroundings = {about["_id"]: about for about in database["environments"].find()}
    return files, surroundings


def test_sources_and_surroundings_are_stored_once_for_all_sweeps(command, last_sweep, database):
    assert command("experiments.outer", *TWO).code == 0
    files, surroundings = _contents(database)
    assert command("experiments.outer", *TWO).code == 0
    sweep = last_sweep()
    files_then, surroundings_then = _contents(database)
    new = [name for identity, name in files_then.items() if identity not in files]
    assert len(new) == 1, new
    assert new[0].endswith("/trials.csv")
    assert surroundings_then == surroundings
    for trial in sweep.trials:
        assert trial["experiment"]["sources"]
        for name, file_id in trial["experiment"]["sources"]:
            assert files[file_id].endswith(name)
        assert trial["meta"]["record"]["environment"] in surroundings
        assert trial["host"]["node"] in surroundings
    packages = surroundings[sweep.trials[0]["meta"]["record"]["environment"]]
    assert "sacred" in str(packages)
