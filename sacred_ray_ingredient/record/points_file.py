"""Writes the points file of a journal."""

from __future__ import annotations

import contextlib
import datetime
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from sacred_ray_ingredient.record.points import (
    FLOAT,
    FLOAT_RECORD,
    INT,
    INT_RECORD,
    NAME_BYTES,
    NAME_END,
    NAME_PART,
    NAME_RECORD,
    RECORD_BYTES,
    path_of,
)

_FIRST_BLOCK_BYTES = 2**16
_LARGEST_BLOCK_BYTES = 2**22
# So many are worth to be brought to the database at once.
_MANY = 2**18
_EPOCH = datetime.datetime(1970, 1, 1)
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR


class PointsFile:
    """Writes points; whoever calls holds the lock, but for `end` and what is read of it.

    Room on the disk is taken ahead of the points: where there is none, that is an error then, and
    not a signal when a point is written.

    Parameters
    ----------
    journal
        Path of the journal.
    lock
        Of the journal.

    Attributes
    ----------
    buffer : mmap or None
        The file, mapped into memory.
    place, limit : int
        Where in it the next record goes, and where it ends; equal where there is no room.
    numbers : dict
        Numbers of the names whose points may be written, empty where none may.
    """

    __slots__ = (
        *("_file", "_is_open", "_next_number", "_of_lines", "_path", "_told"),
        *("buffer", "limit", "lock", "numbers", "place"),
    )

    def __init__(self, journal: Path, lock: Lock) -> None:
        self._path = journal
        self.lock = lock
        self.buffer: Any = None
        self.place = self.limit = 0
        self.numbers: dict[str, int] = {}
        self._of_lines: set[str] = set()
        self._next_number = self._told = 0
        self._file: int | None = None
        self._is_open = False

    @property
    def end(self) -> int:
        """Number of the records that were written."""
        return self.place // RECORD_BYTES

    def begin(self, write_mark: Callable[[], bool]) -> None:
        """Make the file, if there is room for it, and then write points.

        Parameters
        ----------
        write_mark
            Writes the mark into the journal; tells whether it is there.
        """
        try:
            self._file = os.open(path_of(self._path), _NEW, 0o600)
            self._grow()
        except OSError:
            if self._file is not None:
                path_of(self._path).unlink(missing_ok=True)
                self._close_file()
            return
        self._is_open = write_mark()

    def put(self, name: str, step: Any, value: Any, at: datetime.datetime) -> bool:
        """Write a point; False where it is to be a line, and all later ones of this name too."""
        record, kind = (FLOAT_RECORD, FLOAT) if type(value) is float else (INT_RECORD, INT)
        if self._is_open and name not in self._of_lines:
            with contextlib.suppress(OSError, struct.error):  # no room; a number that is too long
                if type(value) in (float, int) and type(step) is int:
                    number = self.numbers.get(name)
                    number = self._begin_name(name) if number is None else number
                    self._write(record, value, step, (at - _EPOCH).total_seconds(), number, kind)
                    return True
        self.leave(name)
        return False

    def is_much(self) -> bool:
        """Tell, once for each time, whether many points were written."""
        is_much = self.end - self._told >= _MANY
        if is_much:
            self._told = self.end
        return is_much

    def leave(self, name: str) -> None:
        """Take note that a point of a name is a line: so are all later ones, for their order."""
        if self._is_open:
            self._of_lines.add(name)
            self.numbers.pop(name, None)

    def stop(self) -> None:
        """Let no further point be written."""
        self._is_open = False
        self.numbers.clear()
        self.limit = self.place

    def sync(self) -> None:
        """Force what was written to the disk."""
        if self._file is not None:
            self.buffer.flush()
            os.fsync(self._file)
        elif self.end:
            file = os.open(path_of(self._path), os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def close(self) -> None:
        """Let go of the file, and give back the room that was not used."""
        self.stop()
        if self._file is not None:
            self.buffer = None
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.place)
            self._close_file()

    def forget_in_child(self, lock: Lock) -> None:
        """Let go of the file of another process, which goes on with it."""
        self.lock = lock
        self.stop()
        self.buffer = None
        self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _begin_name(self, name: str) -> int:
        number = self._next_number
        # Before it is written: a number that was begun and not finished is never used again.
        self._next_number += 1
        text = name.encode("utf-8")
        while len(text) > NAME_BYTES:
            self._write(NAME_RECORD, text[:NAME_BYTES], NAME_BYTES, number, NAME_PART)
            text = text[NAME_BYTES:]
        self._write(NAME_RECORD, text, len(text), number, NAME_END)
        self.numbers[name] = number
        return number

    def _write(self, record: struct.Struct, *content: Any) -> None:
        if self.place == self.limit:
            self._grow()
        record.pack_into(self.buffer, self.place, *content)
        self.place += RECORD_BYTES

    def _grow(self) -> None:
        """Make the file longer; without room for it there is no further point at all."""
        if self._file is None:
            raise OSError("the points file is closed")
        more = min(max(self.limit, _FIRST_BLOCK_BYTES), _LARGEST_BLOCK_BYTES)
        try:
            os.posix_fallocate(self._file, self.limit, more)
            self.buffer = mmap.mmap(self._file, self.limit + more)
        except (OSError, ValueError) as error:
            self.stop()
            raise OSError("there is no room for points") from error
        self.limit += more
