"""Points that a user gives, or that earlier trials had: values of parameters, by dimension."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sacred_ray_ingredient.errors import did_you_mean
from sacred_ray_ingredient.nested import flatten, get_path, has_path, merge, set_path
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.values import plain, show

_NOTHING = object()


def dimension_key(name: str) -> str:
    """Return the key of the search space that a dimension is of.

    Parameters
    ----------
    name
        Such as ``lr``, ``env_name+victim`` for parameters that move together, or ``lr [2]`` for
        the second case of a parameter with conditions.
    """
    key, bracket, case = name.rpartition(" [")
    numbered = bool(bracket) and case.endswith("]") and case[:-1].isdigit()
    return key if numbered else name


def dimension_paths(name: str) -> list[str]:
    """Return the parameters that a dimension sets; see `dimension_key`."""
    return dimension_key(name).split("+")


def as_drawn(sampler: Sampler, value: Any) -> Any:
    """Return a value as its sampler would have drawn it.

    A database and YAML make lists of tuples, so lists and tuples mean the same.

    Raises
    ------
    ValueError
        If the sampler cannot draw it.
    """
    listed = sampler.values()
    if listed is not None:
        same = [known for known in listed if _same(known, value)]
        if same:
            # 1 and 1.0, or a list and a tuple, can both be there.
            return next((known for known in same if repr(known) == repr(value)), same[0])
        raise ValueError("not among the values")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("no number")
    if sampler.position(value) is None:
        raise ValueError("not in the range")
    return value


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    # True equals 1 in Python, but means something else in a config.
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def values_by_dimension(
    parameters: Mapping[str, Any], dimensions: Mapping[str, Sampler]
) -> dict[str, Any]:
    """Find out which dimensions can have given the values of parameters.

    Parameters
    ----------
    parameters
        Nested; what is no dimension is ignored.
    dimensions
        Samplers by name.

    Returns
    -------
    dict
        Values by dimension. A dimension is left out if one of its parameters has no value or
        one that its sampler cannot draw. Of a parameter with conditions, all cases whose
        samplers can draw the value have it.
    """
    found = {}
    for name, sampler in dimensions.items():
        paths = dimension_paths(name)
        parts = [get_path(parameters, path, _NOTHING) for path in paths]
        if any(part is _NOTHING for part in parts):
            continue
        try:
            found[name] = as_drawn(sampler, plain(parts[0] if len(paths) == 1 else parts))
        except ValueError:
            continue
    return found


def point_values(
    point: Mapping[str, Any],
    dimensions: Mapping[str, Sampler],
    others: Collection[str] = (),
    source: str = "ray.points_to_evaluate",
) -> tuple[dict[str, Any], list[str]]:
    """Read one point that the user gives.

    Parameters
    ----------
    point
        Values of parameters, nested or dotted; of parameters that move together each one, or
        all under the key that the search space has, ``env_name+victim``.
    dimensions
        What there is to choose, by name.
    others
        Further parameters of the search space, which no point can set: grids and constants.
    source
        Config path of the point, for the sentences.

    Returns
    -------
    tuple
        Values by dimension, and a sentence for each thing that is wrong.
    """
    parameters, mistakes = _parameters(point, source)
    by_path: dict[str, list[str]] = {}
    for name in dimensions:
        for path in dimension_paths(name):
            by_path.setdefault(path, []).append(name)
    values = values_by_dimension(parameters, dimensions)
    for path, names in by_path.items():
        if has_path(parameters, path) and not any(name in values for name in names):
            mistakes.append(_does_not_fit(path, parameters, dimensions, names, source))
    for path in flatten(parameters):
        if not any(path == known or path.startswith(f"{known}.") for known in by_path):
            mistakes.append(_unknown(path, by_path, others, source))
    return values, mistakes


def points_mistakes(
    points: Sequence[Mapping[str, Any]],
    dimensions: Mapping[str, Sampler],
    others: Collection[str] = (),
    source: str = "ray.points_to_evaluate",
) -> list[str]:
    """Find what is wrong with the points that the user gives; see `point_values`."""
    mistakes = []
    for number, point in enumerate(points):
        where = f"{source}[{number}]"
        if isinstance(point, Mapping):
            mistakes += point_values(point, dimensions, others, where)[1]
        else:
            mistakes.append(
                f"{where} is {show(point)}; it must be a mapping of parameters to values."
            )
    return mistakes


def _parameters(point: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[str]]:
    """Write dotted paths, and keys of several parameters, as nested parameters."""
    nested: dict[str, Any] = {}
    mistakes = []
    for key, value in point.items():
        paths = str(key).split("+")
        if not all(part for path in paths for part in path.split(".")):
            mistakes.append(f"{source} has the entry {key!r}; names must be text and not empty.")
        elif len(paths) == 1 and isinstance(value, Mapping):
            below, wrong = _parameters(value, f"{source}.{key}")
            mistakes += wrong
            before = get_path(nested, paths[0], {})
            set_path(nested, paths[0], merge(before if isinstance(before, dict) else {}, below))
        elif len(paths) == 1:
            set_path(nested, paths[0], value)
        elif isinstance(value, (list, tuple)) and len(value) == len(paths):
            for path, part in zip(paths, value, strict=True):
                set_path(nested, path, part)
        else:
            mistakes.append(
                f"{source}.{key} is {show(value)}; it must be a list of {len(paths)} values, one "
                "for each parameter."
            )
    return nested, mistakes


def _does_not_fit(
    path: str,
    parameters: Mapping[str, Any],
    dimensions: Mapping[str, Sampler],
    names: Sequence[str],
    source: str,
) -> str:
    together = dimension_paths(names[0])
    missing = [other for other in together if not has_path(parameters, other)]
    if missing:
        return (
            f"{source} has {path} without {' and '.join(missing)}, which move together in "
            "ray.search_space; give all of them."
        )
    value: Any = [get_path(parameters, one) for one in together]
    samplers = " or ".join(dimensions[name].text() for name in names)
    return (
        f"{source}.{'+'.join(together)} is {show(value if len(together) > 1 else value[0])}, "
        f"which {samplers} in ray.search_space cannot give; choose a value that it can."
    )


def _unknown(
    path: str, by_path: Mapping[str, Sequence[str]], others: Collection[str], source: str
) -> str:
    where = f"{source} has the parameter {path!r}"
    if any(path == other or path.startswith(f"{other}.") for other in others):
        return (
            f"{where}, which is a grid or a constant of ray.search_space and the same for all "
            "points; leave it out."
        )
    hint = did_you_mean(path, by_path)
    return f"{where}, which ray.search_space does not draw{hint}."
