"""The points file of a journal: most scalars of a run that logs many of them.

Records of a fixed size in a file that is mapped into the memory of the process. What stands there
survives the death of the process as a line of the journal does, but costs no system call.

A record has its kind at its end, which is written last: a reader stops at the first one without.
"""

from __future__ import annotations

import datetime
import functools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sacred_ray_ingredient.record.lines import Event, encode

# Event of the journal behind which ordinary scalars are in the points file, and what it has.
MARK, POINTS = "points_file", "points"
RECORD_BYTES = 32
# Value, step, time in seconds since 1970, number of the name, kind.
FLOAT_RECORD = struct.Struct("<dqdII")
INT_RECORD = struct.Struct("<qqdII")
# Part of a name in UTF-8, its length, number of the name, kind.
NAME_RECORD = struct.Struct("<20sIII")
NAME_BYTES = 20
FLOAT, INT, NAME_PART, NAME_END = 1, 2, 3, 4
# Records that are read at a time.
MOST_READ = 100_000
MARK_LINE = encode(MARK, None)


class Place(NamedTuple):
    """Up to where a journal with a points file was read.

    Parameters
    ----------
    lines
        Bytes of the journal.
    points
        Records of the points file; -1 where there is none.
    """

    lines: int
    points: int


# Of a journal without points, or up to the mark: its bytes.
Position = int | Place


class PointsReader:
    """Reads what a points file says, block by block."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._parts: dict[int, bytes] = {}

    def by_name(self, block: Any) -> Iterator[tuple[str, Any]]:
        """Sort points by their names, which come in the order of their first points.

        Parameters
        ----------
        block
            From `read_points`.

        Yields
        ------
        tuple
            A name, and its points in their order.
        """
        import numpy as np

        is_name = block["kind"] >= NAME_PART
        if is_name.any():
            for record in block[is_name]:
                self._take_name(record.tobytes())
            block = block[~is_name]
        numbers, firsts, counts = np.unique(block["name"], return_index=True, return_counts=True)
        if len(numbers) == 1:
            yield self._names[int(numbers[0])], block
            return
        ends = np.cumsum(counts)
        points = block[np.argsort(block["name"], kind="stable")]
        for place in np.argsort(firsts):
            name = self._names[int(numbers[place])]
            yield name, points[ends[place] - counts[place] : ends[place]]

    def _take_name(self, record: bytes) -> None:
        text, length, number, kind = NAME_RECORD.unpack(record)
        whole = self._parts.pop(number, b"") + text[:length]
        if kind == NAME_END:
            self._names[number] = whole.decode("utf-8", "replace")
        else:
            self._parts[number] = whole


@functools.cache
def _dtype() -> Any:
    import numpy as np

    fields = [("value", "<f8"), ("step", "<i8"), ("time", "<f8"), ("name", "<u4"), ("kind", "<u4")]
    return np.dtype(fields)


def path_of(journal: Path) -> Path:
    """Return the path of the points file of a journal."""
    return journal.with_suffix(".points")


def read_points(journal: Path, start: int, end: int | None = None) -> Any:
    """Read a block of a points file.

    Parameters
    ----------
    journal
        Path of the journal.
    start
        Number of the first record.
    end
        Of the one behind the last; None: as far as it was written.

    Returns
    -------
    numpy.ndarray
        At most `MOST_READ` records.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    import numpy as np

    count = MOST_READ if end is None else min(max(end - start, 0), MOST_READ)
    with path_of(journal).open("rb") as file:
        file.seek(start * RECORD_BYTES)
        content = file.read(count * RECORD_BYTES)
    block = np.frombuffer(content, _dtype(), count=len(content) // RECORD_BYTES)
    unwritten = np.flatnonzero(block["kind"] == 0)
    return block[: unwritten[0]] if len(unwritten) else block


def _next_points(journal: Path, place: Place, end: int | None) -> tuple[list[Event], Place]:
    """Read a block of points behind a place, as one event or none."""
    lines, points = place
    if points < 0 or (end is not None and points >= end):
        return [], place
    try:
        block = read_points(journal, points, end)
    except FileNotFoundError:
        journal.stat()  # is gone as well, where somebody has brought all of it
        lost = "the points file of the journal is missing: most values of metrics are lost"
        return [("note", lost)], Place(lines, -1)
    return [(POINTS, block)] if len(block) else [], Place(lines, points + len(block))


def read_in_order(
    journal: Path,
    position: Position,
    read_lines: Callable[[int], tuple[list[Event], int]],
    end: Callable[[], int | None],
) -> tuple[list[Event], Position]:
    """Read lines and points, so that those of each metric are in their order.

    A metric has lines first, then points, and lines again from a value on that can be no point.

    Parameters
    ----------
    journal
        Path of the journal.
    position
        Where the last call ended.
    read_lines
        Returns the events of lines, and where these end.
    end
        Returns how many points there are; None: as many as are in the file.

    Returns
    -------
    events : list of tuple
        Of many points a part, without lines.
    position : int or Place
        For the next call.
    """
    if not isinstance(position, Place):
        return _merge(journal, *read_lines(position), end())
    points, place = _next_points(journal, position, end())
    if any(kind == POINTS and len(block) == MOST_READ for kind, block in points):
        return points, place
    events, lines = read_lines(position.lines)
    # Once more: what is read of points must not be older than the lines that come after them.
    more, place = _all_points(journal, place._replace(lines=lines), end())
    return points + more + events, place


def _all_points(journal: Path, place: Place, end: int | None) -> tuple[list[Event], Place]:
    found: list[Event] = []
    while True:
        events, following = _next_points(journal, place, end)
        if following == place:
            return found, place
        found += events
        place = following


def _merge(
    journal: Path, events: list[Event], lines: int, end: int | None
) -> tuple[list[Event], Position]:
    """Put points behind the mark, where lines that come after them were read with it."""
    mark = next((number for number, event in enumerate(events) if event[0] == MARK), None)
    if mark is None:
        return events, lines
    first, later = events[: mark + 1], events[mark + 1 :]
    if not later:
        return first, Place(lines, 0)
    points, place = _all_points(journal, Place(lines, 0), end)
    return first + points + later, place


def bytes_before(position: Position) -> int:
    """Return how many bytes were read up to a position."""
    if isinstance(position, Place):
        return position.lines + max(position.points, 0) * RECORD_BYTES
    return position


def finite(points: Any) -> Any:
    """Return those points whose value can be stored and drawn."""
    import numpy as np

    is_finite = (points["kind"] == INT) | np.isfinite(points["value"])
    return points if is_finite.all() else points[is_finite]


def value_of(point: Any) -> int | float:
    """Return the value of a point."""
    value: int | float = as_lists(point.reshape(1))[1][0]
    return value


def time_of(point: Any) -> datetime.datetime:
    """Return the time of a point."""
    time: datetime.datetime = as_lists(point.reshape(1))[2][0]
    return time


def as_lists(points: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Return steps, values and times of points as Python has them."""
    import numpy as np

    is_int = points["kind"] == INT
    # The same bytes, of which the kind says what they are.
    integers = np.ascontiguousarray(points["value"]).view("<i8")
    if is_int.all():
        values = integers.tolist()
    else:
        values = points["value"].tolist()
        for place in np.flatnonzero(is_int).tolist():
            values[place] = int(integers[place])
    microseconds = np.rint(points["time"] * 1e6).astype("<i8")
    return points["step"].tolist(), values, microseconds.view("<M8[us]").tolist()
