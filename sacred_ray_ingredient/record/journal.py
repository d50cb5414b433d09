"""The journal: the local file in which a run's events stand until MongoDB has them.

One file per attempt, one JSON array per line, only ever appended to. A line that is in the file
survives the death of its process; the process holds a lock on the file for as long as it lives,
which is how others tell whether more is to come.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import functools
import os
import shutil
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.record.kept_files import KeptFiles, folder_of
from sacred_ray_ingredient.record.lines import (
    BLOCK_BYTES,
    Event,
    decode_lines,
    encode,
    encode_scalar,
    read_block,
    read_bytes,
)
from sacred_ray_ingredient.record.points import (
    MARK,
    MARK_LINE,
    Position,
    path_of,
    read_in_order,
)
from sacred_ray_ingredient.record.points_file import PointsFile

SUFFIX = ".jsonl"
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND
# Events that wait in the memory of the process for room on the disk; the oldest stay.
_MOST_WAITING_BYTES = 256 * 2**20
# Bytes of events that are handed on from memory, and how many are worth to be handed on at once.
_MOST_FRESH_BYTES = 4 * 2**20
_MANY_FRESH_BYTES = 2 * 2**20
# So many scalars of a run are lines: short runs need no second file.
_SCALARS_AS_LINES = 100


class Journal:
    """Appends the events of one run; made by the process that runs it.

    Parameters
    ----------
    path
        The file, which must not exist; its folder is created.
    fsync_s
        Seconds between two calls of fsync; None: only when `sync` is called.

    Attributes
    ----------
    files : KeptFiles
        What is to be stored with the run.
    points : PointsFile
        Has most scalars where there are many.
    """

    def __init__(self, path: Path, fsync_s: float | None = None) -> None:
        self.path = path
        self._fsync_s = fsync_s
        self._last_fsync = time.monotonic()
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._dropped = 0
        self._size = 0
        self._is_closed = False
        # The last events, so that they need not be read from the file; from a position on.
        self._fresh: list[Event] = []
        self._fresh_from = 0
        self._fresh_bytes = 0
        self.files = KeptFiles(path)
        # Forced to the disk every few seconds, all are lines.
        self._lines_left = _SCALARS_AS_LINES if fsync_s is None else -1
        self.points = PointsFile(path, self._lock)
        self._file = self._open()
        _open_journals.add(self)

    @functools.cached_property
    def record_id(self) -> str:
        """What tells this run's document from all others."""
        return record_id(self.path)

    def append(self, kind: str, content: Any) -> None:
        """Write one event; it is in the hands of the operating system afterwards.

        Where the disk is full it waits in memory for room.

        Parameters
        ----------
        kind
            What happened.
        content
            Plain data; dates and bytes are allowed.
        """
        line = encode(kind, content)
        with self._lock:
            self._put(line, (kind, content))
            if kind == "end":
                self.points.stop()

    def append_scalar(self, name: str, step: Any, value: Any, at: datetime.datetime) -> bool:
        """Write one value of a metric, as `append` does, in less time.

        Parameters
        ----------
        name, step, value
            Plain data.
        at
            When it was.

        Returns
        -------
        bool
            Whether there is much that nobody has read yet.
        """
        with self._lock:
            if self._lines_left == 0:
                self._lines_left = -1
                self.points.begin(self._put_mark)
            if self.points.put(name, step, value, at):
                return self.points.is_much()
            self._lines_left -= 1
            before = self._fresh_bytes
            line = encode_scalar(name, step, value, at)
            self._put(line, ("scalar", [name, step, value, at]))
            return before < _MANY_FRESH_BYTES <= self._fresh_bytes

    def read(self, position: Position) -> tuple[list[Event], Position]:
        """Read events, those that wait for the disk included.

        Parameters
        ----------
        position
            Where the last call ended; 0 for the beginning.

        Returns
        -------
        events : list of tuple
            Kind and content of each.
        position : int or Place
            For the next call.
        """
        return read_in_order(self.path, position, self._read_lines, lambda: self.points.end)

    def _read_lines(self, position: int) -> tuple[list[Event], int]:
        with self._lock:
            size = self._size
            if position == self._fresh_from:
                events = self._fresh
                self._forget_fresh(size + len(self._waiting))
                return events, self._fresh_from
            is_long = size - position > BLOCK_BYTES
            waiting = bytes(self._waiting[max(position - size, 0) :])
            if not is_long:
                self._forget_fresh(size + len(self._waiting))
        # Without the lock, for which the experiment would wait: what is there never changes.
        if is_long:
            return read_block(self.path, position, size, MARK_LINE)
        in_file = read_bytes(self.path, position, size) if size > position else b""
        content = in_file + waiting
        return decode_lines(content)[0], position + len(content)

    def sync(self) -> None:
        """Make sure that all events survive the death of the machine."""
        with self._lock:
            self._write_waiting()
            self._fsync()

    def close(self) -> None:
        """Let go of the file, unless something waits for room; others may take it for finished."""
        with self._lock:
            self._write_waiting()
            if not self._waiting:
                self._let_go()

    @property
    def is_deleted(self) -> bool:
        """Whether somebody else has deleted it, who has all of it."""
        with self._lock:
            if self._file is None:
                return self._is_closed and not self.path.exists()
            return os.fstat(self._file).st_nlink == 0

    def delete(self) -> None:
        """Delete it and what it kept: the database has all of it."""
        with self._lock:
            self._let_go()
        delete(self.path, has_files=self.files.were_used)

    def forget_in_child(self) -> None:
        """Give the lock up in a process that was forked: it is the parent's run."""
        self._lock = threading.Lock()
        self.points.forget_in_child(self._lock)
        self._let_go()

    def _put(self, line: bytes, event: Event) -> None:
        """Write a line, and keep what is in it for the next reader."""
        if self._file is None or self._waiting or self._dropped:
            self._put_slowly(line, event)
        else:
            try:
                written = os.write(self._file, line)
            except OSError:
                written = 0
            self._size += written
            if written < len(line):
                self._waiting += line[written:]
            self._keep_fresh(event, len(line))
        if self._fsync_s is None or self._waiting:
            return
        if time.monotonic() - self._last_fsync >= self._fsync_s:
            self._fsync()

    def _put_mark(self) -> bool:
        """Write where points begin; tell whether that is in the file."""
        is_ready = self._file is not None and not self._waiting and not self._dropped
        if is_ready:
            self._put(MARK_LINE, (MARK, None))
        return is_ready and not self._waiting

    def _put_slowly(self, line: bytes, event: Event) -> None:
        self._write_waiting()
        self._take(line, is_needed=event[0] == "end")
        self._write_waiting()
        # What waits may be less than was given, or more: it is read as it stands.
        self._forget_fresh(self._size + len(self._waiting))

    def _keep_fresh(self, event: Event, size: int) -> None:
        self._fresh_bytes += size
        if self._fresh_bytes > _MOST_FRESH_BYTES:
            self._forget_fresh(self._size + len(self._waiting))
        else:
            self._fresh.append(event)

    def _forget_fresh(self, position: int) -> None:
        """Begin anew with the events that are in memory, at a position."""
        self._fresh, self._fresh_from, self._fresh_bytes = [], position, 0

    def _let_go(self) -> None:
        self._is_closed = True
        self.points.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take(self, line: bytes, is_needed: bool) -> None:
        """Let an event wait for the disk, unless too many of them do; it is said how many."""
        told = b""
        if self._dropped:
            told = encode("note", f"{self._dropped:,} events found no room on the disk")
        fits = len(self._waiting) + len(told) + len(line) <= _MOST_WAITING_BYTES
        if self._waiting and not fits and not is_needed:
            self._dropped += 1
            return
        self._waiting += told + line
        self._dropped = 0

    def _open(self) -> int | None:
        try:
            try:
                file = os.open(self.path, _NEW, 0o600)
            except FileNotFoundError:  # the first one
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file = os.open(self.path, _NEW, 0o600)
        except FileExistsError:
            raise
        except OSError:  # a full or read-only disk: what happens waits in memory
            return None
        # Waits for those who look at this moment whether it is locked.
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _write_waiting(self) -> None:
        if self._file is None and self._waiting and not self._is_closed:
            self._file = self._open()
        while self._waiting and self._file is not None:
            try:
                written = os.write(self._file, self._waiting)
            except OSError:
                return
            self._size += written
            del self._waiting[:written]

    def _fsync(self) -> None:
        self._last_fsync = time.monotonic()
        with contextlib.suppress(OSError):
            self.points.sync()
        with contextlib.suppress(OSError):
            if self._file is not None:
                os.fsync(self._file)
            elif self._is_closed:
                file = os.open(self.path, os.O_RDONLY)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)


# The lock of a journal is that of the open file, which a forked process inherits and would keep
# after its parent is gone.
_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _forget_in_child() -> None:
    for journal in list(_open_journals):
        journal.forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)


class DeadJournal:
    """Reads the journal of a process that is gone, and may write the end that it could not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = KeptFiles(path)

    @property
    def record_id(self) -> str:
        """What tells this run's document from all others."""
        return record_id(self.path)

    def append(self, kind: str, content: Any) -> None:
        """Write one event behind what is there."""
        with self.path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the process died within a line
                    file.write(b"\n")
            file.write(encode(kind, content))
            file.flush()
            os.fsync(file.fileno())

    def read(self, position: Position) -> tuple[list[Event], Position]:
        """Read events; see `Journal.read`."""
        read_lines = functools.partial(read_block, self.path, last=MARK_LINE)
        return read_in_order(self.path, position, read_lines, lambda: None)

    @property
    def is_deleted(self) -> bool:
        """Whether somebody else has brought and deleted it."""
        return not self.path.exists()

    def sync(self) -> None:
        """Do nothing: what is appended is forced to the disk."""

    def delete(self) -> None:
        """Delete it and what it kept: the database has all of it."""
        delete(self.path)


def record_id(path: Path) -> str:
    """Return the part of a journal's name that no other one has."""
    return path.name.removesuffix(SUFFIX).rpartition("-")[2]


def delete(path: Path, has_files: bool = True) -> None:
    """Delete a journal and what it kept, and its folder where that is empty then."""
    if has_files:
        shutil.rmtree(folder_of(path), ignore_errors=True)
    path.unlink(missing_ok=True)
    path_of(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def is_alive(path: Path) -> bool:
    """Tell whether the process lives that writes a journal on this machine."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def journals_in(folder: Path) -> list[Path]:
    """Return all journals below a folder, in the order of their names."""
    found = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if path.name.endswith(SUFFIX))
