"""The points of one metric document, until the database has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.record.points import as_lists


@dataclass
class Series:
    """One metric document: points that the database may not have yet.

    Attributes
    ----------
    name : str
        Of the metric; from the second document of a metric on with its number.
    of : str
        The metric.
    part : int
        Number of the document, from 1.
    shipped : int
        How many points were dropped here, since the database has them.
    steps, values, timestamps : list
        The points after these, as far as they are unpacked.
    """

    name: str
    of: str
    part: int = 1
    shipped: int = 0
    steps: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    timestamps: list[Any] = field(default_factory=list)
    # Points after the lists, as in a points file: a fifth of the memory, and unpacked in parts.
    _packed: list[Any] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Number of points that the database may not have."""
        return len(self.values) + sum(map(len, self._packed))

    @property
    def total(self) -> int:
        """Number of all points."""
        return self.shipped + self.waiting

    def add(self, step: Any, value: Any, timestamp: Any) -> None:
        """Take one point."""
        if self._packed:
            self.unpack(self.waiting)
        self.steps.append(step)
        self.values.append(value)
        self.timestamps.append(timestamp)

    def add_packed(self, points: Any) -> None:
        """Take points as `sacred_ray_ingredient.record.points` reads them."""
        self._packed.append(points)

    def unpack(self, count: int) -> None:
        """Let the lists have so many points, if there are so many."""
        while self._packed and (missing := count - len(self.values)) > 0:
            block = self._packed[0]
            steps, values, timestamps = as_lists(block[:missing])
            self.steps += steps
            self.values += values
            self.timestamps += timestamps
            self._drop_packed(missing)

    def drop_until(self, count: int) -> None:
        """Forget the first points, which the database has."""
        surplus = min(max(count - self.shipped, 0), self.waiting)
        self.shipped += surplus
        in_lists = min(surplus, len(self.values))
        for points in (self.steps, self.values, self.timestamps):
            del points[:in_lists]
        surplus -= in_lists
        while surplus > 0:
            surplus -= self._drop_packed(surplus)

    def _drop_packed(self, count: int) -> int:
        """Forget points of the first block; return how many."""
        block = self._packed[0]
        if len(block) <= count:
            del self._packed[0]
            return len(block)
        self._packed[0] = block[count:]
        return count
