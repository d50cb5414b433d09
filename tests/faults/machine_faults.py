"""Faults of the machine: a full disk, a clock that is set back."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from pathlib import Path

from tests.faults.ground_truth import Comparison
from tests.faults.servers import Deployment
from tests.faults.sweeps import Plan, Scene, note_exit
from tests.faults.table import Row

_LIBRARY = Path(__file__).with_name("set_back.c")
_BACK_S = 2 * 3600


def disk_full(full: bool) -> Row:
    """Let the disk of the journals be full from the middle of the sweep on."""
    row = Row("journal disk full", tries=1)
    with Deployment() as deployment, Scene(deployment, Plan(trials=6, steps=15)) as scene:
        journals = scene.home / ".sacred_ray" / "journals"
        journals.mkdir(parents=True)
        words = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "sacred-ray-faults"]
        mounted = subprocess.run([*words, str(journals)], capture_output=True, text=True)
        if mounted.returncode:
            return Row(row.fault, skipped=f"no tmpfs can be mounted ({mounted.stderr.strip()})")
        try:
            started = scene.start_sweep()
            scene.wait_until_logging(started)
            used = _used(journals)
            while started.runs:
                _fill(journals / "ballast")  # again: a journal that is deleted makes room
                time.sleep(0.05)
            finished = started.ending.result()
        finally:
            subprocess.run(["umount", "--lazy", str(journals)], check=True)
        result = scene.compare()
        note_exit(result, finished)
        if not used:
            result.problems.append(f"there was no journal in {journals}: nothing was tried")
        row.total.add(result)
    return row


def _used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _fill(path: Path) -> None:
    """Write until there is no room, to the last byte."""
    size = 65536
    with path.open("ab", buffering=0) as stream:
        while size:
            try:
                written = stream.write(b"\0" * size)
            except OSError:
                written = 0
            if written < size:
                size //= 2


def clock_set_back(full: bool) -> Row:
    """Set the clock of a sweep and its trials back by two hours while it runs.

    Only theirs: a library that is loaded into them answers when they ask for the time.
    """
    row = Row("clock set back by 2 h mid-sweep", tries=1)
    compiler = shutil.which("cc")
    if compiler is None:
        return Row(row.fault, skipped="there is no C compiler")
    with Deployment() as deployment, Scene(deployment, Plan(trials=6, steps=15)) as scene:
        library, clock = scene.folder / "set_back.so", scene.folder / "clock"
        words = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_LIBRARY)]
        subprocess.run(words, check=True, capture_output=True)
        clock.write_bytes(bytes(8))
        scene.command.environment |= {"LD_PRELOAD": str(library), "FAULT_CLOCK": str(clock)}
        started = scene.start_sweep()
        scene.wait_until_logging(started)
        time.sleep(0.5)
        with clock.open("r+b") as stream:  # the same file: the processes have it in their memory
            stream.write(struct.pack("=q", -_BACK_S))
        finished = started.ending.result()
        result = scene.compare()
        note_exit(result, finished)
        _check_that_it_went_back(result, scene)
        row.total.add(result)
    return row


def _check_that_it_went_back(result: Comparison, scene: Scene) -> None:
    """Make sure from the record itself that the fault took place."""
    with scene.deployment.client() as client:
        query = {"meta.sweep.trial_index": {"$exists": True}}
        begun = sorted(run["start_time"] for run in client[scene.name].runs.find(query))
    if not begun or (begun[-1] - begun[0]).total_seconds() < _BACK_S / 2:
        result.problems.append("the clock of the trials was not set back: nothing was tried")
