"""Which process a run belongs to, and whether that still lives."""

import json
import os
import subprocess
import sys
import time

import pytest

from sacred_ray_ingredient.record import processes
from sacred_ray_ingredient.record.processes import is_here, lives, this_process


def test_this_process_lives_here():
    assert is_here(this_process())
    assert lives(this_process())
    assert this_process()["pid"] == os.getpid()


def test_a_process_of_another_machine_is_not_here():
    assert not is_here({**this_process(), "host": "elsewhere.example"})
    assert not is_here({})


def test_another_process_lives_until_it_is_dead():
    program = (
        "import json, time\n"
        "from sacred_ray_ingredient.record.processes import this_process\n"
        "print(json.dumps(this_process()), flush=True)\n"
        "time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        described = json.loads(child.stdout.readline())
        assert is_here(described)
        assert lives(described)
    finally:
        child.kill()
        child.stdout.close()
    # Nobody has asked for its exit status yet: it has its number, and is dead.
    deadline = time.monotonic() + 20
    while lives(described) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lives(described)
    child.wait(30)
    assert not lives(described)


def test_a_later_process_with_the_same_number_is_another_one():
    boot, _, ticks = this_process()["started"].partition(":")
    assert not lives({**this_process(), "started": f"{boot}:{int(ticks) - 1}"})
    assert not lives({**this_process(), "started": f"another-boot:{ticks}"})


@pytest.mark.parametrize("pid", [None, "x", [], 2**22 + 1, 2**80])
def test_what_is_no_process_is_dead(pid):
    assert not lives({**this_process(), "pid": pid})
    assert not lives({})


def test_where_starts_cannot_be_read_the_number_counts(monkeypatch):
    monkeypatch.setattr(processes, "_start_of", lambda pid: None)
    assert lives({**this_process(), "started": "unknown"})


def test_a_process_of_another_user_lives(monkeypatch):
    def refuse(pid, signal):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    assert lives(this_process())
