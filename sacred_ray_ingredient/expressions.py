"""One-line expressions over config entries, limited so that any text can be tried safely.

The text is checked against a whitelist of syntax before anything of it is computed, and computed
by the simpleeval library with operators that cannot grow their results without bound. An
expression sees dictionary entries only, never attributes or methods of Python objects.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import simpleeval

from sacred_ray_ingredient.bounded import FUNCTIONS, OPERATORS, size
from sacred_ray_ingredient.draws import DRAWS
from sacred_ray_ingredient.errors import ConfigMistakes, ResolverError, did_you_mean
from sacred_ray_ingredient.samplers import Sampler, bind
from sacred_ray_ingredient.values import LONGEST_LIST, plain, show

_LONGEST_TEXT = 1_000
_LONGEST_REASON = 500
_MOST_NODES = 500
_DEEPEST = 40

_SYNTAX = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call),
    *(ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Subscript, ast.Slice),
    *(ast.Attribute, ast.Name, ast.keyword, ast.Load, ast.And, ast.Or),
)
_KEYWORDS = frozenset({"default", "reverse", "ndigits", "base", "start"})


class _Evaluator(simpleeval.EvalWithCompoundTypes):
    """simpleeval without what it offers beyond the checked syntax."""

    def __init__(
        self, values: Mapping[str, Any], draw: Callable[[Sampler], Any] | None, where: str
    ) -> None:
        super().__init__(operators=OPERATORS, functions=dict(FUNCTIONS), names=values)
        self._draw = draw
        self._where = where
        allowed = {kind: run for kind, run in self.nodes.items() if kind in _SYNTAX}
        self.nodes: dict[Any, Callable[..., Any]] = allowed

    def _check_disallowed_items(self, item: Any) -> None:
        """Do not walk through every value: none can be called or asked for attributes here."""

    def _eval_call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        positional = [self._eval(argument) for argument in node.args]
        keywords = {str(keyword.arg): self._eval(keyword.value) for keyword in node.keywords}
        if name not in DRAWS:
            return FUNCTIONS[name](*positional, **keywords)
        if self._draw is None:
            raise ResolverError(f"there is no trial to draw {name!r} for")
        return self._draw(bind(name, plain(positional), plain(keywords), self._where))

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
    draws : bool
        Whether it draws random numbers.
    """

    text: str
    source: str
    names: frozenset[str]
    tree: ast.expr = field(repr=False, compare=False)
    draws: bool = False

    @classmethod
    def parse(cls, text: str, source: str, draws: bool = False) -> Expression:
        """Check a text and make an expression of it.

        Parameters
        ----------
        text
            The expression.
        source
            Config path that it comes from, for the sentences.
        draws
            Whether it can draw random numbers.

        Raises
        ------
        ResolverError
            Where the text is no expression, or uses what is not allowed.
        """
        where = f"{source} is {show(text)}"
        tree = parse_tree(text, where)
        for node in [tree, *_below(tree)]:
            problem = _node_problem(node, draws)
            if problem is not None:
                raise ResolverError(f"{where}, but {problem}.")
        draws = any(
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DRAWS
            for node in ast.walk(tree)
        )
        return cls(text, source, frozenset(_names(tree)), tree, draws)

    def evaluate(
        self, values: Mapping[str, Any], draw: Callable[[Sampler], Any] | None = None
    ) -> Any:
        """Compute the expression.

        Parameters
        ----------
        values
            The config, nested.
        draw
            Draws a value from a sampler; called in the order in which the expression is
            computed.

        Raises
        ------
        ResolverError
            Where it reads what is not there, or cannot be computed.
        """
        where = f"{self.source} is {show(self.text)}"
        evaluator = _Evaluator(values, draw, where)
        try:
            result = evaluator.eval(self.text, previously_parsed=self.tree)
            if size(result, LONGEST_LIST) > LONGEST_LIST:
                raise ResolverError("the result is too long")
        except ConfigMistakes as error:
            raise ResolverError(str(error)) from error
        except Exception as error:
            # The config can hold objects of any kind, whose operators can raise anything.
            reason = textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" ...")
            raise ResolverError(f"{where}, which cannot be computed: {reason}.") from error
        return result


def parse_tree(text: str, where: str) -> ast.expr:
    """Parse a text that may be an expression, of a size that is safe to walk through.

    Parameters
    ----------
    text
        The expression.
    where
        Beginning of the sentences: where it comes from, and the text.

    Raises
    ------
    ResolverError
        Where the text is no expression or too large.
    """
    if len(text) > _LONGEST_TEXT:
        raise ResolverError(
            f"{where}, {len(text):,} characters long; an expression has at most "
            f"{_LONGEST_TEXT:,}: write a function and give 'module:function'."
        )
    try:
        with warnings.catch_warnings():
            # What Python finds strange, such as "'\\d'", would be printed again and again.
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        found = error.msg if isinstance(error, SyntaxError) else str(error) or "too deeply nested"
        single = re.search(r"(?<![=<>!:])=(?!=)", text) is not None
        hint = "; == compares, = does not" if single else ""
        raise ResolverError(
            f"{where}, which is no expression ({found}{hint}); write one such as 'lr * 2'."
        ) from error
    level: list[ast.AST] = [tree]
    count = depth = 0
    # Level by level and not recursively, so that a deep tree is refused and not walked.
    while level:
        count, depth = count + len(level), depth + 1
        if count > _MOST_NODES or depth > _DEEPEST:
            raise ResolverError(
                f"{where}, but it is too large; write a function and give 'module:function'."
            )
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return tree


def _below(node: ast.AST) -> Iterable[ast.AST]:
    for child in _children(node):
        yield child
        yield from _below(child)


def _children(node: ast.AST) -> Iterable[ast.AST]:
    # What is called is a name of its own kind, not a config entry.
    called = node.func if isinstance(node, ast.Call) else None
    return (child for child in ast.iter_child_nodes(node) if child is not called)


def _node_problem(node: ast.AST, draws: bool) -> str | None:
    if isinstance(node, ast.Call):
        return _call_problem(node, draws)
    if isinstance(node, ast.Name) and node.id.startswith("_"):
        return f"{node.id!r} starts with an underscore, which no config entry may here"
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        return f"{node.attr!r} starts with an underscore, which no config entry may here"
    if isinstance(node, ast.Constant) and not isinstance(
        node.value, (bool, int, float, str, type(None))
    ):
        return f"{show(node.value)} is neither a number nor text"
    if isinstance(node, ast.Compare):
        compared = zip(node.ops, node.comparators, strict=True)
        for sign, other in compared:
            is_identity = isinstance(sign, (ast.Is, ast.IsNot))
            single = isinstance(other, ast.Constant) and isinstance(other.value, (bool, NoneType))
            if is_identity and not single:
                return "'is' compares with None, True and False only; write == or !="
    if isinstance(node, ast.Dict) and None in node.keys:
        return "'**' cannot be used in a table"
    if type(node) not in _SYNTAX and type(node) not in OPERATORS:
        return (
            f"{type(node).__name__} is not allowed in an expression; "
            "write a function and give 'module:function'"
        )
    return None


def _call_problem(node: ast.Call, draws: bool) -> str | None:
    known = (*FUNCTIONS, *DRAWS) if draws else tuple(FUNCTIONS)
    listed = ", ".join(known)
    if not isinstance(node.func, ast.Name):
        return f"{ast.unparse(node.func)!r} cannot be called; only these functions can: {listed}"
    name = node.func.id
    if name in DRAWS and not draws:
        return f"{name!r} draws a random number, which only expressions of ray.dependent can"
    if name not in known:
        return f"there is no function {name!r}{did_you_mean(name, known)}; there are: {listed}"
    given = [keyword.arg for keyword in node.keywords]
    if None in given:
        return f"'**' cannot be used in a call of {name}"
    twice = next((argument for argument in given if given.count(argument) > 1), None)
    if twice is not None:
        return f"{name} gets the argument {twice!r} twice"
    wrong = next((argument for argument in given if argument not in _KEYWORDS), None)
    return None if wrong is None or name in DRAWS else f"{name} takes no argument {wrong!r} here"


def _names(node: ast.AST) -> Iterable[str]:
    chain = _chain(node)
    if chain is not None:
        return [chain]
    return [name for child in _children(node) for name in _names(child)]


def _chain(node: ast.AST) -> str | None:
    parts = name_parts(node)
    return None if parts is None else ".".join(parts)


def name_parts(node: ast.AST) -> list[str] | None:
    """Read ``a.b`` and ``a['b']`` as the names in them; None for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        key: Any = node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        key = node.slice.value
    else:
        return None
    above = name_parts(node.value)
    return [*above, key] if above is not None and isinstance(key, str) else None
