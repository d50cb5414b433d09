"""What a trial costs in long sweeps: in time, and in memory of the driver."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from benchmarks.figures import Row, Size
from benchmarks.runs import temporary_place
from benchmarks.ways import engines, ours, run_ours

_COUNTS = (500, 2000, 5000, 10_000)
_TINY_COUNTS = (10, 20)
_TIME_GOALS = {"direct": 1.15, "tune": 1.3}
_MEMORY_GOALS_KB = {"direct": 20.0, "tune": 60.0}


def growth(size: Size) -> list[Row]:
    """Run sweeps of some sizes, each in a database of its own."""
    counts = _TINY_COUNTS if size.quick else _COUNTS
    rows = []
    for engine in engines(size):
        milliseconds, peaks_kb = {}, {}
        for count in counts if size.round % 2 == 0 else counts[::-1]:
            with temporary_place() as place:
                measured = run_ours(place, f"growth_{engine}", engine, count)
            milliseconds[count] = 1000 * measured.recorded / count
            peaks_kb[count] = measured.peak_kb
        rows += _rows(engine, milliseconds, peaks_kb, size)
    return rows


def _rows(
    engine: str, milliseconds: Mapping[int, float], peaks_kb: Mapping[int, int], size: Size
) -> list[Row]:
    way = ours(engine)
    few, many = min(milliseconds), max(milliseconds)
    time_goal, memory_goal = (
        (None, None) if size.quick else (_TIME_GOALS[engine], _MEMORY_GOALS_KB[engine])
    )
    return [
        *(
            Row(
                "growth",
                way,
                milliseconds[count],
                "ms/trial",
                better="lower",
                measure=trials_text(count),
            )
            for count in sorted(milliseconds)
        ),
        *(
            Row(
                "growth",
                way,
                (more * milliseconds[more] - less * milliseconds[less]) / (more - less),
                "ms per further trial",
                better="lower",
                measure=f"from {less:,} to {trials_text(more)}",
            )
            for less, more in itertools.pairwise(sorted(milliseconds))
        ),
        Row(
            "growth",
            way,
            milliseconds[many] / milliseconds[few],
            "x",
            time_goal,
            "lower",
            measure=f"{trials_text(many)} against {few:,}",
        ),
        Row(
            "growth",
            way,
            (peaks_kb[many] - peaks_kb[few]) / (many - few),
            "kB/trial",
            memory_goal,
            "lower",
            f"peak of the driver: {peaks_kb[few] / 1024:.0f} and {peaks_kb[many] / 1024:.0f} MiB",
            "memory of the driver",
        ),
    ]


def trials_text(count: int) -> str:
    """Write a number of trials as `curves` reads it."""
    return f"{count:,} trials"


def curves(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Find the growth curves in measured rows.

    Returns
    -------
    dict
        For each way the milliseconds per trial, by the number of trials.
    """
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.figure == "growth" and row.unit == "ms/trial":
            count = int(row.measure.partition(" ")[0].replace(",", ""))
            found.setdefault(row.way, {})[count] = row.value
    return found
