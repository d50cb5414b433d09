"""Dependent parameters: expressions and functions that compute one parameter from the others.

They come from the config entry ``ray.dependent`` and are put into an order in which each finds
what it reads. The same resolvers run on the driver right after sampling and in a worker whose
scheduler changed the config.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.config_view import ConfigView
from sacred_ray_ingredient.draws import TrialDraws
from sacred_ray_ingredient.errors import ConfigMistakes, ResolverError, did_you_mean
from sacred_ray_ingredient.expressions import Expression
from sacred_ray_ingredient.nested import flat_entries
from sacred_ray_ingredient.ordering import in_order, overlap, without_cycles
from sacred_ray_ingredient.values import plain, show

_REFERENCE = re.compile(r"\s*([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)\s*")
# Where a decorated function keeps what it reads.
_READS = "_sacred_ray_reads"


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
        Dotted config entries that it reads, ``seed`` among them where it draws; None for a
        function that does not declare them with :func:`resolver`.
    source_code : str or None
        Source of a function, where it can be had.
    is_repeatable : bool
        Whether it gives the same when it is computed again: not so a Python function, which can
        draw from the global random states.
    """

    path: str
    text: str
    reads: frozenset[str] | None
    compute: Callable[[Mapping[str, Any]], Any] = field(repr=False, compare=False)
    source_code: str | None = field(default=None, repr=False)
    is_repeatable: bool = True

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


def resolver(*names: Any) -> Any:
    """Declare which config entries a function for ``ray.dependent`` reads.

    Such a function is computed after what it reads, and entries that do not exist are found
    before the first trial. It gets the entries themselves, in this order, and not the config.

    Parameters
    ----------
    names
        Dotted names of the entries. As a bare decorator, ``@resolver``, the names of the
        function's arguments are the names of the entries.

    Returns
    -------
    Callable
        The function itself, with a note of what it reads.

    Examples
    --------
    >>> @resolver("env_name", "optimizer.lr")
    ... def clip(env_name, lr):
    ...     return lr * (10 if env_name == "Ant" else 1)
    """
    if len(names) == 1 and callable(names[0]):
        return _declared(names[0], None)
    return functools.partial(_declared, names=names)


def _declared(function: Callable[..., Any], names: tuple[Any, ...] | None) -> Callable[..., Any]:
    try:
        setattr(function, _READS, names)
    except (AttributeError, TypeError):
        # A function written in C takes no notes.
        function = functools.update_wrapper(functools.partial(function), function)
        setattr(function, _READS, names)
    return function


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
            if overlap(path, other)
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
    if is_reference(value):
        return _function_resolver(path, value.strip(), import_reference(value, where), where)
    expression = Expression.parse(value, where, draws=True)
    wrong = f"{where} is {show(value)}"
    _check_reads(path, expression.names, wrong)
    if expression.draws and overlap("seed", path):
        raise ConfigMistakes([f"{wrong}, but what is drawn depends on the seed; draw another."])
    reads = expression.names | ({"seed"} if expression.draws else set())
    return Resolver(path, value, reads, functools.partial(_evaluate, expression, path))


def _evaluate(expression: Expression, path: str, config: Mapping[str, Any]) -> Any:
    return expression.evaluate(config, TrialDraws(config.get("seed"), path))


def _check_reads(path: str, names: Iterable[str], wrong: str) -> None:
    for name in sorted(names):
        if overlap(name, path):
            raise ConfigMistakes(
                [f"{wrong}, which reads itself ({name}); it can only read other entries."]
            )


def reference_text(function: Any) -> str:
    """Name a Python function for the record, where its code stands beside it."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"<{getattr(function, '__module__', None) or type(function).__module__}.{name}>"


def is_reference(text: str) -> bool:
    """Tell whether a text has the shape of ``module:function``."""
    return _REFERENCE.fullmatch(text) is not None


def import_reference(reference: str, where: str) -> Any:
    """Import what a ``module:function`` names.

    Parameters
    ----------
    reference
        Text for which `is_reference` is true; the function may be within a class.
    where
        Config path that it comes from, for the sentences.

    Raises
    ------
    ConfigMistakes
        Where there is no such thing, or importing its module raises.
    """
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
    if hasattr(function, _READS):
        return _declared_resolver(path, text, function, wrong)
    takes_config = _takes_config(function)
    if takes_config is None:
        raise ConfigMistakes(
            [
                f"{wrong}, which takes {inspect.signature(function)}; "
                "it must take the config as its only argument, or none, or declare with "
                "@resolver what it reads."
            ]
        )
    compute = functools.partial(_call, function, takes_config, wrong)
    return Resolver(path, text, None, compute, _source_code(function), is_repeatable=False)


def _declared_resolver(path: str, text: str, function: Any, wrong: str) -> Resolver:
    names = getattr(function, _READS)
    signature = signature_of(function)
    if names is None:
        parameters = list(signature.parameters.values()) if signature is not None else []
        bad = [p for p in parameters if p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if signature is None or bad:
            raise ConfigMistakes(
                [
                    f"{wrong}, whose arguments {signature or ''} cannot be the names of entries; "
                    "name them: @resolver('optimizer.lr', 'env_name')."
                ]
            )
        names = tuple(parameter.name for parameter in parameters)
    for name in names:
        if not isinstance(name, str) or not all(name.split(".")):
            raise ConfigMistakes(
                [f"{wrong}, which @resolver lets read {show(name)}; give names of entries as text."]
            )
    try:
        if signature is not None:
            signature.bind(*names)
    except TypeError as error:
        listed = ", ".join(repr(name) for name in names)
        raise ConfigMistakes(
            [
                f"{wrong}, which takes {signature} but @resolver({listed}) gives it {len(names)}; "
                "there must be one argument for each entry."
            ]
        ) from error
    _check_reads(path, names, wrong)
    compute = functools.partial(_call_with_entries, function, names, wrong)
    return Resolver(
        path, text, frozenset(names), compute, _source_code(function), is_repeatable=False
    )


def _takes_config(function: Callable[..., Any]) -> bool | None:
    """Tell whether a function takes the config (True), nothing (False) or something else (None)."""
    signature = signature_of(function)
    if signature is None:
        # Those of one argument are the usual ones.
        return True
    for arguments in ((None,), ()):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    return None


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the arguments of a function, None where it does not tell them."""
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):
        # Some functions written in C do not tell.
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


def _call_with_entries(
    function: Callable[..., Any], names: Iterable[str], where: str, config: Mapping[str, Any]
) -> Any:
    entries = [_entry(config, name, where) for name in names]
    try:
        return function(*entries)
    except Exception as error:
        raise ResolverError(f"{where}, which raised {type(error).__name__}: {error}.") from error


def _entry(config: Mapping[str, Any], name: str, where: str) -> Any:
    found: Any = ConfigView(config)
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            hint = did_you_mean(key, found) if isinstance(found, Mapping) else ""
            raise ResolverError(f"{where}, but there is no config entry {name!r}{hint}.")
        found = found[key]
    return found


def _in_order(resolvers: Sequence[Resolver], source: str) -> tuple[tuple[Resolver, ...], list[str]]:
    by_path = {resolver.path: resolver for resolver in resolvers}
    reads, cycles = without_cycles(
        {
            path: {
                other for other in by_path if any(overlap(name, other) for name in r.reads or ())
            }
            for path, r in by_path.items()
        }
    )
    mistakes = [
        f"{source} has parameters that need each other: {' -> '.join(cycle)}; "
        "one of them must not read the next."
        for cycle in cycles
    ]
    position = {path: index for index, path in enumerate(by_path)}
    awaited = set().union(*reads.values())

    def rank(path: str) -> tuple[bool, bool, bool, int]:
        # Functions may read anything, so they come as late as they can.
        is_function, names = not by_path[path].is_repeatable, by_path[path].reads
        last = is_function and path not in awaited
        return (is_function, last, names is None, position[path])

    return tuple(by_path[path] for path in in_order(reads, rank)), mistakes
