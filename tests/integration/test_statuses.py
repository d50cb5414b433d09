"""Every end that a trial can have: status, tag, text, and the database says so in good time.

The schedulers' and the time limits' own tests are in test_schedulers, those of sweeps that end
as a whole in test_endings.
"""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.integration.harness import end_marked, is_marked

pytestmark = pytest.mark.integration

SWEEP = "status_outer"
LAST = "the last line"
DRIVER_DIED = "The driver process died before the sweep ended."
AGREES_S = 60


@contextlib.contextmanager
def _started(command, *words):
    """Start a command, of which nothing is left afterwards, whatever happens."""
    process, mark = command.start(*words)
    try:
        yield process, mark
    finally:
        end_marked(mark)
        process.communicate()


def _wait(is_so, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return found


def _pids(folder, count):
    """Wait for so many trials to be at their ending; return their processes by point."""

    def noted():
        found = {int(path.name): path.read_text().split() for path in folder.iterdir()}
        return found if len(found) >= count and all(found.values()) else None

    return {point: int(pids[0]) for point, pids in _wait(noted, "trials begin").items()}


def _text(trial):
    return "".join(trial.get("fail_trace") or [])


@pytest.mark.long
@pytest.mark.slow
def test_every_way_to_end_has_its_status_and_its_text(command, last_sweep):
    endings = ["return", "raise", "exit", "leave", "kill", "loop", "compiled"]
    words = [f"ray.search_space.ending={endings}", "ray.trial_timeout_s=12"]
    finished = command(SWEEP, "with", *words, "ray.init_kwargs.num_cpus=4")
    assert finished.code == 1, finished.text
    assert "6 of the sweep's trials did not complete." in finished.err
    sweep = last_sweep()
    assert sweep.outer["status"] == "COMPLETED"
    counts = {"COMPLETED": 1, "FAILED": 4, "TIMEOUT": 2}
    assert sweep.outer["info"]["sweep"]["counts"] == counts
    too_long = "It took longer than ray.trial_timeout_s=12."
    expected = {
        "return": ("COMPLETED", None, ""),
        "raise": ("FAILED", None, "ValueError: point 0 is a bad one"),
        "exit": ("FAILED", None, "SystemExit: 3"),
        "leave": ("FAILED", "the worker process died.", "the worker process died.\n"),
        "kill": ("FAILED", "the worker process died.", "the worker process died.\n"),
        "loop": ("TIMEOUT", too_long, ""),
        "compiled": ("TIMEOUT", too_long, ""),
    }
    for trial in sweep.trials:
        ending = trial["config"]["ending"]
        status, reason, text = expected[ending]
        assert trial["status"] == status, ending
        found = trial["info"]["sweep"].get("stop_reason")
        assert found.endswith(reason) if reason else found is None, ending
        assert text in _text(trial), ending
        assert trial["omniboard"]["tags"][-1] == "trial", ending
        assert trial["stop_time"] is not None
        if ending not in ("leave", "kill"):  # what they print last dies with them
            assert LAST in trial["captured_out"], ending
        assert "words at the beginning" in trial["captured_out"], ending
    assert finished.out.count(too_long) >= 2


@pytest.mark.long
def test_a_stop_rule_completes_a_trial_and_the_time_budget_interrupts_one(command, last_sweep):
    words = ["ray.search_space.ending=['return', 'log', 'loop']", "ray.stop.height=3"]
    words += ["ray.time_budget_s=25", "ray.init_kwargs.num_cpus=3", "ray.metric=begun"]
    finished = command(SWEEP, "with", *words)
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert sweep.outer["status"] == "COMPLETED"
    by_ending = {trial["config"]["ending"]: trial for trial in sweep.trials}
    stopped, out_of_time = by_ending["log"], by_ending["loop"]
    assert stopped["status"] == "COMPLETED"
    assert stopped["info"]["sweep"]["stop_reason"] == "stopped by ray.stop: height >= 3 at step 3"
    assert "early-stopped" in stopped["omniboard"]["tags"]
    assert out_of_time["status"] == "INTERRUPTED"
    reason = "The sweep's time, ray.time_budget_s=25, was used up."
    assert out_of_time["info"]["sweep"]["stop_reason"] == reason
    assert "early-stopped" not in out_of_time["omniboard"]["tags"]
    for trial in sweep.trials:
        assert LAST in trial["captured_out"]


@pytest.mark.slow
def test_a_killed_worker_is_failed_in_the_database_while_the_sweep_goes_on(
    command, last_sweep, database, tmp_path
):
    pids = tmp_path / "pids"
    pids.mkdir()
    words = ["ray.search_space.point=[0, 1]", "status_ex.ending=log", "status_ex.seconds=15"]
    words += [f"status_ex.marker={tmp_path}/begun", f"status_ex.pids={pids}", "ray.max_failures=1"]
    with _started(command, SWEEP, "with", *words) as (process, mark):
        victim = _pids(pids, 2)[0]
        _wait_for_recorded(database, victim)
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)

        def is_failed():
            return database.runs.find_one({"info.sweep.pid": victim, "status": "FAILED"})

        dead = _wait(is_failed, "the database agrees", AGREES_S)
        assert process.poll() is None, "the sweep was over already"
        assert time.monotonic() - killed < AGREES_S
        finished = command.finish(process, mark)
    assert finished.code == 0, finished.text
    assert "is tried again" in finished.out
    sweep = last_sweep()
    attempts = {
        (trial["config"]["point"], trial["meta"]["sweep"]["attempt"]): trial
        for trial in sweep.trials
    }
    assert {key: trial["status"] for key, trial in attempts.items()} == {
        (0, 0): "FAILED",
        (0, 1): "COMPLETED",
        (1, 0): "COMPLETED",
    }
    assert attempts[0, 0]["_id"] == dead["_id"]
    assert _text(dead) == "Trial 0 could not write its own end: the worker process died.\n"
    assert LAST in dead["captured_out"]
    assert LAST in attempts[0, 1]["captured_out"]


def _wait_for_recorded(database, pid):
    """Wait until the database has what a trial has printed."""
    query = {"info.sweep.pid": pid, "captured_out": {"$regex": LAST}}
    _wait(lambda: database.runs.find_one(query), "the output is recorded", 60)


def _memory():
    """Return how many bytes of memory there are, and how many are free."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return [int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable")]


@pytest.mark.long
@pytest.mark.skipif(_memory()[1] < 12 * 2**30, reason="needs 12 GB of free memory")
def test_a_worker_that_takes_too_much_memory_is_a_failed_trial_of_a_sweep_that_goes_on(
    command, last_sweep
):
    total, free = _memory()
    command.environment["RAY_memory_usage_threshold"] = f"{1 - (free - 3 * 2**30) / total:.4f}"
    command.environment["RAY_memory_monitor_refresh_ms"] = "100"
    words = ["ray.search_space.ending=['allocate', 'return', 'raise']", "status_ex.gigabytes=8"]
    finished = command(SWEEP, "with", *words)
    assert finished.code == 1, finished.text
    sweep = last_sweep()
    assert sweep.outer["status"] == "COMPLETED"
    by_ending = {trial["config"]["ending"]: trial for trial in sweep.trials}
    assert by_ending["return"]["status"] == "COMPLETED"
    assert "ValueError" in _text(by_ending["raise"])
    killed = by_ending["allocate"]
    assert killed["status"] == "FAILED"
    pattern = (
        r"Trial 0 could not write its own end: the worker process died: out of memory "
        r"\([\d.]+ GB of the [\d.]+ GB of its node were in use\)\."
    )
    assert re.fullmatch(pattern, killed["info"]["sweep"]["stop_reason"])
    assert re.fullmatch(pattern + "\n", _text(killed))
    assert "FAILED  the worker process died: out of memory" in finished.out


@pytest.mark.slow
@pytest.mark.parametrize("following", [pytest.param("a sweep", marks=pytest.mark.long), "sync"])
def test_the_next_command_says_what_a_killed_driver_could_not(
    command, database, home, tmp_path, following
):
    words = ["ray.search_space.point=[0, 1, 2]", "status_ex.ending=log", "status_ex.seconds=60"]
    with _started(command, SWEEP, "with", *words, f"status_ex.pids={tmp_path}") as (process, mark):
        workers = list(_pids(tmp_path, 2).values())
        for worker in workers:
            _wait_for_recorded(database, worker)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _wait(lambda: not any(is_marked(pid, mark) for pid in workers), "the workers end", 30)
    found = database.runs.find_one({"info.sweep.pid": workers[0]})
    sweep_id = found["meta"]["sweep"]["sweep_id"]
    if following == "sync":
        after = command("sacred_ray_ingredient", "sync")
    else:
        after = command(SWEEP, "with", "ray.search_space.point=[5]")
        assert f"The driver of {sweep_id} died" in after.err or "journals with" in after.text
    assert after.code == 0, after.text
    runs = list(database.runs.find({"meta.sweep.sweep_id": sweep_id}))
    assert len(runs) == 3
    for run in runs:
        assert run["status"] == "INTERRUPTED"
        assert run["stop_time"] is not None
        assert run["info"]["sweep"]["stop_reason"] == DRIVER_DIED
        assert _text(run) == f"{DRIVER_DIED}\n"
    for run in runs:
        if "trial_index" in run["meta"]["sweep"]:
            assert run["info"]["sweep"]["pid"] in workers
            assert LAST in run["captured_out"]
    assert not list((home / ".sacred_ray" / "journals").rglob(f"{sweep_id}/*"))
