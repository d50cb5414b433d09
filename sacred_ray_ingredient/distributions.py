"""The distributions of Tune's samplers, each as a function of one number from 0 to 1 and back.

They are those of Tune 2.60: the upper bound of integers is exclusive, that of multiples of ``q``
inclusive (for integers only where ``q`` is not 1), and multiples of ``q`` are what a continuous
value is rounded to. A value is the same on every machine for the same number.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from sacred_ray_ingredient.values import plain

# The normal distribution has no value for 0 and 1.
_TAIL = 1e-12


def quantile(name: str, arguments: Mapping[str, Any], u: float) -> Any:
    """Return the value at a place of a sampler's distribution.

    Parameters
    ----------
    name
        Name of the sampler; not that of a grid.
    arguments
        Arguments of the sampler.
    u
        The place, from 0 to 1; uniform places give values distributed as Tune draws them.
    """
    u = min(max(float(u), 0.0), 1.0)
    if name == "choice":
        return arguments["categories"][_category(arguments, u)]
    q = arguments.get("q", 1)
    if name.endswith("randint"):
        return q * _integer(name, *_integer_bounds(arguments, q, name), u)
    if not name.startswith("q"):
        return _stretched(name, arguments, u)
    value = _stretched(name, {**arguments, **_snapped(arguments, q)}, u)
    steps = value / q
    if math.isfinite(steps):
        value = float(round(steps) * q)
    # A product with q can end just outside: 3 * 0.1 is above 0.3.
    lower, upper = arguments.get("lower", -math.inf), arguments.get("upper", math.inf)
    return float(min(max(value, lower), upper))


def position(name: str, arguments: Mapping[str, Any], value: Any) -> float | None:
    """Return a place of a sampler's distribution at which a value is.

    Parameters
    ----------
    name
        Name of the sampler; not that of a grid.
    arguments
        Arguments of the sampler.
    value
        What :func:`quantile` shall return there.

    Returns
    -------
    float or None
        From 0 to 1; in the middle of several places. None where the value cannot be drawn.
    """
    value = plain(value)
    if name == "choice":
        return _position_of_category(arguments, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not abs(value) <= sys.float_info.max:  # not a number is not below it either
        return None
    q = arguments.get("q", 1)
    if name.endswith("randint"):
        return _position_of_integer(name, arguments, q, value)
    around = (value, value)
    if name.startswith("q"):
        step = round(value / q) if math.isfinite(value / q) else 0
        if not math.isclose(value, step * q, rel_tol=1e-9, abs_tol=1e-9 * q):
            return None
        around = ((step - 0.5) * q, (step + 0.5) * q)
        arguments = {**arguments, **_snapped(arguments, q)}
        value = step * q
    if not arguments.get("lower", value) <= value <= arguments.get("upper", value):
        return None
    place = sum(_share_below(name, arguments, bound) for bound in around) / 2
    # What is beyond the outermost places by more than rounding is never drawn.
    beyond = name.endswith("randn") and not _TAIL / 2 < place < 1 - _TAIL / 2
    return None if beyond else place


def _stretched(name: str, arguments: Mapping[str, Any], u: float) -> float:
    if name.endswith("randn"):
        normal = NormalDist(arguments.get("mean", 0), arguments.get("sd", 1))
        return normal.inv_cdf(min(max(u, _TAIL), 1 - _TAIL))
    lower, upper = float(arguments["lower"]), float(arguments["upper"])
    if u in (0, 1):  # exactly, which a logarithm and its inverse are not
        return upper if u else lower
    if "log" in name:
        low, high = math.log(lower), math.log(upper)
        value = math.exp(low + u * (high - low))
    else:
        value = lower + u * (upper - lower)
    return min(max(value, lower), upper)


def _share_below(name: str, arguments: Mapping[str, Any], value: float) -> float:
    if name.endswith("randn"):
        return NormalDist(arguments.get("mean", 0), arguments.get("sd", 1)).cdf(value)
    lower, upper = arguments["lower"], arguments["upper"]
    value = min(max(value, lower), upper)
    if "log" in name:
        low, high = math.log(lower), math.log(upper)
        return (math.log(value) - low) / (high - low)
    return float((value - lower) / (upper - lower))


def _snapped(arguments: Mapping[str, Any], q: float) -> dict[str, float]:
    """Move bounds onto multiples of ``q``, of which they differ by rounding only."""
    bounds = {name: arguments[name] for name in ("lower", "upper") if name in arguments}
    return {name: round(bound / q) * q for name, bound in bounds.items()}


def _integer_bounds(arguments: Mapping[str, Any], q: int, name: str) -> tuple[int, int]:
    """Return the first multiple of ``q`` and the one after the last, counted in ``q``."""
    lower, upper = arguments["lower"], arguments["upper"]
    inclusive = name.startswith("q") and q != 1
    return -(-lower // q), upper // q + 1 if inclusive else upper


def _integer(name: str, lower: int, upper: int, u: float) -> int:
    if "log" in name:
        value = math.floor(_stretched("loguniform", {"lower": lower, "upper": upper}, u))
    else:
        # With whole numbers, as the range may have more of them than a float can tell apart.
        part, whole = u.as_integer_ratio()
        value = lower + (upper - lower) * part // whole
    return min(max(value, lower), upper - 1)


def _position_of_integer(
    name: str, arguments: Mapping[str, Any], q: int, value: float
) -> float | None:
    if value != int(value) or int(value) % q:
        return None
    step, (lower, upper) = int(value) // q, _integer_bounds(arguments, q, name)
    if not lower <= step < upper:
        return None
    if "log" not in name:
        return (step - lower + 0.5) / (upper - lower)
    bounds = {"lower": lower, "upper": upper}
    return sum(_share_below("loguniform", bounds, bound) for bound in (step, step + 1)) / 2


def _shares(arguments: Mapping[str, Any]) -> list[float]:
    weights = arguments.get("weights") or [1] * len(arguments["categories"])
    most = max(weights)
    scaled = [weight / most for weight in weights]
    total = math.fsum(scaled)
    return [weight / total for weight in scaled]


def _category(arguments: Mapping[str, Any], u: float) -> int:
    if "weights" not in arguments:
        count = len(arguments["categories"])
        return min(int(u * count), count - 1)
    below, last = 0.0, 0
    for index, share in enumerate(_shares(arguments)):
        below += share
        if share > 0:
            last = index
            if u < below:
                break
    return last


def _position_of_category(arguments: Mapping[str, Any], value: Any) -> float | None:
    wanted = _comparable(value)
    categories = arguments["categories"]
    same = [index for index, known in enumerate(categories) if _comparable(known) == wanted]
    if not same:
        return None
    shares = _shares(arguments)
    # The same list and not just a tuple of the same, where there are both.
    index = max(same, key=lambda k: (shares[k] > 0 and categories[k] == value, shares[k]))
    place = math.fsum([*shares[:index], shares[index] / 2])
    # A share can be 0, or so small that no place falls into it.
    return place if place < 1 and _category(arguments, place) == index else None


def _comparable(value: Any) -> Any:
    """Make a value that equals what is stored the same: a tuple as a list, but True not as 1."""
    if isinstance(value, (list, tuple)):
        return [_comparable(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _comparable(item) for key, item in value.items()}
    return (bool, value) if isinstance(value, bool) else value
