"""The lines of a journal: one event each, as a JSON array."""

from __future__ import annotations

import base64
import datetime
import functools
import json
from pathlib import Path
from typing import Any

# Bytes that are read from a file at a time.
BLOCK_BYTES = 8 * 2**20
_DATE, _BYTES = "$date", "$bytes"

Event = tuple[str, Any]


def encode(kind: str, content: Any) -> bytes:
    """Write an event as a line."""
    return _as_json([kind, content]).encode() + b"\n"


def encode_scalar(name: str, step: Any, value: Any, at: datetime.datetime) -> bytes:
    """Write a value of a metric as a line, the same as `encode` does."""
    # What a number is in JSON, it is in Python, unless it is none.
    text = repr(value) if type(value) is float and value - value == 0 else _as_json(value)
    number = repr(step) if type(step) is int else _as_json(step)
    time = at.isoformat()
    return f'["scalar",[{_name_as_json(name)},{number},{text},{{"{_DATE}":"{time}"}}]]\n'.encode()


@functools.lru_cache(maxsize=1024)
def _name_as_json(name: str) -> str:
    return _as_json(name)


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


# Made once: `json.dumps` would make one for each call.
_as_json = json.JSONEncoder(
    default=_encode_special, separators=(",", ":"), check_circular=False
).encode


def read_block(
    path: Path, position: int, end: int | None = None, last: bytes = b""
) -> tuple[list[Event], int]:
    """Read events from a part of a file that has a bounded size.

    Parameters
    ----------
    path
        The file.
    position
        Where it begins.
    end
        Where the file is taken to end.
    last
        A line behind which nothing is read.

    Returns
    -------
    events : list of tuple
        Kind and content of each.
    position : int
        Behind the last complete line.
    """
    size = BLOCK_BYTES
    while True:
        until = position + size if end is None else min(position + size, end)
        content = read_bytes(path, position, until)
        events, used = decode_lines(_until(content, last))
        if used or len(content) < size:
            return events, position + used
        size *= 2  # a line that is longer


def _until(content: bytes, last: bytes) -> bytes:
    """Return lines up to a certain one, or all of them."""
    if not last or content.startswith(last):
        return content[: len(last)] or content
    before = content.find(b"\n" + last)
    return content if before < 0 else content[: before + 1 + len(last)]


def read_bytes(path: Path, position: int, end: int | None = None) -> bytes:
    """Read a part of a file."""
    with path.open("rb") as file:
        file.seek(position)
        return file.read() if end is None else file.read(max(end - position, 0))
