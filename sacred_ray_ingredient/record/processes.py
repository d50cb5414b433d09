"""Which process a run belongs to, and whether that still lives."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Describe this process so that nobody takes a later one with its number for it."""
    return {"host": platform.node(), "pid": os.getpid(), "started": _start_of(os.getpid())}


def is_here(process: Mapping[str, Any]) -> bool:
    """Tell whether a process is or was one of this machine.

    Parameters
    ----------
    process
        From `this_process`, as a document has it.
    """
    return process.get("host") == platform.node()


def lives(process: Mapping[str, Any]) -> bool:
    """Tell whether a process of this machine lives.

    Parameters
    ----------
    process
        From `this_process`, as a document has it.
    """
    try:
        pid = int(process["pid"])
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return False
    started = _start_of(pid)
    return started is None or started == process.get("started")


def _start_of(pid: int) -> str | None:
    """Return when a process began, counted from the boot that is named too."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The name of the program comes second, in brackets, and may have anything in it.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or gone
        return None
    state, *rest = fields.rpartition(")")[2].split()
    # One that is dead has its number for as long as its parent has not asked how it ended.
    return "ended" if state in "ZX" else f"{boot}:{rest[18]}"
