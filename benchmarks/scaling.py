"""Many workers, far away, and one MongoDB: what docs/scaling.md says, tried.

Run, from the root of the repository::

    python -m benchmarks.scaling --workers 200 --trial-s 1 --trials 10 --delay-ms 10

Workers are simulated: each is a thread with a client, connections, journals and a shipping thread
of its own, made by the code of this package that a worker process runs, in a few processes. Its
trials sleep, log five values and are recorded under reserved run ids as those of the ``direct``
engine are. Between them and a private mongod is a proxy that delays what passes, in each direction.
What the driver, Ray and the network cost is not in it.

Measured are the trials that reach the database per second, from the start of the first trial until
all are complete there; the requests of a trial, and how long they take as a worker sees it; the
connections; the CPU time of mongod and of the workers; and the bytes of documents and of indexes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pymongo

from benchmarks.figures import BenchmarkFailed, Row, Size, text_table
from benchmarks.noop import METRIC, POINTS
from sacred_ray_ingredient.mongo import MongoAddress, find_mongod
from sacred_ray_ingredient.record.target import RecordTarget, close_clients, make_indexes

ROOT = Path(__file__).resolve().parent.parent
FIGURE = "scaling"
PROCESSES = 4
_COLLECTIONS = ("runs", "metrics")
_WRITES = ("insert", "update", "bulkWrite")
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Load:
    """What is tried.

    Parameters
    ----------
    workers
        How many.
    trials
        Of each worker.
    trial_s
        How long a trial sleeps.
    delay_ms
        Of the network, in each direction.
    """

    workers: int = 200
    trials: int = 10
    trial_s: float = 1.0
    delay_ms: float = 10.0

    @property
    def total(self) -> int:
        """Number of all trials that are measured."""
        return self.workers * self.trials

    @property
    def recorded(self) -> int:
        """Number of all trials: each worker has one before, with which it finds out where it is."""
        return self.workers * (self.trials + 1)

    def text(self) -> str:
        """Say it in a few words."""
        return (
            f"{self.workers} workers, trials of {self.trial_s:g} s, {self.delay_ms:g} ms each way"
        )


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes
    ----------
    seconds : float
        From the start of the first trial until all were complete in the database.
    lag_s : float
        Part of it after the last trial had ended.
    connections : int
        The most that there were at once, without our own.
    mongod_cpu_s, workers_cpu_s : float
        CPU time.
    requests : dict
        Seconds of each request as a worker saw it, by command.
    failures : int
        How many requests failed, and were repeated.
    bytes : dict
        Of documents, of their compressed files and of indexes, by collection.
    """

    seconds: float
    lag_s: float
    connections: int
    mongod_cpu_s: float
    workers_cpu_s: float
    requests: Mapping[str, Sequence[float]]
    failures: int
    bytes: Mapping[str, tuple[int, int, int]]


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[pymongo.MongoClient]:
    """Run a mongod without users, whose own numbers can be asked for."""
    data = folder / "data"
    data.mkdir()
    log = folder / "mongod.log"
    port = _free_port()
    words = ["--port", str(port), "--dbpath", str(data), "--bind_ip", "127.0.0.1"]
    words += ["--nounixsocket", "--logpath", str(log)]
    server = subprocess.Popen([str(find_mongod()), *words], stdout=subprocess.DEVNULL)
    try:
        with pymongo.MongoClient("127.0.0.1", port) as client:
            client.admin.command("ping")
            yield client
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _module(name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module of this folder; its input and output are pipes."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]
            try:
                process.wait(timeout=_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise BenchmarkFailed(f"{' '.join(map(str, process.args[2:]))} has ended")  # type: ignore[index]
    return line


def _say(process: subprocess.Popen[str], content: Any) -> None:
    process.stdin.write(json.dumps(content) + "\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]


def try_load(load: Load) -> Outcome:
    """Let the workers run their trials, and measure.

    Parameters
    ----------
    load
        How many, and how far away.

    Raises
    ------
    BenchmarkFailed
        If a trial or a point is missing in the database in the end.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sri-", dir="/tmp")))
        client = stack.enter_context(_server(folder))
        port = int(client.address[1])  # type: ignore[index]
        own_connections = _connections(client)
        proxy = stack.enter_context(_module("scaling_proxy", str(port), str(load.delay_ms)))
        far_port = int(_line(proxy))
        ids = _reserved(port, load.recorded)
        workers = [
            {"number": number, "run_ids": list(ids[number :: load.workers])}
            for number in range(load.workers)
        ]
        processes = []
        for number in range(min(PROCESSES, load.workers)):
            process = stack.enter_context(_module("scaling_worker"))
            own = workers[number::PROCESSES]
            order = {"workers": own, "port": far_port, "trial_s": load.trial_s}
            _say(process, {**order, "folder": str(folder / "journals")})
            processes.append(process)
        for process in processes:
            _line(process)
        _wait_for(client["scaling"], load.workers)
        return _measured(load, client, processes, own_connections)


def _wait_for(database: Any, trials: int) -> None:
    """Wait until so many trials are complete; that they are is checked elsewhere."""
    deadline = time.monotonic() + _PATIENCE_S
    while database.runs.count_documents({"status": "COMPLETED"}) < trials:
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def _reserved(port: int, count: int) -> range:
    """Do what the driver does before the first trial."""
    address = MongoAddress(f"mongodb://127.0.0.1:{port}/", "scaling")
    try:
        make_indexes(address)
        ids = RecordTarget(address).reserve_ids(count)
    finally:
        close_clients()
    if ids is None:
        raise BenchmarkFailed("no run ids could be reserved")
    return ids


def _measured(
    load: Load,
    client: pymongo.MongoClient,
    processes: Sequence[subprocess.Popen[str]],
    own_connections: int,
) -> Outcome:
    database = client["scaling"]
    pid = int(client.admin.command("serverStatus")["pid"])
    cpu_s, begin = _cpu_s(pid), time.monotonic()
    for process in processes:
        _say(process, "go")
    for process in processes:
        _line(process)
    ended = time.monotonic()
    _wait_for(database, load.recorded)
    over = time.monotonic()
    cpu_s, connections = _cpu_s(pid) - cpu_s, _connections(client) - own_connections
    told = []
    for process in processes:
        _say(process, "end")
        told.append(json.loads(_line(process)))
    _check(load, database)
    requests: dict[str, list[float]] = {}
    for each in told:
        for command, seconds in each["seconds"].items():
            requests.setdefault(command, []).extend(seconds)
    client.admin.command("fsync")  # so that the files are as large as they will be
    return Outcome(
        seconds=over - begin,
        lag_s=over - ended,
        connections=connections,
        mongod_cpu_s=cpu_s,
        workers_cpu_s=sum(each["cpu_s"] for each in told),
        requests=requests,
        failures=sum(len(each["failures"]) for each in told),
        bytes={name: _bytes(database, name) for name in _COLLECTIONS},
    )


def _connections(client: pymongo.MongoClient) -> int:
    return int(client.admin.command("serverStatus")["connections"]["current"])


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _bytes(database: Any, name: str) -> tuple[int, int, int]:
    found = database.command("collStats", name)
    return int(found["size"]), int(found["storageSize"]), int(found["totalIndexSize"])


def _check(load: Load, database: Any) -> None:
    """Make sure that every trial is there, once and with all its points."""
    runs = list(database.runs.find({}, {"status": 1, "meta.sweep.trial_index": 1}))
    completed = {
        run["meta"]["sweep"]["trial_index"] for run in runs if run["status"] == "COMPLETED"
    }
    if len(runs) != load.recorded or len(completed) != load.recorded:
        raise BenchmarkFailed(
            f"{len(completed)} of {len(runs)} recorded runs are COMPLETED, {load.recorded} should "
            "be"
        )
    points = [len(metric["values"]) for metric in database.metrics.find({"name": METRIC})]
    if points != [POINTS] * load.recorded:
        raise BenchmarkFailed(f"{sum(points)} points are recorded of {load.recorded * POINTS}")


def rows_of(load: Load, outcome: Outcome) -> list[Row]:
    """Lay out what came of a load.

    Parameters
    ----------
    load
        What was tried.
    outcome
        What came of it.
    """
    total, way = load.total, load.text()
    requests = [second for seconds in outcome.requests.values() for second in seconds]
    writes = [s for name in _WRITES for s in outcome.requests.get(name, ())]
    by_command = {name: len(seconds) / total for name, seconds in outcome.requests.items()}
    listed = ", ".join(f"{name} {each:.2f}" for name, each in sorted(by_command.items()))

    def row(measure: str, value: float, unit: str, note: str = "") -> Row:
        return Row(FIGURE, way, value, unit, better="lower", note=note, measure=measure)

    possible = load.workers / load.trial_s
    rate = Row(
        FIGURE, way, total / outcome.seconds, "trials/s", note=f"of {possible:,.0f}", measure="rate"
    )
    rows = [
        rate,
        row("record after the last trial", outcome.lag_s, "s", f"{total:,} trials, none lost"),
        row("connections", outcome.connections / load.workers, "per worker"),
        row("requests", len(requests) / total, "per trial", listed),
        row("failed requests", outcome.failures, "in all"),
        row("mongod", 1000 * outcome.mongod_cpu_s / total, "ms CPU/trial"),
        row("workers", 1000 * outcome.workers_cpu_s / total, "ms CPU/trial", "Sacred included"),
    ]
    for percent in (50, 99):
        seconds = float(np.percentile(writes, percent)) if writes else 0.0
        rows.append(row(f"a write, {percent} %", 1000 * seconds, "ms"))
    for name, (documents, files, indexes) in outcome.bytes.items():
        rows.append(row(f"{name}: documents", documents / load.recorded, "B/trial"))
        rows.append(row(f"{name}: files", files / load.recorded, "B/trial", "compressed"))
        rows.append(row(f"{name}: indexes", indexes / load.recorded, "B/trial"))
    return rows


def figures(size: Size) -> list[Row]:
    """Try the load of the docs.

    Parameters
    ----------
    size
        ``trials`` is the number of trials of each worker.
    """
    load = Load(trials=size.pick(10, 2))
    if size.quick:
        load = Load(workers=8, trials=load.trials, trial_s=0.2)
    return rows_of(load, try_load(load))


def main() -> None:
    """Read the command line, measure and print."""
    usual = Load()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description="Let many simulated workers record their trials in one MongoDB.",
    )
    parser.add_argument("--workers", type=int, default=usual.workers)
    parser.add_argument("--trials", type=int, default=usual.trials, help="of each worker")
    parser.add_argument("--trial-s", type=float, default=usual.trial_s, help="how long one sleeps")
    parser.add_argument("--delay-ms", type=float, default=usual.delay_ms, help="in each direction")
    given = parser.parse_args()
    load = Load(given.workers, given.trials, given.trial_s, given.delay_ms)
    print(text_table(rows_of(load, try_load(load))))


if __name__ == "__main__":
    main()
