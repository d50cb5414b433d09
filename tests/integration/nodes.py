"""Real Ray nodes on one machine: ``ray start`` processes, each ended by its own process group."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_START_S = 60.0
_RAY = str(Path(sys.executable).with_name("ray"))


@dataclass
class Node:
    """One node: the process ``ray start --block`` and all that it has started."""

    process: subprocess.Popen[bytes]
    log: Path
    name: str

    def kill(self) -> None:
        """End the whole node at once, as when its power fails."""
        for pid in _session(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)

    def text(self) -> str:
        """What ``ray start`` has printed."""
        return self.log.read_text(errors="replace")


@dataclass
class Nodes:
    """A cluster of such nodes, in a folder of its own.

    Each of them, and what connects to it, must have ``environment``: a token of Ray's.
    ``prefix`` goes before a node's command, as ``ip netns exec NAME``.
    """

    folder: Path
    port: int
    ip: str = "127.0.0.1"
    environment: dict[str, str] = field(
        default_factory=lambda: {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    )
    nodes: list[Node] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    def head(self, *words: str, cpus: int = 1, **options: object) -> Node:
        """Start the head node."""
        own = ["--head", f"--port={self.port}", "--include-dashboard=false", *words]
        return self._start("head", own, cpus, **options)

    def add(self, *words: str, cpus: int = 1, **options: object) -> Node:
        """Start a further node and wait until the cluster has it."""
        return self._start(
            f"node{len(self.nodes)}", [f"--address={self.address}", *words], cpus, **options
        )

    def _start(
        self,
        name: str,
        words: Sequence[str],
        cpus: int,
        prefix: Sequence[str] = (),
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> Node:
        log = self.folder / f"{name}.log"
        empty = self.folder / "elsewhere"
        empty.mkdir(exist_ok=True)
        temp_folder = ["--temp-dir", str(self.folder / "ray")] if "--head" in words else []
        command = [
            *prefix, _RAY, "start", "--block", f"--num-cpus={cpus}", "--disable-usage-stats",
            "--object-store-memory=100000000",
            # Of nodes on one machine each would give its workers the same ports.
            "--min-worker-port=0", "--max-worker-port=0",
            f"--resources={json.dumps({name: 1, **(resources or {})})}",
            *temp_folder, *words,
        ]  # fmt: skip
        known = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SACRED_RAY_HOME")}
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=cwd or empty,
                env={**known, **self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        node = Node(process, log, name)
        self.nodes.append(node)
        deadline = time.monotonic() + _START_S
        while "Ray runtime started" not in node.text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{name} did not start:\n{node.text()}")
            time.sleep(0.1)
        return node

    def ask(self, expression: str) -> Any:
        """Evaluate an expression with ``ray`` in a process that is connected to the cluster."""
        script = (
            "import json, ray\n"
            f"ray.init({self.address!r}, logging_level='ERROR', log_to_driver=False)\n"
            f"print(json.dumps({expression}))"
        )
        finished = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(finished.stdout.splitlines()[-1])

    def close(self) -> None:
        """End all nodes, the head last."""
        for node in reversed(self.nodes):
            node.kill()


@contextlib.contextmanager
def ray_nodes(ip: str = "127.0.0.1") -> Iterator[Nodes]:
    """Give a cluster without nodes; what is started in it is ended afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sri-n-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nodes = Nodes(folder, port, ip)
    try:
        yield nodes
    finally:
        nodes.close()
        shutil.rmtree(folder, ignore_errors=True)


def _session(leader: int) -> list[int]:
    """Return the processes of a session, its leader first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) == leader:
                    found.append(int(entry.name))
    return sorted(found)
