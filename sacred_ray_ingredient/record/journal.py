"""The journal: the local file in which a run's events stand until MongoDB has them.

One file per attempt, one JSON array per line, only ever appended to. A line that is in the file
survives the death of its process; the process holds a lock on the file for as long as it lives,
which is how others tell whether more is to come.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import fcntl
import json
import os
import shutil
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.record.kept_files import KeptFiles, folder_of

SUFFIX = ".jsonl"
# Events that wait in the memory of the process for room on the disk; the oldest stay.
_MOST_WAITING_BYTES = 256 * 2**20
_DATE, _BYTES = "$date", "$bytes"

Event = tuple[str, Any]


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
        self.files = KeptFiles(path)
        self._file = self._open()
        _open_journals.add(self)

    @property
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
            self._write_waiting()
            self._take(line, is_needed=kind == "end")
            self._write_waiting()
            due = self._fsync_s is not None and not self._waiting
            if due and time.monotonic() - self._last_fsync >= (self._fsync_s or 0):
                self._fsync()

    def read(self, position: int) -> tuple[list[Event], int]:
        """Read events, those that wait for the disk included.

        Parameters
        ----------
        position
            Where the last call ended; 0 for the beginning.

        Returns
        -------
        events : list of tuple
            Kind and content of each.
        position : int
            For the next call.
        """
        with self._lock:
            size = self._size
            waiting = bytes(self._waiting[max(position - size, 0) :])
        # Without the lock, for which the experiment would wait: what is there never changes.
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

    def delete(self) -> None:
        """Delete it and what it kept: the database has all of it."""
        with self._lock:
            self._let_go()
        delete(self.path)

    def forget_in_child(self) -> None:
        """Give the lock up in a process that was forked: it is the parent's run."""
        self._lock = threading.Lock()
        self._let_go()

    def _let_go(self) -> None:
        self._is_closed = True
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
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND
            file = os.open(self.path, flags, 0o600)
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
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._file)


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

    def read(self, position: int) -> tuple[list[Event], int]:
        """Read events; see `Journal.read`."""
        content = read_bytes(self.path, position)
        events, used = decode_lines(content)
        return events, position + used

    def delete(self) -> None:
        """Delete it and what it kept: the database has all of it."""
        delete(self.path)


def record_id(path: Path) -> str:
    """Return the part of a journal's name that no other one has."""
    return path.name.removesuffix(SUFFIX).rpartition("-")[2]


def delete(path: Path) -> None:
    """Delete a journal and what it kept, and its folder where that is empty then."""
    shutil.rmtree(folder_of(path), ignore_errors=True)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def is_alive(path: Path) -> bool:
    """Tell whether the process that writes a journal lives.

    Parameters
    ----------
    path
        The journal, on this machine.
    """
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
    return sorted(folder.rglob(f"*{SUFFIX}"))


def encode(kind: str, content: Any) -> bytes:
    """Write an event as a line."""
    text = json.dumps([kind, content], default=_encode_special, separators=(",", ":"))
    return text.encode() + b"\n"


def decode_lines(content: bytes) -> tuple[list[Event], int]:
    """Read the complete lines of a journal.

    Parameters
    ----------
    content
        From the beginning of a line on.

    Returns
    -------
    events : list of tuple
        A line that is no event, as a process leaves it that dies within one, is left out.
    used : int
        Length of the complete lines in bytes.
    """
    used = content.rfind(b"\n") + 1
    events: list[Event] = []
    for line in content[:used].split(b"\n")[:-1]:
        try:
            kind, event = json.loads(line, object_hook=_decode_special)
        except (ValueError, TypeError, RecursionError):
            continue
        events.append((kind, event))
    return events, used


def _encode_special(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return {_DATE: value.isoformat()}
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be in a journal")


def _decode_special(value: dict[str, Any]) -> Any:
    # Keys of data never begin with a dollar: `storable` replaces it.
    if _DATE in value:
        return datetime.datetime.fromisoformat(value[_DATE])
    if _BYTES in value:
        return base64.b64decode(value[_BYTES])
    return value


def read_bytes(path: Path, position: int, end: int | None = None) -> bytes:
    """Read a part of a file."""
    with path.open("rb") as file:
        file.seek(position)
        return file.read() if end is None else file.read(max(end - position, 0))
