"""Commands as a user types them, and the documents that they leave.

Each command runs as a process of its own with a mark in its environment, which all that it
starts inherits: after the command, nothing with this mark may be left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MARK = "SACRED_RAY_TEST_MARK"
ROOT = Path(__file__).parent.parent.parent
PROJECTS = ROOT / "tests" / "projects"


@dataclass
class Finished:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Command:
    """Runs commands of outer experiments within a project folder of the tests."""

    home: Path
    ray_folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *words: str, cwd: Path | None = None) -> tuple[subprocess.Popen[str], str]:
        """Start ``python -m WORDS...`` in a session of its own, as a terminal does."""
        mark = uuid.uuid4().hex
        paths = [str(ROOT), str(PROJECTS)]
        environment = {
            **os.environ,
            "SACRED_RAY_HOME": str(self.home),
            "RAY_TMPDIR": str(self.ray_folder),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            _MARK: mark,
            **self.environment,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=cwd or ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return process, mark

    def finish(self, process: subprocess.Popen[str], mark: str, timeout: float = 240) -> Finished:
        """Wait for a started command and make sure that it leaves no process behind."""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        left = _wait_for_none(mark)
        assert not left, f"left behind: {left}"
        return Finished(process.returncode, out, err)

    def __call__(self, *words: str, cwd: Path | None = None) -> Finished:
        """Run ``python -m WORDS...`` to its end."""
        return self.finish(*self.start(*words, cwd=cwd))


def _wait_for_none(mark: str, patience_s: float = 20.0) -> list[str]:
    deadline = time.monotonic() + patience_s
    while True:
        left = _marked_processes(mark)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _marked_processes(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, PermissionError):
            continue
    return found


@dataclass
class Sweep:
    """The documents of one sweep."""

    outer: dict[str, Any]
    trials: list[dict[str, Any]]

    def configs(self, name: str) -> list[Any]:
        """Return a config entry of every trial, by trial index."""
        return [trial["config"][name] for trial in self.trials]

    @property
    def results(self) -> list[Any]:
        return [trial.get("result") for trial in self.trials]

    @property
    def statuses(self) -> list[str]:
        return [trial["status"] for trial in self.trials]
