"""What early stopping saves: ASHA against the full search.

Both search the digits example, once for each outer seed: the full search trains forty samples for
20 epochs each; ASHA begins with the same forty and twenty more, and ends most of them early.
Compared are the best validation accuracy that was reached and the epochs that were trained, both
read from the database.
Run, from the root of the repository::

    python -m benchmarks.asha --seeds 5

The settings of ASHA were chosen by the seeds 0 to 9; the default is to measure on 10 to 14.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.mongo import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
WAYS = {"hyperparameter_search": 40, "asha": 60}


@dataclass(frozen=True)
class Outcome:
    """What a search found and what it took.

    Parameters
    ----------
    accuracy
        Best last validation accuracy of a trial, between 0 and 1.
    epochs
        Epochs that all trials were trained for.
    """

    accuracy: float
    epochs: int


def search(named_config: str, samples: int, seed: int, home: Path, database: Any) -> Outcome:
    """Run one search in a process of its own and read what it left.

    Parameters
    ----------
    named_config
        Of ``experiments.digits_search``.
    samples
        How many trials there are.
    seed
        Of the outer run.
    home
        Project folder with the running server.
    database
        Its pymongo database.

    Raises
    ------
    subprocess.CalledProcessError
        If a trial did not complete.
    """
    words = ["with", named_config, f"ray.num_samples={samples}", f"seed={seed}"]
    subprocess.run(
        [sys.executable, "-m", "experiments.digits_search", *words],
        cwd=ROOT,
        env={**os.environ, "SACRED_RAY_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    sweep = database.runs.find_one({"omniboard.tags": "sweep"}, sort=[("_id", -1)])
    sweep_id = sweep["meta"]["sweep"]["sweep_id"]
    query = {"meta.sweep.sweep_id": sweep_id, "meta.sweep.trial_index": {"$exists": True}}
    runs = [run["_id"] for run in database.runs.find(query, {"_id": 1})]
    logged = list(database.metrics.find({"run_id": {"$in": runs}, "name": "val_accuracy"}))
    return Outcome(
        accuracy=max(metric["values"][-1] for metric in logged),
        epochs=sum(len(metric["values"]) for metric in logged),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run all searches and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of outer seeds, from 1")
    parser.add_argument("--first", type=int, default=10, help="the first of them")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="sri-asha-") as folder:
        home = Path(folder)
        server = EmbeddedServer(home / ".sacred_ray")
        server.start()
        try:
            _compare(
                range(arguments.first, arguments.first + arguments.seeds),
                home,
                server.address().client()["sacred"],
            )
        finally:
            server.stop()


def _compare(seeds: Iterable[int], home: Path, database: Any) -> None:
    print("| seed | full: accuracy | epochs | ASHA: accuracy | epochs | difference | share |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    differences, shares = [], []
    for seed in seeds:
        full, asha = (search(*way, seed, home, database) for way in WAYS.items())
        differences.append(100 * (full.accuracy - asha.accuracy))
        shares.append(asha.epochs / full.epochs)
        print(
            f"| {seed} | {full.accuracy:.4f} | {full.epochs} | {asha.accuracy:.4f} | {asha.epochs} "
            f"| {differences[-1]:.2f} | {shares[-1]:.3f} |",
            flush=True,
        )
    print(
        f"mean: {statistics.fmean(differences):.2f} percentage points less accuracy with "
        f"{statistics.fmean(shares):.3f} of the epochs; "
        f"worst: {max(differences):.2f} and {max(shares):.3f}"
    )


if __name__ == "__main__":
    main()
