"""One-line expressions over config entries, limited so that any text can be tried safely.

The text is checked against a whitelist of syntax before anything of it is computed, and computed
by the simpleeval library with operators that cannot grow their results without bound. An
expression sees dictionary entries only, never attributes or methods of Python objects.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import simpleeval

from sacred_ray_ingredient.errors import ResolverError, did_you_mean
from sacred_ray_ingredient.values import show

_LONGEST_TEXT = 1_000
_MOST_NODES = 500
_DEEPEST = 40
_MOST_BITS = 1_024
_MOST_ITEMS = 10_000
_MOST_DIGITS = 300

_SYNTAX = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call),
    *(ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Subscript, ast.Slice),
    *(ast.Attribute, ast.Name, ast.keyword, ast.Load, ast.And, ast.Or),
)
_KEYWORDS = frozenset({"default", "reverse", "ndigits", "base", "start"})


def _items(value: Any, limit: int = _MOST_ITEMS) -> int:
    """Count what is in a value, nested containers included, giving up above the limit."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return 2 * _items(list(value.values()), limit)
    if not isinstance(value, (list, tuple, set, frozenset)):
        return 1
    count = 0
    for item in value:
        count += 1 + (_items(item, limit - count) if hasattr(item, "__len__") else 0)
        if count > limit:
            break
    return count


def _multiply(left: Any, right: Any) -> Any:
    integers = isinstance(left, int) and isinstance(right, int)
    if integers and left.bit_length() + right.bit_length() > _MOST_BITS:
        raise ResolverError("the result is too large a number")
    for repeated, times in ((left, right), (right, left)):
        repeats = hasattr(repeated, "__len__") and isinstance(times, int)
        if repeats and _items(repeated) * times > _MOST_ITEMS:
            raise ResolverError("the result is too long")
    return left * right


def _add(left: Any, right: Any) -> Any:
    if hasattr(left, "__len__") and _items(left) + _items(right) > _MOST_ITEMS:
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


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
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
    **{"abs": abs, "min": min, "max": max, "round": _round, "int": int, "float": float},
    **{"str": str, "bool": bool, "len": len, "sum": sum, "sorted": sorted},
    **{"sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log2": math.log2},
    **{"log10": math.log10, "floor": math.floor, "ceil": math.ceil},
}


class _Evaluator(simpleeval.EvalWithCompoundTypes):
    """simpleeval without what it offers beyond the checked syntax."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(operators=_OPERATORS, functions=dict(FUNCTIONS), names=values)
        self.functions = FUNCTIONS
        allowed = {kind: run for kind, run in self.nodes.items() if kind in _SYNTAX}
        self.nodes: dict[Any, Callable[..., Any]] = allowed

    def _eval_name(self, node: ast.Name) -> Any:
        return _entry(self.names, node.id, node.id)

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        return _entry(self._eval(node.value), node.attr, ast.unparse(node))

    def _eval_subscript(self, node: ast.Subscript) -> Any:
        container, key = self._eval(node.value), self._eval(node.slice)
        if isinstance(container, Mapping):
            return _entry(container, key, None)
        return container[key]


def _entry(level: Any, key: Any, name: str | None) -> Any:
    if not isinstance(level, Mapping):
        raise ResolverError(f"{name} is an entry of {show(level)}, which has no entries")
    if key in level:
        return level[key]
    known = [text for text in level if isinstance(text, str)]
    hint = did_you_mean(key, known) if isinstance(key, str) else ""
    if name is not None:
        raise ResolverError(f"there is no config entry {name!r}{hint}")
    raise ResolverError(f"the table has no entry for {show(key)}{hint}")


@dataclass(frozen=True)
class Expression:
    """A checked expression; make it with :meth:`parse`.

    Attributes
    ----------
    text : str
        As the user wrote it.
    source : str
        Config path that it comes from, for the sentences.
    names : frozenset of str
        Dotted config entries that it reads, each as far as it is spelled out.
    """

    text: str
    source: str
    names: frozenset[str]
    tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, source: str) -> Expression:
        """Check a text and make an expression of it.

        Parameters
        ----------
        text
            The expression.
        source
            Config path that it comes from, for the sentences.

        Raises
        ------
        ResolverError
            Where the text is no expression, or uses what is not allowed.
        """
        where = f"{source} is {show(text)}"
        if len(text) > _LONGEST_TEXT:
            raise ResolverError(
                f"{where}, {len(text):,} characters long; an expression has at most "
                f"{_LONGEST_TEXT:,}: write a function and give 'module:function'."
            )
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            found = error.msg if isinstance(error, SyntaxError) else "too deeply nested"
            raise ResolverError(
                f"{where}, which is no expression ({found}); write one such as 'lr * 2'."
            ) from error
        problem = _problem(tree)
        if problem is not None:
            raise ResolverError(f"{where}, but {problem}.")
        return cls(text, source, frozenset(_names(tree)), tree)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Compute the expression.

        Parameters
        ----------
        values
            The config, nested.

        Raises
        ------
        ResolverError
            Where it reads what is not there, or cannot be computed.
        """
        evaluator = _Evaluator(values)
        try:
            return evaluator.eval(self.text, previously_parsed=self.tree)
        except (
            *(ResolverError, simpleeval.InvalidExpression, ArithmeticError, LookupError),
            *(TypeError, ValueError, AttributeError, MemoryError, RecursionError),
        ) as error:
            raise ResolverError(
                f"{self.source} is {show(self.text)}, which cannot be computed: {error}."
            ) from error


def _problem(tree: ast.expr) -> str | None:
    """Tell the first thing that an expression must not contain."""
    level: list[ast.AST] = [tree]
    count = depth = 0
    # Level by level and not recursively, so that a deep tree is refused and not walked.
    while level:
        count, depth = count + len(level), depth + 1
        if count > _MOST_NODES or depth > _DEEPEST:
            return "it is too large; write a function and give 'module:function'"
        for node in level:
            problem = _node_problem(node)
            if problem is not None:
                return problem
        level = [child for node in level for child in _children(node)]
    return None


def _children(node: ast.AST) -> Iterable[ast.AST]:
    # What is called is a name of its own kind, not a config entry.
    called = node.func if isinstance(node, ast.Call) else None
    return (child for child in ast.iter_child_nodes(node) if child is not called)


def _node_problem(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call):
        return _call_problem(node)
    if isinstance(node, ast.Name) and node.id.startswith("_"):
        return f"{node.id!r} starts with an underscore, which no config entry may here"
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        return f"{node.attr!r} starts with an underscore, which no config entry may here"
    if isinstance(node, ast.Constant) and not isinstance(
        node.value, (bool, int, float, str, type(None))
    ):
        return f"{show(node.value)} is neither a number nor text"
    if isinstance(node, ast.Dict) and None in node.keys:
        return "'**' cannot be used in a table"
    if type(node) not in _SYNTAX and type(node) not in _OPERATORS:
        return (
            f"{type(node).__name__} is not allowed in an expression; "
            "write a function and give 'module:function'"
        )
    return None


def _call_problem(node: ast.Call) -> str | None:
    listed = ", ".join(FUNCTIONS)
    if not isinstance(node.func, ast.Name):
        return f"{ast.unparse(node.func)!r} cannot be called; only these functions can: {listed}"
    if node.func.id not in FUNCTIONS:
        hint = did_you_mean(node.func.id, FUNCTIONS)
        return f"there is no function {node.func.id!r}{hint}; there are: {listed}"
    wrong = next((str(k.arg) for k in node.keywords if k.arg not in _KEYWORDS), None)
    return None if wrong is None else f"{node.func.id} takes no argument {wrong!r} here"


def _names(node: ast.AST) -> Iterable[str]:
    chain = _chain(node)
    if chain is not None:
        return [chain]
    return [name for child in _children(node) for name in _names(child)]


def _chain(node: ast.AST) -> str | None:
    """Read ``a.b`` and ``a['b']`` as the dotted name ``a.b``; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        key: Any = node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        key = node.slice.value
    else:
        return None
    above = _chain(node.value)
    return f"{above}.{key}" if above is not None and isinstance(key, str) else None
