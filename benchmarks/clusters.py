"""Trials that take their time: how well the processors are used, and what bookkeeping costs.

The second and third of these figures are Ray's own benchmarks for Tune, with a record on top:
``bookkeeping_overhead`` (10,000 trials of 1 s on 16 processors) and
``result_throughput_single_node`` (trials that report as fast as they can).
"""

from __future__ import annotations

import json
import math
import os

from benchmarks.figures import BenchmarkFailed, Row, Size
from benchmarks.runs import Measured, temporary_place
from benchmarks.ways import engines, ours, run_ours

_AT_ONCE = 16
_CORES_GOAL = 0.97
_BOOKKEEPING_TRIALS = 10_000
_BOOKKEEPING_GOALS = {"direct": 660.0, "tune": 700.0}
_PER_SECOND = 300
_THROUGHPUT_GOAL_S = 66.0
# These runs take minutes; looking for their end must not.
_LOOK_EVERY_S = 0.5


def cores(size: Size) -> list[Row]:
    """Run trials that compute for a second, two at a time."""
    trials = size.pick(60, 4)
    seconds = 0.2 if size.quick else 1.0
    rows = []
    with temporary_place() as place:
        for engine in engines(size):
            label = f"cores_{engine}"
            settings = {"init_kwargs.num_cpus": 2}
            measured = run_ours(place, label, engine, trials, {"cpu_s": seconds}, settings)
            rows += _cores_rows(ours(engine), measured, trials * seconds, size)
    return rows


def _cores_rows(way: str, measured: Measured, work_s: float, size: Size) -> list[Row]:
    goal = None if size.quick else _CORES_GOAL
    return [
        Row(
            "cores",
            way,
            measured.busy / (2 * measured.trials),
            "of the time",
            goal,
            note=f"{work_s:g} s of computing, two trials at a time",
            measure="trial times / (2 x wall)",
        ),
        Row(
            "cores",
            way,
            work_s / (2 * measured.trials),
            "of the time",
            note=f"{os.cpu_count()} processors, on which driver and MongoDB run too",
            measure="computing / (2 x wall)",
        ),
    ]


def bookkeeping(size: Size) -> list[Row]:
    """Run trials that sleep for a second, 16 at a time."""
    trials = size.pick(2000, 320)
    settings = {"init_kwargs.num_cpus": _AT_ONCE}
    rows = []
    with temporary_place() as place:
        for engine in engines(size):
            load = {"sleep_s": 1.0}
            label = f"bookkeeping_{engine}"
            measured = run_ours(place, label, engine, trials, load, settings, _LOOK_EVERY_S)
            goal = _BOOKKEEPING_GOALS[engine] if trials == _BOOKKEEPING_TRIALS else None
            least = math.ceil(trials / _AT_ONCE)
            note = f"{trials:,} trials of 1 s; {least} s is the least"
            way = ours(engine)
            rows += [
                Row(
                    "bookkeeping",
                    way,
                    measured.recorded,
                    "s",
                    goal,
                    "lower",
                    note,
                    "until recorded",
                ),
                Row(
                    "bookkeeping",
                    way,
                    1000 * (measured.recorded - least) / trials,
                    "ms/trial",
                    better="lower",
                    measure="above the least",
                ),
                Row(
                    "bookkeeping",
                    way,
                    measured.command,
                    "s",
                    better="lower",
                    measure="whole command",
                ),
            ]
    return rows


def throughput(size: Size) -> list[Row]:
    """Let 16 trials at once log 300 values a second, under a scheduler that stops none."""
    seconds, at_once = (3, 4) if size.quick else (60, _AT_ONCE)
    points = seconds * _PER_SECOND
    load = {"points": points, "per_second": float(_PER_SECOND)}
    most = 10 * points
    settings = {
        "init_kwargs.num_cpus": at_once,
        "metric": "value",
        # Its first decision would come after more steps than there are.
        "scheduler": f"asha(max_t={most}, grace_period={most})",
    }
    with temporary_place() as place:
        file = place.folder / "reports.json"
        module = ("benchmarks.counted_search", str(file))
        measured = run_ours(
            place, "throughput", "tune", at_once, load, settings, _LOOK_EVERY_S, module
        )
        reports = json.loads(file.read_text(encoding="utf-8"))
    if len(reports) != at_once:
        raise BenchmarkFailed(f"the scheduler saw {len(reports)} trials, not {at_once}")
    way = ours("tune")
    note = f"{at_once * points:,} values, {seconds} s of them in each trial"
    goal, reports_goal = (None, None) if size.quick else (_THROUGHPUT_GOAL_S, 1.0)
    return [
        Row("throughput", way, measured.recorded, "s", goal, "lower", note, "until recorded"),
        Row("throughput", way, measured.longest, "s", better="lower", measure="the longest trial"),
        Row(
            "throughput",
            way,
            measured.spread,
            "s",
            better="lower",
            note="while the worker processes start",
            measure="first start to last start",
        ),
        Row(
            "throughput",
            way,
            min(reports.values()) / measured.longest,
            "reports/s",
            reports_goal,
            note="of the trial that had the fewest",
            measure="seen by the scheduler",
        ),
        Row("throughput", way, measured.command, "s", better="lower", measure="whole command"),
    ]
