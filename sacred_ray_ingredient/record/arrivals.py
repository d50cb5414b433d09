"""The driver's copies of journals that other nodes have: written as they come, in its own folder.

A copy is locked like the journal of a process that lives for as long as more is to come; after
that it is the journal of a dead process, like any other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sacred_ray_ingredient.record.carried import FILE, LINES, Have, Parcel, Piece
from sacred_ray_ingredient.record.journal import SUFFIX, delete
from sacred_ray_ingredient.record.kept_files import folder_of, is_digest
from sacred_ray_ingredient.record.points import RECORD_BYTES, path_of

# Of a copy beside one that an earlier driver has left: not taken for a journal.
_AGAIN, _PART = "again-", ".part"


@dataclass
class _Arrival:
    """One journal on its way home."""

    home: Path
    path: Path
    have: Have = field(default_factory=Have)
    lock: int | None = None

    @property
    def was_deleted(self) -> bool:
        """Whether the copy is gone: the user has deleted the run in the database."""
        return self.lock is not None and os.fstat(self.lock).st_nlink == 0


class Arrivals:
    """Copies of journals of one sweep.

    Parameters
    ----------
    folder
        For the copies: the driver's own folder of the sweep.
    is_taken
        Tells whether this driver writes the end of a copy that is there, so that it must stay as
        it is.
    begun, ended
        Called with the path of a copy that has its first line, and of one to which nothing more
        will come.
    """

    def __init__(
        self,
        folder: Path,
        is_taken: Callable[[Path], bool] = lambda path: False,
        begun: Callable[[Path], None] = lambda path: None,
        ended: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self.folder = folder
        self._is_taken = is_taken
        self._begun = begun
        self._ended = ended
        self._lock = threading.RLock()
        self._coming: dict[str, dict[str, _Arrival]] = {}
        self._done: dict[str, list[str]] = {}
        self._held: dict[str, set[str]] = {}

    def have(self, node: str) -> dict[str, Have]:
        """Return what is here of the journals of a node."""
        with self._lock:
            return {name: each.have for name, each in self._coming.get(node, {}).items()}

    def leave(self, node: str) -> list[str]:
        """Return the journals that a node is to keep for now."""
        with self._lock:
            held = self._held.get(node, set())
            held -= {name for name in held if not self._is_taken(self.folder / name)}
            return sorted(held)

    def done(self, node: str) -> list[str]:
        """Return the journals that are here as a whole, so that a node may delete them."""
        with self._lock:
            return list(self._done.get(node, ()))

    def deleted(self, node: str, names: Sequence[str]) -> None:
        """Take note that a node has deleted what is here as a whole."""
        with self._lock:
            self._done[node] = [name for name in self._done.get(node, ()) if name not in names]

    def take(self, node: str, parcel: Parcel) -> None:
        """Write what a node has given.

        Raises
        ------
        OSError
            If there is no room for it; what is here stays as it was, and the node is asked again.
        """
        failed: dict[str, OSError] = {}
        with self._lock:
            for piece in parcel.pieces:
                if piece.journal not in failed:
                    try:
                        self._write(node, piece)
                    except OSError as error:
                        failed[piece.journal] = error
            for name in parcel.complete:
                if name not in failed:
                    self._complete(node, name)
            for name in parcel.gone:
                arrival = self._coming.get(node, {}).pop(name, None)
                if arrival is not None:
                    _unlock(arrival)
                    delete(arrival.path)
        if failed:
            raise next(iter(failed.values()))

    def release(self, node: str | None = None) -> None:
        """Take note that nothing more comes from a node, or from any."""
        with self._lock:
            for lost in list(self._coming) if node is None else [node]:
                for arrival in self._coming.pop(lost, {}).values():
                    self._let_go(arrival)
                self._held.pop(lost, None)
                self._done.pop(lost, None)

    def take_over(self, path: Path) -> None:
        """Give a copy to somebody who is about to write its end."""
        with self._lock:
            for node, arrivals in self._coming.items():
                arrival = arrivals.get(path.name)
                if arrival is not None and arrival.home == path == arrival.path:
                    del arrivals[path.name]
                    self._held.setdefault(node, set()).add(path.name)
                    _unlock(arrival)
                    self._ended(path)

    def is_coming(self, path: Path) -> bool:
        """Tell whether more is to come of a journal."""
        with self._lock:
            return any(path.name in arrivals for arrivals in self._coming.values())

    def _write(self, node: str, piece: Piece) -> None:
        arrival = self._arrival(node, piece.journal)
        if arrival is None:
            return
        have, is_kept = arrival.have, not arrival.was_deleted
        is_first = piece.kind == LINES and have.lines == 0
        if piece.kind == FILE:
            if is_kept:
                _write_file(arrival.path, piece, have)
            have.files[piece.digest] = have.files.get(piece.digest, 0) + len(piece.content)
        elif piece.kind == LINES:
            if is_kept:
                _write_at(arrival.path, have.lines, piece.content)
            have.lines += len(piece.content)
        else:
            if is_kept:
                _write_at(path_of(arrival.path), have.points * RECORD_BYTES, piece.content)
            have.points += len(piece.content) // RECORD_BYTES
        if is_first and arrival.path == arrival.home:
            self._begun(arrival.home)

    def _arrival(self, node: str, name: str) -> _Arrival | None:
        """Return where a journal is written; None while somebody else has what is here of it."""
        if Path(name).name != name or not name.endswith(SUFFIX):
            raise OSError(f"the node {node} gives {name!r}, which is no name of a journal")
        arrivals = self._coming.setdefault(node, {})
        if name not in arrivals:
            home = self.folder / name
            if home.exists() and self._is_taken(home):
                self._held.setdefault(node, set()).add(name)
                return None
            arrivals[name] = self._new(home)
        return arrivals[name]

    def _new(self, home: Path) -> _Arrival:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = home
        if home.exists():
            # An earlier driver may have written an end that the run itself knows better: all of
            # it comes again, and the old copy stays until then.
            path = home.with_name(f"{_AGAIN}{home.name.removesuffix(SUFFIX)}{_PART}")
            delete(path)
        lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        return _Arrival(home, path, lock=lock)

    def _complete(self, node: str, name: str) -> None:
        arrival = self._coming.get(node, {}).get(name)
        if arrival is None:  # it is held, or has not a single line
            return
        del self._coming[node][name]
        for path in (path_of(arrival.path), arrival.path):
            _sync(path)
        if arrival.path != arrival.home:
            _move(arrival.path, arrival.home)
        _unlock(arrival)
        self._done.setdefault(node, []).append(name)
        self._ended(arrival.home)

    def _let_go(self, arrival: _Arrival) -> None:
        _unlock(arrival)
        if arrival.path == arrival.home:
            self._ended(arrival.home)
        else:
            delete(arrival.path)


def _write_at(path: Path, start: int, content: bytes) -> None:
    """Write behind what is known to be there, all of it or nothing."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        position = start
        while left := memoryview(content)[position - start :]:
            position += os.pwrite(file, left, position)
    except OSError:
        os.ftruncate(file, start)
        raise
    finally:
        os.close(file)


def _write_file(journal: Path, piece: Piece, have: Have) -> None:
    if not is_digest(piece.digest):
        raise OSError(f"{piece.digest!r} is no name of a kept file")
    folder = folder_of(journal)
    folder.mkdir(mode=0o700, exist_ok=True)
    part = folder / f"{piece.digest}{_PART}"
    _write_at(part, have.files.get(piece.digest, 0), piece.content)
    if piece.is_last:
        _sync(part)
        part.replace(folder / piece.digest)


def _move(source: Path, home: Path) -> None:
    """Put a copy in the place of an older one; the lines last, which name the rest."""
    files = folder_of(source)
    if files.is_dir():
        folder_of(home).mkdir(mode=0o700, exist_ok=True)
        for kept in files.iterdir():
            kept.replace(folder_of(home) / kept.name)
        shutil.rmtree(files, ignore_errors=True)
    if path_of(source).exists():
        path_of(source).replace(path_of(home))
    source.replace(home)


def _sync(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _unlock(arrival: _Arrival) -> None:
    if arrival.lock is not None:
        os.close(arrival.lock)
        arrival.lock = None
