"""A pool written by hand: some processes, each runs its share of the trials in a loop.

Each has one database client and one ``MongoObserver`` for all its runs. Nothing of this package is
in it. Run, from the root of the repository, with the database in ``SACRED_MONGO_URL``::

    python -m benchmarks.by_hand --trials 2000 --processes 2

All is as Sacred has it by default: sources, host information and captured output of every run.
"""

import argparse
import importlib
import json
import multiprocessing
import random
from collections.abc import Mapping
from typing import Any

from benchmarks.database import observe, prepare_metrics

_MODULES = {"noop": "noop", "load": "loads"}


def run_share(experiment: str, trials: int, config: Mapping[str, Any]) -> None:
    """Run trials one after the other in this process.

    Parameters
    ----------
    experiment
        ``noop`` or ``load``.
    trials
        How many.
    config
        What is the same for all of them.
    """
    ex = getattr(importlib.import_module(f"benchmarks.{_MODULES[experiment]}"), f"{experiment}_ex")
    observe(ex)
    for _ in range(trials):
        ex.run(config_updates={"x": random.random(), **config})


def main() -> None:
    """Read the command line, start the processes and wait for them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.by_hand")
    parser.add_argument("--experiment", choices=sorted(_MODULES), default="noop")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--config", type=json.loads, default={}, help="further entries, as JSON")
    arguments = parser.parse_args()
    prepare_metrics()
    context = multiprocessing.get_context("spawn")
    processes = []
    for number in range(arguments.processes):
        share = len(range(number, arguments.trials, arguments.processes))
        work = (arguments.experiment, share, arguments.config)
        processes.append(context.Process(target=run_share, args=work))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    raise SystemExit(max(abs(process.exitcode or 0) for process in processes))


if __name__ == "__main__":
    main()
