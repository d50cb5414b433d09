"""The batch script for Slurm, in real jobs on two nodes of a real Slurm."""

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.harness import PASSWORD, PROJECTS, QUOTED, ROOT, end_marked, marked_processes
from tests.integration.one_machine_slurm import NODES, Slurm, one_machine_slurm

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="Slurm starts jobs for root only"),
]

MEMORY_MB = 1200
GRID = "ray.search_space.k=[0, 1, 2, 3, 4, 5]"
INTRUDER = """
import sys
import ray
ray.init(sys.argv[1])
sys.exit("It came in.")
"""


def what_another_user_sees(address):
    """Connect to Ray with another token, as all users of a machine can try."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTRUDER, address],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:  # Ray itself tries it again and again
        return next(line for line in process.stderr if "InvalidAuthToken" in line or "came" in line)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def slurm():
    with one_machine_slurm() as running:
        yield running


class Jobs:
    """Jobs of the batch script, as a user submits them from the folder of a project."""

    def __init__(self, slurm: Slurm, folder: Path, ray_folder: Path, url: str) -> None:
        self.slurm = slurm
        self.ray_folder = ray_folder
        self.mark = uuid.uuid4().hex
        self.output = folder / "job.out"
        self.ends = folder / "ends"
        self.ends.mkdir()
        secret = folder / "url"
        secret.touch(0o600)
        secret.write_text(url)
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{PROJECTS}",
            "SACRED_RAY_HOME": str(folder),
            "SACRED_RAY_TEST_MARK": self.mark,
            "SACRED_MONGO_URL_FILE": str(secret),
            "RAY_TMPDIR": str(ray_folder),
        }

    def submit(self, *words: str, nodes: int = 2, **environment: str) -> str:
        return self.slurm.submit(
            {**self.environment, **environment},
            f"--nodes={nodes}", "--cpus-per-task=1", f"--mem={MEMORY_MB}", "--time=5",
            f"--output={self.output}",
            str(ROOT / "cluster_configs" / "slurm.sbatch"),
            "python", "-m", "slurm_outer", *words,
        )  # fmt: skip

    def sweep(self, sleep_s: float, **environment: str) -> str:
        ends = f"slurm_inner.ends_folder={self.ends}"
        return self.submit("with", GRID, f"slurm_inner.sleep_s={sleep_s}", ends, **environment)

    def processes(self, name: str) -> list[str]:
        return [line for line in marked_processes(self.mark).values() if name in line]

    def check_nothing_is_left(self) -> None:
        deadline = time.monotonic() + 20
        while marked_processes(self.mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert marked_processes(self.mark) == {}
        assert list(self.ray_folder.glob("ray-*")) == []

    def times_at_the_end(self) -> dict[str, int]:
        return {file.name: len(file.read_text().splitlines()) for file in self.ends.iterdir()}


@pytest.fixture
def ada(database_of_ada):
    return database_of_ada


@pytest.fixture
def jobs(slurm, ada, tmp_path, ray_folder):
    port, _ = ada
    made = Jobs(slurm, tmp_path, ray_folder, f"mongodb://ada:{QUOTED}@127.0.0.1:{port}/adas")
    yield made
    end_marked(made.mark)


@pytest.fixture
def trials(ada):
    """Return a function that reads the trials in the database, attempt by attempt."""
    _, database = ada

    def read(**query):
        wanted = {"meta.sweep.trial_index": {"$exists": True}, **query}
        order = [("meta.sweep.trial_index", 1), ("meta.sweep.attempt", 1)]
        return list(database.runs.find(wanted, sort=order))

    return read


@pytest.fixture
def until(jobs, trials):
    """Return a function that waits until the database has so many trials of a status."""

    def wait(status, count):
        deadline = time.monotonic() + 120
        while len(trials(status=status)) < count:
            assert time.monotonic() < deadline, jobs.output.read_text()
            time.sleep(0.1)

    return wait


def check_whole(found):
    """Each trial came to its end once, and those that were interrupted ran again."""
    ends = Counter(t["config"]["k"] for t in found if t["status"] == "COMPLETED")
    assert ends == dict.fromkeys(range(6), 1)
    assert {trial["status"] for trial in found} <= {"COMPLETED", "INTERRUPTED"}


def test_a_job_runs_a_sweep_on_all_its_nodes(slurm, jobs, trials, until):
    job = jobs.sweep(sleep_s=3)
    until("RUNNING", 2)
    folders = list(jobs.ray_folder.glob("ray-*"))
    assert len(folders) == 3  # of the script itself and of each node
    for folder in folders:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
    raylets = jobs.processes("raylet/raylet")
    assert len(raylets) == 2
    for line in raylets:
        assert ",CPU,1," in line
        assert f"memory,{MEMORY_MB * 2**20 * 7 // 10}," in line
    (address,) = {word for line in raylets for word in line.split() if "--gcs-address=" in word}
    assert "InvalidAuthToken" in what_another_user_sees(address.partition("=")[2])
    shown = slurm.ended(job)
    assert (shown["JobState"], shown["ExitCode"]) == ("COMPLETED", "0:0"), jobs.output.read_text()
    found = trials()
    check_whole(found)
    where = {trial["info"]["slurm"]["node"]: trial["info"]["slurm"]["raylet"] for trial in found}
    assert sorted(where) == list(NODES)
    assert len(set(where.values())) == 2
    jobs.check_nothing_is_left()
    script = slurm.run("scontrol", "write", "batch_script", job, "-")
    for text in (jobs.output.read_text(), script, str(shown)):
        assert PASSWORD not in text
        assert QUOTED not in text


def test_a_job_whose_time_is_up_ends_clean_and_a_second_one_goes_on(slurm, jobs, trials, until):
    job = jobs.sweep(sleep_s=4)
    until("COMPLETED", 2)
    until("RUNNING", 2)
    # What Slurm sends two minutes before the end of a job; the shortest limit is a minute.
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    shown = slurm.ended(job)
    assert (shown["JobState"], shown["ExitCode"]) == ("FAILED", "143:0"), jobs.output.read_text()
    jobs.check_nothing_is_left()
    first = trials()
    assert {trial["status"] for trial in first} == {"COMPLETED", "INTERRUPTED"}
    interrupted = [trial for trial in first if trial["status"] == "INTERRUPTED"]
    assert {t["info"]["sweep"]["stop_reason"] for t in interrupted} == {"The user ended the sweep."}
    second = jobs.submit("resume", "last", nodes=1)
    shown = slurm.ended(second)
    assert (shown["JobState"], shown["ExitCode"]) == ("COMPLETED", "0:0"), jobs.output.read_text()
    jobs.check_nothing_is_left()
    found = trials()
    check_whole(found)
    assert len(found) == 6 + len(interrupted)
    assert jobs.times_at_the_end() == {str(k): 1 for k in range(6)}


def test_a_job_that_is_queued_again_goes_on_with_its_own_sweep(slurm, jobs, trials, until, ada):
    job = jobs.sweep(sleep_s=4, REQUEUE="1")
    until("RUNNING", 2)
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    shown = slurm.ended(job, "PENDING")
    assert shown["Restarts"] == "1"
    jobs.check_nothing_is_left()
    assert trials(status="RUNNING") == []
    # Another sweep of the same experiment, in the meantime: "last" would be wrong.
    _, database = ada
    (outer,) = database.runs.find({"omniboard.tags": "sweep"})
    later = {**outer, "_id": 1000, "start_time": outer["stop_time"]}
    sweep = {**outer["meta"]["sweep"], "sweep_id": "sweep-0"}
    later["meta"] = {**outer["meta"], "sweep": sweep, "record": {"journal": "of the later one"}}
    database.runs.insert_one(later)
    slurm.run("scontrol", "update", f"jobid={job}", "starttime=now")
    shown = slurm.ended(job)
    assert (shown["JobState"], shown["ExitCode"]) == ("COMPLETED", "0:0"), jobs.output.read_text()
    jobs.check_nothing_is_left()
    check_whole(trials())
    assert {t["meta"]["sweep"]["sweep_id"] for t in trials()} == {
        outer["meta"]["sweep"]["sweep_id"]
    }
    assert jobs.times_at_the_end() == {str(k): 1 for k in range(6)}
