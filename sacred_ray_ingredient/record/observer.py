"""The observer that writes a sweep's and its trials' runs to MongoDB.

It is Sacred's ``MongoObserver``, so that the documents are what Omniboard and every reader of
Sacred runs expect, with what a sweep needs besides: tags from the first insert, values that the
server cannot refuse, output that is complete for every ending, sources that are stored once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sacred.observers.mongo import MongoObserver
from sacred.run import Run

from sacred_ray_ingredient.nested import set_path
from sacred_ray_ingredient.record.documents import is_finite_number, storable


class RunObserver(MongoObserver):
    """Writes one run; made for one run and thrown away with it.

    Parameters
    ----------
    run
        The run that is observed; its captured output is completed at its end.
    database
        A pymongo database, on a client that may serve many observers one after the other.
    collection
        Name of the collection of runs.
    tags
        Tags of the run in Omniboard.
    failure_dir
        Folder for the last state of a run whose end cannot be written.
    """

    def __init__(
        self,
        run: Run,
        database: Any,
        collection: str = "runs",
        tags: Sequence[str] = (),
        failure_dir: str | os.PathLike[str] = ".",
    ) -> None:
        import gridfs

        self._run = run
        self._tags = list(tags)
        self._tags_at_end: list[str] = []
        self._inserted = False
        # The constructor of the class above insists on a client of its own and a database name.
        self.initialize(
            database[collection],
            gridfs.GridFS(database),
            metrics_collection=database["metrics"],
            failure_dir=failure_dir,
            # Last, so that its id is not handed to the user's own observers, for which it may be
            # that of an earlier run.
            priority=-1000,
        )

    def started_event(
        self,
        ex_info: Mapping[str, Any],
        command: str,
        host_info: Mapping[str, Any],
        start_time: datetime,
        config: Mapping[str, Any],
        meta_info: Mapping[str, Any],
        _id: int | None,
    ) -> int:
        """Insert the document of the run; sweep, tags and config are in it from the start."""
        # Not the id that another observer gave the run: here it may be that of another run.
        super().started_event(
            ex_info,
            command,
            storable(host_info),
            start_time,
            storable(config),
            storable(meta_info),
            None,
        )
        return self.run_entry["_id"]  # type: ignore[no-any-return]

    @property
    def run_id(self) -> int | None:
        """Id of the run in the database; None as long as it is not there."""
        return self.run_entry["_id"] if self._inserted else None

    def insert(self) -> None:
        """Insert the document under the next free whole number, with its tags.

        Tags are kept out of the entry afterwards: each save writes the whole entry, and would
        undo what a user changed of the tags in Omniboard meanwhile.
        """
        from pymongo.errors import DuplicateKeyError

        while not self._inserted:
            last = self.runs.find_one({"_id": {"$type": "number"}}, {"_id": 1}, sort=[("_id", -1)])
            self.run_entry["_id"] = 1 if last is None else int(last["_id"]) + 1
            try:
                self.runs.insert_one({**self.run_entry, "omniboard": {"tags": self._tags}})
            except DuplicateKeyError:  # another process was faster
                continue
            self._inserted = True

    def final_save(self, attempts: int) -> None:
        """Write the end of the run; one that could not be inserted at its start is inserted now."""
        if self._inserted:
            super().final_save(attempts)
        else:
            self.insert()

    def add_to_document(self, entries: Mapping[str, Any], tags: Sequence[str]) -> None:
        """Add to the document of a run that has started.

        Parameters
        ----------
        entries
            Values by dotted path.
        tags
            Added to those that the run has by now.
        """
        if not self._inserted:
            self._tags += tags
            return
        changes = {path: storable(value) for path, value in entries.items()}
        for path, value in changes.items():
            set_path(self.run_entry, path, value)
        self.runs.update_one(
            {"_id": self.run_entry["_id"]},
            {"$set": changes, "$addToSet": {"omniboard.tags": {"$each": list(tags)}}},
        )

    def tag_at_end(self, tags: Sequence[str]) -> None:
        """Add tags when the run is stopped."""
        self._tags_at_end += tags

    def save_sources(self, ex_info: Mapping[str, Any]) -> list[list[Any]]:
        """Store the source files that the database does not have yet, and refer to all."""
        stored = []
        for name, _ in ex_info["sources"]:
            path = os.path.join(ex_info["base_dir"], name)
            with open(path, "rb") as source:
                content = source.read()
            # Of the bytes that are stored: the file may have changed since it was imported.
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            existing = self.fs.find_one({"filename": path, "metadata.md5": digest})
            if existing is None:
                file_id = self.fs.put(content, filename=path, metadata={"md5": digest})
            else:
                file_id = existing._id
            stored.append([name, file_id])
        return stored

    def heartbeat_event(
        self, info: Mapping[str, Any], captured_out: str, beat_time: datetime, result: Any
    ) -> None:
        """Write the output, the info and the result so far."""
        super().heartbeat_event(storable(info), captured_out, beat_time, storable(result))

    def log_metrics(
        self, metrics_by_name: Mapping[str, Mapping[str, Any]], info: dict[str, Any]
    ) -> None:
        """Append to the metrics; values that no plot can show are counted instead.

        Omniboard draws NaN and infinity as 0 and loses the extrema of a metric that has one.
        """
        finite: dict[str, Any] = {}
        for name, series in metrics_by_name.items():
            rows = list(zip(series["steps"], series["values"], series["timestamps"], strict=True))
            kept = [row for row in rows if is_finite_number(row[1])]
            if len(kept) < len(rows):
                counts = info.setdefault("sweep", {}).setdefault("nonfinite", {})
                counts[name] = counts.get(name, 0) + len(rows) - len(kept)
            if kept:
                steps, values, timestamps = (list(column) for column in zip(*kept, strict=True))
                finite[name] = {"steps": steps, "values": values, "timestamps": timestamps}
        super().log_metrics(finite, info)

    def completed_event(self, stop_time: datetime, result: Any) -> None:
        """Write the end of a run that returned."""
        self._take_rest_of_output()
        super().completed_event(stop_time, storable(result))

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        """Write the end of a run that was stopped."""
        self._take_rest_of_output()
        super().interrupted_event(interrupt_time, status)
        if self._tags_at_end and self._inserted:
            tags = {"omniboard.tags": {"$each": self._tags_at_end}}
            self.runs.update_one({"_id": self.run_entry["_id"]}, {"$addToSet": tags})

    def failed_event(self, fail_time: datetime, fail_trace: Sequence[str]) -> None:
        """Write the end of a run that raised."""
        self._take_rest_of_output()
        super().failed_event(fail_time, fail_trace)

    def _take_rest_of_output(self) -> None:
        """Add what was printed after the last heartbeat, which Sacred leaves in its buffer."""
        output = self._run._output_file
        if output is None or output.final is None:
            return
        rest = output.get()
        if isinstance(rest, bytes):
            rest = rest.decode("utf-8", "replace")
        text = self._run.captured_out + rest
        if self._run.captured_out_filter is not None:
            text = self._run.captured_out_filter(text)
        self._run.captured_out = text
        if self.run_entry is not None:
            self.run_entry["captured_out"] = text

    def __eq__(self, other: object) -> bool:
        """Tell observers apart by identity: Sacred drops a failed one by comparing."""
        return self is other

    def __hash__(self) -> int:
        """Hash by identity."""
        return id(self)


def recorded_id(run: Run) -> int | str | None:
    """Return the id of a run in the database, else the one that another observer gave it."""
    for observer in run.observers:
        if isinstance(observer, RunObserver) and observer.run_id is not None:
            return observer.run_id
    return run._id  # type: ignore[no-any-return]
