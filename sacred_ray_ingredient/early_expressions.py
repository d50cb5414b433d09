"""Python expressions of early Tune files, rewritten as expressions of ``ray.dependent``.

Their text is parsed and never run.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Sequence
from typing import Any

from sacred_ray_ingredient.bounded import FUNCTIONS
from sacred_ray_ingredient.draws import DRAWS
from sacred_ray_ingredient.errors import ConfigMistakes, ResolverError, did_you_mean
from sacred_ray_ingredient.expressions import Expression, name_parts, parse_tree
from sacred_ray_ingredient.values import show

_SPEC = "spec"
# Python's call: its arguments, and what is written instead; the first that fits is taken.
_CALLS: dict[str, list[tuple[str, str]]] = {
    "random.random": [("", "uniform(0, 1)")],
    "random.uniform": [("a, b", "uniform(a, b)")],
    "random.randint": [("a, b", "randint(a, b + 1)")],
    "random.randrange": [("stop", "randint(0, stop)"), ("start, stop", "randint(start, stop)")],
    "random.choice": [("seq", "choice(seq)")],
    "random.gauss": [("mu=0, sigma=1", "randn(mu, sigma)")],
    "random.normalvariate": [("mu=0, sigma=1", "randn(mu, sigma)")],
    "np.random.random": [("", "uniform(0, 1)")],
    "np.random.random_sample": [("", "uniform(0, 1)")],
    "np.random.rand": [("", "uniform(0, 1)")],
    "np.random.randn": [("", "randn()")],
    "np.random.uniform": [("low=0, high=1", "uniform(low, high)")],
    "np.random.normal": [("loc=0, scale=1", "randn(loc, scale)")],
    "np.random.randint": [("low", "randint(0, low)"), ("low, high", "randint(low, high)")],
    "np.random.choice": [("a", "choice(a)")],
    **{f"np.{name}": [("x", f"{name}(x)")] for name in ("exp", "log", "log2", "log10", "sqrt")},
    **{f"np.{name}": [("x", f"float({name}(x))")] for name in ("floor", "ceil")},
    **{f"np.{name}": [("x", "abs(x)")] for name in ("abs", "absolute")},
    "np.round": [("a, decimals=0", "round(a, decimals)")],
    "np.maximum": [("x1, x2", "max(x1, x2)")],
    "np.minimum": [("x1, x2", "min(x1, x2)")],
    "np.power": [("x1, x2", "x1 ** x2")],
    **{f"math.{name}": [("x", f"{name}(x)")] for name in ("exp", "log2", "log10", "sqrt")},
    **{f"math.{name}": [("x", f"{name}(x)")] for name in ("floor", "ceil")},
    "math.log": [("x", "log(x)"), ("x, base", "log(x, base)")],
    "math.fabs": [("x", "float(abs(x))")],
    "math.pow": [("x, y", "float(x) ** y")],
}
_CONSTANTS = {"math.pi": math.pi, "math.e": math.e, "np.pi": math.pi, "np.e": math.e}


def rewrite(text: str, where: str) -> tuple[str, bool]:
    """Rewrite the Python expression of an ``eval`` entry.

    Parameters
    ----------
    text
        The expression, with or without ``lambda spec:`` before it.
    where
        Where it comes from, for the sentences.

    Returns
    -------
    tuple
        The expression as ``ray.dependent`` takes it, and whether it is a single draw with
        constant arguments, which a search space can have too.

    Raises
    ------
    ConfigMistakes
        Where it uses what there is no counterpart of.
    """
    wrong = f"{where} is {show(text)}"
    try:
        tree, spec = _body(parse_tree(text, wrong), wrong)
        rewritten = _Rewriter(spec, wrong).visit(tree)
        made = ast.unparse(ast.fix_missing_locations(rewritten))
        Expression.parse(made, where, draws=True)
    except ResolverError as error:
        raise ConfigMistakes([str(error)]) from error
    return made, _is_constant_draw(rewritten)


def _body(tree: ast.expr, wrong: str) -> tuple[ast.expr, str]:
    if not isinstance(tree, ast.Lambda):
        return tree, _SPEC
    given = tree.args
    if len(given.args) != 1 or len(list(ast.iter_child_nodes(given))) != 1:
        raise ConfigMistakes([f"{wrong}, but only a lambda of one argument, spec, is understood."])
    return tree.body, given.args[0].arg


def _is_constant_draw(tree: ast.expr) -> bool:
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        return False
    try:
        for argument in [*tree.args, *(keyword.value for keyword in tree.keywords)]:
            ast.literal_eval(argument)
    except (ValueError, TypeError):
        return False
    return tree.func.id in DRAWS


class _Rewriter(ast.NodeTransformer):
    """Puts our names in the place of Python's, from the inside of the expression outwards."""

    def __init__(self, spec: str, wrong: str) -> None:
        self._spec = spec
        self._wrong = wrong

    def _refuse(self, problem: str) -> ConfigMistakes:
        return ConfigMistakes(
            [f"{self._wrong}, but {problem}; write it as an expression of ray.dependent instead."]
        )

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = ".".join(name_parts(node.func) or [ast.unparse(node.func)])
        if name.startswith("numpy."):
            name = f"np.{name.removeprefix('numpy.')}"
        arguments = [self.visit(argument) for argument in node.args]
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        if name in FUNCTIONS:
            return ast.Call(node.func, arguments, keywords)
        if name not in _CALLS:
            hint = did_you_mean(name, _CALLS)
            raise self._refuse(f"there is no counterpart of {name!r}{hint} here")
        for parameters, template in _CALLS[name]:
            bound = _bound(parameters, arguments, keywords)
            if bound is not None:
                return _filled(template, bound)
        listed = " or ".join(f"{name}({parameters})" for parameters, _ in _CALLS[name])
        raise self._refuse(f"{name} is understood as {listed} only")

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._entry(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._entry(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        parts = name_parts(node)
        return self._entry(node) if parts and parts[0] == self._spec else self.generic_visit(node)

    def _entry(self, node: ast.expr) -> ast.expr:
        parts = name_parts(node)
        if parts is None:
            raise self._refuse(f"{ast.unparse(node)!r} is not understood")
        name = ".".join(parts)
        if parts[0] != self._spec:
            constant = _CONSTANTS.get(name.replace("numpy.", "np.", 1))
            if constant is None:
                raise self._refuse(f"{name!r} is no entry: those are {self._spec}.config.NAME")
            return ast.Constant(constant)
        if len(parts) < 3 or parts[1] != "config" or not parts[2].isidentifier():
            raise self._refuse(f"{name!r} is no entry: those are {self._spec}.config.NAME")
        entry: ast.expr = ast.Name(parts[2], ast.Load())
        for part in parts[3:]:
            entry = ast.Subscript(entry, ast.Constant(part), ast.Load())
            if part.isidentifier():
                entry = ast.Attribute(entry.value, part, ast.Load())
        return entry


def _bound(
    parameters: str, arguments: Sequence[ast.expr], keywords: Sequence[ast.keyword]
) -> dict[str, ast.expr] | None:
    given = []
    for part in filter(None, parameters.split(", ")):
        name, _, default = part.partition("=")
        value: Any = ast.Constant(int(default)) if default else inspect.Parameter.empty
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        given.append(inspect.Parameter(name, kind, default=value))
    names = [str(keyword.arg) for keyword in keywords]
    if len(set(names)) < len(names):
        return None
    try:
        bound = inspect.Signature(given).bind(
            *arguments, **{str(keyword.arg): keyword.value for keyword in keywords}
        )
    except TypeError:
        return None
    bound.apply_defaults()
    return dict(bound.arguments)


def _filled(template: str, arguments: dict[str, ast.expr]) -> ast.expr:
    class Filler(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return arguments.get(node.id, node)

        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            filled = self.generic_visit(node)
            try:
                bounds = [ast.literal_eval(side) for side in (node.left, node.right)]
            except (ValueError, TypeError):
                return filled
            added = isinstance(node.op, ast.Add) and all(type(b) is int for b in bounds)
            return ast.Constant(sum(bounds)) if added else filled

    made: ast.expr = Filler().visit(ast.parse(template, mode="eval").body)
    # NumPy's choice among a number is one among the numbers below it.
    if template == "choice(a)" and isinstance(made, ast.Call):
        (among,) = made.args
        if isinstance(among, ast.Constant) and type(among.value) is int:
            return _filled("randint(0, a)", arguments)
    return made
