"""The journals of a node that does not share the driver's folder, as they are given to the driver.

All of this runs on that node, and keeps nothing between two requests: the driver says what it
has, and is given what follows, in pieces of a bounded size. It is given whole lines only, and
before a line the points and files that were written before it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sacred_ray_ingredient.record.journal import SUFFIX, delete, is_alive
from sacred_ray_ingredient.record.kept_files import folder_of, is_digest
from sacred_ray_ingredient.record.lines import BLOCK_BYTES, encode, read_bytes
from sacred_ray_ingredient.record.points import MOST_READ, RECORD_BYTES, path_of, read_points
from sacred_ray_ingredient.record.shipper import UNREACHABLE

# Of one answer; and of one journal in it, so that no large one holds others up.
PARCEL_BYTES = 4 * 2**20
_PART_BYTES = 2**20
# A worker that cannot reach the database says so at least as often.
_FRESH_S = 90.0
_END = encode("end", None).partition(b",")[0] + b","
LINES, POINTS, FILE = "lines", "points", "file"


@dataclass
class Have:
    """What the driver has of a journal.

    Attributes
    ----------
    lines, points : int
        Bytes of the journal, and records of its points file.
    files : dict
        Bytes of each kept file, by its digest.
    """

    lines: int = 0
    points: int = 0
    files: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A part of a journal, which follows what the driver has.

    Parameters
    ----------
    journal
        Name of its file.
    kind
        Which of its files this is a part of.
    content
        The bytes.
    digest
        Of a kept file.
    is_last
        Whether a kept file is whole with it.
    """

    journal: str
    kind: str
    content: bytes
    digest: str = ""
    is_last: bool = False


@dataclass
class Parcel:
    """What the driver is given at once.

    Attributes
    ----------
    pieces : list of Piece
        In the order in which they are to be written.
    complete : list of str
        Journals to which nothing more will come, once these pieces are written.
    gone : list of str
        Journals that the driver has a part of, and that are no longer here: their process has
        brought all of them to the database.
    has_more : bool
        Whether another request would be given something at once.
    alive : int
        How many journals have a process that lives.
    """

    pieces: list[Piece] = field(default_factory=list)
    complete: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    has_more: bool = False
    alive: int = 0


class NodeJournals:
    """The journals below the folders of a node.

    Parameters
    ----------
    folders
        Each with a folder for each sweep.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._turn = 0

    def groups(self) -> list[str]:
        """Return the names of the sweeps that have a folder here."""
        return sorted({path.name for path in _below(self.folders) if path.is_dir()})

    def give(
        self,
        group: str,
        have: Mapping[str, Have],
        leave: Sequence[str] = (),
        done: Sequence[str] = (),
    ) -> Parcel:
        """Return what follows.

        Journals are given whose process is dead or cannot reach the database, and those that the
        driver has begun to take.

        Parameters
        ----------
        group
            The sweep.
        have
            What the driver has, by name of the journal.
        leave
            Journals that are not to be given now.
        done
            Journals that the driver has all of: they are deleted.
        """
        parcel = Parcel()
        here = {path.name: path for path in self._journals(group)}
        for name in done:
            if name in here:
                delete(here.pop(name))
        is_cut_off = any(map(_is_fresh, self._beacons(group)))
        room = PARCEL_BYTES
        for name, path in self._in_turn(here):
            alive = is_alive(path)
            parcel.alive += alive
            if name in leave or not (name in have or is_cut_off or not alive):
                continue
            if room <= 0:
                parcel.has_more = True
                continue
            with contextlib.suppress(FileNotFoundError):  # its process was faster
                part = _Part(path, have.get(name) or Have(), alive, min(room, _PART_BYTES))
                parcel.pieces += part.pieces
                parcel.has_more |= part.has_more
                if part.is_complete:
                    parcel.complete.append(name)
                room -= part.size
        parcel.gone = [name for name in have if name not in here and name not in done]
        return parcel

    def clear(self, group: str) -> None:
        """Delete the folder of a sweep, if no journal is left in it."""
        for beacon in self._beacons(group):
            folder = beacon.parent
            if folder.is_dir() and not any(folder.glob(f"*{SUFFIX}")):
                beacon.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # somebody has begun another
                    folder.rmdir()

    def _in_turn(self, here: Mapping[str, Path]) -> list[tuple[str, Path]]:
        """Return the journals, each time from another one on."""
        ordered = sorted(here.items())
        self._turn = (self._turn + 1) % max(len(ordered), 1)
        return ordered[self._turn :] + ordered[: self._turn]

    def _journals(self, group: str) -> Iterator[Path]:
        for folder in self.folders:
            with contextlib.suppress(FileNotFoundError), os.scandir(folder / group) as entries:
                yield from [Path(entry.path) for entry in entries if entry.name.endswith(SUFFIX)]

    def _beacons(self, group: str) -> list[Path]:
        return [folder / group / UNREACHABLE for folder in self.folders]


class _Part:
    """What of one journal is given at once: files, then points, then lines."""

    def __init__(self, path: Path, have: Have, alive: bool, room: int) -> None:
        self._path = path
        self._have = have
        self._room = room
        self.pieces: list[Piece] = []
        self.size = 0
        self.has_more = self.is_complete = False
        # First, so that points and files that are read after it are not older than its lines.
        end = path.stat().st_size
        if end == 0:  # it may have been made just now, and not be locked yet
            return
        self._add_files()
        if not self.has_more:
            self._add_points()
        if not self.has_more:
            has_ended = self._add_lines(end)
            self.is_complete = not self.has_more and (has_ended or not alive)

    def _add(self, kind: str, content: bytes, digest: str = "", is_last: bool = False) -> None:
        self.pieces.append(Piece(self._path.name, kind, content, digest, is_last))
        self.size += len(content)
        self._room -= len(content)

    def _add_files(self) -> None:
        for kept in sorted(_below([folder_of(self._path)])):
            if not is_digest(kept.name):
                continue
            size, there = kept.stat().st_size, self._have.files.get(kept.name, -1)
            if there >= size:
                continue
            if self._room <= 0:
                self.has_more = True
                return
            there = max(there, 0)
            content = read_bytes(kept, there, there + self._room)
            is_last = there + len(content) >= size
            self._add(FILE, content, kept.name, is_last)
            self.has_more |= not is_last

    def _add_points(self) -> None:
        start = self._have.points
        count = min(self._room // RECORD_BYTES, MOST_READ)
        if count <= 0:
            self.has_more = True
            return
        with contextlib.suppress(FileNotFoundError):  # short runs have none
            if path_of(self._path).stat().st_size <= start * RECORD_BYTES:
                return
            block = read_points(self._path, start, start + count)
            if len(block):
                self._add(POINTS, block.tobytes())
            self.has_more = len(block) == count

    def _add_lines(self, end: int) -> bool:
        """Add whole lines; tell whether the end of the run is among them."""
        start = self._have.lines
        room = max(self._room, 2**16)
        while True:
            until = min(start + room, end)
            content = read_bytes(self._path, start, until)
            used = content.rfind(b"\n") + 1
            if used or until == end:
                break
            room = max(room * 2, BLOCK_BYTES)  # a line that is longer
        if used:
            self._add(LINES, content[:used])
        self.has_more |= until < end
        last = content[:used].rstrip(b"\n").rpartition(b"\n")[2]
        return last.startswith(_END)


def _below(folders: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found += folder.iterdir()
    return found


def _is_fresh(beacon: Path) -> bool:
    try:
        return time.time() - beacon.stat().st_mtime < _FRESH_S
    except OSError:
        return False
