"""The commands of the ways that are compared, each with what it has to leave in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.figures import Size
from benchmarks.noop import POINTS
from benchmarks.runs import Expected, Measured, Place, measure

ENGINES = ("direct", "tune")


def ours(engine: str) -> str:
    """Return the name of this package's way with an engine."""
    return f"ours, {engine}"


def run_ours(  # noqa: PLR0913
    place: Place,
    label: str,
    engine: str,
    trials: int,
    load: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    look_every_s: float = 0.05,
    module: tuple[str, ...] = ("benchmarks.load_search",),
) -> Measured:
    """Run a sweep of this package.

    Parameters
    ----------
    place, label, look_every_s
        As for `benchmarks.runs.measure`.
    engine
        ``direct`` or ``tune``.
    trials
        Their number.
    load
        Entries of the experiment of `benchmarks.loads`; None for the no-op experiment.
    settings
        Further entries of ``ray``, by dotted path.
    module
        Module of a sweep over `benchmarks.loads`, and its own arguments.

    Raises
    ------
    BenchmarkFailed
        See `benchmarks.runs.measure`.
    """
    entries = {"ray.engine": engine, "ray.num_samples": trials}
    entries |= {f"ray.{name}": value for name, value in (settings or {}).items()}
    entries |= {f"load.{name}": value for name, value in (load or {}).items()}
    chosen = ("benchmarks.noop_search",) if load is None else module
    words = [f"{name}={value}" for name, value in entries.items()]
    points = POINTS if load is None else load.get("points", POINTS)
    return measure(
        place,
        label,
        ["-m", *chosen, "with", "hyperparameter_search", *words],
        Expected(trials, points, "noop" if load is None else "load"),
        look_every_s,
    )


def run_by_hand(
    place: Place,
    label: str,
    trials: int,
    processes: int = 2,
    load: Mapping[str, Any] | None = None,
) -> Measured:
    """Run the pool of `benchmarks.by_hand`.

    Parameters
    ----------
    place, label, trials, load
        As for `run_ours`.
    processes
        Their number.
    """
    name = "noop" if load is None else "load"
    words = ["--experiment", name, "--trials", str(trials), "--processes", str(processes)]
    if load is not None:
        words += ["--config", json.dumps(dict(load))]
    points = POINTS if load is None else load.get("points", POINTS)
    expected = Expected(trials, points, name)
    return measure(place, label, ["-m", "benchmarks.by_hand", *words], expected)


def run_module(place: Place, label: str, module: str, trials: int) -> Measured:
    """Run `benchmarks.recipe` or `benchmarks.plain_tune`."""
    command = ["-m", module, "with", f"num_samples={trials}"]
    return measure(place, label, command, Expected(trials))


def engines(size: Size) -> list[str]:
    """Return the engines in the order of a round."""
    return size.turns(ENGINES)
