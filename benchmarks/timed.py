"""Runs a module as ``python -m`` does and notes when its Ray was up and when it was given up.

The same for every way that is compared, and without a change of it: Ray's own ``init`` and
``shutdown`` are wrapped. Used by `benchmarks.trials` as::

    python -m benchmarks.timed TIMES.json MODULE [ARGUMENT ...]
"""

import functools
import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before Ray is imported, which reads it then.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray


def _watch(times: dict[str, float]) -> None:
    """Let the first end of ``ray.init`` and the first ``ray.shutdown`` after it note the time."""
    init: Callable[..., Any] = ray.init
    shutdown: Callable[..., Any] = ray.shutdown

    @functools.wraps(init)
    def timed_init(*args: Any, **kwargs: Any) -> Any:
        times.setdefault("init_called", time.time())
        context = init(*args, **kwargs)
        times.setdefault("search_began", time.time())
        return context

    @functools.wraps(shutdown)
    def timed_shutdown(*args: Any, **kwargs: Any) -> Any:
        if "search_began" in times:
            times.setdefault("search_ended", time.time())
        return shutdown(*args, **kwargs)

    ray.init = timed_init
    ray.shutdown = timed_shutdown


def main(arguments: list[str]) -> None:
    """Run the module and write the times, also if it ends with an exception.

    Parameters
    ----------
    arguments
        File to write, module to run, and the module's own arguments.
    """
    file, module, *rest = arguments
    times: dict[str, float] = {}
    _watch(times)
    sys.argv = [module, *rest]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        Path(file).write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
