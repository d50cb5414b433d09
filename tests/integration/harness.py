"""Commands as a user types them, and the documents that they leave.

Each command runs as a process of its own with a mark in its environment, which all that it
starts inherits: after the command, nothing with this mark may be left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymongo

from sacred_ray_ingredient.mongo import find_mongod

# Of the user Ada of a server that asks for passwords; the second is how a URI has it.
PASSWORD = "marker-p@ss:word"
QUOTED = "marker-p%40ss%3Aword"
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


def end_marked(mark: str) -> list[str]:
    """End what a command that failed has left behind; return what it was."""
    left = marked_processes(mark)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(left.values())


def is_marked(pid: int, mark: str) -> bool:
    """Tell whether a process belongs to a command."""
    try:
        return f"{_MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _wait_for_none(mark: str, patience_s: float = 20.0) -> list[str]:
    deadline = time.monotonic() + patience_s
    while True:
        left = list(marked_processes(mark).values())
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def marked_processes(mark: str) -> dict[int, str]:
    """Return the command lines of a command's processes, by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and is_marked(int(folder.name), mark):
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = line.strip()
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mongod(folder: Path, *options: str, bind_ip: str = "127.0.0.1") -> Iterator[int]:
    """Run a server of the test's own, and give its port."""
    port = _free_port()
    words = ["--port", str(port), "--dbpath", str(folder), "--bind_ip", bind_ip]
    words += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", *options]
    server = subprocess.Popen([str(find_mongod()), *words], stdout=subprocess.DEVNULL)
    try:
        with pymongo.MongoClient("127.0.0.1", port) as client:
            client.admin.command("ping")
        yield port
    finally:
        server.terminate()
        server.wait()
