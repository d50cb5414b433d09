"""The search space: one grammar, as text, data or Tune's own objects, to and from Tune samplers.

Text is parsed with ``ast`` against a table of Tune's samplers; nothing is evaluated. What is
wrong is collected as sentences, so that all of it is told before the first trial.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.nested import flat_entries, unflatten
from sacred_ray_ingredient.values import LONGEST_LIST, plain, show

_SIGNATURES = {
    "grid_search": "values",
    "choice": "categories",
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
SAMPLER_NAMES = frozenset(_SIGNATURES)
_LISTS = frozenset({"grid_search", "choice"})
_CALL = re.compile(r"\s*((?:ray\.)?tune\.)?([A-Za-z_]\w*)\s*\(.*", re.DOTALL)
_SYNONYMS = {"normal": "randn", "gauss": "randn", "categorical": "choice", "sample_from": ""}
_LARGEST_INT = 2**63 - 1


def _signature(name: str) -> inspect.Signature:
    parameters = []
    for part in _SIGNATURES[name].split(", "):
        argument, _, default = part.partition("=")
        value = int(default) if default else inspect.Parameter.empty
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters.append(inspect.Parameter(argument, kind, default=value))
    return inspect.Signature(parameters)


@dataclass(frozen=True)
class Sampler:
    """One of Tune's samplers with its arguments.

    Attributes
    ----------
    name : str
        Tune's name of it.
    arguments : dict
        Bound to Tune's names, in Tune's order, without those that have their default.
    """

    name: str
    arguments: dict[str, Any]

    def text(self) -> str:
        """Write the sampler as text that is read back to an equal one."""
        parts = []
        for name, parameter in _signature(self.name).parameters.items():
            if name in self.arguments:
                required = parameter.default is inspect.Parameter.empty
                value = repr(self.arguments[name])
                parts.append(value if required else f"{name}={value}")
        return f"{self.name}({', '.join(parts)})"

    def values(self) -> list[Any] | None:
        """Return the listed values of a grid or choice, None for a range."""
        return list(next(iter(self.arguments.values()))) if self.name in _LISTS else None

    def to_tune(self) -> Any:
        """Make Tune's object."""
        from ray import tune

        # Tune has deprecated the base: it does not change what is drawn.
        arguments = {name: value for name, value in self.arguments.items() if name != "base"}
        return getattr(tune, self.name)(**arguments)


@dataclass(frozen=True)
class SearchSpace:
    """What a sweep varies, by dotted path of the inner experiment's parameters.

    Attributes
    ----------
    samplers : dict
        What is drawn for every trial.
    constants : dict
        What is the same in every trial.
    functions : dict
        From ``tune.sample_from``: not drawn but computed, so the caller makes resolvers of them.
    """

    samplers: dict[str, Sampler] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def paths(self) -> list[str]:
        """List the dotted paths of all parameters in it."""
        return [*self.samplers, *self.constants, *self.functions]

    def param_space(self) -> dict[str, Any]:
        """Make the nested dictionary of samplers and constants that ``tune.Tuner`` takes."""
        drawn = {path: sampler.to_tune() for path, sampler in self.samplers.items()}
        return unflatten({**drawn, **self.constants})

    def text(self) -> dict[str, Any]:
        """Write the space as nested plain data: what is stored and can be read again."""
        drawn = {path: sampler.text() for path, sampler in self.samplers.items()}
        computed = {path: _sample_from_text(call) for path, call in self.functions.items()}
        return unflatten({**drawn, **self.constants, **computed})

    def grid_size(self) -> int:
        """Count the points of the grid; 1 where there is no grid."""
        grids = [s for s in self.samplers.values() if s.name == "grid_search"]
        return math.prod(len(grid.values() or ()) for grid in grids)


def _sample_from_text(function: Callable[..., Any]) -> str:
    return f"sample_from({getattr(function, '__qualname__', type(function).__qualname__)})"


def parse_search_space(
    raw: Mapping[str, Any], source: str = "ray.search_space"
) -> tuple[SearchSpace, list[str]]:
    """Read a search space as the user wrote it.

    Parameters
    ----------
    raw
        Nested or dotted mapping from parameters to samplers as text, data or Tune's objects, to
        lists (a grid over them), to constants, or to None (the parameter is left out).
    source
        Config path of the mapping, for the sentences.

    Returns
    -------
    tuple
        The space without what is wrong, and a sentence for each thing that is wrong.
    """
    flat, mistakes = flat_entries(raw, source, _is_sampler_data)
    space = SearchSpace()
    for path, value in flat.items():
        try:
            entry = _read_entry(value, f"{source}.{path}")
        except ConfigMistakes as wrong:
            mistakes += wrong.mistakes
            continue
        if isinstance(entry, Sampler):
            space.samplers[path] = entry
        elif callable(entry):
            space.functions[path] = entry
        else:
            space.constants[path] = entry
    for path in _taken_for_code([*space.samplers, *space.constants]):
        mistakes.append(
            f"{source}.{path} is the only entry of its level and called 'eval', which Tune takes "
            "for code to run; vary another parameter of that level with it, or rename it."
        )
        space.samplers.pop(path, None)
        space.constants.pop(path, None)
    return space, mistakes


def _taken_for_code(paths: list[str]) -> list[str]:
    """Find the levels whose only entry is ``eval``: Tune runs the value of such a one as code."""
    suspects = [path for path in paths if path.split(".")[-1] == "eval"]
    return [
        path
        for path in suspects
        if [p for p in paths if p.startswith(path.removesuffix("eval"))] == [path]
    ]


def _is_sampler_data(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in SAMPLER_NAMES


def _read_entry(value: Any, where: str) -> Any:
    value = plain(value)
    if isinstance(value, str):
        return _read_text(value, where)
    if isinstance(value, dict):
        ((name, arguments),) = value.items()
        return _bind(name, *_as_arguments(name, arguments), f"{where} is {show(value)}")
    if isinstance(value, (list, tuple)):
        # Sacred makes lists of tuples, so both mean the same.
        return _bind("grid_search", [value], {}, f"{where} is {show(value)}")
    domain = _read_domain(value, where)
    if domain is not None:
        return domain
    if not isinstance(value, (bool, int, float)):
        raise ConfigMistakes(
            [
                f"{where} is {show(value)}, which is no plain data; write a sampler, a list, a "
                "number or text, and put functions into ray.dependent."
            ]
        )
    return value


def _read_text(text: str, where: str) -> Sampler | str:
    if not text.strip():
        raise ConfigMistakes([f"{where} is empty; write a sampler, a list or a value."])
    called = _CALL.fullmatch(text)
    if called is None:
        return text
    of_tune, name = called.groups()
    wrong = f"{where} is {show(text)}"
    if name not in SAMPLER_NAMES:
        near = difflib.get_close_matches(name.lower(), SAMPLER_NAMES, n=1, cutoff=0.75)
        meant = of_tune or near or name in _SYNONYMS
        if not meant or not text.rstrip().endswith(")"):
            return text
        hint = did_you_mean(_SYNONYMS.get(name) or (near or [name])[0], SAMPLER_NAMES)
        raise ConfigMistakes(
            [
                f"{wrong}, but {name!r} is no sampler{hint}; if the text itself is meant, give it "
                "as an update of the inner experiment; a function of other parameters goes under "
                "ray.dependent."
            ]
        )
    try:
        call = ast.parse(text.strip().removeprefix(of_tune or ""), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        problem = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _wrong(name, wrong, f"which cannot be read: {problem}") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise _wrong(name, wrong, "which is more than one sampler call")
    try:
        positional = [_literal(node, name) for node in call.args]
        keywords = {str(k.arg): _literal(k.value, name) for k in call.keywords}
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise _wrong(name, wrong, "whose arguments are not all literals") from error
    if len(keywords) < len(call.keywords):
        raise _wrong(name, wrong, "which has an argument twice")
    return _bind(name, positional, keywords, wrong)


def _literal(node: ast.expr, name: str) -> Any:
    # A range saves writing out a long list; it is the only call that an argument can be.
    if isinstance(node, ast.Call) and name in _LISTS and ast.unparse(node.func) == "range":
        return plain(range(*(ast.literal_eval(argument) for argument in node.args)))
    return ast.literal_eval(node)


def _as_arguments(name: str, data: Any) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(data, dict):
        return [], data
    if name in _LISTS or not isinstance(data, (list, tuple)):
        return ([] if data is None else [data]), {}
    return list(data), {}


def _wrong(name: str, wrong: str, problem: str) -> ConfigMistakes:
    return ConfigMistakes([f"{wrong}, {problem}; write {name}({_SIGNATURES[name]})."])


def _bind(name: str, positional: list[Any], keywords: dict[Any, Any], wrong: str) -> Sampler:
    try:
        bound = _signature(name).bind(*positional, **{str(k): v for k, v in keywords.items()})
    except TypeError as error:
        raise _wrong(name, wrong, f"which does not fit ({error})") from error
    given = bound.arguments
    problem = _list_problem(given) if name in _LISTS else _number_problem(name, given)
    if problem:
        raise _wrong(name, wrong, f"where {problem}")
    if name in _LISTS:
        return Sampler(name, {key: list(values) for key, values in given.items()})
    defaults = {p.name: p.default for p in _signature(name).parameters.values()}
    return Sampler(name, {key: v for key, v in given.items() if v != defaults[key]})


def _list_problem(given: dict[str, Any]) -> str | None:
    ((argument, values),) = given.items()
    if not isinstance(values, (list, tuple)):
        return f"{argument} is {show(values)} and not a list"
    if not values:
        return f"the list of {argument} is empty"
    if len(values) > LONGEST_LIST:
        return f"{argument} has more than {LONGEST_LIST:,} values"
    bad = next((value for value in values if not _is_plain(value)), None)
    return None if bad is None else f"{show(bad)} among the {argument} is no plain, finite data"


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        # Tune would run such a value as code, or make a grid of it, after it was drawn.
        special = len(value) == 1 and next(iter(value)) in ("eval", "grid_search")
        return not special and all(_is_plain(k) and _is_plain(v) for k, v in value.items())
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (bool, int, str))


def _number_problem(name: str, given: dict[str, Any]) -> str | None:
    integers = name.endswith("randint")
    for argument, value in given.items():
        problem = _not_a_number(value, integers and argument != "base")
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


def _not_a_number(value: Any, integer: bool) -> str | None:
    if isinstance(value, str):
        return "and must be a number, not text (YAML takes 1e-5 for text, 1.0e-5 for a number)"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "and must be a number"
    if integer and not isinstance(value, int):
        return "and must be an integer"
    if isinstance(value, int):
        return None if abs(value) <= _LARGEST_INT else "and must fit into 64 bits"
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


def _read_domain(value: Any, where: str) -> Sampler | Callable[..., Any] | None:
    # Whoever has one of Tune's objects has imported Tune, so there is no need to import it here.
    tune: Any = sys.modules.get("ray.tune.search.sample")
    if tune is None or not isinstance(value, tune.Domain):
        return None
    if isinstance(value, tune.Function):
        function: Callable[..., Any] = value.func
        return function
    drawn, wrong = value.get_sampler(), f"{where} is Tune's {type(value).__name__}"
    if isinstance(value, tune.Categorical):
        return _bind(
            "grid_search" if value.is_grid() else "choice", [plain(value.categories)], {}, wrong
        )
    step = {"q": plain(drawn.q)} if isinstance(drawn, tune.Quantized) else {}
    drawn = drawn.get_sampler() if step else drawn
    if isinstance(drawn, tune.Normal):
        name, arguments = "randn", {"mean": drawn.mean, "sd": drawn.sd}
    else:
        family = "randint" if isinstance(value, tune.Integer) else "uniform"
        name = f"log{family}" if isinstance(drawn, tune.LogUniform) else family
        arguments = {"lower": value.lower, "upper": value.upper}
    return _bind(f"q{name}" if step else name, [], {**plain(arguments), **step}, wrong)
