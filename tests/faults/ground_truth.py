"""What the trials themselves noted, compared with what the database says."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A run whose main function has returned is finished when that is written down. A process that dies
# within this time after the return may not have come to it.
_BEFORE_DEATH_S = 0.5

Key = tuple[Any, Any, Any]


@dataclass
class Execution:
    """One run of the inner experiment's main function."""

    key: Key
    pid: int
    name: str
    begun: float
    scalars: list[tuple[str, int, float]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    ending: str | None = None
    ended: float | None = None

    @property
    def trial(self) -> tuple[Any, Any]:
        """The sweep and the index of the trial."""
        return self.key[0], self.key[1]


def read_notes(folder: Path) -> list[Execution]:
    """Read the side files of all executions, in the order in which they began."""
    executions = []
    for path in folder.glob("*.jsonl"):
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # the last may be half written
        events = [json.loads(line) for line in lines]
        if not events:
            continue
        begin = events[0]
        key = (begin["sweep_id"], begin["trial_index"], begin["attempt"])
        one = Execution(key, begin["pid"], begin["execution"], begin["mono"])
        for event in events[1:]:
            if event["what"] == "scalar":
                one.scalars.append((event["metric"], event["step"], event["value"]))
            elif event["what"] == "line":
                one.lines.append(event["text"])
            else:
                one.ending, one.ended = event["what"], event["mono"]
        executions.append(one)
    return sorted(executions, key=lambda one: one.begun)


@dataclass
class Kills:
    """Which processes died when, and what the database has to say of the trials in them.

    Attributes
    ----------
    dead : dict
        The moment of death by process id, and the status that is true of what it did not finish.
    drivers : int
        How many drivers were killed.
    """

    dead: dict[int, tuple[float, str]] = field(default_factory=dict)
    drivers: int = 0

    def died(self, pid: int, status: str) -> None:
        """Note that a process has died now."""
        self.dead[pid] = (time.monotonic(), status)

    def allowed(self, one: Execution) -> set[str]:
        """Return the statuses that would be true for an execution."""
        if self._cut_at_end(one):
            return {"COMPLETED", self.dead[one.pid][1]}
        if one.ending == "end":
            return {"COMPLETED"}
        return {self.dead[one.pid][1]} if self.cut(one) else {"FAILED"}

    def finished(self, one: Execution) -> bool:
        """Tell whether a trial has certainly been finished by an execution."""
        return one.ending == "end" and not self._cut_at_end(one)

    def cut(self, one: Execution) -> bool:
        """Tell whether an execution came to no end because its process was killed."""
        return one.ending is None and one.pid in self.dead and one.begun < self.dead[one.pid][0]

    def _cut_at_end(self, one: Execution) -> bool:
        death = self.dead.get(one.pid)
        if one.ended is None or death is None:
            return False
        return one.begun < death[0] and one.ended > death[0] - _BEFORE_DEATH_S


@dataclass
class Comparison:
    """What a try of a fault left in the database.

    Attributes
    ----------
    sent : int
        Scalars that were logged, and lines that trials printed which came to their end.
    found : int
        How many of these the database has.
    duplicates : int
        How many it has more than once, and how many documents stand for the same attempt.
    wrong_statuses : int
        Runs with a status that is not true, or without a document.
    run_twice : int
        Trials that ran again after they had finished.
    problems : list of str
        A sentence for each thing that is wrong.
    """

    sent: int = 0
    found: int = 0
    duplicates: int = 0
    wrong_statuses: int = 0
    run_twice: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Comparison) -> None:
        """Take in what another try left."""
        self.sent += other.sent
        self.found += other.found
        self.duplicates += other.duplicates
        self.wrong_statuses += other.wrong_statuses
        self.run_twice += other.run_twice
        self.problems += other.problems

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        counts = (self.duplicates, self.wrong_statuses, self.run_twice)
        return self.found == self.sent and not any(counts) and not self.problems


def compare(database: Any, executions: list[Execution], kills: Kills) -> Comparison:
    """Compare the notes of a try with its database.

    Parameters
    ----------
    database
        The pymongo database, which holds nothing but this try.
    executions
        From `read_notes`.
    kills
        What the suite killed.
    """
    result = Comparison()
    runs = list(database.runs.find(sort=[("_id", 1)]))
    by_key = defaultdict(list)
    for run in runs:
        by_key[_run_key(run)].append(run)
    claimed = {_claim(result, by_key, one, database, kills) for one in executions}
    for run in runs:
        if run["_id"] not in claimed and _run_key(run)[1] is not None:
            true = {"FAILED", "INTERRUPTED"}
            _check_status(result, run, f"trial {_run_key(run)[1]}, which never began,", true)
    sweeps = [run for run in runs if _run_key(run)[1] is None]
    for run in sweeps:
        # A sweep that is resumed has another document, and is completed in that one.
        cut = kills.drivers > 0 and run is not sweeps[-1]
        true = {"INTERRUPTED", "COMPLETED"} if cut else {"COMPLETED"}
        _check_status(result, run, "of the sweep", true)
    _count_run_twice(result, executions, kills)
    return result


def _run_key(run: dict[str, Any]) -> Key:
    sweep = (run.get("meta") or {}).get("sweep") or {}
    return sweep.get("sweep_id"), sweep.get("trial_index"), sweep.get("attempt")


def _claim(
    result: Comparison,
    by_key: dict[Key, list[dict[str, Any]]],
    one: Execution,
    database: Any,
    kills: Kills,
) -> Any:
    """Compare an execution with its document; return the document's id."""
    finished = one.ending == "end"
    result.sent += len(one.scalars) + (len(one.lines) if finished else 0)
    candidates = by_key.get(one.key, [])
    name = f"attempt {one.key[2]} of trial {one.key[1]} (process {one.pid})"
    if not candidates:
        result.wrong_statuses += 1
        result.problems.append(
            f"{name} has no document; it ended with {one.ending!r}, {len(one.scalars)} scalars"
        )
        return None
    run = candidates[0]
    if len(candidates) > 1:
        result.duplicates += 1
        ids = [run["_id"] for run in candidates]
        result.problems.append(f"{name} shares its number with other documents: {ids}")
        run = next((run for run in candidates if _pid(run) == one.pid), run)
    _compare_scalars(result, name, one, _scalars(database, run["_id"]))
    if finished:
        # Not line by line: a line and its end are two writes, and a log message may come between.
        output = run.get("captured_out") or ""
        printed = {line: output.count(line) for line in one.lines}
        missing = [line for line in one.lines if not printed[line]]
        result.found += len(one.lines) - len(missing)
        _tell(result, f"{name}, run {run['_id']}, lacks printed lines of {output!r}", missing)
        twice = [line for line in one.lines if printed[line] > 1]
        result.duplicates += len(twice)
        _tell(result, f"{name}, run {run['_id']}, has printed lines twice", twice)
    true = kills.allowed(one)
    if run["status"] not in true:
        result.wrong_statuses += 1
        result.problems.append(
            f"{name}, run {run['_id']}, says {run['status']}; true would be {sorted(true)}"
        )
    return run["_id"]


def _compare_scalars(
    result: Comparison, name: str, one: Execution, recorded: Counter[tuple[str, int, float]]
) -> None:
    missing = [event for event in one.scalars if not recorded[event]]
    twice = [event for event in recorded if recorded[event] > 1]
    # The last event before a kill may have been logged and not noted.
    unknown = len(set(recorded) - set(one.scalars)) - (one.ending is None)
    result.found += len(one.scalars) - len(missing)
    result.duplicates += len(twice)
    _tell(result, f"{name} lacks scalars", missing)
    _tell(result, f"{name} has scalars twice", twice)
    if unknown > 0:
        result.problems.append(f"{name} has {unknown} scalars that it never logged")


def _tell(result: Comparison, what: str, events: list[Any]) -> None:
    if events:
        result.problems.append(f"{what}: {len(events)}, the first {events[0]}, last {events[-1]}")


def _scalars(database: Any, run_id: Any) -> Counter[tuple[str, int, float]]:
    found: Counter[tuple[str, int, float]] = Counter()
    for metric in database.metrics.find({"run_id": run_id}):
        steps, values = metric["steps"], metric["values"]
        if not len(steps) == len(values) == len(metric["timestamps"]):
            raise AssertionError(f"the columns of a metric of run {run_id} differ in length")
        found.update((metric["name"], *pair) for pair in zip(steps, values, strict=True))
    return found


def _pid(run: dict[str, Any]) -> Any:
    return ((run.get("info") or {}).get("sweep") or {}).get("pid")


def _check_status(result: Comparison, run: dict[str, Any], what: str, true: set[str]) -> None:
    if run["status"] not in true:
        result.wrong_statuses += 1
        result.problems.append(
            f"run {run['_id']} {what} says {run['status']}; true would be {sorted(true)}"
        )


def _count_run_twice(result: Comparison, executions: list[Execution], kills: Kills) -> None:
    done: dict[tuple[Any, Any], Execution] = {}
    counted = set()
    for one in executions:
        if one.trial in done and one.trial not in counted:
            counted.add(one.trial)
            result.run_twice += 1
            result.problems.append(f"trial {one.trial[1]} ran again after it had finished")
        if kills.finished(one):
            done[one.trial] = one
