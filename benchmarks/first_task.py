"""The least that a program on Ray does: start it, and run one task.

Run, from the root of the repository::

    python -m benchmarks.first_task FILE

``FILE`` gets the time at which the task began, in seconds since 1970.
"""

import sys
import time
from pathlib import Path

import ray


def _now() -> float:
    return time.time()


def main() -> None:
    """Start Ray as this package does, and write when the first task began."""
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    began = ray.get(ray.remote(_now).remote())
    ray.shutdown()
    Path(sys.argv[1]).write_text(repr(began), encoding="utf-8")


if __name__ == "__main__":
    main()
