"""What ``log_scalar`` costs in a trial, against Sacred's own observer."""

from __future__ import annotations

from benchmarks.figures import Row, Size, ratios
from benchmarks.runs import Measured, Place, temporary_place
from benchmarks.ways import ENGINES, ours, run_by_hand, run_ours

BY_HAND = "MongoObserver"
_MEASURES = ("wall in the trial", "processor in the trial", "until recorded")


def log_scalar(size: Size) -> list[Row]:
    """Log very often in one run, and very very often in another one."""
    calls = 2000 if size.quick else 100_000
    most = 5000 if size.quick else 1_000_000
    rows: list[Row] = []
    with temporary_place() as place:
        for way in size.turns([*map(ours, ENGINES), BY_HAND]):
            rows += _rows(way, calls, _run(place, way, calls, "calls"))
        compared = [row for way in map(ours, ENGINES) for row in _ratios(rows, way, size)]
        for engine in ENGINES:
            measured = _run(place, ours(engine), most, "most")
            # The check of the record is what is wanted here: it raises where a point is missing.
            rows.append(
                Row(
                    "log_scalar",
                    ours(engine),
                    measured.recorded,
                    "s",
                    better="lower",
                    note=f"{most:,} points in one trial, all of them stored",
                    measure="until recorded, many points",
                )
            )
    return [*rows, *compared]


def _run(place: Place, way: str, points: int, purpose: str) -> Measured:
    load = {"points": points}
    label = f"{purpose}_{way.removeprefix('ours, ')}"
    if way == BY_HAND:
        return run_by_hand(place, label, 1, 1, load)
    return run_ours(place, label, way.removeprefix("ours, "), 1, load)


def _rows(way: str, calls: int, measured: Measured) -> list[Row]:
    (info,) = measured.infos
    seconds = (info["logging"]["wall_s"], info["logging"]["cpu_s"], measured.recorded)
    return [
        Row(
            "log_scalar",
            way,
            1e6 * value / calls,
            "us/call",
            better="lower",
            note=f"{calls:,} calls in one run",
            measure=measure,
        )
        for measure, value in zip(_MEASURES, seconds, strict=True)
    ]


def _ratios(rows: list[Row], way: str, size: Size) -> list[Row]:
    goal = None if size.quick else 1.0
    return [row for measure in _MEASURES for row in ratios(rows, way, {BY_HAND: goal}, measure)]
