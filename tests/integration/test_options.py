"""Sacred's own options keep their meaning for the sweep and for its trials."""

import contextlib
import json
import subprocess

import pymongo
import pytest

from tests.integration.harness import PASSWORD, QUOTED, mongod

pytestmark = pytest.mark.integration

OUTER = "experiments.outer"
TWO = ("with", "ray.search_space.exponent=[1, 2]", "inner_ex.n_draws=100")


@pytest.fixture
def open_server(tmp_path):
    """Start a server without authentication, as a lab has it."""
    with mongod(tmp_path) as port, pymongo.MongoClient("127.0.0.1", port) as client:
        yield port, client


def test_name_comment_level_and_capture_mode_apply_to_sweep_and_trials(command, last_sweep):
    options = ["-n", "other_name", "-c", "for the paper", "-l", "WARNING", "-C", "sys"]
    finished = command(OUTER, *TWO, *options)
    assert finished.code == 0
    assert "INFO" not in finished.err
    sweep = last_sweep()
    for run in (sweep.outer, *sweep.trials):
        assert run["experiment"]["name"] == "other_name"
        assert run["meta"]["comment"] == "for the paper"
    for trial in sweep.trials:
        assert "INFO" not in trial["captured_out"]
        assert trial["meta"]["options"]["--capture"] == "sys"


def test_files_are_written_instead_of_the_database(command, database, tmp_path):
    before = database.runs.count_documents({})
    finished = command(OUTER, *TWO, "-F", str(tmp_path))
    assert finished.code == 0
    assert "Nothing was recorded in MongoDB;" in finished.out
    runs = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")}
    assert sorted(runs) == ["1", "2", "3"]
    assert {run["status"] for run in runs.values()} == {"COMPLETED"}
    assert {run["meta"]["sweep"]["trial_index"] for run in runs.values() if run != runs["1"]} == {
        0,
        1,
    }
    assert database.runs.count_documents({}) == before


def test_files_and_database_together_on_request(command, last_sweep, tmp_path):
    assert command(OUTER, *TWO, "-F", str(tmp_path), "-r").code == 0
    assert last_sweep().statuses == ["COMPLETED", "COMPLETED"]
    assert len(list(tmp_path.glob("*/run.json"))) == 3


def test_unobserved_records_nothing_and_still_finds_the_best(command, database):
    before = database.runs.count_documents({})
    finished = command(OUTER, *TWO, "-u")
    assert finished.code == 0
    assert "Trials: 2 COMPLETED (of 2)." in finished.out
    assert database.runs.count_documents({}) == before


def test_debug_shows_the_stack_trace_of_a_mistake(command):
    finished = command(OUTER, "with", "ray.search_space.exponnent=[1]", "-d")
    assert finished.code == 1
    assert "Traceback" in finished.err


def test_mongo_option_records_sweep_and_trials_there(command, open_server):
    port, client = open_server
    finished = command(OUTER, *TWO, "-m", f"127.0.0.1:{port}:lab")
    assert finished.code == 0
    assert f"omniboard -m 127.0.0.1:{port}:lab" in finished.out
    runs = list(client["lab"].runs.find())
    assert [run["status"] for run in runs] == ["COMPLETED"] * 3
    assert len({run["_id"] for run in runs}) == 3


@pytest.mark.parametrize("way", ["environment", pytest.param("config", marks=pytest.mark.long)])
def test_credentials_stay_where_the_user_put_them(command, database_of_ada, tmp_path, way):
    port, database = database_of_ada
    words = [OUTER, *TWO]
    if way == "environment":
        command.environment["SACRED_MONGO_URL"] = f"mongodb://ada:{QUOTED}@127.0.0.1:{port}/adas"
    else:
        file = tmp_path / "password"
        file.write_text(PASSWORD)
        words += [f"ray.mongo.url=mongodb://ada@127.0.0.1:{port}/adas"]
        words += [f"ray.mongo.password_file={file}"]
    process, mark = command.start(*words)
    process_lists = _process_lists_until_the_end(process)
    finished = command.finish(process, mark)
    assert finished.code == 0
    assert database.runs.count_documents({"status": "COMPLETED"}) == 3
    stored = str([list(database[name].find()) for name in database.list_collection_names()])
    printed = command(words[0], "print_config", *words[1:]).text
    for place in (stored, printed, finished.text, process_lists, _text_below(command.ray_folder)):
        assert PASSWORD not in place
        assert QUOTED not in place


def _process_lists_until_the_end(process):
    lists = []
    while process.poll() is None:
        lists.append(subprocess.run(["ps", "axww"], capture_output=True, text=True).stdout)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    assert any("raylet" in processes for processes in lists)
    return "".join(lists)


def _text_below(folder):
    files = [path for path in folder.rglob("*.*") if path.is_file()]
    assert files
    return "".join(path.read_text(errors="replace") for path in files)


def test_a_password_in_the_config_is_refused_before_it_can_be_stored(command):
    url = "ray.mongo.url=mongodb://ada:s3cret@127.0.0.1:1/x"
    finished = command(OUTER, *TWO, url)
    assert finished.code == 2
    assert "has a password in it" in finished.err
    assert "s3cret" not in finished.text
    printed = command(OUTER, "print_config", *TWO, url)
    assert "s3cret" not in printed.text
