"""The search space: one grammar, as text, data or Tune's own objects.

Nothing of a text is evaluated. What is wrong is collected as sentences, so that all of it is
told before the first trial.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.nested import flat_entries, unflatten
from sacred_ray_ingredient.ordering import in_order, overlap, without_cycles
from sacred_ray_ingredient.sampler_arguments import SAMPLER_NAMES
from sacred_ray_ingredient.samplers import Sampler, is_sampler_data, read_domain, read_sampler
from sacred_ray_ingredient.search_space_text import (
    Case,
    is_condition_data,
    read_condition_data,
    read_condition_text,
)
from sacred_ray_ingredient.values import plain, show

__all__ = ["SAMPLER_NAMES", "Case", "Entry", "Sampler", "SearchSpace", "parse_search_space"]


@dataclass(frozen=True)
class Entry:
    """One dimension: one parameter, or several that move together.

    Attributes
    ----------
    paths : tuple of str
        Dotted paths of the inner experiment's parameters.
    cases : tuple of Case
        The first whose condition holds applies; if none does, the parameters are left alone.
    """

    paths: tuple[str, ...]
    cases: tuple[Case, ...]

    @property
    def is_constant(self) -> bool:
        """Whether it has the same value in every trial."""
        first = self.cases[0]
        return first.condition is None and first.sampler is None

    @property
    def has_conditions(self) -> bool:
        """Whether there are conditions on it."""
        return any(case.condition is not None for case in self.cases)

    @property
    def has_grid(self) -> bool:
        """Whether it is a grid, in one of its cases at least."""
        return any(case.sampler is not None and case.sampler.is_grid for case in self.cases)

    def stored(self) -> Any:
        """Return what is stored: text, or the constant itself."""
        if self.is_constant:
            return self.cases[0].constant
        return " else ".join(case.text() for case in self.cases)


@dataclass(frozen=True)
class SearchSpace:
    """What a sweep varies.

    Attributes
    ----------
    entries : dict
        By their keys: the path of the parameter, or several joined by ``+``; in an order in
        which conditions find what they read.
    functions : dict
        From ``tune.sample_from``, by path: not drawn but computed, so the caller makes resolvers
        of them.
    written : tuple of str
        Keys of both in the order as written; without it, the entries come first.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    written: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def _keys(self) -> list[str]:
        known = {**self.entries, **self.functions}
        return [key for key in dict.fromkeys([*self.written, *known]) if key in known]

    def paths(self) -> list[str]:
        """List the dotted paths of all parameters, in the order as written."""
        paths: list[str] = []
        for key in self._keys():
            paths += self.entries[key].paths if key in self.entries else [key]
        return paths

    def dimensions(self) -> dict[str, Sampler]:
        """Return all samplers that are no grids, of all cases.

        Returns
        -------
        dict
            In the order as written, by key; that of the second case has `` [2]`` behind it.
        """
        return {
            dimension_name(key, index): case.sampler
            for key in self._keys()
            if key in self.entries
            for index, case in enumerate(self.entries[key].cases)
            if case.sampler is not None and not case.sampler.is_grid
        }

    def reads(self) -> dict[str, set[str]]:
        """Return for each key the keys of the entries that its conditions read."""
        return {
            key: {other for other in self.entries if other != key and self._reads(key, other)}
            for key in self.entries
        }

    def _reads(self, key: str, other: str) -> bool:
        return any(
            overlap(name, path)
            for name in condition_names(self.entries[key])
            for path in self.entries[other].paths
        )

    def text(self) -> dict[str, Any]:
        """Write the space as nested plain data: what is stored and can be read again."""
        flat = {
            key: self.entries[key].stored()
            if key in self.entries
            else _sample_from_text(self.functions[key])
            for key in self._keys()
        }
        return unflatten(flat)


def dimension_name(key: str, case: int) -> str:
    """Name the sampler of a case of an entry; the first case is number 0."""
    return f"{key} [{case + 1}]" if case else key


def condition_names(entry: Entry) -> set[str]:
    """Return the dotted names that the conditions of an entry read."""
    conditions = [case.condition for case in entry.cases if case.condition is not None]
    return {name for condition in conditions for name in condition.names}


def _sample_from_text(function: Callable[..., Any]) -> str:
    return f"sample_from({getattr(function, '__qualname__', type(function).__qualname__)})"


def parse_search_space(
    raw: Mapping[str, Any], source: str = "ray.search_space"
) -> tuple[SearchSpace, list[str]]:
    """Read a search space as the user wrote it.

    Parameters
    ----------
    raw
        Nested or dotted mapping from parameters, or several joined by ``+``, to samplers as text,
        data or Tune's objects, to lists (a grid over them), to constants, to any of these under
        conditions, or to None (the parameter is left out).
    source
        Config path of the mapping, for the sentences.

    Returns
    -------
    tuple
        The space without what is wrong, and a sentence for each thing that is wrong.
    """
    flat, mistakes = flat_entries(
        raw, source, lambda value: is_sampler_data(value) or is_condition_data(value)
    )
    entries: dict[str, Entry] = {}
    functions: dict[str, Callable[..., Any]] = {}
    taken: dict[str, bool] = {}
    for written, value in flat.items():
        paths = tuple(path.strip() for path in written.split("+"))
        key = "+".join(paths)
        try:
            _check_paths(paths, taken, f"{source}.{written}")
            found = _read_entry(value, f"{source}.{key}")
            if len(paths) > 1:
                found = _coupled(paths, found, f"{source}.{key}")
        except ConfigMistakes as wrong:
            mistakes += wrong.mistakes
            continue
        if isinstance(found, tuple):
            entries[key] = Entry(paths, found)
        else:
            functions[key] = found
    entries, wrong_conditions = _checked_conditions(entries, functions, source)
    order = ("+".join(path.strip() for path in written.split("+")) for written in flat)
    return SearchSpace(entries, functions, tuple(order)), mistakes + wrong_conditions


def _check_paths(paths: tuple[str, ...], taken: dict[str, bool], where: str) -> None:
    if not all(part.strip() for path in paths for part in path.split(".")):
        raise ConfigMistakes(
            [f"{where} has a parameter without a name; write such as 'env_name+opponent'."]
        )
    is_coupled = len(paths) > 1
    for path in paths:
        for other, other_is_coupled in taken.items():
            # Two that stand alone have been compared when the space was flattened.
            if overlap(path, other) and (is_coupled or other_is_coupled):
                raise ConfigMistakes(
                    [
                        f"{where} gives the parameter {path!r}, but {other!r} is given too; "
                        "keep one of them."
                    ]
                )
        taken[path] = is_coupled


def _read_entry(value: Any, where: str) -> tuple[Case, ...] | Callable[..., Any]:
    value = plain(value)
    if is_condition_data(value):
        return read_condition_data(value, where)
    if isinstance(value, str):
        if not value.strip():
            raise ConfigMistakes([f"{where} is empty; write a sampler, a list or a value."])
        cases = read_condition_text(value, where)
        if cases is not None:
            return cases
    found = read_sampler(value, where)
    if found is not None:
        return (Case(found),)
    function = read_domain(value, where)
    if function is not None and not isinstance(function, Sampler):
        return function
    if not isinstance(value, (bool, int, float, str)):
        raise ConfigMistakes(
            [
                f"{where} is {show(value)}, which is no plain data; write a sampler, a list, a "
                "number or text, and put functions into ray.dependent."
            ]
        )
    if isinstance(value, str) and _is_broken_list(value.strip()):
        raise ConfigMistakes(
            [
                f"{where} is {show(value)}, which cannot be read as a list; text in it needs "
                "quotes: ['adam', 'sgd']."
            ]
        )
    return (Case(None, value),)


def _is_broken_list(text: str) -> bool:
    """Tell whether a text looks like a list and is none, as where a shell took its quotes."""
    if not (text.startswith("[") and text.endswith("]")):
        return False
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return True
    return False


def _coupled(
    paths: tuple[str, ...], found: tuple[Case, ...] | Callable[..., Any], where: str
) -> tuple[Case, ...]:
    for case in found if isinstance(found, tuple) else (Case(None),):
        values = None if case.sampler is None else case.sampler.values()
        if values is None:
            given = "a constant" if case.sampler is None else show(case.sampler.text())
            given = given if isinstance(found, tuple) else "a function"
            raise ConfigMistakes(
                [
                    f"{where} is {given}, but parameters move together only along a list, "
                    f"grid_search or choice with {len(paths)} values for each point."
                ]
            )
        for value in values:
            if not isinstance(value, (list, tuple)) or len(value) != len(paths):
                raise ConfigMistakes(
                    [
                        f"{where} has the value {show(value)}; it must be a list of "
                        f"{len(paths)} values, one for each of {', '.join(paths)}."
                    ]
                )
    return tuple(found) if isinstance(found, tuple) else ()


def _checked_conditions(
    entries: dict[str, Entry], functions: Mapping[str, Any], source: str
) -> tuple[dict[str, Entry], list[str]]:
    """Sort entries so that conditions find what they read; leave out those that cannot."""
    mistakes = []
    right: dict[str, Entry] = {}
    for key, entry in entries.items():
        problem = _condition_problem(entry, functions)
        if problem is None:
            right[key] = entry
        else:
            mistakes.append(f"the condition of {source}.{key} reads {problem}.")
    reads, cycles = without_cycles(SearchSpace(right).reads())
    mistakes += [
        f"{source} has conditions that need each other: {' -> '.join(cycle)}; one of them must "
        "not read the next."
        for cycle in cycles
    ]
    return {key: right[key] for key in in_order(reads)}, mistakes


def _condition_problem(entry: Entry, functions: Mapping[str, Any]) -> str | None:
    for name in sorted(condition_names(entry)):
        if any(overlap(name, path) for path in entry.paths):
            return f"the parameter itself ({name}); it can only read others"
        for path in functions:
            if overlap(name, path):
                return (
                    f"{name!r}, which tune.sample_from computes only after everything is drawn; "
                    "it can read what is drawn or constant"
                )
    return None
