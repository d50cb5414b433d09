"""Clusters that grow with a sweep, and trials that themselves use Ray, on real nodes."""

import json
import time

import pytest

from tests.integration.nodes import ray_nodes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(280)]

# How Ray's fake provider of nodes calls the head.
HEAD_ID = "f" * 51 + "00000"
UNUSED = {
    "auth": {},
    "cluster_synced_files": [],
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    "head_node": {},
    "head_setup_commands": [],
    "head_start_ray_commands": [],
    "initialization_commands": [],
    "rsync_exclude": [],
    "rsync_filter": [],
    "setup_commands": [],
    "worker_nodes": {},
    "worker_setup_commands": [],
    "worker_start_ray_commands": [],
}


@pytest.fixture(scope="module")
def growing():
    """A head of one CPU whose autoscaler starts and ends two nodes more as they are needed."""
    with ray_nodes() as nodes:
        config = {
            **UNUSED,
            "cluster_name": "growing",
            "max_workers": 2,
            "idle_timeout_minutes": 0.1,
            "upscaling_speed": 1.0,
            "provider": {
                "type": "fake_multinode",
                "gcs_address": nodes.address,
                "use_node_id_as_ip": True,
            },
            "head_node_type": "ray.head.default",
            "available_node_types": {
                "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
                "worker": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 2},
            },
        }
        path = nodes.folder / "autoscaling.json"
        path.write_text(json.dumps(config))
        own = {"RAY_FAKE_CLUSTER": "1", "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
        nodes.head(f"--autoscaling-config={path}", cpus=1, environment=own)
        yield nodes


def alive(nodes):
    """Ask a cluster for its nodes, from a process of its own."""
    return nodes.ask("[n['NodeID'] for n in ray.nodes() if n['Alive']]")


def wait_until_shrunk(nodes):
    deadline = time.monotonic() + 60
    while len(alive(nodes)) > 1:
        assert time.monotonic() < deadline
        time.sleep(1)


@pytest.mark.long
@pytest.mark.parametrize(
    "engine", ["direct", pytest.param("tune", marks=[pytest.mark.long, pytest.mark.slow])]
)
def test_a_cluster_grows_and_shrinks_with_the_sweep(command, growing, last_sweep, engine):
    command.environment |= growing.environment
    assert len(alive(growing)) == 1
    trials = {"direct": 14, "tune": 24}[engine]
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.quality=uniform(0.5, 2)",
        "ray.metric=height",
        f"ray.num_samples={trials}",
        "curve.pause_s=0.3",
        f"ray.address={growing.address}",
        f"ray.engine={engine}",
    )
    assert finished.code == 0, finished.text
    runs = last_sweep().trials
    assert [run["status"] for run in runs] == ["COMPLETED"] * trials
    at_once = max(
        sum(other["start_time"] <= run["start_time"] < other["stop_time"] for other in runs)
        for run in runs
    )
    assert at_once == 3, [(run["start_time"], run["stop_time"]) for run in runs]
    wait_until_shrunk(growing)


@pytest.mark.long
@pytest.mark.parametrize(
    "engine", ["direct", pytest.param("tune", marks=[pytest.mark.long, pytest.mark.slow])]
)
def test_a_trial_that_starts_actors_gets_bundles_for_them(command, growing, last_sweep, engine):
    command.environment |= growing.environment
    wait_until_shrunk(growing)
    finished = command(
        "team_outer",
        "with",
        "ray.search_space.number=grid_search([2, 3])",
        "ray.resources_per_trial.bundles=[{'cpu': 1}, {'cpu': 1}]",
        f"ray.address={growing.address}",
        f"ray.engine={engine}",
    )
    assert finished.code == 0, finished.text
    trials = last_sweep().trials
    assert [trial["result"] for trial in trials] == [8, 18]
    # One trial holds all three processors at a time.
    assert {len(trial["info"]["nodes"]) for trial in trials} == {2}
    assert {trial["info"]["groups"] for trial in trials} == {1}
    assert trials[0]["stop_time"] <= trials[1]["start_time"]
    assert "the cluster's autoscaler is asked for one" in finished.out


def test_more_than_a_node_can_ever_have_is_said_before_the_first_trial(command, growing):
    command.environment |= growing.environment
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.quality=uniform(0.5, 2)",
        "ray.metric=height",
        "ray.resources_per_trial.cpu=2",
        f"ray.address={growing.address}",
    )
    assert finished.code == 2
    assert (
        "ray.resources_per_trial asks for cpu=2 in one process; no node that it has or can start "
        "has as much (the most is 1)." in finished.err
    )
