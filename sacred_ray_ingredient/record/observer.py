"""The observer: a run's events go to its journal, from where a thread brings them to MongoDB.

The documents are in Sacred's own format, so that Omniboard and every reader of Sacred runs can
read them. The experiment never waits for the database, but for a bounded time at its start, to
learn its run id, and at its end; trials not even then.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import mimetypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sacred.observers.base import RunObserver as SacredObserver
from sacred.run import Run

from sacred_ray_ingredient.record.documents import (
    Notes,
    as_metric_value,
    fitting,
    show_value,
    storable,
)
from sacred_ray_ingredient.record.journal import Journal
from sacred_ray_ingredient.record.lines import encode
from sacred_ray_ingredient.record.output import news_of_output, take_rest_of_output
from sacred_ray_ingredient.record.patience import Patience
from sacred_ray_ingredient.record.run_state import RESERVED_ID, object_id
from sacred_ray_ingredient.record.shipment import Shipment
from sacred_ray_ingredient.record.shipper import Shipper
from sacred_ray_ingredient.record.surroundings import Surroundings

# What is printed reaches the journal after so many seconds at the latest.
_BEAT_S = 2.0
_ROOM_FOR_METADATA = 2**18
_INT64 = 2**63
# While the database is away, so many journals that have ended are kept open; others are closed,
# and may be brought there by another process.
_MOST_OPEN = 300


class RunObserver(SacredObserver):
    """Records one run; made for one run and thrown away with it.

    Parameters
    ----------
    run
        The run that is observed.
    journal
        Where its events are kept until the database has them.
    shipment, shipper
        Bring them there.
    tags
        Tags of the run in Omniboard.
    surroundings
        What it shares with other runs.
    patience
        How long the run waits for the database.
    """

    # Last, so that its id is not handed to the user's own observers, for which it may be that of
    # an earlier run.
    priority = -1000

    def __init__(
        self,
        run: Run,
        journal: Journal,
        shipment: Shipment,
        shipper: Shipper,
        tags: Sequence[str] = (),
        surroundings: Surroundings | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._run = run
        self._journal = journal
        self._shipment = shipment
        self._shipper = shipper
        self._tags = list(tags)
        self._shared = surroundings or Surroundings()
        self._patience = patience or Patience()
        self._reserved_id = self._patience.known_id
        self._tags_at_end: list[str] = []
        self._has_started = False
        self._has_ended = False
        self._output = ""
        self._info_text = b""
        self._result_text = b""
        self._artifacts = 0
        # The heartbeat has a thread of its own.
        self._lock = threading.RLock()
        self.points = journal.points

    @property
    def run_id(self) -> int | None:
        """Id of the run; None as long as neither it was reserved nor the database has it."""
        known = self._shipment.run_id
        return self._reserved_id if known is None else known

    @property
    def record_id(self) -> str:
        """What the document has as ``meta.record.journal``."""
        return self._journal.record_id

    def started_event(
        self,
        ex_info: Mapping[str, Any],
        command: str,
        host_info: Mapping[str, Any],
        start_time: datetime.datetime,
        config: Mapping[str, Any],
        meta_info: Mapping[str, Any],
        _id: Any,
    ) -> int | None:
        """Begin the journal; the id that another observer gave the run is not used."""
        content = {
            **self._begin(ex_info, command, host_info, config, meta_info),
            "start_time": start_time,
        }
        with self._lock:
            self._journal.append("start", content)
            self._has_started = True
        if self._run.beat_interval > 0:
            self._run.beat_interval = min(self._run.beat_interval, _BEAT_S)
        self._shipper.add(self._shipment, rests=self._rests)
        if not self._rests and not self._shipper.is_failing:
            self._shipper.wait(self._shipment, self._has_id, self._patience.start_s)
        return self.run_id

    def queued_event(
        self,
        ex_info: Mapping[str, Any],
        command: str,
        host_info: Mapping[str, Any],
        queue_time: datetime.datetime,
        config: Mapping[str, Any],
        meta_info: Mapping[str, Any],
        _id: Any,
    ) -> int | None:
        """Record a run that is only to be queued."""
        content = self._begin(ex_info, command, host_info, config, meta_info)
        self._journal.append("queue", content)
        self._shipper.add(self._shipment)
        self._shipper.wait(self._shipment, self._is_there, self._patience.end_s)
        return self.run_id

    def log_scalar(self, name: str, value: Any, step: Any, time: datetime.datetime) -> None:
        """Write one value of a metric into the journal.

        Parameters
        ----------
        name, value, step
            As given to ``log_scalar``.
        time
            When it was, UTC.
        """
        if type(value) is not float:  # most are, and need nothing of this
            number = as_metric_value(value)
            value = show_value(value) if number is None else number
        if type(step) is not int or not -_INT64 <= step < _INT64:
            step = as_metric_value(step)
        is_much = False
        name = _text_of_name(str(name))
        with self._lock:
            if self._has_started and not self._has_ended:
                is_much = self._journal.append_scalar(name, step, value, time)
        if is_much:
            self._shipper.hurry(self._shipment)

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        """Do nothing: each value was written when it was logged."""

    def heartbeat_event(
        self,
        info: Mapping[str, Any],
        captured_out: str,
        beat_time: datetime.datetime,
        result: Any,
    ) -> None:
        """Write what is new of the output, the info and the result."""
        self._beat(info, captured_out, beat_time, result, also_empty=True)

    def _beat(
        self,
        info: Mapping[str, Any],
        output: str,
        time: datetime.datetime,
        result: Any,
        also_empty: bool = False,
    ) -> None:
        notes = Notes()
        with self._noting("a heartbeat"), self._lock:
            content: dict[str, Any] = {}
            if output != self._output:
                content["out"] = news_of_output(self._output, output)
                self._output = output
            for name, value in (("info", info), ("result", result)):
                kept = storable(value, notes=notes, where=name)
                text = encode(name, kept)
                if text != getattr(self, f"_{name}_text"):
                    setattr(self, f"_{name}_text", text)
                    content[name] = kept
            if content or notes.sentences or also_empty:
                self._append("beat", {"time": time, **content, "notes": notes.as_list()})

    def completed_event(self, stop_time: datetime.datetime, result: Any) -> None:
        """Write the end of a run that returned."""
        self._finish("COMPLETED", stop_time, result=result)

    def interrupted_event(self, interrupt_time: datetime.datetime, status: str) -> None:
        """Write the end of a run that was stopped."""
        self._finish(status, interrupt_time, tags=self._tags_at_end)

    def failed_event(self, fail_time: datetime.datetime, fail_trace: Sequence[str]) -> None:
        """Write the end of a run that raised."""
        self._finish("FAILED", fail_time, trace=[storable(line) for line in fail_trace])

    def artifact_event(
        self,
        name: str,
        filename: str,
        metadata: Mapping[str, Any] | None = None,
        content_type: str | None = None,
    ) -> None:
        """Keep a copy of the file, and write that it belongs to the run."""
        with self._noting(f"artifact {show_value(name)}"):
            digest = self._journal.files.keep_file(filename)
            name = str(name)
            with self._lock:
                self._artifacts += 1
                number = str(self._artifacts)
            notes = Notes()
            about = {
                "id": object_id("artifact", self.record_id, number, name, digest),
                "digest": digest,
                "filename": storable(f"artifact://{self.record_id}/{name}"),
                "content_type": storable(content_type or mimetypes.guess_type(filename)[0]),
                "metadata": fitting(storable(metadata), _ROOM_FOR_METADATA, notes, name),
            }
            for sentence in notes.as_list():
                self._append("note", sentence)
            self._append("file", about)
            self._append("artifact", {"name": storable(name), "id": about["id"]})

    def resource_event(self, filename: str) -> None:
        """Store a file that the run has read, once for all runs that read the same."""
        with self._noting(f"resource {filename!r}"):
            digest = self._journal.files.keep_file(filename)
            about = {"id": object_id("resource", filename, digest), "digest": digest}
            self._append("file", {**about, "filename": storable(filename)})
            self._append("resource", [storable(filename), digest])

    def keep_bytes(self, content: bytes, filename: str) -> str:
        """Store content in the database, once whatever run it is of.

        Parameters
        ----------
        content
            Its bytes.
        filename
            Its name there.

        Returns
        -------
        str
            Id of the file, as hexadecimal text.
        """
        digest = self._journal.files.keep_bytes(content)
        file_id = object_id("file", filename, digest)
        self._append("file", {"id": file_id, "digest": digest, "filename": filename})
        return file_id

    def add_to_document(self, entries: Mapping[str, Any], tags: Sequence[str]) -> None:
        """Add to the document.

        Parameters
        ----------
        entries
            Values by dotted path.
        tags
            Added to those that the run has by now.
        """
        if not self._has_started:
            self._tags += tags
            return
        fields = {path: storable(value) for path, value in entries.items()}
        self._append("set", {"fields": fields, "tags": list(tags)})

    def amend_other(self, amendment: Mapping[str, Any]) -> None:
        """Write what became of another run that cannot say it itself.

        Parameters
        ----------
        amendment
            See `sacred_ray_ingredient.record.amendments.as_update`.
        """
        self._append("amend", dict(amendment))
        self._shipper.hurry(self._shipment)

    def give_sources(self, ex_info: Mapping[str, Any]) -> None:
        """Store the sources of another experiment, so that its runs need not.

        Parameters
        ----------
        ex_info
            As the experiment's ``get_experiment_info`` returns it.
        """
        with self._lock:
            self._shared.keep_sources(self._journal, ex_info, Notes())

    def tag_at_end(self, tags: Sequence[str]) -> None:
        """Add tags when the run is stopped."""
        self._tags_at_end += tags

    def sync(self) -> None:
        """Make sure that all so far survives the death of the machine, as at a checkpoint."""
        self._journal.sync()

    def join(self) -> None:
        """Do nothing: the end of the run has waited."""

    def _begin(self, *given: Any) -> dict[str, Any]:
        first = {**self._shared.first_document(self._journal, *given), "tags": self._tags}
        return first if self._reserved_id is None else {**first, RESERVED_ID: self._reserved_id}

    def _append(self, kind: str, content: Any) -> None:
        with self._lock:
            if self._has_started and not self._has_ended:
                self._journal.append(kind, content)

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """Let an event that cannot be recorded cost itself and nothing else."""
        try:
            yield
        except OSError as error:
            self._append("note", storable(f"{what} cannot be read ({error.strerror or error})"))
        except Exception as error:
            self._append("note", storable(f"{what} cannot be recorded ({show_value(error)})"))

    @property
    def _rests(self) -> bool:
        return self._reserved_id is not None

    def _has_id(self) -> bool:
        return self.run_id is not None

    def _is_there(self) -> bool:
        return self._shipment.is_complete

    def _finish(self, status: str, time: datetime.datetime, **content: Any) -> None:
        notes = Notes()
        with self._lock:
            if self._has_ended or not self._has_started:
                return
            with self._noting("the last output"):
                take_rest_of_output(self._run)
            self._beat(self._run.info, self._run.captured_out, time, self._run.result)
            if "result" in content:
                content["result"] = storable(content["result"], notes=notes, where="result")
            end = {"status": status, "time": time, "notes": notes.as_list(), **content}
            self._journal.append("end", end)
            self._has_ended = True
        if self._patience.waits_at_end:
            self._journal.sync()
            self._shipper.wait(self._shipment, self._is_there, self._patience.end_s)
        else:
            self._shipper.finish(self._shipment, rests=self._rests)
        if self._shipper.waiting > _MOST_OPEN:  # each open one is a file of the process
            self._journal.close()

    def __eq__(self, other: object) -> bool:
        """Tell observers apart by identity: Sacred drops a failed one by comparing."""
        return self is other

    def __hash__(self) -> int:
        """Hash by identity."""
        return id(self)


@functools.lru_cache(maxsize=1024)
def _text_of_name(name: str) -> str:
    return str(storable(name))


def observer_of(run: Run) -> RunObserver | None:
    """Return the observer of a run that brings it to MongoDB."""
    return next((entry for entry in run.observers if isinstance(entry, RunObserver)), None)


def recorded_id(run: Run) -> int | str | None:
    """Return the id of a run in the database, else the one that another observer gave it."""
    for observer in run.observers:
        if isinstance(observer, RunObserver) and observer.run_id is not None:
            return observer.run_id
    return run._id  # type: ignore[no-any-return]
