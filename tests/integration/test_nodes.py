"""Nodes come and go while sweeps run; each of them is real, and ended as by a power failure."""

import dataclasses
import re
import time
from collections import Counter

import pytest

from tests.integration.harness import end_marked
from tests.integration.nodes import ray_nodes

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OUTER = "held_outer"
BOTH = ["direct", pytest.param("tune", marks=pytest.mark.long)]
# Ray's own patience with a head that is away, in seconds: the sweep's is three quarters of it.
PATIENCE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "8"}


@pytest.fixture(scope="module")
def nodes():
    """Give three nodes of one CPU each; what a test takes away, it puts back."""
    with ray_nodes() as made:
        made.head()
        made.add()
        made.add()
        yield made


@pytest.fixture
def trials(database):
    """Return a function that reads all runs of the trials that are told to meet in a folder."""

    def read(folder, **query):
        found = database.runs.find({"config.folder": str(folder), **query})
        return sorted(found, key=lambda trial: (index(trial), attempt(trial)))

    return read


@pytest.fixture
def started(command, tmp_path):
    """Return a function that starts a sweep on a cluster; nothing of it is left afterwards."""
    marks = []

    def start(nodes, *words, **environment):
        here = dataclasses.replace(command, environment={**nodes.environment, **environment})
        request = [f"held.folder={tmp_path}", f"ray.address={nodes.address}", *words]
        process, mark = here.start(OUTER, "with", *request)
        marks.append(mark)
        return process, lambda: here.finish(process, mark)

    yield start
    for mark in marks:
        end_marked(mark)


def index(trial):
    return trial["meta"]["sweep"]["trial_index"]


def attempt(trial):
    return trial["meta"]["sweep"]["attempt"]


def node_id(trial):
    return trial["meta"]["sweep"]["node_id"]


def wait_for(what, seconds=60, process=None):
    """Wait until a function returns something, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert process is None or process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "it does not come so far"
        time.sleep(0.2)
    return found


def at_work(trials, folder, count, **query):
    """Return trials that have kept a checkpoint and run, once there are as many."""

    def found():
        with_checkpoint = {"info.sweep.checkpoint": {"$exists": True}}
        running = trials(folder, status="RUNNING", **with_checkpoint, **query)
        return running if len(running) >= count else None

    return found


def the_node_of(nodes, trial):
    """Return the node on which a trial runs."""
    asked = f"[n['Resources'] for n in ray.nodes() if n['NodeID'] == {node_id(trial)!r}][0]"
    resources = nodes.ask(asked)
    return next(node for node in nodes.nodes if node.name in resources)


def check_once(found):
    """Check that no attempt is recorded twice, and that no trial went on after it was complete."""
    assert set(Counter((index(t), attempt(t)) for t in found).values()) == {1}
    for trial in found:
        if trial["status"] == "COMPLETED":
            assert attempt(trial) == max(attempt(t) for t in found if index(t) == index(trial))


def text(trial):
    return "".join(trial["fail_trace"])


@pytest.mark.parametrize("engine", BOTH)
def test_a_lost_node_costs_no_trial_and_a_new_one_gets_work(
    nodes, started, trials, last_sweep, tmp_path, engine
):
    words = ["ray.search_space.point=grid_search(range(8))", "held.free=2", "ray.max_failures=0"]
    process, finish = started(nodes, *words, f"ray.engine={engine}", "ray.report_every=0")
    running = wait_for(at_work(trials, tmp_path, 3), process=process)
    assert len(set(map(node_id, running))) == 3, "the trials are not spread over the nodes"
    lost = next(trial for trial in running if the_node_of(nodes, trial).name != "head")
    the_node_of(nodes, lost).kill()
    elsewhere = {"meta.sweep.node_id": {"$nin": [node_id(trial) for trial in running]}}
    nodes.add()
    wait_for(at_work(trials, tmp_path, 1, **elsewhere), process=process)
    (tmp_path / "go").touch()
    finished = finish()
    assert finished.code == 0, finished.text
    assert f"trial {index(lost)}  run {lost['_id']}  FAILED and is tried again" in finished.out
    found = trials(tmp_path)
    check_once(found)
    assert [t["status"] for t in found if t["_id"] != lost["_id"]] == ["COMPLETED"] * 8
    first, again = [trial for trial in found if index(trial) == index(lost)]
    assert first["status"] == "FAILED"
    assert text(first) == f"Trial {index(lost)} could not write its own end: its node was lost.\n"
    assert "begins anew" in first["captured_out"]
    assert node_id(again) != node_id(first)
    assert again["config"]["seed"] == first["config"]["seed"]
    assert "begins at its checkpoint" in again["captured_out"]
    begun = {p.name: len(p.read_text().split()) for p in tmp_path.glob("begun-*")}
    assert begun == {f"begun-{point}": 1 + (point == index(lost)) for point in range(8)}
    assert last_sweep().outer["info"]["sweep"]["counts"] == {"COMPLETED": 8}


@pytest.mark.long
@pytest.mark.parametrize("engine", ["direct", "tune"])
def test_a_sweep_whose_head_is_lost_says_so_and_goes_on_on_another_cluster(
    command, started, trials, tmp_path, engine
):
    with ray_nodes() as first:
        head = first.head()
        first.add()
        words = ["ray.search_space.point=grid_search(range(4))", "held.free=1"]
        process, finish = started(first, *words, f"ray.engine={engine}", **PATIENCE)
        running = wait_for(at_work(trials, tmp_path, 2), process=process)
        (on_head,) = [t for t in running if the_node_of(first, t) is head]
        (on_other,) = [t for t in running if t is not on_head]
        head.kill()
        killed = time.monotonic()
        (tmp_path / "go").touch()
        finished = finish()
        assert time.monotonic() - killed < 60
        assert finished.code == 1, finished.text
        assert "does not answer; the sweep ends if it is not back within 6 s." in finished.out
        sweep_id = on_head["meta"]["sweep"]["sweep_id"]
        gone = (
            rf"The Ray cluster is gone: its head, [\d.]+:{first.port}, has not answered for 6 s\."
        )
        assert re.search(gone, finished.err)
        assert f"`resume {sweep_id} with ray.address=HOST:PORT` goes on" in finished.err
        assert "Traceback" not in finished.text
        statuses = {trial["_id"]: trial["status"] for trial in trials(tmp_path)}
        assert statuses[on_head["_id"]] == "INTERRUPTED"
        assert statuses[on_other["_id"]] == "COMPLETED"
        assert "RUNNING" not in statuses.values()
    with ray_nodes() as second:
        second.head()
        here = dataclasses.replace(command, environment=second.environment)
        finished = here(OUTER, "resume", sweep_id, "with", f"ray.address={second.address}")
    assert finished.code == 0, finished.text
    found = trials(tmp_path)
    check_once(found)
    assert {index(trial) for trial in found if trial["status"] == "COMPLETED"} == set(range(4))
    ended = {p.name: len(p.read_text().split()) for p in tmp_path.glob("ended-*")}
    assert ended == {f"ended-{point}": 1 for point in range(4)}
