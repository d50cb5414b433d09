"""The observer on its own, while the database dies, freezes, comes late or does not come at all."""

import contextlib
import os
import re
import shutil
import signal
import time

import bson
import pytest

from sacred_ray_ingredient.record.shipper import INTERVAL_S
from tests.faults.servers import Deployment
from tests.integration.harness import Command, end_marked

pytestmark = pytest.mark.integration

ALONE = "recorded_alone"
# What is allowed to a call of log_scalar, whatever the database does.
SLOWEST_S = 0.05
WAIT_S = 3.0
# For a run's own end, besides waiting for the database.
GRACE_S = 2.0
RUN_DIED = "The process of the run ended without a word: it was killed, or the machine went down."


class _Scene:
    """A server of the test's own, and runs that are recorded there."""

    def __init__(self, deployment, folder, ray_folder):
        self.deployment = deployment
        self.server = deployment.server
        self.notes = folder / "notes"
        self.journals = folder / "home" / ".sacred_ray" / "journals"
        (folder / "home").mkdir()
        self.command = Command(folder / "home", ray_folder)
        self.command.environment = {
            "SACRED_MONGO_URL": deployment.url("outage"),
            "NOTES": str(self.notes),
            "WAIT_S": str(WAIT_S),
        }

    @contextlib.contextmanager
    def run(self, scalars, seconds):
        """Start a run; nothing of it is left afterwards."""
        self.command.environment["SECONDS"] = str(seconds)
        process, mark = self.command.start(ALONE, str(scalars))
        try:
            yield process, mark
        finally:
            end_marked(mark)
            process.communicate()

    def wait_for_notes(self, count):
        """Wait until the run has logged so many scalars."""
        self._wait(lambda: len(self.noted()) >= count, f"{count} scalars")

    def wait_for_document(self):
        """Wait until the database has the run."""
        self._wait(lambda: self.read()[0], "the run is in the database")

    def noted(self):
        """Return the steps after whose logging the run came to note it."""
        return self.notes.read_text().split() if self.notes.exists() else []

    def read(self):
        """Return all runs and metrics."""
        with self.deployment.client() as client:
            database = client["outage"]
            return list(database.runs.find()), list(database.metrics.find())

    def left(self):
        """Return the journals."""
        return list(self.journals.rglob("*.jsonl"))

    def sync(self):
        return self.command("sacred_ray_ingredient", "sync")

    def check_complete(self, status="COMPLETED", scalars=None):
        """Make sure that the database has the run and each of its scalars, once."""
        (run,), (metric,) = self.read()
        assert run["status"] == status
        scalars = len(self.noted()) if scalars is None else scalars
        assert metric["run_id"] == run["_id"]
        assert metric["steps"][:scalars] == list(range(scalars))
        assert metric["values"] == [step * 0.5 for step in metric["steps"]]
        assert len(metric["timestamps"]) == len(metric["steps"])
        # The last one may have been logged without a chance to note it.
        assert scalars <= len(metric["steps"]) <= scalars + (status == "FAILED")
        return run

    def _wait(self, is_so, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(0.05)


@pytest.fixture
def make_scene(tmp_path, ray_folder):
    """Return a function that starts a server, or chooses a port for one that comes later."""
    with contextlib.ExitStack() as stack:

        def make(started=True):
            deployment = stack.enter_context(Deployment(started=started))
            return _Scene(deployment, tmp_path, ray_folder)

        yield make


def _measured(finished):
    """Return how long the slowest call of log_scalar and the end of the run took."""
    assert finished.code == 0, finished.text
    found = re.search(r"slowest=(\S+) ended=(\S+)", finished.out)
    return float(found[1]), float(found[2])


@pytest.mark.parametrize("fault", ["dies", "freezes"])
def test_three_seconds_without_the_database_are_not_felt_and_cost_nothing(make_scene, fault):
    scene = make_scene()
    with scene.run(400, seconds=11) as started:
        scene.wait_for_document()
        scene.wait_for_notes(round(400 / 11 * (INTERVAL_S - 1.5)))  # away when it is needed
        scene.server.kill() if fault == "dies" else scene.server.freeze()
        time.sleep(3)
        scene.server.start() if fault == "dies" else scene.server.thaw()
        assert len(scene.noted()) < 380, "the run was over before the database was back"
        slowest, _ = _measured(scene.command.finish(*started))
    assert slowest < SLOWEST_S
    run = scene.check_complete(scalars=400)
    assert "the last line" in run["captured_out"]
    assert scene.left() == []


def test_a_run_begins_without_the_database_and_is_recorded_when_that_comes(make_scene):
    scene = make_scene(started=False)
    with scene.run(250, seconds=10) as started:
        scene.wait_for_notes(115)  # it has been asked for in vain by then
        assert len(scene.left()) == 1
        scene.server.start()
        assert len(scene.noted()) < 230, "the run was over before the database came"
        slowest, _ = _measured(scene.command.finish(*started))
    assert slowest < SLOWEST_S
    run = scene.check_complete(scalars=250)
    assert isinstance(run["_id"], int)
    assert scene.left() == []


@pytest.mark.long
def test_a_run_whose_database_has_gone_ends_in_time_and_sync_brings_it_once(make_scene, tmp_path):
    scene = make_scene()
    with scene.run(200, seconds=4) as started:
        scene.wait_for_document()
        scene.server.kill()
        slowest, ended = _measured(scene.command.finish(*started))
    assert slowest < SLOWEST_S
    assert ended < WAIT_S + GRACE_S
    (journal,) = scene.left()
    assert journal.stat().st_mode & 0o777 == 0o600
    in_vain = scene.sync()
    assert in_vain.code == 1
    assert journal.name in in_vain.text
    assert "the database does not answer" in in_vain.text
    assert scene.left() == [journal]
    copy = shutil.copytree(scene.journals, tmp_path / "copy")
    scene.server.start()
    assert scene.sync().code == 0
    scene.check_complete(scalars=200)
    assert scene.left() == []
    before = [bson.encode(document) for kind in scene.read() for document in kind]
    for _ in range(2):
        shutil.copytree(copy, scene.journals, dirs_exist_ok=True)
        assert scene.sync().code == 0
        assert scene.left() == []
        after = [bson.encode(document) for kind in scene.read() for document in kind]
        assert after == before


@pytest.mark.parametrize("is_there", [True, False])
def test_a_killed_process_has_lost_no_scalar_that_was_logged(make_scene, is_there):
    scene = make_scene(started=is_there)
    with scene.run(20_000, seconds=40) as (process, mark):
        if is_there:
            scene.wait_for_document()
        scene.wait_for_notes(700)
        os.kill(process.pid, signal.SIGKILL)
        scene.command.finish(process, mark)
    assert len(scene.noted()) < 20_000
    if not is_there:
        scene.server.start()
    assert scene.sync().code == 0
    run = scene.check_complete("FAILED")
    assert run["fail_trace"] == [f"{RUN_DIED}\n"]
    assert scene.left() == []
