"""Trials that do nothing: how many of them a second, with this package and by other ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import seml_worker
from benchmarks.figures import BenchmarkSkipped, Row, Size, ratios
from benchmarks.runs import Measured, Place, temporary_place
from benchmarks.ways import ours, run_by_hand, run_module, run_ours

BY_HAND = "two processes by hand"
PLAIN_TUNE = "plain Tune"
RECIPE = "one actor per trial"
SEML = "SEML, local workers"

_Run = Callable[[Place, str, int], Measured]
_WAYS: Mapping[str, _Run] = {
    ours("direct"): lambda place, label, trials: run_ours(place, label, "direct", trials),
    ours("tune"): lambda place, label, trials: run_ours(place, label, "tune", trials),
    BY_HAND: run_by_hand,
    PLAIN_TUNE: lambda place, label, trials: run_module(
        place, label, "benchmarks.plain_tune", trials
    ),
    RECIPE: lambda place, label, trials: run_module(place, label, "benchmarks.recipe", trials),
    SEML: seml_worker.run,
}


def direct(size: Size) -> list[Row]:
    """Compare the direct engine with processes written by hand."""
    return _compare("direct", size, size.pick(2000, 40), ours("direct"), {BY_HAND: 3.5})


def tune(size: Size) -> list[Row]:
    """Compare the tune engine with Tune used as well as it can be."""
    return _compare("tune", size, size.pick(500, 20), ours("tune"), {PLAIN_TUNE: 1.2})


def recipe(size: Size) -> list[Row]:
    """Compare the tune engine with a process for each trial: the usual recipe, and SEML."""
    goals = {RECIPE: 40.0, **({SEML: 40.0} if size.seml else {})}
    return _compare("recipe", size, size.pick(40, 4), ours("tune"), goals)


def _compare(
    figure: str, size: Size, trials: int, mine: str, goals: Mapping[str, float]
) -> list[Row]:
    rows, skipped = [], []
    with temporary_place() as place:
        for number, way in enumerate(size.turns([mine, *goals])):
            try:
                measured = _WAYS[way](place, f"{figure}_{number}", trials)
            except BenchmarkSkipped as reason:
                skipped.append(Row(figure, way, 0.0, "trials/s", note=f"left out: {reason}"))
            else:
                rows += _rows(figure, way, trials, measured)
    rows.sort(key=lambda row: list([mine, *goals]).index(row.way))
    is_tiny = size.quick or size.trials is not None
    wanted = {way: None if is_tiny else goal for way, goal in goals.items()}
    return [
        *rows,
        *ratios(rows, mine, wanted, "until recorded"),
        *ratios(rows, mine, dict.fromkeys(goals), "whole command"),
        *skipped,
    ]


def _rows(figure: str, way: str, trials: int, measured: Measured) -> list[Row]:
    note = f"{trials:,} trials"
    return [
        Row(
            figure, way, trials / measured.recorded, "trials/s", note=note, measure="until recorded"
        ),
        Row(
            figure,
            way,
            1000 * measured.trials / trials,
            "ms/trial",
            better="lower",
            measure="first start to last stop",
        ),
        Row(figure, way, measured.command, "s", better="lower", measure="whole command"),
    ]
