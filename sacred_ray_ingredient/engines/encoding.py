"""How a dimension of the search space is shown to a searcher, and its choice read back.

What a library draws as Tune would is shown to it as it is, choices as text. Everything else is
shown as a number from 0 to 1, which is a position in the distribution of the sampler, so that
every sampler can be used with every searcher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sacred_ray_ingredient.points import as_drawn
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.values import plain, show

# Found by trying each of Tune's samplers with each searcher. Left out is what the conversion of
# Ray refuses, draws from outside the range, or rounds to no step.
NATIVE = {
    "optuna": frozenset(
        {
            *("choice", "uniform", "quniform", "loguniform"),
            *("randint", "qrandint", "lograndint"),
        }
    ),
    "hyperopt": frozenset(
        {
            *("choice", "uniform", "quniform", "loguniform", "qloguniform"),
            *("randint", "lograndint"),
        }
    ),
    "nevergrad": frozenset({"choice", "uniform", "loguniform", "randint", "lograndint"}),
    "bohb": frozenset({"choice", "uniform", "loguniform", "randint", "lograndint"}),
    "bayesopt": frozenset[str](),
    # Of the others it takes a part of the values for all that there are, and ends.
    "zoopt": frozenset({"uniform"}),
}
_BELOW_ONE = math.nextafter(1.0, 0.0)
_NORMAL_ENDS = (0.0001, 0.9999)


@dataclass(frozen=True)
class Encoding:
    """One dimension, as a searcher sees it.

    Attributes
    ----------
    name : str
        Name of the dimension.
    sampler : Sampler
        What its values are drawn from.
    native : bool
        Whether the searcher sees the range itself, or the categories as text; otherwise it sees
        a position between 0 and 1.
    """

    name: str
    sampler: Sampler
    native: bool
    # Positions of values that were encoded, so that these come back as they were.
    _encoded: dict[float, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def labels(self) -> list[str]:
        """The categories as different texts; empty for a range."""
        labels: list[str] = []
        for number, value in enumerate(self.sampler.values() or ()):
            label = show(value)
            labels.append(f"{label} #{number}" if label in labels else label)
        return labels

    def domain(self) -> Any:
        """Make Tune's object for the searcher."""
        from ray import tune

        if not self.native:
            return tune.uniform(0.0, 1.0)
        if self.labels:
            return tune.choice(self.labels)
        if self.sampler.name == "qrandint":
            lower, upper = _bounds(self.sampler)
            return tune.qrandint(lower, upper, self.sampler.arguments.get("q", 1))
        return self.sampler.to_tune()

    def decode(self, value: Any) -> Any:
        """Turn what a searcher chose into a value that the sampler can draw."""
        value = plain(value)
        if not self.native:
            if value in self._encoded:
                return self._encoded[value]
            # Libraries try the very ends, where a normal distribution has no value.
            ends = _NORMAL_ENDS if self.sampler.name.endswith("randn") else (0.0, _BELOW_ONE)
            return self.sampler.quantile(min(max(float(value), ends[0]), ends[1]))
        if self.labels:
            return (self.sampler.values() or ())[self.labels.index(str(value))]
        whole = self.sampler.name.endswith("randint")
        step = self.sampler.arguments.get("q", 1 if whole else None)
        if step is not None:
            value = round(value / step) * step
        value = int(value) if whole else float(value)
        if "lower" in self.sampler.arguments:
            lower, upper = _bounds(self.sampler)
            value = min(max(value, lower), upper)
        return value

    def encode(self, value: Any) -> Any:
        """Turn a value of the sampler into what the searcher has to see.

        Returns
        -------
        Any
            None if the sampler cannot draw the value.
        """
        try:
            value = as_drawn(self.sampler, plain(value))
        except ValueError:
            return None
        if self.labels:
            values = self.sampler.values() or ()
            index = next(index for index, known in enumerate(values) if known is value)
            return self.labels[index] if self.native else (index + 0.5) / len(self.labels)
        if not self.native:
            position = self.sampler.position(value)
            if position is None:
                return None
            position = min(max(float(position), 0.0), 1.0)
            self._encoded[position] = value
            return position
        return value if self.sampler.name.endswith("randint") else float(value)


def _bounds(sampler: Sampler) -> tuple[Any, Any]:
    """Return the smallest and the largest value of a range."""
    lower, upper = sampler.arguments["lower"], sampler.arguments["upper"]
    if sampler.name in ("randint", "lograndint"):
        return lower, upper - 1
    if sampler.name == "qrandint":
        step = sampler.arguments.get("q", 1)
        return -(-lower // step) * step, upper // step * step
    return (float(lower), float(upper)) if "randint" not in sampler.name else (lower, upper)


def _has_several_values(sampler: Sampler) -> bool:
    """Tell whether there is anything to choose; libraries do not expect that there is not."""
    listed = sampler.values()
    if listed is not None:
        return len(listed) > 1
    if "lower" not in sampler.arguments:
        return True
    lower, upper = _bounds(sampler)
    return bool(lower < upper)


def make_encodings(searcher: str, dimensions: Mapping[str, Sampler]) -> dict[str, Encoding]:
    """Decide how a searcher sees each dimension.

    Parameters
    ----------
    searcher
        Name of the searcher.
    dimensions
        Samplers by name.

    Returns
    -------
    dict
        Encodings by a name that no library stumbles over.
    """
    return {
        f"p{number}": Encoding(
            name, sampler, sampler.name in NATIVE[searcher] and _has_several_values(sampler)
        )
        for number, (name, sampler) in enumerate(dimensions.items())
    }
