"""The batch script for Slurm, with doubles of the programs that it calls."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "cluster_configs" / "slurm.sbatch"
SWEEP = "sweep-0123456789"
# What stands for each program; all of them note how they were called.
NOTE = r"""#!/usr/bin/env bash
words="$*"
echo "${0##*/} ${words//$'\n'/ }" >>"$CALLS"
"""
DOUBLES = {
    "ray": "",
    "scancel": 'kill "$(<"$CALLS.srun")"',
    "scontrol": '[[ $1 != show ]] || printf "n1\\nn2\\n"',
    # The nodes run until they are ended, and get the token.
    "srun": 'cat >"$CALLS.token"; echo $$ >"$CALLS.srun"; trap "exit 0" TERM; '
    "while :; do sleep 0.05; done",
    # Of the script's own two calls the first asks for an address and the second waits for nodes.
    "python": '[[ $2 == *"print(ip"* ]] && echo 192.0.2.7 20001 20002 && exit; exit 0',
    "sweep": 'env >"$CALLS.env"; trap "exit ${ON_TERM:-143}" TERM; '
    'for _ in $(seq "${TICKS:-1}"); do sleep 0.05; done; exit "${CODE:-0}"',
}


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the script as Slurm does."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in DOUBLES.items():
        (programs / name).write_text(f"{NOTE}{text}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "ray").mkdir()
    started = []

    def run(*words, **environment):
        output = (tmp_path / "job.out").open("ab")
        known = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "RAY", "SACRED"))
        }
        job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "RAY_TMPDIR": str(tmp_path / "ray")}
        process = subprocess.Popen(
            ["bash", str(SCRIPT), *words],
            env={
                **known,
                **job,
                "HOME": str(tmp_path / "home"),
                "PATH": f"{programs}:{os.environ['PATH']}",
                "CALLS": str(tmp_path / "calls"),
                **environment,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:  # with what a script that failed has left
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def calls(tmp_path):
    """Return a function that reads what was called, by the name of the program."""

    def read(program):
        noted = tmp_path / "calls"
        lines = noted.read_text().splitlines() if noted.exists() else []
        return [line for line in lines if line.split()[0] == program]

    return read


@pytest.mark.parametrize(
    ("words", "called"),
    [
        ("with small k=2", "with ray.address=192.0.2.7:20001 small k=2"),
        ("-m db:1:x with small", "-m db:1:x with ray.address=192.0.2.7:20001 small"),
        ("resume last", "resume last with ray.address=192.0.2.7:20001"),
        ("with ray.address=auto", "with ray.address=auto"),
    ],
)
def test_the_command_gets_the_address_of_the_cluster(start, calls, words, called):
    assert start("sweep", *words.split()).wait(timeout=30) == 0
    assert calls("sweep") == [f"sweep {called}"]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_of_the_job_is_that_of_the_sweep(start, code):
    assert start("sweep", "with", "x=1", CODE=str(code)).wait(timeout=30) == code


def test_ray_asks_for_a_token_that_only_the_nodes_know(start, calls, tmp_path):
    assert start("sweep", "with", "x=1", RAY_AUTH_TOKEN="mine").wait(timeout=30) == 0
    token = (tmp_path / "calls.token").read_text()
    assert len(token) == 64
    seen = seen_by_the_sweep(tmp_path)
    assert {"RAY_AUTH_MODE=token", "RAY_ADDRESS=192.0.2.7:20001"} <= set(seen)
    assert not [line for line in seen if line.startswith("RAY_AUTH_TOKEN=") or token in line]
    assert token not in "".join(calls("srun"))
    assert list((tmp_path / "ray").iterdir()) == []  # with the token


def seen_by_the_sweep(folder):
    return (folder / "calls.env").read_text().splitlines()


def _end(process, calls):
    deadline = time.monotonic() + 30
    while not calls("sweep"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)  # until the double has set its trap
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=30)


def test_the_signal_before_the_time_limit_ends_the_sweep_and_then_ray(start, calls, tmp_path):
    assert _end(start("sweep", "with", "x=1", TICKS="400"), calls) == 143
    assert calls("scancel") == ["scancel --signal=TERM 7.0"]
    assert not [line for line in calls("scontrol") if "requeue" in line]
    assert list((tmp_path / "ray").iterdir()) == []


@pytest.mark.parametrize(("on_term", "queued"), [("143", 1), ("0", 0), ("1", 0)])
def test_the_job_is_queued_again_only_if_the_sweep_is_not_done(start, calls, on_term, queued):
    process = start("sweep", "with", "x=1", TICKS="400", REQUEUE="1", ON_TERM=on_term)
    assert _end(process, calls) == int(on_term)
    assert calls("scontrol").count("scontrol requeue 7") == queued


@pytest.mark.parametrize(
    ("announced", "words", "called"),
    [
        (f"{SWEEP} (small): 6 trials of inner", "with x=1", f"with ray.resume={SWEEP} x=1"),
        (f"{SWEEP} goes on: 3 trials finished.", "resume last with", f"resume {SWEEP} with"),
        (f"The driver of {SWEEP} died", "with x=1", "with x=1"),
        ("", "with x=1", "with x=1"),
    ],
)
def test_a_job_that_was_queued_again_goes_on_with_what_it_announced(
    start, calls, tmp_path, announced, words, called
):
    (tmp_path / "job.out").write_text(f"something else\n{announced}\n")
    words = [*words.split(), "ray.address=auto"]
    assert start("sweep", *words, SLURM_RESTART_COUNT="1").wait(timeout=30) == 0
    assert calls("sweep") == [f"sweep {called} ray.address=auto"]


def test_only_the_first_sweep_of_the_job_counts(start, calls, tmp_path):
    (tmp_path / "job.out").write_text(f"{SWEEP} (a): 6 trials\nsweep-9999999999 (b): 6 trials\n")
    assert start("sweep", "with", SLURM_RESTART_COUNT="2").wait(timeout=30) == 0
    assert f"ray.resume={SWEEP}" in calls("sweep")[0]


@pytest.mark.parametrize("name", ["HOME", "SACRED_MONGO_URL_FILE"])
def test_the_url_of_the_database_comes_from_a_file_that_nobody_else_may_read(start, tmp_path, name):
    file = tmp_path / ".sacred_mongo_url"
    file.write_text("mongodb://ada:secret@db/x\n")
    file.chmod(0o640)
    where = {name: str(tmp_path if name == "HOME" else file)}
    assert start("sweep", "with", **where).wait(timeout=30) == 2
    assert f"others may read {file}" in (tmp_path / "job.out").read_text()
    file.chmod(0o600)
    assert start("sweep", "with", **where).wait(timeout=30) == 0
    assert "SACRED_MONGO_URL=mongodb://ada:secret@db/x" in seen_by_the_sweep(tmp_path)


def test_a_url_in_the_environment_counts_more_than_the_usual_file(start, tmp_path):
    (tmp_path / ".sacred_mongo_url").write_text("mongodb://db/file")
    job = start("sweep", "with", HOME=str(tmp_path), SACRED_MONGO_URL="mongodb://db/environment")
    assert job.wait(timeout=30) == 0
    assert "SACRED_MONGO_URL=mongodb://db/environment" in seen_by_the_sweep(tmp_path)


@pytest.mark.parametrize(
    ("words", "environment", "sentence"),
    [
        ([], {}, "give the command of a sweep"),
        (["sweep"], {"SLURM_JOB_ID": ""}, "run this with sbatch"),
        (["sweep"], {"PATH": "/usr/bin:/bin"}, "ray and python are not on the PATH"),
    ],
)
def test_what_is_wrong_is_said(start, tmp_path, words, environment, sentence):
    assert start(*words, **environment).wait(timeout=30) == 2
    assert sentence in (tmp_path / "job.out").read_text()


def test_nodes_on_which_ray_does_not_start_end_the_job(start, calls, tmp_path):
    program = tmp_path / "bin" / "srun"
    program.write_text(f"{NOTE}echo no room on n2 >&2; exit 1\n")
    python = tmp_path / "bin" / "python"
    python.write_text(python.read_text().replace("exit 0", "exec sleep 20"))
    assert start("sweep", "with").wait(timeout=15) == 1
    said = (tmp_path / "job.out").read_text()
    assert "no room on n2" in said
    assert "Ray was not started on all nodes" in said
    assert calls("sweep") == []
