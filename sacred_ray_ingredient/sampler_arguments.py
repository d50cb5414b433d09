"""Arguments of samplers: their names, and what is wrong with given ones."""

from __future__ import annotations

import ast
import inspect
import math
from typing import Any

from sacred_ray_ingredient.values import LONGEST_LIST, show

SIGNATURES = {
    "grid_search": "values",
    "choice": "categories, weights=None",
    "uniform": "lower, upper",
    "quniform": "lower, upper, q",
    "loguniform": "lower, upper, base=10",
    "qloguniform": "lower, upper, q, base=10",
    "randn": "mean=0, sd=1",
    "qrandn": "mean, sd, q",
    "randint": "lower, upper",
    "qrandint": "lower, upper, q=1",
    "lograndint": "lower, upper, base=10",
    "qlograndint": "lower, upper, q, base=10",
}
SAMPLER_NAMES = frozenset(SIGNATURES)
LISTS = frozenset({"grid_search", "choice"})
LARGEST_INT = 2**63 - 1


def signature(name: str) -> inspect.Signature:
    """Return the signature of a sampler, with Tune's names and defaults."""
    parameters = []
    for part in SIGNATURES[name].split(", "):
        argument, _, default = part.partition("=")
        value = ast.literal_eval(default) if default else inspect.Parameter.empty
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters.append(inspect.Parameter(argument, kind, default=value))
    return inspect.Signature(parameters)


def argument_problem(name: str, given: dict[str, Any]) -> str | None:
    """Tell what is wrong with the arguments of a sampler, as a part of a sentence.

    Parameters
    ----------
    name
        Name of the sampler.
    given
        Its arguments by name, without those that are left out.
    """
    return _list_problem(given) if name in LISTS else _number_problem(name, given)


def _list_problem(given: dict[str, Any]) -> str | None:
    for argument, values in given.items():
        if not isinstance(values, (list, tuple)):
            return f"{argument} is {show(values)} and not a list"
        if not values:
            return f"the list of {argument} is empty"
        if len(values) > LONGEST_LIST:
            return f"{argument} has more than {LONGEST_LIST:,} values"
    argument = next(iter(given))
    for value in given[argument]:
        if not is_plain(value):
            return f"{show(value)} among the {argument} is no plain, finite data"
    return _weight_problem(given[argument], given["weights"]) if "weights" in given else None


def _weight_problem(categories: list[Any], weights: list[Any]) -> str | None:
    if len(weights) != len(categories):
        return f"there are {len(weights)} weights for {len(categories)} categories"
    for weight in weights:
        problem = not_a_number(weight)
        if problem is None and weight < 0:
            problem = "and must not be below 0"
        if problem is not None:
            return f"{show(weight)} is among the weights {problem}"
    return None if any(weights) else "all weights are 0, so that nothing could be drawn"


def is_plain(value: Any) -> bool:
    """Tell whether a value is plain, finite data: no objects, and no samplers within it."""
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        # A grid within a value is surely meant as one, and would be a value as it stands.
        nested = len(value) == 1 and next(iter(value)) == "grid_search"
        return not nested and all(is_plain(k) and is_plain(v) for k, v in value.items())
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, int, str))


def _number_problem(name: str, given: dict[str, Any]) -> str | None:
    integers = name.endswith("randint")
    for argument, value in given.items():
        problem = not_a_number(value, integers and argument != "base")
        if problem is None and argument in ("sd", "q", "base") and value <= 0:
            problem = "and must be above 0"
        if problem is not None:
            return f"{argument} is {show(value)} {problem}"
    if "lower" not in given:
        return None
    lower, upper = given["lower"], given["upper"]
    if lower >= upper:
        return f"lower is {lower!r} and must be below upper, which is {upper!r}"
    if "log" in name and lower <= 0:
        return f"lower is {lower!r} and must be above 0, as its logarithm is taken"
    if not math.isfinite(upper - lower):
        return f"the range from {lower!r} to {upper!r} is too wide"
    return _step_problem(lower, upper, given["q"], integers) if "q" in given else None


def not_a_number(value: Any, integer: bool = False) -> str | None:
    """Tell why a value is no finite number, as a part of a sentence."""
    if isinstance(value, str):
        return "and must be a number, not text (YAML takes 1e-5 for text, 1.0e-5 for a number)"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "and must be a number"
    if integer and not isinstance(value, int):
        return "and must be an integer"
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_INT else "and must fit into 64 bits"
    return None if math.isfinite(value) else "and must be finite"


def _step_problem(lower: float, upper: float, q: float, integers: bool) -> str | None:
    if integers:
        found = -(-lower // q) <= upper // q
        return None if found else f"there is no multiple of q={q} from {lower} to {upper}"
    for bound in (lower, upper):
        steps = bound / q
        if not math.isfinite(steps) or not math.isclose(steps, round(steps)):
            return f"{bound!r} is no multiple of q={q!r}, as both bounds must be"
    return None
