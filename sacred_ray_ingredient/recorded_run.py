"""A recorded run, read back from its documents: what was run, and what came out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.comparison import Outcome, Point
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.nested import get_path

_NEWEST = 5
_UNFINISHED = ("RUNNING", "QUEUED")
# The documents in which a metric goes on that has more points than one can hold.
_PART = re.compile(r"(.*) \(part (\d+)\)", re.DOTALL)
_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class RecordedRun:
    """A finished run as the database has it; plain data, nothing of it is ever executed.

    Attributes
    ----------
    document : dict
        Its document in the collection of runs.
    outcome : Outcome
        What came out.
    ended_early : str or None
        Why it ended before its main function returned, where that was not its own doing.
    continued : str or None
        What it went on from, where it did not begin at the beginning.
    """

    document: Mapping[str, Any] = field(repr=False)
    outcome: Outcome
    ended_early: str | None = None
    continued: str | None = None

    @property
    def run_id(self) -> Any:
        """Its id in the database."""
        return self.document["_id"]

    @property
    def name(self) -> str:
        """Name of its experiment."""
        return str(self.get("experiment.name"))

    @property
    def config(self) -> dict[str, Any]:
        """Its complete configuration."""
        return dict(self.get("config") or {})

    @property
    def reference(self) -> str | None:
        """Where its experiment is found, as text; None where the document does not say."""
        found = self.get("meta.record.experiment") or self.get("meta.sweep.experiment")
        return str(found) if found else None

    @property
    def notes(self) -> list[str]:
        """What its record does not have as it was."""
        return [str(note) for note in self.get("info.sweep.left_out") or ()]

    @property
    def threads(self) -> tuple[int | None, bool]:
        """For numerical libraries: how many, if that is known, and whether it is recorded.

        Where it is not recorded it follows from the processors of the trial.
        """
        recorded = str(self.get("info.sweep.threads"))
        if recorded.isdecimal():
            return int(recorded), True
        cpus = self.get("info.sweep.resources.CPU")
        return (max(int(cpus), 1) if isinstance(cpus, (int, float)) else None), False

    def get(self, path: str) -> Any:
        """Return an entry of the document by its dotted path; None where there is none."""
        return get_path(self.document, path)


def read_document(runs: Any, run_id: Any, place: str) -> dict[str, Any]:
    """Read the document of a run.

    Parameters
    ----------
    runs
        The pymongo collection.
    run_id
        As the user gave it.
    place
        What the database is called in sentences.

    Raises
    ------
    ConfigMistakes
        If there is no such run.
    """
    newest = [each["_id"] for each in runs.find({}, {"_id": 1}, sort=[("_id", -1)], limit=_NEWEST)]
    listed = ", ".join(map(str, newest))
    known = f"the newest are {listed}" if newest else "there are no runs at all"
    try:
        number = int(run_id)
    except (TypeError, ValueError):
        raise ConfigMistakes(
            [f"The id of a run is a whole number, not {run_id!r}; {known} ({place})."]
        ) from None
    # Beyond it BSON has no whole numbers, and no run its id.
    document = runs.find_one({"_id": number}) if abs(number) < 2**63 else None
    if document is None:
        raise ConfigMistakes([f"There is no run {number} in {place}; {known}."])
    return dict(document)


def read_run(database: Any, collection: str, run_id: Any, place: str) -> RecordedRun:
    """Read a finished run that can be run again.

    Parameters
    ----------
    database
        The pymongo database.
    collection
        The collection of runs.
    run_id
        As the user gave it.
    place
        What the database is called in sentences.

    Raises
    ------
    ConfigMistakes
        If there is no such run, or it is none that can be run again.
    """
    document = read_document(database[collection], run_id, place)
    mistake = _why_not(database[collection], document)
    if mistake is not None:
        raise ConfigMistakes([mistake])
    outcome = Outcome(
        status=str(document["status"]),
        result=document.get("result"),
        metrics=_metrics(database, document["_id"]),
        nonfinite=dict(get_path(document, "info.sweep.nonfinite") or {}),
        error=_error(document),
    )
    return RecordedRun(document, outcome, _ended_early(document), _continued(document))


def _why_not(runs: Any, document: Mapping[str, Any]) -> str | None:
    run_id, status = document["_id"], document.get("status")
    if status in _UNFINISHED:
        return (
            f"Run {run_id} is {status}: only a run that has ended can be compared. If its process "
            "is dead, `sacred-ray sync` writes its end into the record."
        )
    sweep = get_path(document, "meta.sweep")
    if isinstance(sweep, Mapping) and "trial_index" not in sweep:
        query = {
            "meta.sweep.sweep_id": sweep.get("sweep_id"),
            "meta.sweep.trial_index": {"$exists": True},
        }
        trials = [str(each["_id"]) for each in runs.find(query, {"_id": 1}, limit=_NEWEST)]
        such_as = f", such as {', '.join(trials)}" if trials else "; it has none"
        return f"Run {run_id} is a sweep; what can be run again are its trials{such_as}."
    if not isinstance(document.get("config"), Mapping):
        return f"Run {run_id} has no config in its document, so that it cannot be run again."
    return None


def _metrics(database: Any, run_id: Any) -> dict[str, list[Point]]:
    parts: dict[str, list[tuple[int, list[Point]]]] = {}
    found = {each["name"]: each for each in database["metrics"].find({"run_id": run_id})}
    for name, each in found.items():
        match = _PART.fullmatch(name)
        is_part = match is not None and match[1] in found
        base, number = (match[1], int(match[2])) if match and is_part else (name, 1)
        points = list(zip(each["steps"], each["values"], strict=False))
        parts.setdefault(base, []).append((number, points))
    return {
        name: [point for _, points in sorted(of_name, key=lambda part: part[0]) for point in points]
        for name, of_name in parts.items()
    }


def _error(document: Mapping[str, Any]) -> str | None:
    """Return the last line of the trace, of a run that raised."""
    trace = document.get("fail_trace")
    text = "".join(map(str, trace)) if isinstance(trace, list) else str(trace or "")
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else None


def _ended_early(document: Mapping[str, Any]) -> str | None:
    reason = get_path(document, "info.sweep.stop_reason")
    if reason:
        return str(reason)
    status = document.get("status")
    if status == "COMPLETED":
        return None
    if status == "FAILED":
        trace = "".join(map(str, document.get("fail_trace") or ()))
        # A process that was killed has left none.
        return None if _TRACEBACK in trace else _error(document) or "no reason is recorded"
    return f"it ended {status}"


def _continued(document: Mapping[str, Any]) -> str | None:
    taken_over = get_path(document, "meta.sweep.taken_over")
    if taken_over:
        return f"its state was replaced: {taken_over}"
    segment = get_path(document, "meta.sweep.segment")
    if isinstance(segment, int) and segment > 0:
        return f"it went on from a checkpoint, as segment {segment} of its trial"
    for path in ("meta.sweep.restored", "info.sweep.restored"):
        if get_path(document, path):
            return "it went on from a checkpoint"
    return None


def parse_reference(text: str) -> InnerReference:
    """Read where an experiment is found.

    Parameters
    ----------
    text
        ``module:attribute`` or ``/path/script.py:attribute``.

    Raises
    ------
    ConfigMistakes
        If it has another form.
    """
    where, _, attribute = text.rpartition(":")
    if attribute.isidentifier():
        if where.endswith(".py"):
            return InnerReference(attribute, script=str(Path(where).expanduser().absolute()))
        if where and all(part.isidentifier() for part in where.split(".")):
            return InnerReference(attribute, module=where)
    raise ConfigMistakes(
        [
            f"{text!r} does not say where an experiment is; right would be module:attribute, such "
            "as experiments.inner:inner_ex, or script.py:attribute."
        ]
    )
