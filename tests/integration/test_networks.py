"""Nodes with network addresses of their own, cut off while they run trials."""

import contextlib
import time

import pymongo
import pytest

from tests.integration import test_nodes
from tests.integration.harness import mongod
from tests.integration.namespaces import network, why_no_namespaces
from tests.integration.nodes import ray_nodes
from tests.integration.test_nodes import attempt, check_once, index, node_id, wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.needs_root,
]

started = test_nodes.started
# Of the head: a node that is silent for two seconds is dead.
STRICT = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "4",
}


@pytest.fixture(autouse=True, scope="module")
def namespaces():
    """Leave the tests out where there are none."""
    sentence = why_no_namespaces()
    if sentence is not None:
        pytest.skip(sentence)


@contextlib.contextmanager
def two_machines(folder, **options):
    """Give a cluster of this machine and another, which can be cut off, and a database."""
    data = folder / "data"
    data.mkdir()
    with network() as net, mongod(data, bind_ip=f"127.0.0.1,{net.address}") as port:
        far = net.add()
        with ray_nodes(net.address) as nodes:
            nodes.head(f"--node-ip-address={net.address}", **options)
            nodes.add(f"--node-ip-address={far.address}", prefix=far.prefix)
            uri = f"mongodb://{net.address}:{port}/networks"
            with pymongo.MongoClient(uri) as client:
                yield nodes, far, {"SACRED_MONGO_URL": uri}, client.get_default_database().runs


def trials_in(runs, **query):
    found = runs.find({"meta.sweep.trial_index": {"$exists": True}, **query})
    return sorted(found, key=lambda trial: (index(trial), attempt(trial)))


def one_on_each(runs):
    """Return the trials of both nodes, the nearer first, once both have kept a checkpoint."""

    def found():
        running = trials_in(runs, **{"info.sweep.checkpoint": {"$exists": True}})
        return running if len(running) == 2 else None

    return found


def by_distance(nodes, running):
    return sorted(running, key=lambda trial: test_nodes.the_node_of(nodes, trial).name != "head")


def begun(folder):
    return {path.name: len(path.read_text().split()) for path in folder.glob("begun-*")}


@pytest.mark.parametrize("engine", ["direct", "tune"])
def test_a_node_that_is_cut_off_for_half_a_minute_loses_nothing(started, tmp_path, engine):
    with two_machines(tmp_path) as (nodes, far, environment, runs):
        words = ["ray.search_space.point=grid_search(range(4))", f"ray.engine={engine}"]
        process, finish = started(nodes, *words, "ray.report_every=0", **environment)
        running = wait_for(one_on_each(runs), process=process)
        assert len(set(map(node_id, running))) == 2
        far.cut()
        time.sleep(5)
        (tmp_path / "go").touch()  # the trial on the far node ends while it is alone
        time.sleep(25)
        far.mend()
        finished = finish()
        assert finished.code == 0, finished.text
        found = trials_in(runs)
        check_once(found)
        assert [(index(t), attempt(t), t["status"]) for t in found] == [
            (number, 0, "COMPLETED") for number in range(4)
        ]
        assert begun(tmp_path) == {f"begun-{number}": 1 for number in range(4)}


@pytest.mark.parametrize("engine", ["direct", "tune"])
def test_a_node_that_was_given_up_and_comes_back_changes_nothing(started, tmp_path, engine):
    with two_machines(tmp_path, environment=STRICT) as (nodes, far, environment, runs):
        words = ["ray.search_space.point=grid_search(range(3))", f"ray.engine={engine}"]
        process, finish = started(nodes, *words, "ray.report_every=0", **environment)
        running = wait_for(one_on_each(runs), process=process)
        near, lost = by_distance(nodes, running)
        far.cut()
        given_up = {"_id": lost["_id"], "status": "FAILED"}
        wait_for(lambda: trials_in(runs, **given_up), 60, process)
        (tmp_path / f"go-{index(near)}").touch()
        again = {"meta.sweep.trial_index": index(lost), "meta.sweep.attempt": 1}
        wait_for(lambda: trials_in(runs, **again), 60, process)
        # Both the attempt that nobody can hear and the next one come to their end.
        (tmp_path / f"go-{index(lost)}").touch()
        wait_for(lambda: trials_in(runs, **{"meta.sweep.trial_index": 2}), process=process)
        far.mend()
        time.sleep(5)
        (tmp_path / "go").touch()
        finished = finish()
        assert finished.code == 0, finished.text
        found = trials_in(runs)
        assert [(index(t), attempt(t)) for t in found] == sorted(
            [(0, 0), (1, 0), (2, 0), (index(lost), 1)]
        )
        others = [trial for trial in found if trial["_id"] != lost["_id"]]
        assert {trial["status"] for trial in others} == {"COMPLETED"}
        (late,) = [trial for trial in found if trial["_id"] == lost["_id"]]
        assert late["status"] in ("FAILED", "COMPLETED")
        assert begun(tmp_path)[f"begun-{index(lost)}"] == 2
