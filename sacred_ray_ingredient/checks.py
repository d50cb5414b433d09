"""What is asked of a sweep, checked against what the inner experiment has."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sacred import Experiment

from sacred_ray_ingredient.errors import did_you_mean
from sacred_ray_ingredient.inner import (
    evaluate_config,
    is_open,
    settable_names,
    unknown_entries,
)
from sacred_ray_ingredient.nested import flatten, get_path, has_path
from sacred_ray_ingredient.ordering import overlap
from sacred_ray_ingredient.resolvers import Resolver
from sacred_ray_ingredient.sampling import Sampling
from sacred_ray_ingredient.search_space import Case
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.tasks import TASK_KEY
from sacred_ray_ingredient.values import show


@dataclass(frozen=True)
class InnerRequest:
    """What a sweep asks of the inner experiment.

    Parameters
    ----------
    inner
        The inner experiment.
    updates
        What the user changed of it for all trials.
    sampling
        What is sampled.
    resolvers
        Dependent parameters.
    settings
        The entries of ``ray``.
    """

    inner: Experiment
    updates: Mapping[str, Any]
    sampling: Sampling
    resolvers: Sequence[Resolver]
    settings: SweepSettings

    def parameters(self) -> Iterator[tuple[str, str]]:
        """Yield where each parameter was given, for a sentence, and its dotted path."""
        if self.sampling.envs:
            yield f"ray.env_key={self.sampling.env_key!r}", self.sampling.env_key
        for path in self.sampling.space.paths():
            yield f"ray.search_space.{path}", path
        for number, trial in enumerate(self.sampling.trials):
            for path in flatten(trial["config_updates"]):
                yield f"ray.trials[{number}].config_updates.{path}", path
        for resolver in self.resolvers:
            yield f"ray.dependent.{resolver.path}", resolver.path


def missing_content(
    outer: Experiment,
    inner: Experiment,
    settings: SweepSettings,
    sampling: Sampling,
    resolvers: Sequence[Resolver],
    named_configs: Collection[str],
) -> list[str]:
    """Find what the chosen named configs need and do not have.

    Parameters
    ----------
    outer
        The outer experiment, whose named configs are offered where nothing was chosen.
    inner
        The inner experiment.
    settings
        The entries of ``ray``.
    sampling
        What is sampled.
    resolvers
        Dependent parameters.
    named_configs
        Names that the user chose.

    Returns
    -------
    list of str
        A sentence, or nothing.
    """
    chosen = {name.removeprefix("ray.") for name in named_configs}
    if "multi_env_eval" in chosen and not settings.envs:
        return [
            f"multi_env_eval needs the environments to evaluate, values of {settings.env_key!r}: "
            "give ray.envs=\"['a', 'b']\", and ray.env_key if another parameter of "
            f"{inner.path!r} picks them."
        ]
    if "dependent_params" in chosen and not resolvers:
        return [
            "dependent_params needs parameters that are computed from others: give "
            "ray.dependent.NAME='expression', such as ray.dependent.offset='2 * exponent'."
        ]
    is_more_than_one = sampling.named_configs or sampling.envs or sampling.seeds is not None
    if sampling.space.paths() or resolvers or sampling.trials or is_more_than_one:
        return []
    if sampling.repeat > 1:
        return []
    names = sorted({name for name, _ in outer.gather_named_configs() if "." not in name})
    choice = f"choose a named config ({', '.join(names)}), or " if names else ""
    return [
        f"There is nothing to search: {choice}give a search space over {inner.path!r} as in "
        "'with ray.search_space.NAME=\"uniform(0, 1)\"'."
    ]


def inner_mistakes(request: InnerRequest, force: bool) -> tuple[list[str], dict[str, Any]]:
    """Check the parameters of a sweep against those of the inner experiment.

    Parameters
    ----------
    request
        What is asked of it.
    force
        Whether parameters that are not known are to be accepted.

    Returns
    -------
    tuple
        A sentence for each mistake, and the configuration that trials have without the search.
    """
    inner = request.inner
    if inner.default_command is None:
        return [f"The inner experiment {inner.path!r} has no main function to run."], {}
    seed = request.updates.get("seed", 0)
    if not isinstance(seed, int) or seed < 0:
        return [f"{inner.path}.seed is {seed!r}; it must be a whole number from 0."], {}
    try:
        config = evaluate_config(inner, request.updates)
    except Exception as error:
        return [
            f"The configuration of the inner experiment {inner.path!r} cannot be computed: "
            f"{type(error).__name__}: {error}."
        ], {}
    known = settable_names(inner, config)
    mistakes = [] if force else _unknown_parameters(request, known, config)
    mistakes += [] if force else wrong_kinds(request.sampling, config)
    mistakes += [] if force else _numbers_as_text(request)
    mistakes += _given_twice(request)
    mistakes += [
        f"{source}: the name {TASK_KEY!r} is taken by this package."
        for source, path in request.parameters()
        if path.split(".")[0] == TASK_KEY
    ]
    return mistakes + _unknown_names_in_expressions(request, known, config), config


def _numbers_as_text(request: InnerRequest) -> list[str]:
    """Find updates such as ``1e-3`` in YAML, which is text there, for a number."""
    own = evaluate_config(request.inner, {})
    mistakes = []
    for path, value in flatten(request.updates).items():
        if not isinstance(value, str) or _kind(get_path(own, path, None)) != "a number":
            continue
        with contextlib.suppress(ValueError):
            float(value)
            mistakes.append(
                f"{request.inner.path}.{path} is the text {value!r}, where a number belongs; YAML "
                "takes 1e-5 for text, 1.0e-5 for a number."
            )
    return mistakes


def _given_twice(request: InnerRequest) -> list[str]:
    """Find parameters that are computed and given too, or parts of such ones."""
    functions = request.sampling.space.functions
    given = [
        (source, path)
        for source, path in request.parameters()
        if not source.startswith("ray.dependent.") and path not in functions
    ]
    mistakes = [
        f"{source} and ray.dependent.{resolver.path} give the same parameter; give one of them."
        for resolver in request.resolvers
        for source, path in given
        if overlap(path, resolver.path)
    ]
    sampling = request.sampling
    chosen = sampling.repeat > 1 or sampling.seeds is not None or request.settings.evaluate_best
    if chosen and any(resolver.path == "seed" for resolver in request.resolvers):
        mistakes.append(
            "ray.dependent.seed computes the seed, which ray.repeat, ray.seeds and "
            "ray.evaluate_best choose for each repetition; give one of them."
        )
    return mistakes


def _unknown_parameters(
    request: InnerRequest, known: Collection[str], config: Mapping[str, Any]
) -> list[str]:
    inner = request.inner
    # The updates have made entries of themselves: a misspelt name is no help for the right one.
    misspelt = unknown_entries(inner, request.updates)
    suggested = set(known) - set(misspelt)
    mistakes = [_unknown(f"{inner.path}.{path} is", path, inner, suggested) for path in misspelt]
    below = [
        (source, path)
        for source, path, _ in _given_values(request.sampling)
        if source.startswith("ray.search_space.") and source != f"ray.search_space.{path}"
    ]
    for source, path in dict.fromkeys([*request.parameters(), *below]):
        is_ours = path.split(".")[0] == TASK_KEY
        if not is_ours and path not in known and not is_open(path, config):
            mistakes.append(_unknown(f"{source} is", path, inner, suggested))
    return mistakes


def _unknown_names_in_expressions(
    request: InnerRequest, known: Collection[str], config: Mapping[str, Any]
) -> list[str]:
    readable = {*known, *(path for _, path in request.parameters())}
    readers = [
        (f"ray.dependent.{resolver.path}={resolver.text!r}", resolver.reads or frozenset())
        for resolver in request.resolvers
    ]
    for key, entry in request.sampling.space.entries.items():
        conditions = [case.condition for case in entry.cases if case.condition is not None]
        readers += [
            (f"The condition {condition.text!r} of ray.search_space.{key}", condition.names)
            for condition in conditions
        ]
    mistakes = []
    for reader, names in readers:
        for name in sorted(names):
            if name not in readable and not is_open(name, config):
                source = f"{reader} reads {name!r}, which is"
                mistakes.append(_unknown(source, name, request.inner, readable))
    return mistakes


def wrong_kinds(sampling: Sampling, config: Mapping[str, Any]) -> list[str]:
    """Find values of another kind than the inner experiment's own: text for a number, say.

    Parameters
    ----------
    sampling
        What is sampled.
    config
        The inner experiment's configuration without the search.

    Returns
    -------
    list of str
        A sentence for the first such value of each parameter.
    """
    mistakes = []
    for source, path, values in _given_values(sampling):
        own = get_path(config, path, None)
        wrong = [value for value in values if {_kind(own), _kind(value)} in _DIFFERENT]
        if wrong:
            mistakes.append(
                f"{source} gives {show(wrong[0])}, {_kind(wrong[0])}, where the inner experiment "
                f"has {show(own)}, {_kind(own)}; give values of its kind, or -f if it takes others."
            )
    return mistakes


def _given_values(sampling: Sampling) -> Iterator[tuple[str, str, Sequence[Any]]]:
    """Yield where values are given, the parameter that gets them, and the values."""
    for entry in sampling.space.entries.values():
        for case in entry.cases:
            values = _possible_values(case)
            for position, path in enumerate(entry.paths):
                parts = [value if len(entry.paths) == 1 else value[position] for value in values]
                yield f"ray.search_space.{path}", path, parts
                for below in _paths_below(parts):
                    deep = [get_path(part, below, None) for part in parts if has_path(part, below)]
                    yield f"ray.search_space.{path}", f"{path}.{below}", deep
    if sampling.envs:
        yield "ray.envs", sampling.env_key, sampling.envs
    for number, trial in enumerate(sampling.trials):
        for path, value in flatten(trial["config_updates"]).items():
            yield f"ray.trials[{number}].config_updates.{path}", path, [value]


def _paths_below(values: Sequence[Any]) -> list[str]:
    """List the dotted paths within values that are dictionaries."""
    tables = [value for value in values if isinstance(value, Mapping)]
    return list(dict.fromkeys(path for table in tables for path in flatten(table)))


_DIFFERENT = ({"a number", "text"}, {"a number", "a list"}, {"a list", "text"})


def _possible_values(case: Case) -> list[Any]:
    if case.sampler is None:
        return [case.constant]
    listed = case.sampler.values()
    return [case.sampler.quantile(0.5)] if listed is None else listed


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    if isinstance(value, (list, tuple)):
        return "a list"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "a number" if is_number else None


def _unknown(source: str, path: str, inner: Experiment, known: Collection[str]) -> str:
    hint = did_you_mean(path, known)
    listed = "" if hint else f"; it has {', '.join(sorted(known))}"
    return f"{source} not a parameter of the inner experiment {inner.path!r}{hint}{listed}."
