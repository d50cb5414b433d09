"""What a trial costs: this package against the recipe that joins Sacred and Tune by hand.

Both run the same inner experiment, which does nothing but log 5 values, as often, two at a time
on two cores, into the same private MongoDB, in processes of their own, in turn. Run, from the
root of the repository::

    python -m benchmarks.trials --trials 40 --rounds 3

Three times are measured for each run:

trials
    from the first trial's ``start_time`` to the last trial's ``stop_time`` in the database; the
    start of the first worker processes is not in it;
search
    from the return of ``ray.init`` to the call of ``ray.shutdown``: the start of all worker
    processes, the trials, what the driver does between them, and for this package also its check
    that a worker can import the experiment;
command
    the whole process, from its start to its end: imports and the start and end of Ray too.

The database is started before, and is in none of them.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pymongo

from benchmarks.noop import METRIC, POINTS, noop_ex
from benchmarks.recipe import URL_VARIABLE
from sacred_ray_ingredient.mongo import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("ours", "recipe")

_RUN_TIMEOUT_S = 1800.0
_END_TIMEOUT_S = 30.0


class BenchmarkFailed(Exception):
    """A run did not do what is measured, so that its times mean nothing."""


@dataclass(frozen=True)
class Times:
    """Seconds that one run took; see the module for what is in them.

    Parameters
    ----------
    trials
        From the first trial's start to the last trial's end.
    search
        From Ray being up to Ray being given up.
    command
        The whole process.
    """

    trials: float
    search: float
    command: float


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


@contextmanager
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


def measure(place: Place, way: str, trials: int, label: str) -> Times:
    """Run a search once, in a database of its own, and check what it recorded.

    Parameters
    ----------
    place
        Where.
    way
        One of `WAYS`.
    trials
        Number of trials.
    label
        Tells this measurement from others at the same place.

    Returns
    -------
    Times
        What it took.

    Raises
    ------
    BenchmarkFailed
        If the command failed, or not all trials are recorded with all their points.
    """
    name = f"{way}_{label}"
    folder = place.folder / name
    folder.mkdir()
    url = place.url_of(name)
    times_file = folder / "times.json"
    begin = time.monotonic()
    _run(
        [sys.executable, "-m", "benchmarks.timed", str(times_file), *_arguments(way, trials)],
        {
            **{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
            URL_VARIABLE: url,
            "RAY_TMPDIR": str(place.folder / "r"),
            "SACRED_RAY_HOME": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Where the recipe's Tune puts its files by default.
            "HOME": str(folder),
        },
        folder / "output.txt",
    )
    command = time.monotonic() - begin
    marks = json.loads(times_file.read_text(encoding="utf-8"))
    search = marks["search_ended"] - marks["search_began"]
    return Times(_recorded_span(url, name, trials), search, command)


def _arguments(way: str, trials: int) -> list[str]:
    if way == "ours":
        return [
            "benchmarks.noop_search",
            "with",
            "hyperparameter_search",
            f"ray.num_samples={trials}",
        ]
    return ["benchmarks.recipe", "with", f"num_samples={trials}"]


def _run(command: Sequence[str], environment: Mapping[str, str], output: Path) -> None:
    """Run a command to its end; what it prints goes to a file."""
    Path(environment["RAY_TMPDIR"]).mkdir(exist_ok=True)
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        try:
            code = process.wait(timeout=_RUN_TIMEOUT_S)
        except BaseException:
            _end(process)
            raise
    if code != 0:
        tail = output.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise BenchmarkFailed(f"{' '.join(command[3:])} ended with exit code {code}:\n{tail}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a run; a driver that can still answer takes its Ray with it."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _recorded_span(url: str, database: str, trials: int) -> float:
    """Return the seconds from the first start to the last end, after checking the record."""
    with pymongo.MongoClient(url) as client:
        runs = list(client[database].runs.find({"experiment.name": noop_ex.path}))
        metrics = list(client[database].metrics.find({"name": METRIC}))
    completed = {run["_id"] for run in runs if run["status"] == "COMPLETED"}
    points = {
        metric["run_id"]: len(metric["values"])
        for metric in metrics
        if metric["run_id"] in completed
    }
    if len(runs) != trials or len(completed) != trials:
        raise BenchmarkFailed(
            f"{database}: {len(completed)} of {len(runs)} recorded runs are COMPLETED, "
            f"{trials} should be"
        )
    if points != dict.fromkeys(completed, POINTS):
        raise BenchmarkFailed(f"{database}: not every run has its {POINTS} points: {points}")
    begin = min(run["start_time"] for run in runs)
    seconds: float = (max(run["stop_time"] for run in runs) - begin).total_seconds()
    return seconds


def compare(trials: int, rounds: int) -> dict[str, list[Times]]:
    """Measure every way once per round, in turn.

    Parameters
    ----------
    trials
        Number of trials of each run.
    rounds
        How often each way is run.

    Returns
    -------
    dict
        The times of each way, by round.

    Raises
    ------
    BenchmarkFailed
        See `measure`.
    """
    measured: dict[str, list[Times]] = {way: [] for way in WAYS}
    with temporary_place() as place:
        for number in range(rounds):
            # The order changes, so that neither always runs on a machine that has rested.
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                times = measure(place, way, trials, str(number))
                measured[way].append(times)
                print(
                    f"round {number + 1}, {way}: trials {times.trials:.2f} s, "
                    f"search {times.search:.2f} s, command {times.command:.2f} s",
                    flush=True,
                )
    return measured


def median(measured: Sequence[Times], name: str) -> float:
    """Return the median of one of the times.

    Parameters
    ----------
    measured
        The times of some runs.
    name
        A field of `Times`.
    """
    values: list[float] = [getattr(times, name) for times in measured]
    return statistics.median(values)


def table(measured: Mapping[str, Sequence[Times]], trials: int) -> str:
    """Lay out medians, time per trial and ratios.

    Parameters
    ----------
    measured
        What `compare` returned.
    trials
        Number of trials of each run.
    """
    rounds = len(measured["ours"])
    lines = [
        f"{trials} no-op trials of {POINTS} logged values; medians of {rounds} rounds, "
        f"{os.cpu_count()} processors",
        "",
        "| time | ours | per trial | recipe | per trial | recipe / ours |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in (field.name for field in fields(Times)):
        ours, recipe = (median(measured[way], name) for way in WAYS)
        lines.append(
            f"| {name} | {ours:.2f} s | {1000 * ours / trials:.0f} ms "
            f"| {recipe:.2f} s | {1000 * recipe / trials:.0f} ms | {recipe / ours:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trials",
        description="Measure what a trial costs, here and with the hand-written recipe.",
    )
    parser.add_argument("--trials", type=int, default=40, help="trials of each run (40)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (3)")
    arguments = parser.parse_args()
    if arguments.trials < 1 or arguments.rounds < 1:
        parser.error("--trials and --rounds must be at least 1")
    measured = compare(arguments.trials, arguments.rounds)
    print("\n" + table(measured, arguments.trials))


if __name__ == "__main__":
    main()
