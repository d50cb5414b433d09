"""What a sweep finds out of a cluster before its first trial, and ``check`` without a sweep."""

import os
import time
from pathlib import Path

import pytest

from sacred_ray_ingredient import mongo
from tests.integration.harness import PROJECTS, ROOT, Command
from tests.integration.nodes import ray_nodes

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SWEEP = ("with", "ray.search_space.quality=[1, 2, 3]", "ray.metric=height")
LACKING = ("with", "ray.search_space.point=[1, 2, 3]")
# Only some nodes have this resource: trials that ask for it run there.
ON_RIGHT_NODES = "ray.resources_per_trial.right=0.1"
# Python imports it as it starts: whoever looks for the package does not find it.
HIDES_THE_PACKAGE = """
import sys

class Hides:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sacred_ray_ingredient":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hides())
"""
IS_ROOT = os.geteuid() == 0


def fake_distribution(folder, name, version):
    """Let a folder on the path say that this version is installed."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def with_paths(*paths):
    return {"PYTHONPATH": os.pathsep.join(map(str, paths))}


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Folders with other versions of what is installed."""
    folder = tmp_path_factory.mktemp("sites")
    fake_distribution(folder / "old", "sacred", "0.8.6")
    fake_distribution(folder / "other", "sacred_ray_ingredient", "0.0.9")
    package = folder / "other" / "sacred_ray_ingredient"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('of another time')\n")
    (folder / "bare").mkdir()
    (folder / "bare" / "sitecustomize.py").write_text(HIDES_THE_PACKAGE)
    return folder


@pytest.fixture(scope="module")
def cluster(home, sites):
    """Start three nodes that are right, and three with which something is wrong."""
    journals = home / ".sacred_ray" / "journals"
    journals.mkdir(exist_ok=True)
    small = (
        "unshare",
        "-m",
        "sh",
        "-c",
        f'mount -t tmpfs -o size=20m none {journals} && exec "$@"',
        "sh",
    )
    with ray_nodes() as nodes:
        right = {"right": 1, "has_it": 1}
        code = with_paths(ROOT, PROJECTS)
        nodes.head("--node-name=head", resources=right, environment=code)
        nodes.add("--node-name=right", resources=right, environment=code)
        nodes.add(
            "--node-name=lacking",
            resources={"right": 1},
            environment={**code, "LACKS_THE_LIBRARY": "1"},
        )
        nodes.add(
            "--node-name=old",
            environment=with_paths(sites / "old", ROOT, PROJECTS),
            prefix=small if IS_ROOT else (),
        )
        nodes.add("--node-name=other", environment=with_paths(sites / "other", ROOT, PROJECTS))
        nodes.add("--node-name=bare", environment=with_paths(sites / "bare", ROOT, PROJECTS))
        yield nodes


class OnCluster(Command):
    """Runs commands of outer experiments on the cluster, from a folder with nothing in it.

    Ray puts the current folder of the driver before the path of the workers.
    """

    address: str
    folder: Path

    def start(self, *words, cwd=None):
        return super().start(*words, f"ray.address={self.address}", cwd=self.folder)


@pytest.fixture
def on_cluster(cluster, command, tmp_path):
    made = OnCluster(command.home, command.ray_folder, {**cluster.environment, "COLUMNS": "180"})
    made.address, made.folder = cluster.address, tmp_path
    return made


def rows(finished):
    """The cells of the table by the name of the node."""
    table = [line.strip("\u2502 ").split("\u2502") for line in finished.text.splitlines()]
    cells = [[cell.strip() for cell in row] for row in table if len(row) > 5]
    return {row[0].lstrip("\u2717! ").split()[0]: row[1:] for row in cells}


def runs(database):
    return database.runs.count_documents({})


def test_all_is_right(on_cluster, database):
    before = runs(database)
    finished = on_cluster("curve_outer", "check", *SWEEP, ON_RIGHT_NODES)
    assert finished.code == 0, finished.text
    assert "3 of 6 nodes can run the trials." in finished.out
    assert "Mistakes" not in finished.out
    assert "Notes" not in finished.out
    found = rows(finished)
    for name in ("head", "right", "lacking"):
        *versions, experiment, reached, disk, clock = found[name]
        assert versions[1:] == found["this"][1:5], "other versions than the driver's"
        assert (experiment, reached, clock) == ("ok", "ok", "+0.0 s")
        assert disk.endswith(" GB")
    # Nodes without room for trials are not asked about them.
    assert [found[name][5] for name in ("old", "other", "bare")] == ["no trials"] * 3
    assert found["bare"][4] == "missing"
    assert runs(database) == before


def test_what_is_wrong_is_said_of_all_nodes_at_once(on_cluster, database):
    before = runs(database)
    finished = on_cluster("lacking_outer", "check", *LACKING)
    assert finished.code == 2
    assert "Not every node can run the trials." in finished.out
    mistakes = finished.out.partition("Mistakes:")[2]
    assert "- old: Sacred 0.8.6 there, 0.8.7 on the driver; install sacred==0.8.7 th" in mistakes
    assert "- other: sacred_ray_ingredient 0.0.9 there, 0.1.0 on the driver" in mistakes
    assert "- bare: sacred_ray_ingredient is not installed there" in mistakes
    assert "- lacking: The inner experiment lacking_inner:lacking_ex cannot be imported" in mistakes
    assert "No module named 'the_library'" in mistakes
    assert ("- old: less than 100 MB free there" in mistakes) == IS_ROOT
    assert "of another time" not in mistakes
    found = rows(finished)
    assert found["right"][5] == "ok"
    assert found["lacking"][5] == "\u2717 not found"
    assert runs(database) == before


def test_a_sweep_does_not_begin_where_trials_would_fail(on_cluster, last_sweep):
    finished = on_cluster("lacking_outer", *LACKING, ON_RIGHT_NODES)
    assert finished.code == 2
    assert "Not every node can run the trials, so that none was started." in finished.err
    assert "- lacking: The inner experiment lacking_inner:lacking_ex cannot" in finished.err
    assert set(rows(finished)) & {"head", "right", "old", "bare"} == set()
    sweep = last_sweep()
    assert (sweep.outer["status"], sweep.trials) == ("FAILED", [])


@pytest.mark.parametrize("engine", ["direct", pytest.param("tune", marks=pytest.mark.long)])
def test_a_sweep_runs_where_all_is_right_and_says_nothing(on_cluster, last_sweep, engine):
    finished = on_cluster("curve_outer", *SWEEP, ON_RIGHT_NODES, f"ray.engine={engine}")
    assert finished.code == 0, finished.text
    assert "Notes" not in finished.out
    assert "CPU/GPU" not in finished.out
    assert last_sweep().statuses == ["COMPLETED"] * 3


@pytest.mark.long
def test_a_node_that_does_not_reach_the_database_is_noted(on_cluster, home):
    """It lacks the variable with the address, which has the password in it."""
    uri = mongo.EmbeddedServer(home / ".sacred_ray").uri_with_password()
    password = uri.partition("@")[0].rpartition(":")[2]
    on_cluster.environment["SACRED_MONGO_URL"] = uri
    finished = on_cluster("curve_outer", "check", *SWEEP, ON_RIGHT_NODES)
    assert finished.code == 0, finished.text
    note = finished.out.partition("Notes:")[2]
    assert "- head (head), lacking, right: the MongoDB at 127.0.0.1:" in note
    assert "environment variable SACRED_MONGO_URL" in note
    assert "what trials record comes through the driver, and later" in note
    assert password not in finished.text
    assert rows(finished)["right"][6] == "! not reached"


@pytest.mark.long
def test_a_local_ray_is_one_node(command, database):
    before = runs(database)
    finished = command("curve_outer", "check", *SWEEP)
    assert finished.code == 0, finished.text
    assert "1 of 1 nodes can run the trials." in finished.out
    assert runs(database) == before


def test_a_mistake_in_the_configuration_is_found_first(command):
    finished = command("curve_outer", "check", "with", "ray.search_space.qualty=[1]")
    assert finished.code == 2
    assert "did you mean 'quality'?" in finished.err
    assert "node" not in finished.out


@pytest.mark.long
def test_a_node_that_joins_later_and_cannot_import_the_experiment_is_left_out(
    cluster, on_cluster, last_sweep, tmp_path
):
    process, mark = on_cluster.start(
        "lacking_outer",
        "with",
        "ray.search_space.point=[1, 2, 3]",
        f"lacking_ex.wait_in={tmp_path}",
        "ray.resources_per_trial.has_it=0.6",
    )
    while not list(tmp_path.glob("begun-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    code = with_paths(ROOT, PROJECTS)
    late = cluster.add(
        "--node-name=late", resources={"has_it": 1}, environment={**code, "LACKS_THE_LIBRARY": "1"}
    )
    try:
        told = ""
        while not told.startswith("Note: no trials run on the node"):
            told = process.stdout.readline()
            assert told, process.stderr.read()
        (tmp_path / "go").touch()
        finished = on_cluster.finish(process, mark)
    finally:
        late.kill()
    assert "No module named 'the_library'" in told
    assert finished.code == 0, finished.text
    assert "Note: no trials" not in finished.out
    assert last_sweep().statuses == ["COMPLETED"] * 3
