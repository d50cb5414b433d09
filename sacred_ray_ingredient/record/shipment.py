"""Brings a journal to MongoDB, bit by bit or as a whole, once or again: the result is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sacred_ray_ingredient.record.amendments import as_update
from sacred_ray_ingredient.record.files import missing_files, store_file
from sacred_ray_ingredient.record.kept_files import KeptFiles
from sacred_ray_ingredient.record.lines import Event
from sacred_ray_ingredient.record.points import Position, bytes_before
from sacred_ray_ingredient.record.run_ids import next_free
from sacred_ray_ingredient.record.run_state import RunState, as_object_id, metric_id, object_id
from sacred_ray_ingredient.record.series import Series
from sacred_ray_ingredient.record.writes import POINTS_PER_REQUEST, changes_of, points_write

# So many runs that begin at the same time may take the id that this one would have had.
_MOST_RACES = 1000
# Journals of more bytes go to the database by themselves.
_MOST_BYTES_TOGETHER = 2**18


class EventSource(Protocol):
    """A journal, whoever writes it."""

    @property
    def record_id(self) -> str:
        """What tells the run's document from all others."""

    def read(self, position: Position) -> tuple[list[Event], Position]:
        """Return the events after a position, and the next position."""

    @property
    def files(self) -> KeptFiles:
        """What is to be stored with the run."""

    @property
    def is_deleted(self) -> bool:
        """Whether somebody else, who has all of it, has deleted it."""

    def sync(self) -> None:
        """Make sure that it survives the death of the machine."""

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
        self._position: Position = 0
        self._files_done = self._documents_done = self._amendments_done = 0
        self._may_be_there = not is_new
        self._known = is_new
        self._counts: dict[str, int] = {}
        self._written: dict[str, Any] = {}
        self._tags_written = 0
        self._is_gone = False
        self._is_taken = False
        self._is_written = False

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and the database has all of it."""
        return self._is_gone or (self.state.has_ended and self._is_written)

    def read(self) -> None:
        """Read what the journal has got since the last time."""
        before = None
        while before != self._position:
            before = self._position
            try:
                events, self._position = self.source.read(before)
            except FileNotFoundError:  # somebody else has brought all of it, and deleted it
                self._is_gone = True
                return
            if events:
                self._is_written = False
                self.state.apply(events)
                for name, series in self.state.series.items():  # a copy can be behind the database
                    series.drop_until(self._counts.get(name, 0))
        self._note_other_id(self.run_id)

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
            self.doubt()
            raise
        return self.confirm()

    def doubt(self) -> None:
        """Take note that the last request may have been carried out, or not."""
        self._may_be_there = True
        self._known = False

    def confirm(self) -> bool:
        """Take note that the database has all that was read; return whether that is all."""
        self._is_written = True
        return self.is_complete

    @property
    def size(self) -> int:
        """How many bytes of the journal were read."""
        return bytes_before(self._position)

    @property
    def place(self) -> tuple[Any, str]:
        """The database, and the name of the collection of runs in it."""
        return self._open(), self._collection

    @property
    def is_ordinary(self) -> bool:
        """Whether all that it has to write are its document and metrics, under an id it knows."""
        state = self.state
        if state.started is None or self._is_gone or not self._known:
            return False
        if self.run_id is None and (self._may_be_there or self._is_taken or not state.reserved):
            return False
        return (
            self.size <= _MOST_BYTES_TOGETHER
            and len(state.files) == self._files_done
            and len(state.documents) == self._documents_done
            and len(state.amendments) == self._amendments_done
            and all(series.waiting <= POINTS_PER_REQUEST for series in state.series.values())
        )

    @property
    def _record_id(self) -> str:
        # As the document has it: the file may have been copied under another name.
        record = ((self.state.started or {}).get("meta") or {}).get("record") or {}
        return str(record.get("journal", self.source.record_id))

    @property
    def _identity(self) -> dict[str, Any]:
        return {"meta.record.journal": self._record_id}

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
                there = self._runs.find_one(self._identity, {"_id": 1})
                if there is not None:
                    self.run_id = there["_id"]
                    self._note_other_id(self.run_id)
                    return
            reserved = self.state.reserved
            if reserved is None or self._is_taken:
                reserved = next_free(self._open(), self._collection)
            document = self.first_document(reserved)
            self._may_be_there = True
            try:
                self._runs.insert_one(document)
            except DuplicateKeyError:  # another process was faster
                self._is_taken = True
                if others + 1 == _MOST_RACES:
                    raise
                continue
            self.take_inserted(document)
            return

    def first_document(self, run_id: int | None = None) -> dict[str, Any]:
        """Return the document as it is inserted, under the id that was reserved or another one."""
        run_id = self.state.reserved if run_id is None else run_id
        self._note_other_id(run_id)
        tags = list(dict.fromkeys(self.state.tags))
        return {"_id": run_id, **self.state.document(), "omniboard": {"tags": tags}}

    def take_inserted(self, document: Mapping[str, Any]) -> None:
        """Take note that the document was inserted as it was made by `first_document`."""
        self._may_be_there = False
        self.run_id = document["_id"]
        own = ("_id", "omniboard")
        self._written = {name: value for name, value in document.items() if name not in own}
        self._tags_written = len(self.state.tags)

    def _note_other_id(self, run_id: int | None) -> None:
        reserved = self.state.reserved
        if reserved is not None and run_id is not None and run_id != reserved:
            self.state.note(
                f"the run id {reserved} was reserved for this run, but another run has it by now: "
                "this one has the next that was free"
            )

    def _append_metrics(self) -> None:
        waiting = {name: series for name, series in self.state.series.items() if series.waiting}
        while waiting:
            if not self._known:
                self._count_points(waiting)
                if self._is_gone:
                    return
            waiting = {name: series for name, series in waiting.items() if series.waiting}
            if not waiting:
                return
            writes = self.metric_writes()
            done = self._open()["metrics"].bulk_write(
                [write for write, *_ in writes], ordered=False
            )
            if done.matched_count + done.upserted_count + done.inserted_count < len(writes):
                self._known = False  # somebody else is bringing the same journal
                continue
            self.take_appended(writes)

    def metric_writes(self) -> list[tuple[Any, Series, int]]:
        """Return writes that append all points, what they are of, and how many there are then."""
        writes = []
        for series in self.state.series.values():
            if series.waiting:
                there = self._counts.get(series.name, 0)
                write, count = points_write(self._record_id, self.run_id, series, there)
                writes.append((write, series, count))
        return writes

    def take_appended(self, writes: list[tuple[Any, Series, int]]) -> None:
        """Take note that points were appended."""
        for _, series, count in writes:
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
            if self._runs.find_one({"_id": self.run_id, **self._identity}, {"_id": 1}) is None:
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
        self._position = 0
        self._files_done = self._documents_done = self._amendments_done = 0
        self._counts.clear()
        self._written = {}
        self._tags_written = 0
        raise _Lost

    def _update(self) -> None:
        changes = self.changes()
        if changes is None:
            return
        query, update, document = changes
        if not self._runs.update_one(query, update).matched_count:
            if self._runs.find_one({"_id": self.run_id, **self._identity}, {"_id": 1}) is None:
                self._is_gone = True  # the user has deleted the run
            return
        self.take_updated(document)

    def changes(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]] | None:
        """Return how to find the document, its update, and what it is then; None for no change."""
        document = self.state.document()
        new_tags = self.state.tags[self._tags_written :]
        ended = self.state.has_ended
        update = changes_of(document, self._written, new_tags, ended, self.is_live)
        if update is None:
            return None
        query = {"_id": self.run_id, **self._identity}
        if not ended and not self.is_live:
            # What was read of the journal may be behind what its own process has written.
            query["status"] = self.state.status
        return query, update, document

    def take_updated(self, document: dict[str, Any]) -> None:
        """Take note that the document was updated."""
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


class _Lost(Exception):
    """Points that the database had confirmed are not there."""
