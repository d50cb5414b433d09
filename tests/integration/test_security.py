"""Passwords stay where the user put them; what is read from elsewhere is data."""

import base64
import contextlib
import dataclasses
import io
import os
import pickle
import signal
import threading
import time
import zipfile
from pathlib import Path

import gridfs
import pytest

from sacred_ray_ingredient.mongo import EmbeddedServer, MongoAddress
from sacred_ray_ingredient.record.journal import Journal
from tests.integration.harness import PASSWORD, QUOTED, Command, end_marked

pytestmark = pytest.mark.integration

OUTER = "looks_around_outer"
# Of the environment of all processes of a sweep; no secret, and nobody's business.
CANARY = "canary-of-the-environment"


@pytest.fixture
def own_command(tmp_path, ray_folder):
    """Run commands in a project folder of the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    return Command(home, ray_folder, {"SRI_CANARY": CANARY})


@contextlib.contextmanager
def _command_lines():
    """Collect the command lines of all processes of this machine, for the time of the block."""
    found = set()
    is_over = threading.Event()

    def collect():
        while not is_over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    found.add(path.read_bytes())

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def _documents(database):
    """Return all that a database has as one text, the content of files included."""
    texts = [str(list(database[name].find())) for name in database.list_collection_names()]
    for file in gridfs.GridFS(database).find():
        content = file.read()
        texts.append(content.decode(errors="replace"))
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                texts += [
                    archive.read(name).decode(errors="replace") for name in archive.namelist()
                ]
    return "".join(texts)


def _files(folder, leave_out=()):
    """Return the content of all files below a folder as one text."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    files = [path for path in files if not any(left in path.parents for left in leave_out)]
    assert files
    return "".join(path.read_bytes().decode(errors="replace") for path in files)


def _wait(is_so, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["direct", pytest.param("tune", marks=pytest.mark.long)])
def test_a_password_is_nowhere_and_readwrite_is_enough_for_a_sweep_and_its_resume(
    own_command, database_of_ada, tmp_path, engine
):
    port, database = database_of_ada
    own_command.environment["SACRED_MONGO_URL"] = f"mongodb://ada:{QUOTED}@127.0.0.1:{port}/adas"
    own_command.environment["RAY_TMPDIR"] = str(own_command.ray_folder)
    seen = tmp_path / "seen"
    words = ["ray.search_space.point=[0, 1, 2]", "looking_ex.seconds=8"]
    words += [f"ray.engine={engine}"]
    places = {}
    with _command_lines() as lines:
        process, mark = own_command.start(OUTER, "with", *words, f"looking_ex.seen={seen}")
        try:
            _wait(lambda: database.runs.count_documents({"captured_out": {"$ne": ""}}) >= 2, "runs")
            _wait(seen.exists, "the trial looks around")
            os.kill(process.pid, signal.SIGKILL)  # so that the journals stay
            killed = process.communicate(timeout=60)
        finally:
            end_marked(mark)
        journals = own_command.home / ".sacred_ray" / "journals"
        places["the journals"] = _files(journals)
        assert "SACRED_MONGO_URL" in places["the journals"]  # where to find it, not what it is
        for path in (*journals.rglob("*.jsonl"), *journals.rglob("*.files")):
            assert path.stat().st_mode & 0o077 == 0, path
        resumed = own_command(OUTER, "resume", "last")
    assert resumed.code == 0, resumed.text
    trials = list(database.runs.find({"meta.sweep.trial_index": {"$exists": True}}))
    completed = {trial["config"]["point"] for trial in trials if trial["status"] == "COMPLETED"}
    assert completed == {0, 1, 2}
    assert all(trial["status"] in ("COMPLETED", "INTERRUPTED") for trial in trials)
    for collection, field in (("runs", "meta.record.journal"), ("metrics", "run_id")):
        indexes = database[collection].index_information().values()
        assert field in [index["key"][0][0] for index in indexes]
    names = database.list_collection_names()
    assert [name for name in names if "omniboard" in name], names  # the columns of the sweep
    places["the database"] = _documents(database)
    places["the project folder"] = _files(own_command.home)
    places["Ray's folder"] = _files(own_command.ray_folder)
    places["what Ray tells"] = seen.read_text()
    places["the process list"] = b"".join(lines).decode(errors="replace")
    places["the terminal"] = "".join(killed) + resumed.text
    # What Tune runs is in Ray's store; what the direct engine runs is not.
    assert (f"127.0.0.1:{port}" in places["what Ray tells"]) is (engine == "tune")
    assert "JobID" in places["what Ray tells"]
    assert "raylet" in places["the process list"]
    for place, text in places.items():
        assert PASSWORD not in text, place
        assert QUOTED not in text, place
    for place in ("the database", "the project folder"):
        assert CANARY not in places[place], place


@pytest.mark.long
def test_a_wrong_password_is_not_repeated_and_loses_nothing(own_command, database_of_ada):
    port, database = database_of_ada
    wrong = "wr0ng-marker"
    own_command.environment["SACRED_MONGO_URL"] = f"mongodb://ada:{wrong}@127.0.0.1:{port}/adas"
    refused = own_command(OUTER, "with", "ray.search_space.point=[0]")
    assert refused.code == 2
    assert "refuses the user name or password from the environment variable" in refused.err
    own_command.environment |= {"SECONDS": "0.5", "WAIT_S": "1"}
    alone = own_command("recorded_alone", "5")
    assert alone.code == 0, alone.text
    in_vain = own_command("sacred_ray_ingredient", "sync")
    assert in_vain.code == 1
    assert "the database refuses it (Authentication failed." in in_vain.text
    stored = _files(own_command.home)
    for text in (refused.text, alone.text, in_vain.text, stored):
        assert wrong not in text
    assert database.runs.count_documents({}) == 0
    own_command.environment["SACRED_MONGO_URL"] = f"mongodb://ada:{QUOTED}@127.0.0.1:{port}/adas"
    assert own_command("sacred_ray_ingredient", "sync").code == 0
    assert database.metrics.find_one()["values"] == [0.5 * step for step in range(5)]
    assert database.runs.find_one()["status"] == "COMPLETED"


@pytest.mark.long
def test_the_password_of_the_projects_own_server_is_in_its_file_only(
    command, home, database, tmp_path
):
    server = EmbeddedServer(home / ".sacred_ray")
    secrets = [server.files.password.read_text().strip(), server.files.key.read_text().strip()]
    seen = tmp_path / "seen"
    with _command_lines() as lines:
        finished = command(
            OUTER, "with", "ray.search_space.point=[0, 1]", f"looking_ex.seen={seen}"
        )
    assert finished.code == 0, finished.text
    places = {
        "the database": _documents(database),
        "the project folder": _files(home, leave_out=[server.files.root]),
        "Ray's folder": _files(command.ray_folder),
        "what Ray tells": seen.read_text(),
        "the process list": b"".join(lines).decode(errors="replace"),
        "the terminal": finished.text,
    }
    for place, text in places.items():
        for secret in secrets:
            assert len(secret) > 20
            assert secret not in text, place


class _Evil:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def _evil(canary):
    """Return what jsonpickle would execute, and what it and others would make objects of."""
    return {
        "py/reduce": [{"py/function": "os.system"}, {"py/tuple": [f"touch {canary}"]}],
        "object": {"py/object": "subprocess.Popen", "args": ["touch", str(canary)]},
        "pickled": {"$bytes": base64.b64encode(pickle.dumps(_Evil(canary))).decode()},
        "expression": f"__import__('os').system('touch {canary}')",
    }


def test_the_content_of_a_journal_is_data(own_command, database_of_ada, tmp_path):
    port, database = database_of_ada
    own_command.environment["SACRED_MONGO_URL"] = f"mongodb://ada:{QUOTED}@127.0.0.1:{port}/adas"
    canary, secret = tmp_path / "canary", tmp_path / "secret"
    secret.write_text("of another file")
    folder = own_command.home / ".sacred_ray" / "journals" / "runs"
    journal = Journal(folder / "run-00ff.jsonl")
    address = MongoAddress(f"mongodb://127.0.0.1:{port}/adas", "adas", uri_env="SACRED_MONGO_URL")
    journal.append("target", dataclasses.asdict(address))
    evil = _evil(canary)
    record = {"journal": journal.record_id}
    start = {"experiment": {"name": "evil", "sources": []}, "meta": {"record": record}}
    journal.append("start", {**start, "config": evil, "tags": [], "start_time": evil})
    journal.append("scalar", ["height", 0, evil, evil])
    journal.append("scalar", ["height", 1, 2.5, None])
    for digest in (str(secret), f"../../../../../{secret.name}"):
        about = {"id": "0" * 24, "digest": digest, "filename": "taken"}
        journal.append("file", about)
    journal.append("beat", {"time": None, "info": evil, "result": evil})
    journal.append("py/object", evil)
    journal.close()
    with journal.path.open("ab") as file:
        file.write(pickle.dumps(_Evil(canary)) + b"\n")
    synced = own_command("sacred_ray_ingredient", "sync")
    assert synced.code == 0, synced.text
    assert not canary.exists()
    run = database.runs.find_one()
    for part in (run["config"], run["info"], run["result"]):
        assert part["expression"] == evil["expression"]
        assert part["py/reduce"] == evil["py/reduce"]
    assert database.metrics.find_one()["values"] == [2.5]
    # Nor does it decide which other files of this machine are read.
    assert "of another file" not in _documents(database)


@pytest.mark.long
def test_the_content_of_a_document_is_data(command, database, last_sweep, tmp_path):
    canary = tmp_path / "canary"
    finished = command(OUTER, "with", "ray.search_space.point=[1]", "looking_ex.seconds=0.2")
    assert finished.code == 0, finished.text
    run_id = last_sweep().trials[0]["_id"]
    evil = _evil(canary)
    changes = {f"config.{name}": evil for name in ("seen", "added")}
    changes |= {"meta.sweep.sampled.point": evil, "info.evil": evil, "result": evil}
    database.runs.update_one({"_id": run_id}, {"$set": changes})
    again = command("sacred_ray_ingredient", "rerun", str(run_id))
    assert again.code != 0  # it differs, or it cannot be run; what counts is the following
    resumed = command(OUTER, "resume", "last", "with", "ray.retry_failed=True")
    assert "Traceback" not in resumed.text
    assert not canary.exists()
