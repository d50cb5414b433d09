"""Trials on a node that reaches the head of its cluster, but neither folder nor database."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.integration.harness import PROJECTS, ROOT, Command
from tests.integration.namespaces import network, why_no_namespaces
from tests.integration.nodes import ray_nodes
from tests.projects.carried_inner import ARTIFACT, POINTS

WHY_NOT = why_no_namespaces()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.needs_root,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]
FAR = "ray.resources_per_trial.far=1"


@pytest.fixture(scope="module")
def far(home):
    """Start a head, and a node with an address of its own that does not see the project's folder.

    The embedded server listens on the loopback interface of the head's machine, which is another
    one there.
    """
    with network() as net, ray_nodes(ip=net.address) as nodes:
        code = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, PROJECTS)))}
        nodes.head(f"--node-ip-address={net.address}", cpus=0, environment=code)
        yield Far(net, nodes, home, code)


class Far:
    """The cluster, and what is on the disk of its far node."""

    def __init__(self, net, nodes, home, code):
        self.net, self.nodes, self.home, self.code = net, nodes, home, code

    @contextlib.contextmanager
    def node(self):
        machine = self.net.add()
        disk = Path(tempfile.mkdtemp(prefix="sri-disk-"))
        hidden = self.home / ".sacred_ray"
        script = f'mount -t tmpfs none {hidden} && mkdir {hidden}/journals && exec "$@"'
        node = self.nodes.add(
            f"--node-ip-address={machine.address}",
            cpus=2,
            prefix=(*machine.prefix, "unshare", "-m", "sh", "-c", script, "sh"),
            environment={**self.code, "TMPDIR": str(disk)},
            resources={"far": 2},
        )
        try:
            yield node, disk
        finally:
            node.kill()
            self.nodes.nodes.remove(node)
            shutil.rmtree(disk, ignore_errors=True)


@pytest.fixture
def node(far):
    with far.node() as (node, disk):
        yield node, disk


class Running:
    """A sweep that runs."""

    def __init__(self, command, process, mark):
        self._command, self.process, self._mark = command, process, mark

    def finish(self, seconds=120.0):
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(self.process.pid, signal.SIGINT)
                raise AssertionError(f"it does not end: {self._finished().text}")
            time.sleep(0.1)
        return self._finished()

    def _finished(self):
        return self._command.finish(self.process, self._mark)

    def until(self, look, seconds=90.0):
        """Wait until something is so while the sweep goes on, and return it."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if self.process.poll() is not None:
                raise AssertionError(self._finished().text)
            if time.monotonic() > deadline:
                os.killpg(self.process.pid, signal.SIGINT)
                raise AssertionError(f"it does not come: {self._finished().text}")
            time.sleep(0.1)
        return found


@pytest.fixture
def start(home, ray_folder, far, tmp_path):
    """Return a function that starts a sweep of trials that wait on the far node."""
    command = Command(home, ray_folder, dict(far.nodes.environment))
    started = []

    def start(*words):
        sweep = ["carried_outer", "with", "ray.search_space.number=[1, 2]", "ray.metric=loss"]
        sweep += ["ray.mode=min", f"carried.folder={tmp_path}", FAR]
        process, mark = command.start(*sweep, f"ray.address={far.nodes.address}", *words)
        started.append(process)
        return Running(command, process, mark)

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def trial_of(database, number, since):
    """Read the last document of a trial."""
    query = {"config.number": number, "_id": {"$gt": since}, "experiment.name": "carried"}
    return database.runs.find_one(query, sort=[("_id", -1)])


def values_of(database, run):
    found = database.metrics.find_one({"run_id": run["_id"], "name": "loss"})
    return found["values"] if found else []


def journals_on(disk):
    return [path for path in disk.rglob("*") if path.is_file() and "sacred-ray-" in str(path)]


@pytest.fixture
def since(database):
    """Id of the newest run before the test."""
    newest = database.runs.find_one({}, {"_id": 1}, sort=[("_id", -1)])
    return newest["_id"] if newest else 0


FIRST = [step / 2 for step in range(POINTS)]


@pytest.mark.parametrize("engine", ["direct", pytest.param("tune", marks=pytest.mark.long)])
def test_trials_are_in_the_database_while_the_sweep_runs(
    start, node, database, since, tmp_path, home, engine
):
    _, disk = node
    sweep = start(f"ray.engine={engine}")
    # Both wait, and are recorded with all they have logged.
    for number in (1, 2):
        run = sweep.until(lambda number=number: trial_of(database, number, since))
        sweep.until(lambda run=run: values_of(database, run) == FIRST, 10)
        assert database.runs.find_one({"_id": run["_id"]})["status"] == "RUNNING"
    assert journals_on(disk)
    (tmp_path / "go-1").touch()
    # The sweep goes on, with a trial that runs; the one that has ended is complete.
    first = sweep.until(
        lambda: database.runs.find_one(
            {"config.number": 1, "_id": {"$gt": since}, "status": "COMPLETED"}
        ),
        20,
    )
    assert trial_of(database, 2, since)["status"] == "RUNNING"
    assert values_of(database, first) == [*FIRST, -1.0]
    (tmp_path / "go-2").touch()
    done = sweep.finish()
    assert done.code == 0, done.text
    for number in (1, 2):
        run = trial_of(database, number, since)
        assert (run["status"], run["result"]) == ("COMPLETED", number)
        assert values_of(database, run) == [*FIRST, -1.0]
        assert f"trial {number} has logged" in run["captured_out"]
        (artifact,) = run["artifacts"]
        chunks = database["fs.chunks"].find({"files_id": artifact["file_id"]}).sort("n", 1)
        assert b"".join(chunk["data"] for chunk in chunks) == ARTIFACT
    assert journals_on(disk) == []
    assert list((home / ".sacred_ray" / "journals").rglob("trial*")) == []
    (outer,) = database.runs.find({"_id": {"$gt": since}, "experiment.name": "carried_outer"})
    assert outer["status"] == "COMPLETED"
    # Also where the worker never learnt it.
    ids = [trial_of(database, number, since)["_id"] for number in (1, 2)]
    assert outer["info"]["sweep"]["best"]["run_id"] in ids


@pytest.mark.long
@pytest.mark.parametrize("engine", ["direct", "tune"])
def test_a_worker_that_is_killed_there_is_recorded_and_its_trial_repeated(
    start, node, database, since, tmp_path, engine
):
    _, disk = node
    sweep = start("ray.max_failures=1", f"ray.engine={engine}")
    (pid,) = sweep.until(lambda: list(tmp_path.glob("pid-1-*")))
    sweep.until(lambda: (run := trial_of(database, 1, since)) and values_of(database, run) == FIRST)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    sweep.until(lambda: len(list(tmp_path.glob("pid-1-*"))) == 2)
    for number in (1, 2):
        (tmp_path / f"go-{number}").touch()
    done = sweep.finish()
    assert done.code == 0, done.text
    runs = list(database.runs.find({"config.number": 1, "_id": {"$gt": since}}).sort("_id", 1))
    statuses = {run["meta"]["sweep"]["attempt"]: run["status"] for run in runs}
    assert statuses == {0: "FAILED", 1: "COMPLETED"}
    (dead,) = [run for run in runs if run["status"] == "FAILED"]
    assert values_of(database, dead) == FIRST
    assert "could not write its own end: the worker process died" in dead["fail_trace"][0]
    assert journals_on(disk) == []


@pytest.mark.long
def test_what_was_carried_outlives_its_node(far, start, database, since, tmp_path):
    with far.node() as (node, _):
        sweep = start("ray.max_failures=1")
        run = sweep.until(lambda: trial_of(database, 1, since))
        sweep.until(lambda: values_of(database, run) == FIRST)
        node.kill()
        with far.node() as (_, disk):
            for number in (1, 2):
                (tmp_path / f"go-{number}").touch()
            done = sweep.finish()
            assert done.code == 0, done.text
            assert journals_on(disk) == []
    lost = database.runs.find_one({"_id": run["_id"]})
    assert lost["status"] == "FAILED"
    assert values_of(database, lost) == FIRST
    assert trial_of(database, 1, run["_id"])["status"] == "COMPLETED"


@pytest.mark.long
def test_journals_of_a_killed_driver_come_home_with_the_next_sweep(
    start, node, database, since, tmp_path
):
    _, disk = node
    sweep = start()
    sweep.until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    sweep.until(lambda: trial_of(database, 1, since))
    outer = database.runs.find_one({"experiment.name": "carried_outer", "_id": {"$gt": since}})
    os.kill(outer["meta"]["record"]["process"]["pid"], signal.SIGKILL)
    sweep.process.wait()
    deadline = time.monotonic() + 60
    while any(Path("/proc", path.read_text()).exists() for path in tmp_path.glob("pid-*")):
        assert time.monotonic() < deadline, "trials outlive their driver"
        time.sleep(0.1)
    # What they wrote after the last visit is there only.
    assert journals_on(disk)
    for number in (1, 2):
        (tmp_path / f"go-{number}").touch()
    done = start().finish()
    assert done.code == 0, done.text
    assert journals_on(disk) == []
    killed = {
        run["config"]["number"]: run
        for run in database.runs.find(
            {
                "meta.sweep.sweep_id": outer["meta"]["sweep"]["sweep_id"],
                "experiment.name": "carried",
            }
        )
    }
    assert {run["status"] for run in killed.values()} == {"INTERRUPTED"}
    assert {number: values_of(database, run) for number, run in killed.items()} == {
        1: FIRST,
        2: FIRST,
    }
