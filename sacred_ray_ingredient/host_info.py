"""What Sacred finds out about the machine, found out once per process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sacred import host_info

# Fixed while a process lives. Sacred asks for them at each run, two by starting a program.
_FIXED = ("hostname", "os", "python_version", "cpu", "gpus")
_remembered: set[int] = set()


def remember_host_info() -> None:
    """Let Sacred ask for what cannot change only once in this process."""
    for getter in host_info._host_info_gatherers_list:
        if getter.name in _FIXED and id(getter) not in _remembered:
            _remembered.add(id(getter))
            getter.getter_function = _remembering(getter.getter_function)


def _remembering(find_out: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that also remembers that there was nothing to find out."""

    @functools.cache
    def found() -> tuple[Any, bool]:
        try:
            return find_out(), True
        except host_info.IgnoreHostInfo:
            return None, False

    def ask() -> Any:
        value, is_there = found()
        if not is_there:
            raise host_info.IgnoreHostInfo
        return value

    return ask
