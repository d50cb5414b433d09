"""Plain data for MongoDB: what goes into a document is never refused by the server."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

from sacred_ray_ingredient.values import plain

_INT64 = 2**63
# BSON allows 100 levels of nesting in the server; Sacred's document needs a few of them.
_MAX_DEPTH = 64


def storable(value: Any, depth: int = 0) -> Any:
    """Turn a value into numbers, text, lists and dictionaries that BSON can hold.

    Parameters
    ----------
    value
        Anything. NumPy and Torch scalars become Python numbers, arrays and tuples lists,
        integers over 64 bit and unknown objects text. In keys ``.``, a leading ``$`` and NUL
        are replaced, as Sacred does.
    depth
        Level of nesting of the value; what is nested too deeply becomes text.

    Returns
    -------
    Any
        Plain data; the argument is left as it is.
    """
    if value is None or isinstance(value, (bool, bytes)):
        return value
    if isinstance(value, float):  # without subclasses such as numpy.float64, which BSON refuses
        return float(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime.datetime):  # pandas' "not a time" is one, unequal to itself
        return value if value == value else None
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else str(value)
    if depth >= _MAX_DEPTH:
        return "(nested too deeply to be stored)"
    if isinstance(value, Mapping):
        return {_plain_key(key): storable(below, depth + 1) for key, below in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [storable(below, depth + 1) for below in value]
    as_python = plain(value)
    return _text(repr(value)) if as_python is value else storable(as_python, depth + 1)


def _text(value: str) -> str:
    """Return text without subclass and without halves of characters, as file names can have."""
    return str.__str__(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _plain_key(key: Any) -> str:
    text = _text(str(key)).replace(".", ",").replace("\0", "")
    return "@" + text[1:] if text.startswith("$") else text


def is_finite_number(value: Any) -> bool:
    """Tell whether a metric value can be stored and drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
