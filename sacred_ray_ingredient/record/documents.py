"""Plain data for MongoDB: what goes into a document is never refused by the server."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Mapping
from typing import Any

from sacred_ray_ingredient.values import plain, show

_INT64 = 2**63
_AS_IT_IS = frozenset({float, bool, bytes, type(None)})
# BSON allows 100 levels of nesting in the server; Sacred's document needs a few of them.
_MAX_DEPTH = 64
# Of one document; what is said of further values would not be read.
MOST_NOTES = 50
_LONGEST_NOTE = 500


class Notes:
    """What could not be stored as it was, as sentences for the document."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.more = 0

    def add(self, sentence: str) -> None:
        """Keep a sentence; a repeated one is kept once, and of too many their number."""
        sentence = _text(sentence)
        if len(sentence) > _LONGEST_NOTE:
            sentence = sentence[:_LONGEST_NOTE] + "..."
        if sentence in self.sentences:
            return
        if len(self.sentences) < MOST_NOTES:
            self.sentences.append(sentence)
        else:
            self.more += 1

    def as_list(self) -> list[str]:
        """Return all that was kept."""
        rest = [f"(and {self.more} more)"] if self.more else []
        return [*self.sentences, *rest]


def storable(value: Any, depth: int = 0, notes: Notes | None = None, where: str = "") -> Any:
    """Turn a value into numbers, text, lists and dictionaries that BSON can hold.

    Parameters
    ----------
    value
        Anything. NumPy and Torch scalars become Python numbers, arrays and tuples lists,
        integers over 64 bit and unknown objects text. In keys ``.``, a leading ``$`` and NUL
        are replaced, as Sacred does.
    depth
        Level of nesting of the value; what is nested too deeply becomes text.
    notes
        Are told of values that are stored as something else.
    where
        What the value is called there.

    Returns
    -------
    Any
        Plain data; the argument is left as it is.
    """
    kind = type(value)
    if kind in _AS_IT_IS or (kind is str and value.isascii()):  # most values
        return value
    if kind is int and -_INT64 <= value < _INT64:
        return value
    notes = notes or Notes()
    if (kind is dict or kind is list) and depth < _MAX_DEPTH:
        return _from_container(value, depth, notes, where)
    return _from_others(value, depth, notes, where)


def _from_others(value: Any, depth: int, notes: Notes, where: str) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, float):  # without subclasses such as numpy.float64, which BSON refuses
        return float(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime.datetime):  # pandas' "not a time" is one, unequal to itself
        return _time(value) if value == value else None
    if isinstance(value, int):
        if -_INT64 <= value < _INT64:
            return int(value)
        notes.add(f"{where}: an integer of more than 64 bit is stored as text")
        return _long(value)
    if depth >= _MAX_DEPTH:
        notes.add(f"{where}: nested too deeply to be stored")
        return "(nested too deeply to be stored)"
    return _from_container(value, depth, notes, where)


def _from_container(value: Any, depth: int, notes: Notes, where: str) -> Any:
    try:
        if type(value) is dict or isinstance(value, Mapping):
            return _mapping(value, depth, notes, where)
        if isinstance(value, (list, tuple, set, frozenset)):
            # A copy: the thread of the experiment may add to what the heartbeat's thread reads.
            return [storable(below, depth + 1, notes, where) for below in list(value)]
    except Exception as error:  # a class of the experiment, or one that is being changed
        notes.add(f"{where}: {type(value).__name__} cannot be read ({type(error).__name__})")
        return f"({type(value).__name__}, which raised {type(error).__name__})"
    return _from_object(value, depth, notes, where)


def _mapping(value: Mapping[Any, Any], depth: int, notes: Notes, where: str) -> dict[str, Any]:
    stored: dict[str, Any] = {}
    for key, below in list(value.items()):
        name = _known_key(key) if type(key) is str else plain_key(key)
        path = f"{where}.{name}" if where else name
        if name != key and isinstance(key, str):
            notes.add(f"{path}: the key {key!r} is stored as {name!r}")
        stored[name] = storable(below, depth + 1, notes, path)
    return stored


def _from_object(value: Any, depth: int, notes: Notes, where: str) -> Any:
    try:
        as_python = plain(value)
    except Exception:  # an object that only looks like an array
        as_python = value
    if as_python is not value:
        return storable(as_python, depth + 1, notes, where)
    notes.add(f"{where}: an object of {type(value).__name__} is stored as its text")
    try:
        return _text(repr(value))
    except Exception as error:
        return f"({type(value).__name__}, whose text raised {type(error).__name__})"


def _time(value: datetime.datetime) -> datetime.datetime:
    """Return a time without subclass, as it comes back from a journal."""
    if type(value) is datetime.datetime:
        return value
    return datetime.datetime.combine(value.date(), value.timetz())


def _long(value: int) -> str:
    try:
        return str(int(value))
    except ValueError:  # Python limits the digits that it converts
        return hex(value)


def _text(value: str) -> str:
    """Return text without subclass and without halves of characters, as file names can have."""
    return str.__str__(value).encode("utf-8", "backslashreplace").decode("utf-8")


def plain_key(key: Any) -> str:
    """Return a key that BSON and MongoDB's paths can hold."""
    text = _text(str(key)).replace(".", ",").replace("\0", "")
    return "@" + text[1:] if text.startswith("$") else text


# Keys are the same ones in each run.
_known_key = functools.lru_cache(maxsize=4096)(plain_key)


def is_finite_number(value: Any) -> bool:
    """Tell whether a metric value can be stored and drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def as_metric_value(value: Any) -> int | float | None:
    """Turn a logged value into a number that BSON can hold; None where it is none.

    Parameters
    ----------
    value
        What was given to ``log_scalar``.
    """
    try:
        value = plain(value)
    except Exception:
        return None
    if not isinstance(value, (bool, int, float)):
        return None
    if isinstance(value, float):
        return float(value)
    if -_INT64 <= value < _INT64:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return None


def fitting(value: Any, limit: int, notes: Notes, where: str) -> Any:
    """Cut storable data down to a size that a document has room for.

    Parameters
    ----------
    value
        From `storable`.
    limit
        Bytes in BSON.
    notes
        Are told of what was cut.
    where
        What the value is called there.

    Returns
    -------
    Any
        The value itself where it fits; else without its largest parts.
    """
    size = bson_size(value)
    if size <= limit:
        return value
    if isinstance(value, str):
        notes.add(f"{where}: text of {size:,} bytes is cut to its first {limit // 4:,} characters")
        return value[: limit // 4]
    if isinstance(value, (dict, list)):
        return _without_largest(value, limit, notes, where)
    notes.add(f"{where}: {size:,} bytes are too many for a document and left out")
    return f"({size:,} bytes, too many for a document)"


def _without_largest(value: Any, limit: int, notes: Notes, where: str) -> Any:
    is_list = isinstance(value, list)
    parts = dict(enumerate(value)) if is_list else dict(value)
    sizes = {key: _entry_size(key, part) for key, part in parts.items()}
    total = sum(sizes.values())
    # Where a few parts are too large these are cut, where there are too many the last are left out.
    for key in sorted(parts, key=lambda key: sizes[key], reverse=True):
        if total <= limit or sizes[key] <= limit // 16:
            break
        name = f"{where}.{key}"
        room = max(limit - (total - sizes[key]), limit // 16)
        parts[key] = fitting(parts[key], room, notes, name)
        total += _entry_size(key, parts[key]) - sizes[key]
        sizes[key] = _entry_size(key, parts[key])
    left_out = 0
    while total > limit and parts:
        key, _ = parts.popitem()
        total -= sizes[key]
        left_out += 1
    if left_out:
        notes.add(f"{where}: the last {left_out:,} entries are too many and left out")
    return list(parts.values()) if is_list else parts


def _entry_size(key: Any, value: Any) -> int:
    return len(str(key).encode()) + bson_size(value)


def bson_size(value: Any) -> int:
    """Return how many bytes storable data takes in BSON."""
    import bson

    return len(bson.encode({"v": value}))


def show_value(value: Any) -> str:
    """Write a value for a note, whatever it is."""
    try:
        return show(value)
    except Exception:
        return f"an object of {type(value).__name__}"


def utc_now() -> datetime.datetime:
    """Return the time as Sacred's documents have it: UTC without saying so."""
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
