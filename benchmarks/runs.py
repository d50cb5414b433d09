"""Runs commands one by one against a private MongoDB, and measures what they took.

The same is measured of every way, from outside and from what is in the database, so that no way
has to be changed for it:

trials
    from the first trial's ``start_time`` to the last trial's ``stop_time``;
recorded
    from the first trial's ``start_time`` until the database has every trial complete, with all its
    points, if that is later;
start
    from the start of the command to the first trial's ``start_time``;
command
    the whole process, from its start to its end: imports, and the start and end of Ray too.

The server is started before, and is in none of them.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymongo

from benchmarks.database import URL_VARIABLE
from benchmarks.figures import BenchmarkFailed
from benchmarks.noop import METRIC, POINTS
from sacred_ray_ingredient.mongo import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent

_RUN_TIMEOUT_S = 3600.0
_END_TIMEOUT_S = 60.0
_POLL_S = 0.02
_LOOKS_PER_SIZE = 10
_NEAR_S = 0.02
_MOST_BETWEEN_S = 0.25
# Of the environment nothing is handed on that could change how a way works.
_LEFT_OUT = ("RAY_", "TUNE_", "SACRED_", "SEML_", "PYTHON", "OMP_", "MKL_", "OPENBLAS_")


@dataclass(frozen=True)
class Place:
    """Where the runs of a measurement happen.

    Parameters
    ----------
    folder
        Temporary folder; its path is short, since Ray puts sockets below it.
    url
        Complete URI of the MongoDB, with a place for the database's name.
    """

    folder: Path
    url: str

    def url_of(self, database: str) -> str:
        """Return the URI of a database, password included."""
        server, _, options = self.url.partition("?")
        return f"{server.rpartition('/')[0]}/{database}?{options}"

    def environment(self, label: str) -> dict[str, str]:
        """Return the environment of a command whose database and folder are called ``label``."""
        folder = self.folder / label
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)
        }
        return {
            **inherited,
            URL_VARIABLE: self.url_of(label),
            "RAY_TMPDIR": str(self.folder / "r"),
            "SACRED_RAY_HOME": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Where Tune puts its files by default.
            "HOME": str(folder),
        }


@contextlib.contextmanager
def temporary_place() -> Iterator[Place]:
    """Give a folder and a MongoDB that are gone afterwards."""
    with tempfile.TemporaryDirectory(
        prefix="sri-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        server = EmbeddedServer(Path(folder) / ".sacred_ray")
        server.start()
        try:
            yield Place(Path(folder), server.uri_with_password())
        finally:
            server.stop()


@dataclass(frozen=True)
class Expected:
    """What a command has to leave in its database.

    Parameters
    ----------
    trials
        Number of runs of the experiment, all of which are COMPLETED.
    points
        How many values of the metric each has.
    experiment
        Name of the experiment.
    metric
        Name of its metric.
    """

    trials: int
    points: int = POINTS
    experiment: str = "noop"
    metric: str = METRIC


@dataclass(frozen=True)
class Measured:
    """What one command took; see the module for what is in the times.

    Parameters
    ----------
    trials, recorded, start, command
        Seconds.
    busy
        Sum of the times of the trials, in seconds.
    longest
        The longest of them.
    spread
        From the first start of a trial to the last one, in seconds.
    peak_kb
        Largest resident size of the command's own process, in kB; 0 where the system does not say.
    infos
        The ``info`` of each trial.
    """

    trials: float
    recorded: float
    start: float
    command: float
    busy: float
    longest: float
    spread: float
    peak_kb: int = 0
    infos: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


def measure(
    place: Place,
    label: str,
    command: Sequence[str],
    expected: Expected,
    look_every_s: float = 0.05,
    database: str | None = None,
) -> Measured:
    """Run a command once, in a database of its own, and check what it recorded.

    Parameters
    ----------
    place
        Where.
    label
        Name of its database and folder.
    command
        Arguments of Python, such as ``["-m", "benchmarks.recipe"]``.
    expected
        What it has to record.
    look_every_s
        Shortest time between two looks at the database.
    database
        Name of the database that it writes to, where that cannot be the label.

    Raises
    ------
    BenchmarkFailed
        If the command failed, or not all trials are recorded with all their points.
    """
    (place.folder / label).mkdir(exist_ok=True)
    with pymongo.MongoClient(place.url_of(label), tz_aware=True) as client:
        written = client[database or label]
        watch = _Watch(written, expected, look_every_s)
        began = time.time()
        with started(place, label, command) as process:
            peak_kb, looks = 0, 0
            while process.poll() is None:
                if time.time() - began > _RUN_TIMEOUT_S:
                    raise BenchmarkFailed(f"{label}: no end after {_RUN_TIMEOUT_S:g} s")
                if looks % _LOOKS_PER_SIZE == 0:
                    peak_kb = max(peak_kb, _peak_kb(process.pid))
                looks += 1
                watch.look()
                time.sleep(_POLL_S)
        ended = time.time()
        watch.look(at_once=True)
        runs = read_runs(written, expected)
    first = min(run["start_time"] for run in runs).timestamp()
    last = max(run["stop_time"] for run in runs).timestamp()
    times = [(run["stop_time"] - run["start_time"]).total_seconds() for run in runs]
    return Measured(
        trials=last - first,
        recorded=max(last, watch.complete_at or ended) - first,
        start=first - began,
        command=ended - began,
        busy=sum(times),
        longest=max(times),
        spread=max(run["start_time"] for run in runs).timestamp() - first,
        peak_kb=peak_kb,
        infos=[run.get("info", {}) for run in runs],
    )


@contextlib.contextmanager
def started(
    place: Place,
    label: str,
    command: Sequence[str],
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; what it prints goes to a file, and it has ended when the block has.

    Parameters
    ----------
    place, label, command
        As for `measure`.

    Raises
    ------
    BenchmarkFailed
        If it did not end with exit code 0; the message has the end of what it printed.
    """
    output = place.folder / label / "output.txt"
    variables = place.environment(label)
    Path(variables["RAY_TMPDIR"]).mkdir(exist_ok=True)
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        try:
            yield process
            code = process.wait(timeout=_RUN_TIMEOUT_S)
        except BaseException:
            _end(process)
            raise
    if code != 0:
        tail = output.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise BenchmarkFailed(f"{' '.join(command)} ended with exit code {code}:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run; a driver that can still answer takes its Ray with it."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _peak_kb(pid: int) -> int:
    """Return the largest resident size that a process has had."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


class _Watch:
    """Notes when the database has everything, with looks that cost next to nothing.

    Until there are enough documents only their number is asked for, which the server knows
    without reading them.
    """

    def __init__(self, database: Any, expected: Expected, every_s: float) -> None:
        self.complete_at: float | None = None
        self._database = database
        self._expected = expected
        self._every_s = every_s
        self._next = 0.0

    def look(self, at_once: bool = False) -> None:
        """Look if it is time to."""
        now = time.time()
        if self.complete_at is not None or (now < self._next and not at_once):
            return
        has_all, is_near = self._state()
        if has_all:
            self.complete_at = now
        # The end is not to be missed by much, and looking is not to be felt.
        wanted = min(self._every_s, _NEAR_S) if is_near else self._every_s
        self._next = now + max(wanted, min(_MOST_BETWEEN_S, 10 * (time.time() - now)))

    def _state(self) -> tuple[bool, bool]:
        """Tell whether all is there, and whether it could be soon."""
        database, expected = self._database, self._expected
        if database["runs"].estimated_document_count() < expected.trials:
            return False, False
        if expected.points and database["metrics"].estimated_document_count() < expected.trials:
            return False, False
        done = {"experiment.name": expected.experiment, "status": "COMPLETED"}
        if database["runs"].count_documents(done) < expected.trials:
            return False, True
        counts = points_by_run(database, expected.metric)
        return sum(counts.values()) >= expected.trials * expected.points, True


def points_by_run(database: Any, metric: str) -> dict[Any, int]:
    """Count the values of a metric that each run has.

    Long metrics are in several documents here; the later ones say of what metric they are.
    """
    found = database["metrics"].aggregate(
        [
            {"$match": {"$or": [{"name": metric}, {"of": metric}]}},
            {"$group": {"_id": "$run_id", "points": {"$sum": {"$size": "$values"}}}},
        ]
    )
    return {entry["_id"]: entry["points"] for entry in found}


def read_runs(database: Any, expected: Expected) -> list[dict[str, Any]]:
    """Return the documents of the trials, after checking that nothing is missing.

    Raises
    ------
    BenchmarkFailed
        With what is missing.
    """
    fields = {"status": 1, "start_time": 1, "stop_time": 1, "info": 1}
    runs = list(database["runs"].find({"experiment.name": expected.experiment}, fields))
    completed = {run["_id"] for run in runs if run["status"] == "COMPLETED"}
    if len(runs) != expected.trials or len(completed) != expected.trials:
        raise BenchmarkFailed(
            f"{database.name}: {len(completed)} of {len(runs)} recorded runs are COMPLETED, "
            f"{expected.trials} should be"
        )
    counts = points_by_run(database, expected.metric)
    wrong = [run for run in completed if counts.get(run, 0) != expected.points]
    if wrong:
        raise BenchmarkFailed(
            f"{database.name}: {len(wrong)} runs do not have their {expected.points} points; "
            f"run {wrong[0]} has {counts.get(wrong[0], 0)}"
        )
    if not all(isinstance(run.get("stop_time"), datetime.datetime) for run in runs):
        raise BenchmarkFailed(f"{database.name}: a completed run has no stop_time")
    return runs
