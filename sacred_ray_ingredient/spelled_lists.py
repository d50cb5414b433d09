"""Lists of numbers that are spelled shortly: ``range(1, 6)`` and ``2 ** range(1, 6)``."""

from __future__ import annotations

import ast
from typing import Any

from sacred_ray_ingredient.sampler_arguments import LARGEST_INT, not_a_number
from sacred_ray_ingredient.values import LONGEST_LIST, plain, show


class ListError(ValueError):
    """The values of a spelled list cannot be computed; a part of a sentence tells why."""


def powers(text: str) -> list[Any] | None:
    """Compute the list that a text such as ``2 ** range(1, 6)`` spells.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    list or None
        None where the text is something else.

    Raises
    ------
    ListError
        Where it cannot be computed, or its values would be too many or too large.
    """
    if "**" not in text or "range" not in text:
        return None
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if isinstance(node, ast.UnaryOp) and _is_power_of_range(node.operand):
        raise ListError("a sign before a power needs brackets: (-2) ** range(1, 6)")
    return spelled_list(node) if _is_power_of_range(node) else None


def spelled_list(node: ast.AST) -> list[Any] | None:
    """Compute a spelled list from its syntax tree.

    Parameters
    ----------
    node
        The tree.

    Returns
    -------
    list or None
        None where it is something else.

    Raises
    ------
    ListError
        Where it cannot be computed, or its values would be too many or too large.
    ValueError, TypeError
        Where the arguments of a range are no whole numbers.
    """
    if _is_range(node):
        return _range(node)
    if not isinstance(node, ast.BinOp) or not _is_power_of_range(node):
        return None
    try:
        base, exponents = ast.literal_eval(node.left), _range(node.right)
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ListError("the base or the range is not made of literal numbers") from error
    problem = not_a_number(base)
    if problem:
        raise ListError(f"the base is {show(base)} {problem}")
    if len(exponents) > LONGEST_LIST:
        raise ListError(f"the range has more than {LONGEST_LIST:,} values")
    return [_power(base, exponent) for exponent in exponents]


def _is_range(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "range"


def _is_power_of_range(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and _is_range(node.right)


def _power(base: float, exponent: int) -> float:
    written = f"{base} ** {show(exponent)}"
    # An integer of more bits than any number can have here is refused before it is computed.
    if isinstance(base, int) and abs(base) > 1 and exponent >= LARGEST_INT.bit_length():
        raise ListError(f"{written} does not fit into 64 bits")
    try:
        value: float = base**exponent
    except (OverflowError, ZeroDivisionError) as error:
        raise ListError(f"{written} is too large or not defined") from error
    if value == 0 and base != 0:
        raise ListError(f"{written} is too small to be told from 0")
    problem = not_a_number(value)
    if problem:
        raise ListError(f"{written} is {value} {problem}")
    return value


def _range(node: ast.AST) -> list[int]:
    if not isinstance(node, ast.Call) or node.keywords:
        raise TypeError("range takes no keywords")
    values: list[int] = plain(range(*(ast.literal_eval(argument) for argument in node.args)))
    return values
