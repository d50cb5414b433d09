"""Reading a sweep into a table: `sacred_ray_ingredient.results` against what people write.

One trial is recorded as every trial is, and its documents are copied, with other numbers in them,
so that the database has the true ones of a sweep. Run, from the root of the repository::

    python -m benchmarks.reading --trials 10000 --rounds 3

Three ways read status, duration, result, the configuration with dotted names and the last value of
each metric of every trial into a DataFrame:

ours
    ``results.sweep(...).trials``;
loop
    ``find`` for the runs of the sweep and, for each, ``find`` for its metrics, which the index on
    run id and name answers; the rows go through ``pandas.json_normalize``;
lean loop
    the same with only the fields that the table shows, and ``$slice`` for the last value.

Every way reads in a process of its own, whose imports and first connection are not counted, and its
table is checked.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import bson
import pymongo
from sacred import Experiment
from sacred.run import Run

from benchmarks.database import URL_VARIABLE
from benchmarks.figures import BenchmarkFailed, Row, Size, medians, ratios, text_table
from sacred_ray_ingredient import results
from sacred_ray_ingredient.mongo import from_environment
from sacred_ray_ingredient.record.target import RecordTarget, close_clients

ROOT = Path(__file__).resolve().parent.parent
FIGURE = "reading"
TRIALS = 10_000
SWEEP_ID = "sweep-reading"
POINTS = 5
_AT_ONCE = 1000
_GOAL_S = 2.0
_PART_TIMEOUT_S = 600.0

reading_ex = Experiment("reading", save_git_info=False)
reading_ex.add_config(
    optimizer={"name": "adam", "lr": 1e-3, "weight_decay": 0.0, "betas": [0.9, 0.999]},
    model={"hidden": 64, "layers": 2, "dropout": 0.1},
    env_name="reacher",
    batch_size=64,
    epochs=5,
)


@reading_ex.main
def log_losses(optimizer: Mapping[str, Any], epochs: int, _run: Run) -> float:
    """Log a loss per epoch."""
    for epoch in range(epochs):
        _run.log_scalar("loss", optimizer["lr"] * (epochs - epoch), epoch)
    return float(optimizer["lr"])


def fill(url: str, trials: int) -> None:
    """Write a sweep as if so many trials had been run.

    Parameters
    ----------
    url
        An empty database, the one that the environment says.
    trials
        How many there are to be.

    Raises
    ------
    BenchmarkFailed
        If the trial that is copied was not recorded.
    """
    address = from_environment(os.environ)
    with tempfile.TemporaryDirectory(prefix="sri-") as folder:
        target = RecordTarget(
            address, tags=("reading", SWEEP_ID), journal_folder=folder, group=SWEEP_ID, wait_s=30.0
        )
        _record_one(target)
    with pymongo.MongoClient(url) as client:
        _copy_all(client.get_default_database(), trials)


def _record_one(target: RecordTarget) -> None:
    about = {"sweep_id": SWEEP_ID, "exp_name": "reading"}
    _record(target, about, "sweep")
    _record(target, {**about, "trial_index": 0, "attempt": 0, "segment": 0}, "trial")
    close_clients()


def _copy_all(database: Any, trials: int) -> None:
    trial = database.runs.find_one({"meta.sweep.trial_index": 0})
    if trial is None or trial["status"] != "COMPLETED":
        raise BenchmarkFailed(f"the trial to copy is {trial and trial['status']}")
    metric = database.metrics.find_one({"run_id": trial["_id"]})
    for start in range(1, trials, _AT_ONCE):
        indices = range(start, min(start + _AT_ONCE, trials))
        copies = [_copy(trial, metric, index) for index in indices]
        database.runs.insert_many([run for run, _ in copies])
        database.metrics.insert_many([points for _, points in copies])


def _record(target: RecordTarget, about: Mapping[str, Any], tag: str) -> None:
    run = reading_ex._create_run(options={"--force": True, "--capture": "sys"})
    run.meta_info["sweep"] = dict(about)
    target.observe(run, extra_tags=[tag])
    run()


def _copy(trial: Any, metric: Any, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    run, points = deepcopy(trial), deepcopy(metric)
    run["_id"] = points["run_id"] = trial["_id"] + index
    points["_id"] = bson.ObjectId()
    run["meta"]["sweep"]["trial_index"] = index
    run["meta"]["record"]["journal"] += f"-{index}"
    run["info"]["metrics"] = [{"name": "loss", "id": str(points["_id"])}]
    rate = run["result"] = run["config"]["optimizer"]["lr"] = 1e-3 * (1 + index)
    points["values"] = [rate * (POINTS - step) for step in range(POINTS)]
    return run, points


def read_with_results(url: str) -> Any:
    """Read as this package does; it finds the database by itself."""
    return results.sweep(SWEEP_ID).trials


def read_with_loop(url: str) -> Any:
    """Read as people do: a query for the metrics of each run."""
    return _loop(url, None, None)


def read_with_lean_loop(url: str) -> Any:
    """Read as careful people do: only what the table shows, still a query per run."""
    fields = ("status", "start_time", "stop_time", "result", "config", "meta.sweep.trial_index")
    return _loop(url, dict.fromkeys(fields, 1), {"name": 1, "values": {"$slice": -1}})


def _loop(url: str, of_runs: Any, of_metrics: Any) -> Any:
    import pandas as pd

    with pymongo.MongoClient(url) as client:
        database = client.get_default_database()
        rows = []
        query = {"meta.sweep.sweep_id": SWEEP_ID, "meta.sweep.trial_index": {"$exists": True}}
        for run in database.runs.find(query, of_runs):
            row = {
                "run_id": run["_id"],
                "trial_index": run["meta"]["sweep"]["trial_index"],
                "status": run["status"],
                "duration": (run["stop_time"] - run["start_time"]).total_seconds(),
                "result": run["result"],
                "config": run["config"],
            }
            for metric in database.metrics.find({"run_id": run["_id"]}, of_metrics):
                row[f"metric.{metric['name']}"] = metric["values"][-1]
            rows.append(row)
    return pd.json_normalize(rows)


OURS = "ours, results"
WAYS: dict[str, Callable[[str], Any]] = {
    OURS: read_with_results,
    "loop with a query per run": read_with_loop,
    "lean loop with a query per run": read_with_lean_loop,
}
# What the ratio is to be at least.
GOALS = {"loop with a query per run": 5.0, "lean loop with a query per run": None}


def check(table: Any, trials: int) -> None:
    """Make sure that a table has all that was recorded.

    Parameters
    ----------
    table
        The DataFrame.
    trials
        How many trials there are.

    Raises
    ------
    BenchmarkFailed
        If it has not.
    """
    table = table.sort_values("trial_index")
    right = (
        len(table) == trials
        and list(table["trial_index"]) == list(range(trials))
        and set(table["status"]) == {"COMPLETED"}
        and bool((table["result"] == table["config.optimizer.lr"]).all())
        and bool((table["metric.loss"] == table["config.optimizer.lr"]).all())
        and bool((table["config.model.hidden"] == 64).all())
    )
    if not right:
        raise BenchmarkFailed(f"the table is wrong:\n{table}")


def figures(size: Size) -> list[Row]:
    """Read once in each way.

    Parameters
    ----------
    size
        How many trials there are.
    """
    # Here, since the process of each way imports this module.
    from benchmarks.runs import temporary_place

    trials = size.pick(TRIALS, 300)
    rows = []
    with temporary_place() as place:
        url = place.url_of("reading")
        _in_a_process("fill", url, trials)
        for way in size.turns(WAYS):
            seconds = _in_a_process(way, url, trials)
            goal = _GOAL_S if way == OURS and trials >= TRIALS else None
            note = f"{trials:,} trials"
            rows.append(Row(FIGURE, way, seconds, "s", goal, "lower", note))
    return rows + ratios(rows, OURS, GOALS)


def _in_a_process(part: str, url: str, trials: int) -> float:
    command = [sys.executable, "-m", "benchmarks.reading", "--part", part, "--trials", str(trials)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, URL_VARIABLE: url},
        capture_output=True,
        text=True,
        check=False,
        timeout=_PART_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise BenchmarkFailed(f"{part} ended with exit code {done.returncode}:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def _part(part: str, trials: int) -> float:
    """Do one part, in this process; return the seconds that it took."""
    url = os.environ[URL_VARIABLE]
    if part == "fill":
        begin = time.perf_counter()
        fill(url, trials)
        return time.perf_counter() - begin
    with pymongo.MongoClient(url) as client:
        client.admin.command("ping")  # pymongo imports the rest of itself now
    begin = time.perf_counter()
    table = WAYS[part](url)
    seconds = time.perf_counter() - begin
    check(table, trials)
    return seconds


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reading",
        description="Measure how long it takes to read a sweep into a table.",
    )
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"trials ({TRIALS:,})")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way reads (3)")
    parser.add_argument("--part", choices=["fill", *WAYS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(_part(arguments.part, arguments.trials))
        return
    rounds = [figures(Size(trials=arguments.trials, round=n)) for n in range(arguments.rounds)]
    print(text_table(medians(rounds)))


if __name__ == "__main__":
    main()
