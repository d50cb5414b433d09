"""MongoDB servers of the fault suite's own, which it may kill, freeze and start again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from sacred_ray_ingredient.mongo.binary import find_mongod

_START_S = 60.0
_ELECTION_S = 60.0
_PORTS_TRIED = 10


def free_port() -> int:
    """Return a port that nobody listens on, outside the range that outgoing connections use.

    A server that is away for a minute has to find its port free when it comes back.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(min(20_000, low - 1000), low), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")


class Mongod:
    """One server, a child of this process.

    Parameters
    ----------
    replica_set
        Name of the set that it is a member of.
    """

    def __init__(self, replica_set: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sri-fault-db-"))
        self.replica_set = replica_set
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, the next time on the same port, and wait until it takes connections."""
        fixed = self.port
        for _ in range(_PORTS_TRIED):
            self.port = fixed or free_port()
            self.process = self._launch()
            if self._wait_for_port():
                return
            self._wait()
        log = (self.folder / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"mongod does not start on port {self.port}: {log}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._signal(signal.SIGKILL)
        self._wait()

    def freeze(self) -> None:
        """Let it keep its connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it whatever state it is in, and delete its data."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        words = [str(find_mongod(self.folder)), "--dbpath", str(data), "--port", str(self.port)]
        words += ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
        words += ["--logpath", str(self.folder / "log"), "--logappend"]
        words += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        if self.replica_set:
            words += ["--replSet", self.replica_set, "--oplogSize", "50"]
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            start_new_session=True,
        )

    def _wait_for_port(self) -> bool:
        """Tell whether it came up; False if it ended, as on a port that is taken."""
        deadline = time.monotonic() + _START_S
        while self.process is not None and self.process.poll() is None:
            if self._answers():
                return True
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.05)
        return False

    def _answers(self) -> bool:
        """Tell whether it is this server that answers, and not another one on its port."""
        import pymongo
        from pymongo.errors import PyMongoError

        try:
            with pymongo.MongoClient(
                "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=500
            ) as client:
                pid = client.admin.command("serverStatus")["pid"]
        except PyMongoError:
            return False
        return self.process is not None and pid == self.process.pid

    def _signal(self, number: int) -> None:
        if self.process is None:
            raise RuntimeError("the server was never started")
        self.process.send_signal(number)

    def _wait(self) -> None:
        if self.process is not None:
            self.process.wait(timeout=30)


class Deployment:
    """A server, or a replica set of three; ended and deleted at the end of the with block.

    Parameters
    ----------
    members
        How many servers there are.
    started
        Whether they run at the beginning.
    """

    def __init__(self, members: int = 1, started: bool = True) -> None:
        name = "faults" if members > 1 else None
        self.members = [Mongod(name) for _ in range(members)]
        self._started = started

    def __enter__(self) -> Deployment:
        try:
            if self._started:
                for member in self.members:
                    member.start()
            else:
                self.members[0].port = free_port()
            if len(self.members) > 1:
                self._initiate()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def server(self) -> Mongod:
        """The only one, or the first."""
        return self.members[0]

    def url(self, database: str) -> str:
        """Return the URI of a database."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        options = "?replicaSet=faults" if len(self.members) > 1 else ""
        return f"mongodb://{hosts}/{database}{options}"

    def client(self) -> Any:
        """Open a client of the suite's own; the caller closes it."""
        import pymongo

        return pymongo.MongoClient(
            self.url("admin"), serverSelectionTimeoutMS=30_000, readPreference="primary"
        )

    def primary(self) -> Mongod:
        """Return the member that takes writes at the moment."""
        with self.client() as client:
            client.admin.command("ping")
            port = client.primary[1]
        return next(member for member in self.members if member.port == port)

    def _initiate(self) -> None:
        import pymongo

        config = {
            "_id": "faults",
            # A set that is to be killed should not take longer than needed to notice.
            "settings": {"electionTimeoutMillis": 3000},
            "members": [
                {"_id": number, "host": f"127.0.0.1:{member.port}"}
                for number, member in enumerate(self.members)
            ],
        }
        first = self.members[0].port
        with pymongo.MongoClient("127.0.0.1", first, directConnection=True) as client:
            client.admin.command("replSetInitiate", config)
        deadline = time.monotonic() + _ELECTION_S
        with self.client() as client:
            while True:
                states = [
                    m["stateStr"] for m in client.admin.command("replSetGetStatus")["members"]
                ]
                if sorted(states) == ["PRIMARY", "SECONDARY", "SECONDARY"]:
                    return
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the replica set does not get ready: {states}")
                time.sleep(0.2)

    def _close(self) -> None:
        for member in self.members:
            member.close()
