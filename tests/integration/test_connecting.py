"""Joining a Ray that runs already, and leaving it as it was."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.integration.harness import PROJECTS, ROOT
from tests.integration.nodes import ray_nodes

pytestmark = pytest.mark.integration
# Where it is not, Ray refuses to serve it.
HAS_CLIENT = importlib.util.find_spec("grpc") is not None
# What Ray itself notes of any driver.
RAYS_OWN = ("extra_usage_tag_", "library_usage_", "hardware_usage_", "__autoscaling_status")
STATE = (
    "{'kv': [k.decode('utf-8', 'replace')"
    " for k in ray.experimental.internal_kv._internal_kv_list(b'')], "
    "'actors': [a['ActorID'] for a in ray._private.state.actors().values()"
    " if a['State'] != 'DEAD'],"
    " 'groups': [g['state'] for g in ray.util.placement_group_table().values()"
    " if g['state'] != 'REMOVED']}"
)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def client_port():
    return _free_port()


@pytest.fixture(scope="module")
def cluster(client_port):
    served = [f"--ray-client-server-port={client_port}"] if HAS_CLIENT else []
    with ray_nodes() as nodes:
        nodes.head(*served, cpus=1, environment={"PYTHONPATH": os.pathsep.join(_from_outside())})
        yield nodes


@pytest.fixture
def start(cluster, home):
    """Return a function that starts a sweep on the cluster, with a token or what is given."""

    def run(*words, address=cluster.address, **environment):
        known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        given = {"RAY_AUTH_TOKEN": cluster.environment["RAY_AUTH_TOKEN"], **environment}
        own = {
            "SACRED_RAY_HOME": str(home),
            "PYTHONPATH": os.pathsep.join(map(str, [ROOT, PROJECTS, *_from_outside()])),
        }
        words = ["curve_outer", "with", f"ray.address={address}", "ray.metric=height", *words]
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=PROJECTS,
            env={**known, **given, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def _from_outside():
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def left(cluster, before):
    """Return what is on the cluster that was not there, apart from what Ray itself notes."""
    now = cluster.ask(STATE)
    found = {name: sorted(set(now[name]) - set(before[name])) for name in before}
    found["kv"] = [key for key in found["kv"] if not key.startswith(RAYS_OWN)]
    return {name: what for name, what in found.items() if what}


def eventually_nothing(cluster, before, but_for=()):
    """Return what is left after a minute, apart from keys with certain words in them."""
    deadline = time.monotonic() + 60
    while True:
        what = left(cluster, before)
        notes = [key for key in what.get("kv", []) if not any(map(key.__contains__, but_for))]
        what = {**what, "kv": notes} if notes else {k: v for k, v in what.items() if k != "kv"}
        if not what or time.monotonic() > deadline:
            return what
        time.sleep(1)


SHORT = ["ray.search_space.quality=uniform(0.5, 2)", "ray.num_samples=2"]
LONG = [*SHORT, "curve.hang_s=100"]


@pytest.mark.parametrize("engine", ["direct", pytest.param("tune", marks=pytest.mark.long)])
def test_a_token_is_enough_and_nothing_is_left(start, cluster, last_sweep, engine):
    before = cluster.ask(STATE)
    process = start(*SHORT, f"ray.engine={engine}", "ray.runtime_env.env_vars.OMP_NUM_THREADS=7")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    sweep = last_sweep()
    assert sweep.statuses == ["COMPLETED"] * 2
    assert sweep.trials[0]["info"]["sweep"]["threads"] == "7"
    assert not eventually_nothing(cluster, before)
    token = cluster.environment["RAY_AUTH_TOKEN"]
    assert token not in json.dumps([sweep.outer, *sweep.trials], default=str)
    assert token not in out + err


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RAY_AUTH_TOKEN": "f" * 64}, "a Ray that asks for a token, and refuses that of RAY_AUTH"),
        pytest.param(
            {"RAY_AUTH_TOKEN": "", "HOME": "/nowhere"},
            "a Ray that asks for a token, and none was found; put that of the cluster",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"RAY_AUTH_MODE": "disabled"},
            "a Ray that asks for a token, but RAY_AUTH_MODE is 'disabled'",
            marks=pytest.mark.long,
        ),
    ],
)
def test_without_the_token_a_sentence_says_so_at_once(start, environment, sentence):
    process = start(*SHORT, **environment)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert sentence in err
    assert "Traceback" not in err
    assert "gcs_client" not in err


@pytest.mark.long
def test_a_port_of_another_kind_is_named(start, client_port, cluster):
    pytest.importorskip("grpc")
    process = start(*SHORT, address=f"127.0.0.1:{client_port}")
    assert "which is another port of Ray; write ray://" in process.communicate(timeout=60)[1]
    process = start(*SHORT, address=f"ray://{cluster.address}")
    assert "where no Ray Client is served" in process.communicate(timeout=60)[1]


@pytest.mark.long
@pytest.mark.parametrize("engine", ["direct", pytest.param("tune", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_nothing_is_left_by_a_driver_that_is_ended(start, cluster, last_sweep, engine, how):
    before = cluster.ask(STATE)
    process = start(*LONG, f"ray.engine={engine}")
    try:
        deadline = time.monotonic() + 90
        while not cluster_is_busy(cluster, before):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
        process.send_signal(how)
        process.communicate(timeout=60)
    finally:
        process.kill()
    # A driver that is killed cannot take notes of some bytes away.
    notes = ("sacred-ray-ending:", "FunctionsToRun") if how == signal.SIGKILL else ()
    assert not eventually_nothing(cluster, before, notes)


def cluster_is_busy(cluster, before):
    return "actors" in left(cluster, before)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["direct", "tune"])
def test_through_ray_client(start, cluster, client_port, last_sweep, engine):
    pytest.importorskip("grpc")
    before = cluster.ask(STATE)
    process = start(*SHORT, f"ray.engine={engine}", address=f"ray://127.0.0.1:{client_port}")
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert last_sweep().statuses == ["COMPLETED"] * 2
    assert not eventually_nothing(cluster, before)
