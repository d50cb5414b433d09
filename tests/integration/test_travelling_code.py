"""The project goes along to nodes that know nothing of it, and to one that has its folder."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.integration.harness import ROOT
from tests.integration.nodes import ray_nodes

pytestmark = pytest.mark.integration
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="hides a folder from a node")
# Names of nodes, which are resources of theirs.
SAME, OTHER = "node1", "node2"

INNER = """
    import os, time
    from pathlib import Path
    from sacred import Experiment

    inner = Experiment("travelling", save_git_info=False)

    @inner.config
    def configuration():
        x = 1
        file = "data/number.txt"
        wait = None

    @inner.main
    def main(_run, x, file, wait):
        while wait is not None and not Path(wait).exists():
            time.sleep(0.05)
        import wavepack.factor
        beside = Path(__file__).parent / "beside.txt"
        _run.info["place"] = {"folder": os.getcwd(), "file": __file__}
        product = float(Path(file).read_text()) * float(beside.read_text())
        return x * wavepack.factor.FACTOR * product
"""
OUTER = """
    from wavepack.inner import inner
    from sacred_ray_ingredient import make_outer

    outer = make_outer("travelling_outer", inner)
    if __name__ == "__main__":
        outer.run_commandline()
"""
SCRIPT = "import sys; sys.path.insert(0, 'src')\n" + textwrap.dedent(OUTER)


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """A folder that one of the nodes does not have."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def project(hidden):
    """A project with a ``src`` folder, data and things that git ignores."""
    folder = hidden / "project"
    write(
        folder,
        {
            "src/wavepack/__init__.py": "",
            "src/wavepack/inner.py": INNER,
            "src/wavepack/factor.py": "FACTOR = 2\n",
            "src/wavepack/outer.py": OUTER,
            "src/wavepack/beside.txt": "5",
            "work/data/number.txt": "10",
            "start.py": SCRIPT,
            "data/number.txt": "7",
            ".gitignore": "large/\n",
            "large/x": "x",
        },
    )
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@localhost")
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "Begin"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def cluster(hidden, project):
    with ray_nodes() as nodes:
        nodes.head(cpus=0)
        nodes.add(cpus=1)
        if os.geteuid() == 0:
            hide = f'mount -t tmpfs none {hidden} && exec "$@"'
            nodes.add(cpus=1, prefix=("unshare", "-m", "sh", "-c", hide, "sh"))
        yield nodes


@pytest.fixture
def start(cluster, home, last_sweep):
    """Return a function that starts a sweep on the cluster, on one of its nodes."""

    def run(words, node, cwd, *more, path=(), engine="direct"):
        environment = {
            **os.environ,
            **cluster.environment,
            "SACRED_RAY_HOME": str(home),
            "PYTHONPATH": os.pathsep.join([*map(str, path), str(ROOT)]),
        }
        return subprocess.Popen(
            [
                *(sys.executable, *words, "with", f"ray.address={cluster.address}"),
                *(f"ray.engine={engine}", "ray.resources_per_trial.cpu=1"),
                *(f"ray.resources_per_trial.{node}=0.01", *more),
            ],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


def finished(process, last_sweep):
    out, _ = process.communicate(timeout=150)
    assert process.returncode == 0, out
    return last_sweep()


MODULE = ("-m", "wavepack.outer")


@NEEDS_ROOT
@pytest.mark.parametrize("engine", ["direct", pytest.param("tune", marks=pytest.mark.long)])
def test_a_node_without_the_files_runs_them_in_the_same_place(
    start, project, last_sweep, cluster, engine
):
    words = ["ray.search_space.x=[1, 3]"]
    path = [project / "src"]
    process = start(MODULE, OTHER, project / "work", *words, path=path, engine=engine)
    sweep = finished(process, last_sweep)
    assert sweep.results == [100, 300]
    place = sweep.trials[0]["info"]["place"]
    root = Path(place["folder"]).parent
    assert root.is_relative_to(cluster.folder)
    assert place == {"folder": f"{root}/work", "file": f"{root}/src/wavepack/inner.py"}
    assert not (root / "large").exists()
    assert not (root / ".git").exists()
    assert sweep.trials[0]["experiment"]["sources"][0][0].endswith("inner.py")


@NEEDS_ROOT
@pytest.mark.long
def test_a_script_travels_too(start, project, last_sweep):
    process = start(["start.py"], OTHER, project, "ray.search_space.x=[2]")
    assert finished(process, last_sweep).results == [140]


@NEEDS_ROOT
@pytest.mark.long
def test_code_travels_without_the_folder_that_it_is_used_in(start, project, last_sweep, hidden):
    empty = hidden / "no_project"
    empty.mkdir()
    (empty / "number.txt").write_text("1")
    words = ["ray.search_space.x=[2]", f"travelling.file={project}/data/number.txt"]
    path = [project / "src"]
    process = start(MODULE, OTHER, empty, *words, path=path)
    out, _ = process.communicate(timeout=150)
    # The module came along, and the data that no project is around of did not.
    assert "only Python modules go along to other nodes" in out
    assert last_sweep().statuses == ["FAILED"]
    assert "FileNotFoundError" in out


@pytest.mark.long
def test_the_code_is_that_of_the_start_whatever_is_edited(start, project, last_sweep, tmp_path):
    go = tmp_path / "go"
    factor = project / "src" / "wavepack" / "factor.py"
    words = ["ray.search_space.x=[1, 2]", f"travelling.wait={go}"]
    process = start(MODULE, SAME, project / "work", *words, path=[project / "src"])
    try:
        deadline = time.monotonic() + 90
        while "RUNNING" not in _statuses(last_sweep):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.2)
        factor.write_text("FACTOR = 1000\n")
        go.touch()
        sweep = finished(process, last_sweep)
    finally:
        process.kill()
        factor.write_text("FACTOR = 2\n")
    assert sweep.results == [100, 200]
    # The node has the driver's folder: what trials write stays where it is expected.
    place = {"folder": f"{project}/work", "file": f"{project}/src/wavepack/inner.py"}
    assert sweep.trials[1]["info"]["place"] == place


def _statuses(last_sweep):
    try:
        return last_sweep().statuses
    except TypeError:  # no sweep yet
        return []


def test_too_large_a_project_is_refused_before_anything_is_sent(start, project, last_sweep):
    big = project / "work" / "big.bin"
    with big.open("wb") as file:
        file.truncate(600 * 2**20)
    try:
        words = ["ray.search_space.x=[1]"]
        process = start(MODULE, SAME, project / "work", *words, path=[project / "src"])
        out, _ = process.communicate(timeout=60)
    finally:
        big.unlink()
    assert process.returncode == 2
    assert "Ray takes 512 MiB, and this is 600 MiB in" in out
    assert "the largest: work/big.bin (600 MiB)" in out
