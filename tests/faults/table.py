"""The result of the suite as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.faults.ground_truth import Comparison

_HEADER = (
    "fault",
    "times tried",
    "events sent",
    "events in the database",
    "recorded twice",
    "wrong statuses",
    "trials run twice",
)


@dataclass
class Row:
    """One fault and what came of it.

    Attributes
    ----------
    fault : str
        What was done.
    tries : int
        How often.
    total : Comparison
        What all tries together left.
    skipped : str or None
        Why it was not tried.
    """

    fault: str
    tries: int = 0
    total: Comparison = field(default_factory=Comparison)
    skipped: str | None = None

    def attempt(self, make: Callable[[], Comparison | None]) -> None:
        """Make a try, which counts unless it returns None; one that breaks spoils no other."""
        try:
            result = make()
        except Exception as error:
            text = f"the try failed: {type(error).__name__}: {error}"
            result = Comparison(problems=[text])
        if result is not None:
            self.total.add(result)
            self.tries += 1

    @property
    def passed(self) -> bool:
        """Whether nothing was lost and nothing is wrong."""
        return self.skipped is not None or (self.total.clean and self.total.sent > 0)

    def cells(self) -> tuple[str, ...]:
        """Return the row's cells as text."""
        if self.skipped is not None:
            return (self.fault, f"not tried: {self.skipped}", "", "", "", "", "")
        total = self.total
        numbers = (self.tries, total.sent, total.found, total.duplicates)
        return (self.fault, *map(str, (*numbers, total.wrong_statuses, total.run_twice)))


def as_text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    lines = [_HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    text = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table for the documentation."""
    lines = [_HEADER, ("---", *["---:"] * (len(_HEADER) - 1)), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def complaints(rows: Sequence[Row]) -> str:
    """Return what is wrong, in sentences."""
    return "\n".join(f"{row.fault}: {problem}" for row in rows for problem in row.total.problems)
