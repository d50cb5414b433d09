"""What a run's journal says, as the document that MongoDB is to have."""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sacred_ray_ingredient.nested import merge, unflatten
from sacred_ray_ingredient.record.documents import (
    Notes,
    as_metric_value,
    bson_size,
    fitting,
    is_finite_number,
    plain_key,
)
from sacred_ray_ingredient.record.lines import Event
from sacred_ray_ingredient.record.points import PointsReader, finite, time_of, value_of
from sacred_ray_ingredient.record.series import Series

# The collection of installed packages and of nodes, which many runs refer to.
ENVIRONMENTS = "environments"
# Bytes of a document's parts; the server takes 16 MB for the whole.
_ROOM = {
    "config": 4 * 2**20,
    "experiment": 2**19,
    "host": 2**18,
    "info": 3 * 2**20,
    "meta": 2**20,
    "result": 2**20,
    "artifacts": 2**19,
    "resources": 2**19,
}
_LEAST_ROOM = min(_ROOM.values())
_ROOM_FOR_OUTPUT = 3 * 2**20
_ROOM_FOR_METRIC_NAMES = 2**20
_ROOM_FOR_TRACE = 2**19
# Entries of ``meta``.
_IDENTITY = ("record", "sweep")
# Entry of the event that starts a run.
RESERVED_ID = "reserved_id"
# A metric with more points goes on in another document: about 50 bytes are needed for each.
POINTS_PER_DOCUMENT = 200_000


class RunState:
    """Folds the events of a journal; pure, so that a journal says the same whoever reads it.

    Attributes
    ----------
    started : dict or None
        The document as it begins.
    status : str
        ``RUNNING`` until the journal has the end.
    series : dict
        Metric documents by name.
    files : list of dict
        Files for GridFS, in the order in which they came.
    documents : list of dict
        Documents of other collections, which many runs refer to.
    events : int
        How many there were.
    last : dict
        The last value of each metric.
    amendments : list of dict
        What became of other runs, which could not say it themselves.
    reserved : int or None
        Id that was reserved for the run.
    """

    def __init__(self) -> None:
        self.started: dict[str, Any] | None = None
        self.status = "RUNNING"
        self.series: dict[str, Series] = {}
        self.files: list[dict[str, Any]] = []
        self.last: dict[str, int | float] = {}
        self.documents: list[dict[str, Any]] = []
        self.amendments: list[dict[str, Any]] = []
        self.reserved: int | None = None
        self.tags: list[str] = []
        self.events = 0
        self._last_line: Any = None
        self._last_point: datetime.datetime | None = None
        self._fields: dict[str, Any] = {}
        # On top of what the run itself says, by dotted path.
        self._settings: dict[str, Any] = {}
        self._output = ""
        self._info: dict[str, Any] = {}
        self._artifacts: list[dict[str, Any]] = []
        self._resources: list[list[Any]] = []
        self._counts: Counter[str] = Counter()
        self._nonfinite: Counter[str] = Counter()
        self._notes = Notes()
        self._current: dict[str, str] = {}
        self._points = PointsReader()

    @property
    def has_ended(self) -> bool:
        """Whether the journal has the end of the run."""
        return self.status != "RUNNING"

    @property
    def last_time(self) -> Any:
        """When something was written last, as far as that is said."""
        line, point = self._last_line, self._last_point
        if point is None:
            return line
        is_comparable = isinstance(line, datetime.datetime) and line.tzinfo is None
        return max(line, point) if is_comparable else point

    def apply(self, events: Iterable[Event]) -> None:
        """Take further events; kinds that are not known are left out."""
        for kind, content in events:
            self.events += 1
            handler = getattr(self, f"_on_{kind}", None)
            if handler is not None:
                handler(content)

    def document(self) -> dict[str, Any]:
        """Return the fields of the run document as they stand, without its id and tags."""
        notes = Notes()
        notes.sentences, notes.more = list(self._notes.sentences), self._notes.more
        fields = {**(self.started or {}), **self._fields, "status": self.status}
        fields["info"] = self._info
        if self._settings:
            fields = merge(fields, unflatten(self._settings))
        fields["captured_out"] = _cut_output(self._output, notes)
        fields["artifacts"] = list(self._artifacts)
        fields["resources"] = list(self._resources)
        # Of what is small as a whole, no part is too large.
        if bson_size([fields.get(name) for name in _ROOM]) > _LEAST_ROOM:
            for name, room in _ROOM.items():
                if name in fields:
                    fields[name] = fitting(fields[name], room, notes, name)
        fields["info"] = self._complete_info(fields["info"], notes)
        return fields

    @property
    def full_output(self) -> str | None:
        """All of the output, where the document has only parts of it."""
        return self._output if _is_too_long(self._output) else None

    def note(self, sentence: str) -> None:
        """Add a sentence about what is not as it was."""
        self._notes.add(sentence)

    def _complete_info(self, info: dict[str, Any], notes: Notes) -> dict[str, Any]:
        record_id = (self.started or {}).get("meta", {}).get("record", {}).get("journal", "")
        room = _ROOM_FOR_METRIC_NAMES
        links = [{"name": name, "id": metric_id(record_id, name)} for name in self.series]
        links = fitting(links, room, notes, "info.metrics")
        sweep = info.get("sweep") if isinstance(info.get("sweep"), dict) else {}
        additions: dict[str, Any] = {}
        if self._nonfinite:
            nonfinite = dict(self._nonfinite)
            additions["nonfinite"] = fitting(nonfinite, room, notes, "info.sweep.nonfinite")
        if notes.sentences:
            additions["left_out"] = notes.as_list()
        complete = dict(info)
        if links:
            complete["metrics"] = links
        if additions:
            complete["sweep"] = {**(sweep or {}), **additions}
        return complete

    def _on_start(self, content: dict[str, Any]) -> None:
        self.tags += content.pop("tags", [])
        self.reserved = _whole_id(content.pop(RESERVED_ID, None))
        self._notes_from(content)
        experiment = dict(content["experiment"])
        experiment["sources"] = [[name, as_object_id(file)] for name, file in experiment["sources"]]
        # First, since of too many entries the last are left out: it is found by these.
        meta = {name: content["meta"][name] for name in _IDENTITY if name in content["meta"]}
        self.started = {
            **content,
            "meta": {**meta, **content["meta"]},
            "experiment": experiment,
            "status": "RUNNING",
            "resources": [],
            "artifacts": [],
            "captured_out": "",
            "info": {},
            "heartbeat": None,
            "result": None,
        }
        self._last_line = content.get("start_time")

    def _on_queue(self, content: dict[str, Any]) -> None:
        self._on_start(content)
        self.status = "QUEUED"

    def _on_scalar(self, content: list[Any]) -> None:
        name, step, value, time = content
        self._last_line = time
        number = as_metric_value(value)
        if number is None:
            self._notes.add(f"metric {name!r}, step {step}: {value} is no number and left out")
        elif not is_finite_number(int(number) if isinstance(number, bool) else number):
            self._nonfinite[plain_key(name)] += 1
        else:
            value = int(number) if isinstance(number, bool) else number
            self.last[name] = value
            self._series_of(name).add(step, value, time)

    def _on_points(self, block: Any) -> None:
        self.events += len(block) - 1
        for name, points in self._points.by_name(block):
            self._last_point = max(self._last_point or time_of(points[-1]), time_of(points[-1]))
            good = finite(points)
            if len(good) < len(points):
                self._nonfinite[plain_key(name)] += len(points) - len(good)
            if len(good):
                self.last[name] = value_of(good[-1])
            while len(good):
                series = self._series_of(name)
                room = POINTS_PER_DOCUMENT - series.total
                series.add_packed(good[:room])
                good = good[room:]

    def _series_of(self, name: str) -> Series:
        current = self._current.get(name, name)
        series = self.series.setdefault(current, Series(current, name))
        if series.total < POINTS_PER_DOCUMENT:
            return series
        self._counts[name] += 1
        following = f"{name} (part {self._counts[name] + 1})"
        self._notes.add(
            f"metric {name!r} has more points than a document can hold, it goes on in "
            f"{name} (part 2) and the following"
        )
        self._current[name] = following
        return self.series.setdefault(following, Series(following, name, self._counts[name] + 1))

    def _on_beat(self, content: dict[str, Any]) -> None:
        self._notes_from(content)
        self._last_line = content["time"]
        self._fields["heartbeat"] = content["time"]
        if "out" in content:
            offset, text = content["out"]
            self._output = self._output[:offset] + text
        if "info" in content:
            self._info = content["info"] if isinstance(content["info"], dict) else {}
        if "result" in content:
            self._fields["result"] = content["result"]

    def _on_file(self, content: dict[str, Any]) -> None:
        self.files.append(content)

    def _on_document(self, content: dict[str, Any]) -> None:
        if content.get("collection") == ENVIRONMENTS:
            self.documents.append(content)

    def _on_artifact(self, content: dict[str, Any]) -> None:
        self._artifacts.append({"name": content["name"], "file_id": as_object_id(content["id"])})

    def _on_resource(self, content: list[Any]) -> None:
        if content not in self._resources:
            self._resources.append(content)

    def _on_note(self, sentence: str) -> None:
        self._notes.add(sentence)

    def _on_set(self, content: dict[str, Any]) -> None:
        self.tags += content.get("tags", [])
        self._settings |= content.get("fields", {})

    def _on_amend(self, content: dict[str, Any]) -> None:
        self.amendments.append(content)

    def _on_end(self, content: dict[str, Any]) -> None:
        if self.has_ended:  # what the run said itself is true
            return
        self._notes_from(content)
        self.tags += content.get("tags", [])
        self.status = content["status"]
        self._fields["stop_time"] = content["time"]
        if "result" in content:
            self._fields["result"] = content["result"]
        if "trace" in content:
            notes = self._notes
            trace = fitting(content["trace"], _ROOM_FOR_TRACE, notes, "fail_trace")
            self._fields["fail_trace"] = trace
        if content.get("reason"):
            self._settings["info.sweep.stop_reason"] = content["reason"]

    def _notes_from(self, content: dict[str, Any]) -> None:
        for sentence in content.pop("notes", []):
            self._notes.add(sentence)


def _whole_id(value: Any) -> int | None:
    """Return a reserved id; a journal may come from elsewhere, and say anything."""
    is_id = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
    return value if is_id else None


def _is_too_long(output: str) -> bool:
    # At most four bytes per character; encoding tells exactly, and is asked for long ones only.
    return len(output) * 4 > _ROOM_FOR_OUTPUT and len(output.encode()) > _ROOM_FOR_OUTPUT


def _cut_output(output: str, notes: Notes) -> str:
    if not _is_too_long(output):
        return output
    part = _ROOM_FOR_OUTPUT // 8
    notes.add(
        f"captured_out: {len(output):,} characters are too many for a document, which has the "
        "first and the last of them; all are in the artifact captured_out.txt at the run's end"
    )
    left_out = len(output) - 2 * part
    return f"{output[:part]}\n[... {left_out:,} characters left out ...]\n{output[-part:]}"


def object_id(*parts: str) -> str:
    """Make an id for MongoDB out of what it is of: the same each time.

    Parameters
    ----------
    *parts
        What tells it from all others.

    Returns
    -------
    str
        24 hexadecimal digits.
    """
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]


def metric_id(record_id: str, name: str) -> str:
    """Return the id of the document of a run's metric."""
    return object_id("metric", record_id, name)


def as_object_id(text: str) -> Any:
    """Return the id as BSON has it."""
    from bson import ObjectId

    return ObjectId(text)
