"""How long it takes from the command to the first trial."""

from __future__ import annotations

import time

from benchmarks.figures import Row, Size
from benchmarks.runs import Place, started, temporary_place
from benchmarks.ways import ENGINES, ours, run_ours

BARE_RAY = "Ray and one task"
_GOAL = 1.3


def start(size: Size) -> list[Row]:
    """Compare with a process that starts Ray and runs one task."""
    seconds = {}
    with temporary_place() as place:
        for way in size.turns([*map(ours, ENGINES), BARE_RAY]):
            if way == BARE_RAY:
                seconds[way] = _first_task(place)
            else:
                engine = way.removeprefix("ours, ")
                seconds[way] = run_ours(place, f"start_{engine}", engine, 2).start
    rows = [
        Row("start", way, value, "s", better="lower", measure="command to first start")
        for way, value in seconds.items()
    ]
    goal = None if size.quick else _GOAL
    return rows + [
        Row("start", f"{way} / {BARE_RAY}", seconds[way] / seconds[BARE_RAY], "x", goal, "lower")
        for way in map(ours, ENGINES)
    ]


def _first_task(place: Place) -> float:
    label = "first_task"
    (place.folder / label).mkdir()
    file = place.folder / label / "began"
    began = time.time()
    with started(place, label, ["-m", "benchmarks.first_task", str(file)]):
        pass
    return float(file.read_text(encoding="utf-8")) - began
