"""Brings a journal to MongoDB, bit by bit or as a whole, once or again: the result is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sacred_ray_ingredient.record.amendments import as_update
from sacred_ray_ingredient.record.files import missing_files, store_file
from sacred_ray_ingredient.record.journal import Event
from sacred_ray_ingredient.record.kept_files import KeptFiles
from sacred_ray_ingredient.record.run_state import (
    RunState,
    Series,
    as_object_id,
    metric_id,
    object_id,
)

# So many runs that begin at the same time may take the id that this one would have had.
_MOST_RACES = 1000
# The largest array that one request appends.
_POINTS_PER_REQUEST = 50_000


class EventSource(Protocol):
    """A journal, whoever writes it."""

    @property
    def record_id(self) -> str:
        """What tells the run's document from all others."""

    def read(self, position: int) -> tuple[list[Event], int]:
        """Return the events after a position, and the next position."""

    @property
    def files(self) -> KeptFiles:
        """What is to be stored with the run."""

    def delete(self) -> None:
        """Delete it, once the database has all of it."""


class Shipment:
    """Brings one journal to the database.

    Parameters
    ----------
    source
        The journal.
    database
        A pymongo database, or a function that returns it when it is needed.
    collection
        Name of the collection of runs.
    is_new
        Whether the journal was begun just now, so that the database cannot know it.

    Attributes
    ----------
    state : RunState
        What the journal says.
    run_id : int or None
        Id of the run; None until the database has it.
    refusal : str or None
        Why the server did not take it, where it was not that it is away.
    """

    def __init__(
        self, source: EventSource, database: Any, collection: str = "runs", is_new: bool = False
    ) -> None:
        self.source = source
        self.state = RunState()
        self.run_id: int | None = None
        self.is_live = is_new
        self.refusal: str | None = None
        self._database = database
        self._collection = collection
        self._position = 0
        self._files_done = 0
        self._documents_done = 0
        self._amendments_done = 0
        self._may_be_there = not is_new
        self._known = is_new
        self._counts: dict[str, int] = {}
        self._written: dict[str, Any] = {}
        self._tags_written = 0
        self._is_gone = False
        self._is_written = False

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and the database has all of it."""
        return self._is_gone or (self.state.has_ended and self._is_written)

    def read(self) -> None:
        """Read what the journal has got since the last time."""
        try:
            events, self._position = self.source.read(self._position)
        except FileNotFoundError:  # somebody else has brought all of it, and deleted it
            self._is_gone = True
            return
        if events:
            self._is_written = False
            self.state.apply(events)

    def advance(self) -> bool:
        """Read the journal and write what the database does not have.

        Returns
        -------
        bool
            Whether there is nothing left to do, now and later.

        Raises
        ------
        pymongo.errors.PyMongoError
            If the database does not answer; nothing is lost, the next call begins anew.
        """
        self.read()
        if self.state.started is None or self._is_gone:
            return self._is_gone
        try:
            self._store_files()
            self._store_documents()
            if self.run_id is None:
                self._insert()
            self._append_metrics()
            self._update()
            self._amend_others()
        except Exception:
            # Whether the last request was carried out is not known now.
            self._may_be_there = True
            self._known = False
            raise
        self._is_written = True
        return self.is_complete

    @property
    def _record_id(self) -> str:
        # As the document has it: the file may have been copied under another name.
        record = ((self.state.started or {}).get("meta") or {}).get("record") or {}
        return str(record.get("journal", self.source.record_id))

    @property
    def _runs(self) -> Any:
        return self._open()[self._collection]

    def _open(self) -> Any:
        if callable(self._database) and not hasattr(self._database, "list_collection_names"):
            self._database = self._database()
        return self._database

    def _store_files(self) -> None:
        full = self.state.full_output if self.state.has_ended else None
        if full is not None:
            self._store_output(full)
        waiting = self.state.files[self._files_done :]
        if not waiting:
            return
        missing = missing_files(self._open(), [file["id"] for file in waiting])
        for file in waiting:
            if file["id"] in missing:
                self._store_file(file)
            self._files_done += 1

    def _store_file(self, file: Mapping[str, Any]) -> None:
        from bson.errors import BSONError
        from pymongo.errors import ConnectionFailure, PyMongoError

        content = self.source.files.content(file["digest"])
        if content is None:
            self.state.note(f"file {file['filename']!r}: its content is lost")
            return
        try:
            store_file(self._open(), file, content)
        except ConnectionFailure:
            raise
        except (PyMongoError, BSONError, OverflowError) as error:
            # What the server refuses is left out; it holds nothing else up.
            self.state.note(f"file {file['filename']!r} cannot be stored ({error})")

    def _store_documents(self) -> None:
        for document in self.state.documents[self._documents_done :]:
            self._open()[document["collection"]].update_one(
                {"_id": document["id"]}, {"$setOnInsert": document["content"]}, upsert=True
            )
            self._documents_done += 1

    def _store_output(self, output: str) -> None:
        name = "captured_out.txt"
        file_id = object_id("output", self._record_id)
        about = {"id": file_id, "filename": f"artifact://{self._collection}/{name}"}
        store_file(self._open(), about, output.encode())
        if not any(known["name"] == name for known in self.state.document()["artifacts"]):
            self.state.apply([("artifact", {"name": name, "id": file_id})])

    def _insert(self) -> None:
        """Insert the document under the next free whole number, or find it."""
        from pymongo.errors import DuplicateKeyError

        for others in range(_MOST_RACES):
            if self._may_be_there:
                query = {"meta.record.journal": self._record_id}
                there = self._runs.find_one(query, {"_id": 1})
                if there is not None:
                    self.run_id = there["_id"]
                    return
            last = self._runs.find_one({"_id": {"$type": "number"}}, {"_id": 1}, sort=[("_id", -1)])
            run_id = 1 if last is None else max(int(last["_id"]), 0) + 1
            document = self.state.document()
            tags = list(dict.fromkeys(self.state.tags))
            self._may_be_there = True
            try:
                self._runs.insert_one({"_id": run_id, **document, "omniboard": {"tags": tags}})
            except DuplicateKeyError:  # another process was faster
                if others + 1 == _MOST_RACES:
                    raise
                continue
            self.run_id = run_id
            self._may_be_there = False
            self._written = document
            self._tags_written = len(self.state.tags)
            return

    def _append_metrics(self) -> None:
        waiting = {name: series for name, series in self.state.series.items() if series.values}
        while waiting:
            if not self._known:
                self._count_points(waiting)
                if self._is_gone:
                    return
            waiting = {name: series for name, series in waiting.items() if series.values}
            if not waiting:
                return
            writes = [self._append(series) for series in waiting.values()]
            done = self._open()["metrics"].bulk_write([write for write, _ in writes], ordered=False)
            if done.matched_count + done.upserted_count + done.inserted_count < len(writes):
                self._known = False  # somebody else is bringing the same journal
                continue
            for (_, count), series in zip(
                writes, [s for s in waiting.values() if s.values], strict=True
            ):
                series.drop_until(count)
                self._counts[series.name] = count

    def _count_points(self, waiting: Mapping[str, Series]) -> None:
        """Ask how many points the database has: they are the first ones of the journal."""
        ids = [as_object_id(metric_id(self._record_id, name)) for name in waiting]
        found = self._open()["metrics"].aggregate(
            [
                {"$match": {"_id": {"$in": ids}}},
                {"$project": {"name": 1, "count": {"$size": "$values"}}},
            ]
        )
        counts = {metric["name"]: metric["count"] for metric in found}
        if any(counts.get(name, 0) < series.shipped for name, series in waiting.items()):
            query = {"_id": self.run_id, "meta.record.journal": self._record_id}
            if self._runs.find_one(query, {"_id": 1}) is None:
                self._is_gone = True  # the user has deleted the run with its metrics
                return
            self._read_again()
        for name, series in self.state.series.items():
            self._counts[name] = counts.get(name, self._counts.get(name, 0))
            series.drop_until(self._counts[name])
        self._known = True

    def _read_again(self) -> None:
        """Begin anew with the whole journal: the database has lost what it had confirmed."""
        self.state = RunState()
        self._position = self._files_done = self._documents_done = self._amendments_done = 0
        self._counts.clear()
        self._written = {}
        self._tags_written = 0
        raise _Lost

    def _append(self, series: Series) -> tuple[Any, int]:
        """Make the write that appends points, only where those before them are there."""
        from pymongo import InsertOne, UpdateOne

        metric = as_object_id(metric_id(self._record_id, series.name))
        there = self._counts.get(series.name, 0)
        end = _POINTS_PER_REQUEST
        points = {
            "steps": series.steps[:end],
            "values": series.values[:end],
            "timestamps": series.timestamps[:end],
        }
        count = series.shipped + len(points["values"])
        if not there:
            about = {"run_id": self.run_id, "name": series.name}
            if series.part > 1:
                about |= {"of": series.of, "part": series.part}
            return InsertOne({"_id": metric, **about, **points}), count
        pushes = {name: {"$each": values} for name, values in points.items()}
        return UpdateOne({"_id": metric, "values": {"$size": there}}, {"$push": pushes}), count

    def _update(self) -> None:
        document = self.state.document()
        changes = {
            name: value
            for name, value in document.items()
            if self._written.get(name, _MISSING) != value
        }
        new_tags = self.state.tags[self._tags_written :]
        if not changes and not new_tags:
            return
        if self.state.has_ended:
            # All of it: somebody may have taken the run for dead, and closed its document.
            changes = dict(document)
        update: dict[str, Any] = {"$set": {**changes, "status": document["status"]}}
        if self.state.has_ended and "fail_trace" not in document:
            update["$unset"] = {"fail_trace": ""}
        if new_tags:
            update["$addToSet"] = {"omniboard.tags": {"$each": list(dict.fromkeys(new_tags))}}
        if self.is_live:
            # By the server's clock, which is the same for everybody who looks.
            update["$currentDate"] = {"meta.record.seen": True}
            _spread(update["$set"], "meta")
        query = {"_id": self.run_id, "meta.record.journal": self._record_id}
        if not self._runs.update_one(query, update).matched_count:
            self._is_gone = True  # the user has deleted the run
            return
        self._written = document
        self._tags_written = len(self.state.tags)

    def _amend_others(self) -> None:
        for amendment in self.state.amendments[self._amendments_done :]:
            try:
                update = as_update(amendment)
            except (KeyError, TypeError, ValueError) as error:  # of another version of this package
                self.state.note(f"what became of another run cannot be read ({error})")
            else:
                self._runs.update_many(*update)
            self._amendments_done += 1


_MISSING = object()


class _Lost(Exception):
    """Points that the database had confirmed are not there."""


def _spread(changes: dict[str, Any], name: str) -> None:
    """Set the entries below a field one by one, so that one of them can be set in another way."""
    for key, value in (changes.pop(name, None) or {}).items():
        if key == "record":
            changes |= {f"{name}.{key}.{below}": item for below, item in value.items()}
        else:
            changes[f"{name}.{key}"] = value
