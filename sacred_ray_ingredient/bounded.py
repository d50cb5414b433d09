"""Operators and functions of expressions, none of which can grow a result without bound."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from sacred_ray_ingredient.errors import ResolverError

_MOST_BITS = 1_024
_MOST_ITEMS = 10_000
_MOST_DIGITS = 300
# What + and * make longer; NumPy's arrays are none of these, they calculate.
_CONTAINERS = (Sequence, Set, Mapping)
_SCALARS = (float, bool, type(None))


def size(value: Any, limit: int = _MOST_ITEMS) -> int:
    """Measure a value by what is in it, nested containers included, giving up above a limit.

    Parameters
    ----------
    value
        The value.
    limit
        What is larger is not measured to its end.
    """
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    elif not isinstance(value, (list, tuple, Set)):
        return len(value) if isinstance(value, Sequence) else 1
    count = 0
    for item in value:
        if type(item) is int:
            # Written out, a large number is as long as a text.
            count += 1 + item.bit_length() // 32
        elif type(item) in _SCALARS or not isinstance(item, _CONTAINERS):
            count += 1
        else:
            count += 1 + size(item, limit - count)
        if count > limit:
            break
    return count


def _checked(value: Any) -> Any:
    if size(value) > _MOST_ITEMS:
        raise ResolverError("the result is too long")
    return value


def _multiply(left: Any, right: Any) -> Any:
    integers = isinstance(left, int) and isinstance(right, int)
    if integers and left.bit_length() + right.bit_length() > _MOST_BITS:
        raise ResolverError("the result is too large a number")
    for repeated, times in ((left, right), (right, left)):
        repeats = isinstance(repeated, _CONTAINERS) and hasattr(times, "__index__")
        if repeats and size(repeated) * operator.index(times) > _MOST_ITEMS:
            raise ResolverError("the result is too long")
    return left * right


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, _CONTAINERS) and size(left) + size(right) > _MOST_ITEMS:
        raise ResolverError("the result is too long")
    return left + right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, (str, bytes)):
        raise ResolverError("text cannot be formatted with %")
    return left % right


def _power(base: Any, exponent: Any) -> Any:
    integers = isinstance(base, int) and isinstance(exponent, int)
    if integers and base.bit_length() * exponent > _MOST_BITS:
        raise ResolverError("the result is too large a number")
    try:
        result = base**exponent
    except OverflowError as error:
        raise ResolverError("the result is too large a number") from error
    if isinstance(result, complex):
        raise ResolverError(f"{base} ** {exponent} is no real number")
    return result


def _round(number: Any, ndigits: int | None = None) -> Any:
    # Python computes 10 ** -ndigits for an integer, however large that is.
    if ndigits is not None and abs(ndigits) > _MOST_DIGITS:
        raise ResolverError(f"cannot round to {ndigits} digits")
    return round(number, ndigits)


def _int(*arguments: Any, **base: Any) -> int:
    made = int(*(_checked(argument) for argument in arguments), **base)
    if made.bit_length() > _MOST_BITS:
        # Python reads any number of digits where the base is a power of two.
        raise ResolverError("the result is too large a number")
    return made


def _str(*value: Any) -> str:
    return str(*(_checked(part) for part in value))


def _sum(values: Any, start: Any = 0) -> Any:
    if isinstance(start, _CONTAINERS):
        raise ResolverError("only numbers can be summed; lists are put together with +")
    return sum(values, start)


OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _add,
    ast.Sub: operator.sub,
    ast.Mult: _multiply,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _modulo,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{"abs": abs, "min": min, "max": max, "round": _round, "int": _int, "float": float},
    **{"str": _str, "bool": bool, "len": len, "sum": _sum, "sorted": sorted},
    **{"sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log2": math.log2},
    **{"log10": math.log10, "floor": math.floor, "ceil": math.ceil},
}
