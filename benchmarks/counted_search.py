"""Runs `benchmarks.load_search` and counts the reports that the scheduler sees.

Run, from the root of the repository::

    python -m benchmarks.counted_search FILE with hyperparameter_search ray.scheduler=...

``FILE`` gets, for each trial, the number of its reports.
"""

import collections
import functools
import json
import sys
from pathlib import Path
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler

from benchmarks.load_search import load_search


def count_reports(counts: collections.Counter[str]) -> None:
    """Let ASHA count the results that it is asked about, by trial."""
    on_trial_result = AsyncHyperBandScheduler.on_trial_result

    @functools.wraps(on_trial_result)
    def count(self: Any, controller: Any, trial: Any, result: dict[str, Any]) -> Any:
        counts[trial.trial_id] += 1
        return on_trial_result(self, controller, trial, result)

    AsyncHyperBandScheduler.on_trial_result = count


def main() -> None:
    """Run the command, and write the counts when it ends."""
    file, sys.argv = sys.argv[1], [sys.argv[0], *sys.argv[2:]]
    counts: collections.Counter[str] = collections.Counter()
    count_reports(counts)
    try:
        load_search.run_commandline()
    finally:
        Path(file).write_text(json.dumps(counts), encoding="utf-8")


if __name__ == "__main__":
    main()
