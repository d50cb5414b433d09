"""Trials of real sweeps, run again from their documents by the commands of a user."""

import shutil

import pytest

from tests.integration.harness import PROJECTS, ROOT, Command

pytestmark = pytest.mark.integration

OURS = "sacred_ray_ingredient"


@pytest.fixture(scope="module")
def of_outer(home, ray_folder):
    words = ["experiments.outer", "with", "hyperparameter_search"]
    more = ["ray.search_space.exponent=[3, 8]", "inner_ex.n_draws=2000", "seed=4"]
    assert Command(home, ray_folder)(*words, *more).code == 0


@pytest.fixture(scope="module")
def of_digits(home, ray_folder):
    words = ["experiments.digits_search", "with", "hyperparameter_search"]
    # With hidden layers of this size, two threads would add up in another order than one.
    more = ["ray.num_samples=3", "ray.search_space.model.hidden=[256]", "digits.epochs=4", "seed=5"]
    assert Command(home, ray_folder)(*words, *more).code == 0


@pytest.fixture(scope="module")
def of_softmax(home, ray_folder):
    words = ["experiments.softmax_search", "with", "asha", "ray.num_samples=4", "seed=5"]
    assert Command(home, ray_folder)(*words).code == 0


def trials_of(database, name):
    """Of the last sweep: other tests may have swept the same experiment in this database."""
    query = {"experiment.name": name, "meta.sweep.trial_index": {"$exists": True}}
    last = database.runs.find_one(query, sort=[("_id", -1)])
    query["meta.sweep.sweep_id"] = last["meta"]["sweep"]["sweep_id"]
    return list(database.runs.find(query, sort=[("_id", 1)]))


def test_trials_of_the_example_come_out_the_same(of_outer, command, database):
    runs = database.runs.count_documents({})
    for trial in trials_of(database, "inner_ex")[:2]:
        for words in ([OURS, "rerun"], ["experiments.outer", "rerun"]):
            finished = command(*words, str(trial["_id"]))
            assert finished.code == 0, finished.text
            expected = f"result {trial['result']!r} again, to the last bit; 1 metric, 20 values:"
            assert expected in finished.out
            assert "Code:" not in finished.out
    assert database.runs.count_documents({}) == runs


@pytest.mark.long
def test_trials_with_numerical_libraries_come_out_the_same(of_digits, command, database):
    trials = trials_of(database, "digits")
    assert len(trials) == 3
    for trial in trials:
        for words in ([OURS, "rerun"], ["experiments.digits_search", "rerun"]):
            finished = command(*words, str(trial["_id"]))
            assert finished.code == 0, finished.text
            assert "to the last bit; 2 metrics, 8 values: all the same." in finished.out


@pytest.mark.long
def test_trials_that_a_scheduler_ended_are_compared_as_far_as_they_went(
    of_softmax, command, database
):
    trials = trials_of(database, "softmax")
    ended = [trial for trial in trials if trial["info"]["sweep"].get("stop_reason")]
    assert ended
    for trial in (ended[0], *[trial for trial in trials if trial not in ended][:1]):
        metric = database.metrics.find_one({"run_id": trial["_id"]})
        finished = command(OURS, "rerun", str(trial["_id"]))
        assert finished.code == 0, finished.text
        assert f"1 metric, {len(metric['values'])} values: all the same." in finished.out
        assert ("the result is not compared" in finished.out) is (trial in ended)


def test_record_keeps_the_new_run(of_outer, command, database):
    trial = trials_of(database, "inner_ex")[0]
    finished = command("experiments.outer", "rerun", str(trial["_id"]), "--record")
    assert finished.code == 0, finished.text
    new = database.runs.find_one(sort=[("_id", -1)])
    assert f"The new run is run {new['_id']}, with the tag rerun." in finished.out
    assert new["omniboard"]["tags"] == ["rerun"]
    assert new["meta"]["rerun_of"] == trial["_id"]
    assert (new["status"], new["result"]) == ("COMPLETED", trial["result"])
    assert new["config"] == trial["config"]
    # It can be run again itself.
    assert command(OURS, "rerun", str(new["_id"])).code == 0


def test_what_cannot_be_run_again_is_a_sentence(of_outer, command, database):
    newest = database.runs.find_one(sort=[("_id", -1)])["_id"]
    sweep = database.runs.find_one({"omniboard.tags": "sweep"})["_id"]
    for words in ([OURS, "rerun"], ["experiments.outer", "rerun"]):
        unknown = command(*words, "100000")
        assert unknown.code == 2
        assert "There is no run 100000 in 127.0.0.1:" in unknown.err
        assert f"the newest are {newest}" in unknown.err
        too_large = command(*words, str(2**70))
        assert too_large.code == 2, "beyond what the database can hold"
        of_sweep = command(*words, str(sweep))
        assert of_sweep.code == 2
        assert f"Run {sweep} is a sweep; what can be run again are its trials" in of_sweep.err


@pytest.fixture
def project(tmp_path, home, ray_folder):
    """Make a project whose experiment reads a file; return its folder and a command there."""
    shutil.copy(PROJECTS / "reads_a_file.py", tmp_path / "reads_it.py")
    (tmp_path / "number.txt").write_text("4")
    return tmp_path, Command(home, ray_folder)


@pytest.mark.long
def test_a_result_that_follows_something_else_and_changed_code_are_named(
    project, last_sweep, tmp_path
):
    folder, command = project
    finished = command("reads_it", "with", "ray.search_space.point=[1, 3]", cwd=folder)
    assert finished.code == 0, finished.text
    trial = last_sweep().trials[1]
    words = (OURS, "rerun", str(trial["_id"]))
    assert command(*words, cwd=folder).code == 0
    (folder / "number.txt").write_text("6")
    changed = command(*words, cwd=folder)
    assert changed.code == 1, changed.text
    assert "  result: 12 was recorded, 18 came now (difference 6.0)." in changed.out
    assert "such as a file, the time" in changed.out
    assert "Code:" not in changed.out

    code = (folder / "reads_it.py").read_text()
    (folder / "reads_it.py").write_text(code.replace("// 2", "// 2 + 1"))
    other_code = command("reads_it", "rerun", str(trial["_id"]), cwd=folder)
    assert other_code.code == 1, other_code.text
    assert "recorded, 19 came now" in other_code.out
    notes = other_code.out.partition("Code:\n")[2]
    assert "reads_it.py" in notes.splitlines()[0], other_code.out

    # The code of then gives the result of then, with the file of then.
    written = command(OURS, "code", str(trial["_id"]), "as_it_was", cwd=folder)
    assert written.code == 0, written.text
    assert (folder / "as_it_was" / "reads_it.py").read_text() == code
    (folder / "as_it_was" / "number.txt").write_text("4")
    assert command(*words, cwd=folder / "as_it_was").code == 0
    assert command(OURS, "code", str(trial["_id"]), "as_it_was", cwd=folder).code == 2


def test_an_experiment_elsewhere_can_be_named(of_outer, command, database, tmp_path):
    run_id = database.runs.insert_one(
        {
            "_id": database.runs.find_one(sort=[("_id", -1)])["_id"] + 1,
            "status": "COMPLETED",
            "result": 12,
            "config": {"point": 3, "seed": 1},
            "experiment": {"name": "reading_ex", "sources": []},
            "meta": {"options": {}},
        }
    ).inserted_id
    (tmp_path / "number.txt").write_text("4")
    nameless = command(OURS, "rerun", str(run_id), cwd=tmp_path)
    assert nameless.code == 2
    assert "does not say where its experiment 'reading_ex' is" in nameless.err
    words = ("rerun", str(run_id), "--experiment", "reads_a_file:reading_ex")
    assert command(OURS, *words, cwd=tmp_path).code == 0
    database.runs.delete_one({"_id": run_id})


def test_sync_of_a_project_with_nothing_left(of_outer, command):
    for words in ([OURS, "sync"], ["experiments.outer", "sync"]):
        finished = command(*words, cwd=ROOT)
        assert finished.code == 0, finished.text
        assert "The database has everything." in finished.out
