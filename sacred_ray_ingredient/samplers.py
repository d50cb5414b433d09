"""Tune's samplers: as text, as data and as Tune's own objects, and what they draw.

Text is parsed with ``ast`` against a table of Tune's samplers; nothing is evaluated.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient import distributions
from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.sampler_arguments import (
    LISTS,
    SAMPLER_NAMES,
    SIGNATURES,
    argument_problem,
    signature,
)
from sacred_ray_ingredient.spelled_lists import ListError, powers, spelled_list
from sacred_ray_ingredient.values import plain, show

_CALL = re.compile(r"\s*((?:ray\.)?tune\.)?([A-Za-z_]\w*)\s*\(.*", re.DOTALL)
_SYNONYMS = {"normal": "randn", "gauss": "randn", "categorical": "choice", "sample_from": ""}


@dataclass(frozen=True)
class Sampler:
    """One of Tune's samplers with its arguments.

    Attributes
    ----------
    name : str
        Tune's name of it.
    arguments : dict
        Bound to Tune's names, in Tune's order, without those that have their default. A choice
        can have ``weights``, which Tune does not know.
    """

    name: str
    arguments: dict[str, Any]

    @property
    def is_grid(self) -> bool:
        """Whether all its values are tried, not some drawn."""
        return self.name == "grid_search"

    def text(self) -> str:
        """Write the sampler as text that is read back to an equal one."""
        parts = []
        for name, parameter in signature(self.name).parameters.items():
            if name in self.arguments:
                required = parameter.default is inspect.Parameter.empty
                value = repr(self.arguments[name])
                parts.append(value if required else f"{name}={value}")
        return f"{self.name}({', '.join(parts)})"

    def values(self) -> list[Any] | None:
        """Return the listed values of a grid or choice, None for a range."""
        listed = {"grid_search": "values", "choice": "categories"}.get(self.name)
        return None if listed is None else list(self.arguments[listed])

    def to_tune(self) -> Any:
        """Make Tune's object.

        Raises
        ------
        ValueError
            For a choice with weights, which Tune does not have.
        """
        from ray import tune

        if "weights" in self.arguments:
            raise ValueError(f"{self.text()} has weights, which Tune's choice does not know.")
        # Tune has deprecated the base: it does not change what is drawn.
        arguments = {name: value for name, value in self.arguments.items() if name != "base"}
        return getattr(tune, self.name)(**arguments)

    def quantile(self, u: float) -> Any:
        """Return the value at a place of the distribution, as plain Python data.

        Parameters
        ----------
        u
            The place, from 0 to 1; uniform places give values distributed as Tune draws them.

        Raises
        ------
        ValueError
            For a grid, which has no distribution.
        """
        self._refuse_grid()
        return distributions.quantile(self.name, self.arguments, u)

    def position(self, value: Any) -> float | None:
        """Return a place of the distribution at which a value is.

        Parameters
        ----------
        value
            What :meth:`quantile` shall return there: exactly, or about for a float.

        Returns
        -------
        float or None
            From 0 to 1; None where the value cannot be drawn.

        Raises
        ------
        ValueError
            For a grid, which has no distribution.
        """
        self._refuse_grid()
        return distributions.position(self.name, self.arguments, value)

    def _refuse_grid(self) -> None:
        if self.is_grid:
            raise ValueError(f"{show(self.text())} is a grid, from which nothing is drawn.")


def read_sampler(value: Any, where: str) -> Sampler | None:
    """Read a sampler in any of its notations.

    Parameters
    ----------
    value
        Text, data, a list (a grid over it), a range as in ``2 ** range(1, 6)``, or Tune's object.
    where
        Config path that it comes from, for the sentences.

    Returns
    -------
    Sampler or None
        None where the value does not look like a sampler at all.

    Raises
    ------
    ConfigMistakes
        Where it looks like one and is none.
    """
    value = plain(value)
    if isinstance(value, str):
        return read_sampler_text(value, where)
    if is_sampler_data(value):
        return read_sampler_data(value, where)
    if isinstance(value, (list, tuple)):
        # Sacred makes lists of tuples, so both mean the same.
        return bind("grid_search", [value], {}, f"{where} is {show(value)}")
    found = read_domain(value, where)
    return found if isinstance(found, Sampler) else None


def read_sampler_text(text: str, where: str) -> Sampler | None:
    """Read a sampler written as a call.

    Parameters
    ----------
    text
        Such as ``uniform(0, 1)``; ``tune.`` before it is allowed.
    where
        Config path that it comes from, for the sentences.

    Returns
    -------
    Sampler or None
        None where the text does not look like a sampler at all.

    Raises
    ------
    ConfigMistakes
        Where it looks like one and is none.
    """
    called = _CALL.fullmatch(text)
    if called is None:
        return _read_powers(text, where)
    of_tune, name = called.groups()
    wrong = f"{where} is {show(text)}"
    if name not in SAMPLER_NAMES:
        near = difflib.get_close_matches(name.lower(), SAMPLER_NAMES, n=1, cutoff=0.75)
        meant = of_tune or near or name in _SYNONYMS
        if not meant or not text.rstrip().endswith(")"):
            return None
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
    except ListError as error:
        raise _wrong(name, wrong, f"where {error}") from error
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise _wrong(
            name, wrong, "whose arguments are not all literals (text needs quotes)"
        ) from error
    if len(keywords) < len(call.keywords):
        raise _wrong(name, wrong, "which has an argument twice")
    return bind(name, positional, keywords, wrong)


def _literal(node: ast.expr, name: str) -> Any:
    # A spelled list saves writing out a long one; it is all that is computed here.
    listed = spelled_list(node) if name in LISTS else None
    return ast.literal_eval(node) if listed is None else listed


def _read_powers(text: str, where: str) -> Sampler | None:
    try:
        values = powers(text)
    except ListError as error:
        raise ConfigMistakes(
            [f"{where} is {show(text)}, where {error}; write such as 2 ** range(1, 6)."]
        ) from error
    return None if values is None else bind("grid_search", [values], {}, f"{where} is {show(text)}")


def is_sampler_data(value: Any) -> bool:
    """Tell whether a value is a mapping such as ``{"uniform": [0, 1]}``."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in SAMPLER_NAMES


def read_sampler_data(value: Mapping[str, Any], where: str) -> Sampler:
    """Read a sampler written as data.

    Parameters
    ----------
    value
        The sampler's name with the list of its arguments, or with a mapping of them.
    where
        Config path that it comes from, for the sentences.

    Raises
    ------
    ConfigMistakes
        Where the arguments are wrong.
    """
    ((name, data),) = value.items()
    positional, keywords = ([], data) if isinstance(data, Mapping) else (list(_listed(data)), {})
    if name in LISTS and not isinstance(data, Mapping):
        positional = [] if data is None else [data]
    return bind(name, positional, keywords, f"{where} is {show(value)}")


def _listed(data: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(data, (list, tuple)):
        return data
    return [] if data is None else [data]


def _wrong(name: str, wrong: str, problem: str) -> ConfigMistakes:
    return ConfigMistakes([f"{wrong}, {problem}; write {name}({SIGNATURES[name]})."])


def bind(name: str, positional: list[Any], keywords: Mapping[Any, Any], wrong: str) -> Sampler:
    """Make a sampler of arguments that are plain data, and check them.

    Parameters
    ----------
    name
        Name of the sampler.
    positional, keywords
        Its arguments.
    wrong
        Beginning of a sentence: where it comes from and what stands there.

    Raises
    ------
    ConfigMistakes
        Where the arguments are wrong.
    """
    try:
        bound = signature(name).bind(*positional, **{str(k): v for k, v in keywords.items()})
    except TypeError as error:
        raise _wrong(name, wrong, f"which does not fit ({error})") from error
    defaults = {p.name: p.default for p in signature(name).parameters.values()}
    given = {
        key: value
        for key, value in bound.arguments.items()
        if name not in LISTS or value is not None or defaults[key] is not None
    }
    problem = argument_problem(name, given)
    if problem:
        raise _wrong(name, wrong, f"where {problem}")
    if name in LISTS:
        return Sampler(name, {key: list(values) for key, values in given.items()})
    return Sampler(name, {key: v for key, v in given.items() if v != defaults[key]})


def read_domain(value: Any, where: str) -> Sampler | Callable[..., Any] | None:
    """Read one of Tune's own objects.

    Parameters
    ----------
    value
        Anything.
    where
        Config path that it comes from, for the sentences.

    Returns
    -------
    Sampler, function or None
        The function of ``tune.sample_from``; None for what is not Tune's.

    Raises
    ------
    ConfigMistakes
        Where Tune took arguments that make no sense.
    """
    # Whoever has one of Tune's objects has imported Tune, so there is no need to import it here.
    tune: Any = sys.modules.get("ray.tune.search.sample")
    if tune is None or not isinstance(value, tune.Domain):
        return None
    if isinstance(value, tune.Function):
        function: Callable[..., Any] = value.func
        return function
    drawn, wrong = value.get_sampler(), f"{where} is Tune's {type(value).__name__}"
    if isinstance(value, tune.Categorical):
        return bind(
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
    return bind(f"q{name}" if step else name, [], {**plain(arguments), **step}, wrong)
