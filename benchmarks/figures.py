"""What a measurement gives: rows of a table, and what becomes of those of several rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal


class BenchmarkFailed(Exception):
    """A run did not do what is measured, so that its times mean nothing."""


class BenchmarkSkipped(Exception):
    """A way cannot be run here; the message says why."""


@dataclass(frozen=True)
class Size:
    """How much is to be measured.

    A figure is a function that takes one of these, measures once and returns its rows.

    Parameters
    ----------
    quick
        Whether a small size will do, which says that all works and not how fast it is.
    trials
        Number of trials instead of the figure's own; for figures with a number of trials.
    round
        Counts the rounds from 0; ways that are compared take turns in being the first.
    seml
        Whether SEML is among the ways where a figure knows it.
    """

    quick: bool = False
    trials: int | None = None
    round: int = 0
    seml: bool = False

    def pick(self, full: int, quick: int) -> int:
        """Return the number of trials: the given one, or that of the size."""
        if self.trials is not None:
            return self.trials
        return quick if self.quick else full

    def turns(self, ways: Iterable[str]) -> list[str]:
        """Return the ways in the order of this round."""
        ordered = list(ways)
        return ordered if self.round % 2 == 0 else ordered[::-1]


@dataclass(frozen=True)
class Row:
    """One measured number.

    Parameters
    ----------
    figure
        Name of the figure, as on the command line.
    way
        What was run, such as ``ours, direct``; for a ratio the two of them.
    value
        The number.
    unit
        Its unit, such as ``ms/trial``; ``x`` for a ratio.
    goal
        What it should reach; None where it is given for comparison.
    better
        Which way is the good one.
    note
        A sentence for the table.
    measure
        What is measured, where a way has several numbers of a unit.
    """

    figure: str
    way: str
    value: float
    unit: str
    goal: float | None = None
    better: Literal["higher", "lower"] = "higher"
    note: str = ""
    measure: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def medians(rounds: Iterable[Sequence[Row]]) -> list[Row]:
    """Put the rows of several rounds together.

    Parameters
    ----------
    rounds
        The rows of each round.

    Returns
    -------
    list of Row
        One for each number, in the order in which they first appeared, with the median of its
        values; everything else as in the first round.
    """
    samples: dict[tuple[str, str, str, str], list[Row]] = {}
    for rows in rounds:
        for row in rows:
            key = (row.figure, row.measure, row.way, row.unit)
            samples.setdefault(key, []).append(row)
    return [
        replace(same[0], value=statistics.median(row.value for row in same))
        for same in samples.values()
    ]


def ratios(
    rows: Sequence[Row],
    ours: str,
    goals: Mapping[str, float | None],
    measure: str = "",
) -> list[Row]:
    """Compare one way with others, of one round.

    Parameters
    ----------
    rows
        Those of the round.
    ours
        The way that is compared.
    goals
        The ways that it is compared with, each with what the ratio should be at least.
    measure
        Which numbers are compared.

    Returns
    -------
    list of Row
        How many times better it is than each that was measured: above 1 it is the better one,
        whatever of high and low is good.
    """
    values = {row.way: row for row in rows if row.measure == measure}
    compared = []
    for other, goal in goals.items():
        if ours not in values or other not in values:
            continue
        mine, theirs = values[ours], values[other]
        ratio = mine.value / theirs.value
        if mine.better == "lower":
            ratio = 1 / ratio
        compared.append(Row(mine.figure, f"{ours} : {other}", ratio, "x", goal, measure=measure))
    return compared


def show_number(value: float) -> str:
    """Write a number with three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def show_goal(row: Row) -> str:
    """Write what a row should reach."""
    if row.goal is None:
        return ""
    sign = ">=" if row.better == "higher" else "<="
    return f"{sign} {show_number(row.goal)}"


_HEAD = ("figure", "what", "way", "median", "unit", "goal", "reached", "note")
_TO_THE_RIGHT = {"median", "goal"}


def _cells(row: Row) -> tuple[str, ...]:
    reached = {None: "", True: "yes", False: "no"}[row.reached]
    number = show_number(row.value)
    return (
        row.figure,
        row.measure,
        row.way,
        number,
        row.unit,
        show_goal(row),
        reached,
        row.note,
    )


def text_table(rows: Sequence[Row]) -> str:
    """Lay rows out for a terminal."""
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in _TO_THE_RIGHT else cell.ljust(width)
            for name, cell, width in zip(_HEAD, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def markdown_table(rows: Sequence[Row]) -> str:
    """Lay rows out for a page of the docs."""
    rule = ["---:" if name in _TO_THE_RIGHT else "---" for name in _HEAD]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in line)} |"
        for line in [_HEAD, rule, *map(_cells, rows)]
    )
