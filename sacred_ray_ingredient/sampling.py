"""The trials of a sweep: what is sampled of the search space, in which order, and how often."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.nested import flatten, merge, unflatten
from sacred_ray_ingredient.ordering import in_order, overlap
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.search_space import Entry, SearchSpace, dimension_name
from sacred_ray_ingredient.values import plain

# The dimension and the column of named configs that are searched.
NAMED_CONFIGS = "named_configs"
# Chooses a value: from the name of a dimension, its sampler and the point of the grid.
_Choose = Callable[[str, Sampler, str], Any]
# Values by dotted path, and named configs.
_Named = tuple[dict[str, Any], tuple[str, ...]]


@dataclass(frozen=True)
class Sample:
    """One sampled trial.

    Attributes
    ----------
    sampled : dict
        Its parameters, nested; the seed is among them where ``ray.seeds`` gives it.
    configuration : int
        The same for all repetitions of one point.
    repetition : int
        Number of the repetition, from 0.
    named_configs : tuple of str
        Of the inner experiment, without its prefix.
    """

    sampled: dict[str, Any]
    configuration: int
    repetition: int = 0
    named_configs: tuple[str, ...] = ()


@dataclass
class _Point:
    """A point of the search space, as far as it is known."""

    values: dict[str, Any] = field(default_factory=dict)
    inactive: set[str] = field(default_factory=set)
    # Which values of grids were taken; a first value is not in it, so that a grid which is added
    # does not change what is drawn at the points that were there before.
    grid: str = ""
    # What conditions read besides the values.
    base: Mapping[str, Any] = field(default_factory=dict)

    def taken(self, name: str, index: int) -> str:
        return f"{self.grid}{name}={index};" if index else self.grid

    def assign(self, entry: Entry, value: Any) -> None:
        parts = value if len(entry.paths) > 1 else [value]
        # Searchers suggest NumPy's values, which conditions would not take for plain ones.
        self.values.update(zip(entry.paths, map(plain, parts), strict=True))

    def at_grid(self, entry: Entry, value: Any, grid: str) -> _Point:
        point = _Point(dict(self.values), set(self.inactive), grid, self.base)
        point.assign(entry, value)
        return point


@dataclass(frozen=True)
class Sampling:
    """What a sweep samples.

    Attributes
    ----------
    space : SearchSpace
        The search space.
    num_samples : int
        How often it is sampled.
    seed : int
        Seed of the outer run.
    envs : tuple
        Each point is evaluated in each of them.
    env_key : str
        Parameter that has the environment.
    seeds : tuple of int or None
        Each point is run with each of them.
    repeat : int
        Without seeds: how often each point is run, with seeds of the trials' own.
    named_configs : Sampler or None
        Grid or choice whose values are lists of names.
    trials : tuple of mapping
        Listed instead of sampled: each has ``named_configs`` and ``config_updates``.
    fixed : mapping
        Configuration of the inner experiment; what conditions read besides the search space.
    points : tuple of mapping
        Values by dimension with which a random search begins; what they do not say is drawn.
    """

    space: SearchSpace
    num_samples: int
    seed: int
    envs: tuple[Any, ...] = ()
    env_key: str = "env_name"
    seeds: tuple[int, ...] | None = None
    repeat: int = 1
    named_configs: Sampler | None = None
    trials: tuple[Mapping[str, Any], ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[Mapping[str, Any], ...] = ()

    def samples(self) -> Iterator[Sample]:
        """Yield all trials of a random or grid search, in their order.

        Raises
        ------
        ResolverError
            Where a condition cannot be computed.
        """
        points = map(_listed, self.trials) if self.trials else self._drawn_points()
        for configuration, (point, names) in enumerate(points):
            yield from self._repeated(point, names, configuration)

    def last(self, count: int, total: int) -> list[tuple[int, Sample]]:
        """Return the last trials of a random or grid search, with their indices.

        They are made from the end, so that this takes no longer for a large sweep.

        Parameters
        ----------
        count
            How many; fewer where there are not so many.
        total
            Number of all trials.

        Raises
        ------
        ResolverError
            Where a condition cannot be computed.
        """
        numbers = reversed(range(total // self._repetitions))
        backwards = (
            sample
            for number, (point, names) in zip(numbers, self._last_points(), strict=False)
            for sample in self._repeated(point, names, number, backwards=True)
        )
        indices = reversed(range(total))
        return list(itertools.islice(zip(indices, backwards, strict=False), count))[::-1]

    def condition_mistakes(self, computed: Collection[str] = ()) -> list[str]:
        """Find conditions that read what is not known yet when the space is sampled.

        Parameters
        ----------
        computed
            Dotted paths of what follows from the sampled parameters: dependent parameters, and
            entries of the inner experiment that differ between trials.

        Returns
        -------
        list of str
            A sentence for each condition and entry.
        """
        searched = [path for entry in self.space.entries.values() for path in entry.paths]
        if self.envs:
            searched.append(self.env_key)
        later = {"seed", *computed} - set(searched)
        return [
            f"The condition {case.condition.text!r} of ray.search_space.{key} reads {name!r}, "
            "which is computed after the space is sampled; a condition can read searched "
            "parameters and what is the same in all trials."
            for key, entry in self.space.entries.items()
            for case in entry.cases
            if case.condition is not None
            for name in sorted(case.condition.names)
            if not any(name == path or name.startswith(f"{path}.") for path in searched)
            and any(overlap(name, path) for path in later)
        ]

    def dimensions(self) -> dict[str, Sampler]:
        """Return what a searcher chooses, by name of the dimension."""
        named = self.named_configs
        chosen = {} if named is None or named.is_grid else {NAMED_CONFIGS: named}
        return {**self.space.dimensions(), **chosen}

    def of_suggestion(self, values: Mapping[str, Any], configuration: int) -> list[Sample]:
        """Return all trials of one suggestion of a searcher.

        Parameters
        ----------
        values
            By name of the dimension; those of parameters that are left alone are not used.
        configuration
            Number of the first configuration. Each environment and each point of a grid is a
            further one.

        Raises
        ------
        ResolverError
            Where a condition cannot be computed, or a value is missing.
        """

        def choose(name: str, sampler: Sampler, grid: str) -> Any:
            if name not in values:
                raise ResolverError(f"The searcher suggested no value for {name!r}.")
            return values[name]

        points = enumerate(self._points(choose), configuration)
        return [
            sample
            for number, (point, names) in points
            for sample in self._repeated(point, names, number)
        ]

    def total(self, suggested: bool = False) -> int:
        """Count the trials.

        Parameters
        ----------
        suggested
            Whether a searcher chooses: then it is the most there can be where grids are under
            conditions, which is not known before.

        Raises
        ------
        ResolverError
            Where a condition cannot be computed.
        """
        if self.trials:
            points = len(self.trials)
        elif not suggested and self._has_to_be_counted:
            points = sum(1 for _ in self._drawn_points())
        else:
            most = math.prod(map(_most_points, self.space.entries.values()))
            points = (
                self.num_samples * len(self.envs or (None,)) * len(self._names_of_grid()) * most
            )
        return points * self._repetitions

    def total_within(self, most: int) -> int | None:
        """Count the trials of a random or grid search, if that does not take long.

        Parameters
        ----------
        most
            So many configurations are gone through where they have to be.

        Returns
        -------
        int or None
            None where there are more, and they cannot be counted in another way.

        Raises
        ------
        ResolverError
            Where a condition cannot be computed.
        """
        if self.trials or not self._has_to_be_counted:
            return self.total()
        points = sum(1 for _ in itertools.islice(self._drawn_points(), most + 1))
        return None if points > most else points * self._repetitions

    @property
    def _has_to_be_counted(self) -> bool:
        """Whether the draws decide how many points there are: grids under conditions."""
        return any(entry.has_grid and entry.has_conditions for entry in self.space.entries.values())

    @property
    def _repetitions(self) -> int:
        return self.repeat if self.seeds is None else len(self.seeds)

    def _drawn_points(self) -> Iterator[_Named]:
        for number in range(self.num_samples):
            yield from self._points(functools.partial(self._draw, number))

    def _last_points(self) -> Iterator[_Named]:
        if self.trials:
            yield from map(_listed, reversed(self.trials))
            return
        for number in reversed(range(self.num_samples)):
            yield from self._points(functools.partial(self._draw, number), backwards=True)

    def _repeated(
        self,
        values: Mapping[str, Any],
        names: tuple[str, ...],
        configuration: int,
        backwards: bool = False,
    ) -> Iterator[Sample]:
        repetitions = range(self._repetitions)
        for repetition in reversed(repetitions) if backwards else repetitions:
            given = {} if self.seeds is None else {"seed": self.seeds[repetition]}
            sampled = unflatten(plain({**values, **given}))
            yield Sample(sampled, configuration, repetition, names)

    def _points(self, choose: _Choose, backwards: bool = False) -> Iterator[_Named]:
        """Yield the values of all points of one sample, and their named configs."""
        step = -1 if backwards else 1
        envs, named_configs = (self.envs or (None,))[::step], self._names_of_grid()[::step]
        for env, named in itertools.product(envs, named_configs):
            values = {self.env_key: env} if self.envs else {}
            index, names = named
            start = _Point(base=merge(self.fixed, unflatten(values)))
            start.grid = start.taken(NAMED_CONFIGS, index)
            for point in self._walk(0, start, choose, step):
                if self.named_configs is not None and not self.named_configs.is_grid:
                    names = _names(choose(NAMED_CONFIGS, self.named_configs, point.grid))
                found = {p: point.values[p] for p in self._paths if p in point.values}
                yield {**values, **found}, names

    def _names_of_grid(self) -> list[tuple[int, tuple[str, ...]]]:
        if self.named_configs is None or not self.named_configs.is_grid:
            return [(0, ())]
        return list(enumerate(map(_names, self.named_configs.values() or ())))

    def _walk(
        self, position: int, point: _Point, choose: _Choose, step: int = 1
    ) -> Iterator[_Point]:
        for place, (key, entry) in enumerate(self._order[position:], position):
            index = self._case(entry, point)
            if index is None:
                point.inactive.update(entry.paths)
                continue
            case, name = entry.cases[index], dimension_name(key, index)
            if case.sampler is None:
                point.assign(entry, case.constant)
            elif case.sampler.is_grid:
                for number, value in list(enumerate(case.sampler.values() or ()))[::step]:
                    further = point.at_grid(entry, value, point.taken(name, number))
                    yield from self._walk(place + 1, further, choose, step)
                return
            else:
                point.assign(entry, choose(name, case.sampler, point.grid))
        yield point

    def _case(self, entry: Entry, point: _Point) -> int | None:
        for index, case in enumerate(entry.cases):
            if case.condition is None:
                return index
            names = case.condition.names
            if any(overlap(name, path) for name in names for path in point.inactive):
                continue
            if case.condition.evaluate(merge(point.base, unflatten(point.values))):
                return index
        return None

    @functools.cached_property
    def _paths(self) -> list[str]:
        return self.space.paths()

    @functools.cached_property
    def _order(self) -> list[tuple[str, Entry]]:
        """Sort grids and what their conditions read before the rest.

        What comes before a grid is the same at all its points, what comes after is drawn for
        each of them.
        """
        entries, reads = self.space.entries, self.space.reads()
        early = {key for key, entry in entries.items() if entry.has_grid}
        waiting = list(early)
        while waiting:
            new = reads[waiting.pop()] - early
            early |= new
            waiting += new
        place = {key: number for number, key in enumerate(entries)}
        ordered = in_order(
            reads, lambda key: (key not in early, not entries[key].has_grid, place[key])
        )
        return [(key, entries[key]) for key in ordered]

    def _draw(self, number: int, name: str, sampler: Sampler, grid: str) -> Any:
        if number < len(self.points) and name in self.points[number]:
            return self.points[number][name]
        # Each draw depends on its own key alone and not on the draws before it: a parameter that
        # is added, or left alone by a condition, changes no other one.
        key = repr((int(self.seed), number, grid, name)).encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(key, digest_size=8).digest()
        return sampler.quantile((int.from_bytes(digest, "big") >> 11) * 2.0**-53)


def _listed(trial: Mapping[str, Any]) -> _Named:
    updates = flatten(trial.get("config_updates") or {})
    return plain(updates), tuple(trial.get("named_configs") or ())


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _most_points(entry: Entry) -> int:
    grids = [case.sampler for case in entry.cases if case.sampler and case.sampler.is_grid]
    return max((len(grid.values() or ()) for grid in grids), default=1)
