"""Values of a configuration: as plain Python, and as words in a sentence."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

# More values than this make no list that somebody wrote.
LONGEST_LIST = 100_000


def plain(value: Any) -> Any:
    """Turn NumPy and Torch values, read-only containers and ranges into plain Python ones.

    What is none of these is returned as it is.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, range):
        # One more than is allowed is enough to refuse it, without filling the memory.
        return list(value[: LONGEST_LIST + 1])
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    # By shape and not by class, so that Torch need not be there; a class may have a descriptor.
    shape = None if isinstance(value, type) else getattr(value, "shape", None)
    if isinstance(shape, tuple) and hasattr(value, "tolist"):
        return value.item() if shape == () else value.tolist()
    return value


def show(value: Any) -> str:
    """Write a value for a sentence, cut where it is long."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 100
    return short.repr(plain(value))


def as_stored(value: Any) -> Any:
    """Return a value as a database gives it back: plain, with lists in the place of tuples."""
    value = plain(value)
    if isinstance(value, Mapping):
        return {str(key): as_stored(below) for key, below in value.items()}
    return [as_stored(below) for below in value] if isinstance(value, (list, tuple)) else value
