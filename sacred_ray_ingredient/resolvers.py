"""Dependent parameters: expressions and functions that compute one parameter from the others.

They come from the config entry ``ray.dependent`` and are put into an order in which each finds
what it reads. The same resolvers run on the driver right after sampling and in a worker whose
scheduler changed the config.
"""

from __future__ import annotations

import copy
import functools
import graphlib
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes, ResolverError, did_you_mean
from sacred_ray_ingredient.expressions import Expression
from sacred_ray_ingredient.nested import flat_entries
from sacred_ray_ingredient.values import plain, show

_REFERENCE = re.compile(r"\s*([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)\s*")


class ConfigView(Mapping[str, Any]):
    """A read-only view of a config, as a function in ``ray.dependent`` gets it.

    Entries are reached as ``config["optimizer"]["lr"]`` and ``config.optimizer.lr``; a name that
    mappings use themselves, such as ``items``, only in brackets. ``config.config`` is the view
    itself where there is no such entry, as functions for ``tune.sample_from`` may expect.

    Parameters
    ----------
    entries
        The config.
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = entries

    # What follows raises what Python's own mappings raise, as the functions of a user expect.

    def __getitem__(self, key: str) -> Any:
        if key not in self._entries:
            raise KeyError(f"there is no config entry {key!r}{did_you_mean(str(key), self)}")
        value = self._entries[key]
        if isinstance(value, Mapping):
            return ConfigView(value)
        # A copy, so that a function that sorts or extends a list does not change the trial.
        return copy.deepcopy(value) if isinstance(value, (list, set)) else value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._entries:
            return self[name]
        if name == "config":
            return self
        raise AttributeError(f"there is no config entry {name!r}{did_you_mean(name, self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(dict(self._entries))


@dataclass(frozen=True)
class Resolver:
    """Computes one dependent parameter; :func:`parse_dependent` makes them.

    Attributes
    ----------
    path : str
        Dotted path of the parameter.
    text : str
        What is stored: the expression, ``module:function``, or ``<module.name>`` of a function
        that was given as a Python object.
    reads : frozenset of str or None
        Dotted config entries that it reads; None for a function, of which it is not known.
    source_code : str or None
        Source of a function, where it can be had.
    """

    path: str
    text: str
    reads: frozenset[str] | None
    compute: Callable[[Mapping[str, Any]], Any] = field(repr=False, compare=False)
    source_code: str | None = field(default=None, repr=False)

    def resolve(self, config: Mapping[str, Any]) -> Any:
        """Compute the parameter as plain Python data.

        Parameters
        ----------
        config
            The config, nested, with what earlier resolvers computed.

        Raises
        ------
        ResolverError
            Where it cannot be computed; what a function raised is its cause.
        """
        return plain(self.compute(config))


def parse_dependent(
    raw: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]] | None = None,
    source: str = "ray.dependent",
) -> tuple[tuple[Resolver, ...], list[str]]:
    """Read the dependent parameters as the user wrote them.

    Parameters
    ----------
    raw
        Nested or dotted mapping from parameters to expressions, ``module:function`` texts or
        Python functions; None leaves the parameter out.
    functions
        More functions by dotted path: those of ``tune.sample_from`` in the search space.
    source
        Config path of the mapping, for the sentences.

    Returns
    -------
    tuple
        The resolvers in the order in which to run them, without what is wrong, and a sentence
        for each thing that is wrong.
    """
    flat, mistakes = flat_entries(raw, source)
    for path in functions or {}:
        mistakes += [
            f"{source}.{other} is computed by tune.sample_from in the search space too ({path}); "
            "keep one of them."
            for other in flat
            if _overlap(path, other)
        ]
    resolvers = []
    for path, value in {**flat, **(functions or {})}.items():
        try:
            resolvers.append(_read_resolver(path, value, f"{source}.{path}"))
        except ConfigMistakes as wrong:
            mistakes += wrong.mistakes
        except ResolverError as wrong:
            mistakes.append(str(wrong))
    ordered, cycles = _in_order(resolvers, source)
    return ordered, mistakes + cycles


def _read_resolver(path: str, value: Any, where: str) -> Resolver:
    if callable(value):
        return _function_resolver(path, reference_text(value), value, where)
    if not isinstance(value, str):
        raise ConfigMistakes(
            [
                f"{where} is {show(value)}, which computes nothing; write an expression or "
                f"'module:function', or give the constant as an update of the inner experiment."
            ]
        )
    if _REFERENCE.fullmatch(value):
        return _function_resolver(path, value.strip(), _import(value, where), where)
    expression = Expression.parse(value, where)
    for name in sorted(expression.names):
        if _overlap(name, path):
            raise ConfigMistakes(
                [
                    f"{where} is {show(value)}, which reads itself ({name}); "
                    "it can only read other entries."
                ]
            )
    return Resolver(path, value, expression.names, expression.evaluate)


def reference_text(function: Any) -> str:
    """Name a Python function for the record, where its code stands beside it."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"<{getattr(function, '__module__', None) or type(function).__module__}.{name}>"


def _import(reference: str, where: str) -> Any:
    module_name, _, names = reference.strip().partition(":")
    wrong = f"{where} is {show(reference)}"
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigMistakes(
            [
                f"{wrong}, but there is no module {error.name!r}; "
                "it must be importable from the folder of the project."
            ]
        ) from error
    except (Exception, SystemExit) as error:
        # Code of the user runs here, so anything can come; it is told like the other mistakes.
        raise ConfigMistakes(
            [
                f"{wrong}, but importing {module_name!r} raised {type(error).__name__}: {error}; "
                "it must be importable without running the experiment."
            ]
        ) from error
    for name in names.split("."):
        if not hasattr(found, name):
            hint = did_you_mean(name, vars(found) if hasattr(found, "__dict__") else ())
            raise ConfigMistakes([f"{wrong}, but there is no {name!r}{hint} in {module_name!r}."])
        found = getattr(found, name)
    return found


def _function_resolver(path: str, text: str, function: Any, where: str) -> Resolver:
    wrong = f"{where} is {show(text)}"
    if not callable(function):
        raise ConfigMistakes(
            [f"{wrong}, which is {show(function)} and no function; name one that takes the config."]
        )
    takes_config = _takes_config(function)
    if takes_config is None:
        raise ConfigMistakes(
            [
                f"{wrong}, which takes {inspect.signature(function)}; "
                "it must take the config as its only argument, or none."
            ]
        )
    compute = functools.partial(_call, function, takes_config, wrong)
    return Resolver(path, text, None, compute, _source_code(function))


def _takes_config(function: Callable[..., Any]) -> bool | None:
    """Tell whether a function takes the config (True), nothing (False) or something else (None)."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Some functions written in C do not tell; those of one argument are the usual ones.
        return True
    for arguments in ((None,), ()):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    return None


def _source_code(function: Any) -> str | None:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        # Typed at a prompt, or written in C: there is none.
        return None


def _call(
    function: Callable[..., Any], takes_config: bool, where: str, config: Mapping[str, Any]
) -> Any:
    try:
        return function(ConfigView(config)) if takes_config else function()
    except Exception as error:
        raise ResolverError(f"{where}, which raised {type(error).__name__}: {error}.") from error


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _in_order(resolvers: Sequence[Resolver], source: str) -> tuple[tuple[Resolver, ...], list[str]]:
    by_path = {resolver.path: resolver for resolver in resolvers}
    reads = {
        path: {other for other in by_path if any(_overlap(name, other) for name in r.reads or ())}
        for path, r in by_path.items()
    }
    cycles = []
    while (cycle := _cycle(reads)) is not None:
        cycles.append(
            f"{source} has parameters that need each other: {' -> '.join(cycle)}; "
            "one of them must not read the next."
        )
        reads = {path: read - set(cycle) for path, read in reads.items() if path not in cycle}
    return tuple(by_path[path] for path in _sorted_paths(reads, by_path)), cycles


def _cycle(reads: Mapping[str, set[str]]) -> list[str] | None:
    try:
        graphlib.TopologicalSorter(reads).prepare()
    except graphlib.CycleError as error:
        # It lists what is read before what reads it; "a -> b" shall say that a reads b.
        found: list[str] = error.args[1]
        return found[::-1]
    return None


def _sorted_paths(reads: Mapping[str, set[str]], by_path: Mapping[str, Resolver]) -> list[str]:
    """Sort so that functions, which may read anything, come as late as they can."""
    position = {path: index for index, path in enumerate(by_path)}
    awaited = set().union(*reads.values())

    def rank(path: str) -> tuple[bool, bool, int]:
        is_function = by_path[path].reads is None
        return (is_function, is_function and path not in awaited, position[path])

    sorter = graphlib.TopologicalSorter(reads)
    sorter.prepare()
    ready: list[str] = []
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=rank)
        path = ready.pop(0)
        sorter.done(path)
        ordered.append(path)
    return ordered
