"""Measures this package and the alternatives in turn, and prints medians and ratios.

Run, from the root of the repository::

    python -m benchmarks direct tune recipe --rounds 3

Without names all figures are measured that take minutes; see docs/speed.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.figures import (
    BenchmarkFailed,
    BenchmarkSkipped,
    Row,
    Size,
    markdown_table,
    medians,
    text_table,
)
from benchmarks.growth import curves
from benchmarks.picture import growth_picture

# Name of each figure, and the function that measures it once.
FIGURES = {
    "direct": "benchmarks.rates:direct",
    "tune": "benchmarks.rates:tune",
    "recipe": "benchmarks.rates:recipe",
    "cores": "benchmarks.clusters:cores",
    "bookkeeping": "benchmarks.clusters:bookkeeping",
    "throughput": "benchmarks.clusters:throughput",
    "growth": "benchmarks.growth:growth",
    "log_scalar": "benchmarks.calls:log_scalar",
    "start": "benchmarks.starting:start",
    "reading": "benchmarks.reading:figures",
    "quality": "benchmarks.quality:figures",
    "scaling": "benchmarks.scaling:figures",
}
# They take so long that they are measured only if their names are given.
BY_NAME_ONLY = ("growth", "quality", "scaling")
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "growth.svg"


def load(name: str) -> Callable[[Size], list[Row]]:
    """Return the function of a figure."""
    module, _, function = FIGURES[name].partition(":")
    found: Callable[[Size], list[Row]] = getattr(importlib.import_module(module), function)
    return found


def measure_figures(
    names: Sequence[str], size: Size, rounds: int, keep: Callable[[list[list[Row]]], None]
) -> tuple[list[list[Row]], list[str]]:
    """Measure figures, all of them in each round.

    Parameters
    ----------
    names
        Of the figures.
    size
        How much is to be measured.
    rounds
        How often.
    keep
        Takes the rows of all rounds so far whenever there are new ones.

    Returns
    -------
    tuple
        The rows of each round, and a sentence for each figure that could not be measured.
    """
    measured: list[list[Row]] = []
    failures = []
    for number in range(rounds):
        measured.append([])
        for name in names:
            began = time.monotonic()
            try:
                rows = load(name)(dataclasses.replace(size, round=number))
            except (BenchmarkFailed, BenchmarkSkipped) as error:
                failures.append(f"round {number + 1}, {name}: {error}")
                _say(failures[-1])
                continue
            measured[-1] += rows
            _say(f"round {number + 1}, {name}: {time.monotonic() - began:.0f} s")
            _say(text_table(rows) + "\n")
            keep(measured)
    return measured, failures


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _samples(measured: Sequence[Sequence[Row]]) -> str:
    """Write what was measured as JSON."""
    content = {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "rounds": [[dataclasses.asdict(row) for row in rows] for rows in measured],
    }
    return json.dumps(content, indent=1)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this package and the alternatives in turn.",
        epilog=f"figures: {', '.join(FIGURES)}; without names all but {', '.join(BY_NAME_ONLY)}",
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="what to measure")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is run (3)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all works")
    parser.add_argument("--trials", type=int, help="number of trials, where a figure has one")
    parser.add_argument("--seml", action="store_true", help="compare with SEML too; installs it")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table for docs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="draw the growth curves; without --quick docs/images/growth.svg",
    )
    chosen = parser.parse_args(words)
    unknown = [name for name in chosen.figures if name not in FIGURES]
    if unknown:
        parser.error(f"there is no figure {unknown[0]!r}; there are {', '.join(FIGURES)}")
    if chosen.rounds < 1 or (chosen.trials is not None and chosen.trials < 1):
        parser.error("--rounds and --trials must be at least 1")
    return chosen


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line, measure and print.

    Parameters
    ----------
    words
        The command line; None for that of the process.

    Returns
    -------
    int
        1 if a figure could not be measured, else 0; a goal that is missed is no error.
    """
    chosen = _arguments(words)
    # So that a benchmark that is ended takes its servers with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    names = chosen.figures or [name for name in FIGURES if name not in BY_NAME_ONLY]
    size = Size(chosen.quick, chosen.trials, seml=chosen.seml)

    def keep(measured: list[list[Row]]) -> None:
        if chosen.json is not None:
            chosen.json.write_text(_samples(measured), encoding="utf-8")

    measured, failures = measure_figures(names, size, chosen.rounds, keep)
    rows = medians(measured)
    _say(f"Medians of {chosen.rounds} rounds, {os.cpu_count()} processors:\n")
    _say(text_table(rows))
    if chosen.markdown is not None:
        chosen.markdown.write_text(markdown_table(rows) + "\n", encoding="utf-8")
    picture = chosen.picture or (None if chosen.quick else PICTURE)
    if picture is not None and curves(rows):
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(growth_picture(curves(rows)), encoding="utf-8")
    for failure in failures:
        _say(f"not measured: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
