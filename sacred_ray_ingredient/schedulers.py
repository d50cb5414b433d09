"""Schedulers by name and arguments, and what is wrong with such a choice.

A scheduler sees every step of the inner experiment as it was logged with ``log_scalar``; its time
is the logged step.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.choices import Choice, read_choice
from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.nested import unflatten
from sacred_ray_ingredient.samplers import Sampler, read_domain
from sacred_ray_ingredient.search_space import Entry, SearchSpace, parse_search_space
from sacred_ray_ingredient.values import plain, show

SOURCE = "ray.scheduler"
# The time of a step: as the experiment counts it, as reports are counted, and in seconds.
TIME_ATTRS = ("step", "training_iteration", "time_total_s")


@dataclass(frozen=True)
class SchedulerKind:
    """What there is to know about one of Tune's schedulers.

    Parameters
    ----------
    class_name
        Class in ``ray.tune.schedulers``.
    defaults
        Arguments that differ from Tune's defaults.
    required
        Arguments that have no default which suits most experiments, with what they mean.
    pauses
        Whether trials are paused and go on later, which needs checkpoints.
    mutates
        Name of the argument that holds the parameters it changes, if it changes any.
    """

    class_name: str
    defaults: Mapping[str, Any]
    required: Mapping[str, str]
    pauses: bool = False
    mutates: str | None = None


_MAX_T = {"max_t": "the steps of a full trial"}
_INTERVAL = {"perturbation_interval": "the steps after which the worst trials take over the best"}
KINDS = {
    "asha": SchedulerKind("AsyncHyperBandScheduler", {"stop_last_trials": False}, _MAX_T),
    "hyperband": SchedulerKind("HyperBandScheduler", {"stop_last_trials": False}, _MAX_T, True),
    "bohb": SchedulerKind("HyperBandForBOHB", {"stop_last_trials": False}, _MAX_T, True),
    # Tune's grace period is 60, which is meant as seconds; and it lets trials take turns.
    "median_stopping": SchedulerKind(
        "MedianStoppingRule", {"grace_period": 1, "min_time_slice": 10**9}, {}
    ),
    "pbt": SchedulerKind("PopulationBasedTraining", {}, _INTERVAL, True, "hyperparam_mutations"),
    "pb2": SchedulerKind("PB2", {}, _INTERVAL, True, "hyperparam_bounds"),
}
_ALIASES = {
    "async_hyperband": "asha",
    "asynchyperband": "asha",
    "ashascheduler": "asha",
    "asynchyperbandscheduler": "asha",
    "hyperbandscheduler": "hyperband",
    "hb_bohb": "bohb",
    "hyperbandforbohb": "bohb",
    "median": "median_stopping",
    "medianstopping": "median_stopping",
    "median_stopping_rule": "median_stopping",
    "medianstoppingrule": "median_stopping",
    "population_based_training": "pbt",
    "populationbasedtraining": "pbt",
    "fifoscheduler": "fifo",
}
# Given elsewhere, or a function, which no text can hold.
_NOT_TAKEN = {
    "metric": "; it is ray.metric",
    "mode": "; it is ray.mode",
    "custom_explore_fn": "; use ray.dependent for what follows from other parameters",
}


def parse_scheduler(raw: Any, source: str = SOURCE) -> tuple[Choice | None, list[str]]:
    """Read ``ray.scheduler``.

    Parameters
    ----------
    raw
        None, a name, a name with arguments in parentheses, or a mapping with ``name``.
    source
        Config path of it, for the sentences.

    Returns
    -------
    tuple
        The choice, None for first in, first out; and a sentence for each thing that is wrong.
    """
    if raw is None or raw == {}:
        return None, []
    try:
        choice = read_choice(stored_text(raw), source, {*KINDS, "fifo"}, _ALIASES)
    except ConfigMistakes as wrong:
        return None, list(wrong.mistakes)
    if choice.name == "fifo":
        unknown = [f"{source}.{name} is given, but fifo takes none." for name in choice.arguments]
        return None, unknown
    return choice, []


def stored_text(raw: Any) -> Any:
    """Write Tune's own samplers in a choice as text; all else stays as it is.

    Parameters
    ----------
    raw
        What ``ray.scheduler`` is.
    """
    if isinstance(raw, Mapping):
        return {name: stored_text(item) for name, item in raw.items()}
    try:
        found = read_domain(raw, SOURCE)
    except ConfigMistakes:  # told where the parameters are read
        return raw
    return found.text() if isinstance(found, Sampler) else plain(raw)


def scheduler_class(name: str) -> Any:
    """Return Tune's class; imports Tune."""
    if name == "pb2":
        from ray.tune.schedulers.pb2 import PB2

        return PB2
    from ray.tune import schedulers

    return getattr(schedulers, KINDS[name].class_name)


def scheduler_mistakes(
    choice: Choice,
    metric: str,
    space: SearchSpace,
    has_checkpoints: bool,
    source: str = SOURCE,
    *,
    repeats: bool = False,
) -> list[str]:
    """Find what is wrong with a choice before anything runs.

    Parameters
    ----------
    choice
        The scheduler.
    metric
        What it compares trials by.
    space
        The search space.
    has_checkpoints
        Whether the inner experiment saves checkpoints.
    source
        Config path of the choice, for the sentences.
    repeats
        Whether each configuration is run several times: by repetitions, seeds or environments.

    Returns
    -------
    list of str
        A sentence for each mistake.
    """
    kind = KINDS[choice.name]
    mistakes = _argument_mistakes(choice, source)
    for name, meaning in kind.required.items():
        if choice.arguments.get(name) is None:
            mistakes.append(f"{source} is {choice.text()!r}, which needs {name}: {meaning}.")
    if metric == "result":
        mistakes.append(
            f"{source} is {choice.text()!r}, which compares trials while they run, but ray.metric "
            "is 'result', which is known at the end only; give the name of a metric that the "
            "experiment logs."
        )
    pauses = kind.pauses or "min_time_slice" in choice.arguments
    if pauses and not has_checkpoints:
        mistakes.append(
            f"{source} is {choice.text()!r}, which pauses trials and lets them go on later, for "
            "which the experiment has to save checkpoints (sacred_ray_ingredient.Checkpoints); "
            "asha and median_stopping do without."
        )
    if kind.mutates is not None and repeats:
        mistakes.append(
            f"{source} is {choice.text()!r}, under which a trial takes over the parameters of "
            "another one, so that a configuration has no repetitions; drop ray.repeat, ray.seeds "
            "and ray.envs, or use asha."
        )
    if kind.mutates is not None and not mistakes:
        mistakes += _mutation_mistakes(choice, space, source)
    if not mistakes:
        mistakes += _refused_by_tune(choice, source)
    return mistakes


def _mutation_mistakes(choice: Choice, space: SearchSpace, source: str) -> list[str]:
    mutated, mistakes = mutations(choice, space, source)
    if mutated or mistakes:
        return mistakes
    return [
        f"{source} is {choice.text()!r}, which changes parameters of the search space while trials "
        f"run, but there is none that it can change; give {KINDS[choice.name].mutates}."
    ]


def _argument_mistakes(choice: Choice, source: str) -> list[str]:
    signature = inspect.signature(scheduler_class(choice.name).__init__).parameters
    offered = set(signature) - set(_NOT_TAKEN) - {"self", "args", "kwargs"}
    mistakes = []
    for name, value in choice.arguments.items():
        if name in _NOT_TAKEN:
            mistakes.append(f"{source}.{name} cannot be given{_NOT_TAKEN[name]}.")
        elif name not in offered:
            hint = did_you_mean(name, offered) or f"; it has {', '.join(sorted(offered))}"
            mistakes.append(f"{source}.{name} is not an argument of {choice.name}{hint}.")
        elif name != "time_attr" and not (value is None and name in KINDS[choice.name].required):
            wanted = _wanted(name, value, signature[name].default)
            wrong = f"{source}.{name} is {show(value)}; it must be {wanted}."
            mistakes += [] if wanted is None else [wrong]
    time_attr = choice.arguments.get("time_attr", "step")
    if time_attr not in TIME_ATTRS:
        mistakes.append(
            f"{source}.time_attr is {show(time_attr)}; it must be one of {', '.join(TIME_ATTRS)}."
        )
    return mistakes


def _wanted(name: str, value: Any, default: Any) -> str | None:
    """Say what an argument must be whose default in Tune is of another kind than its value."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "True or False"
    if isinstance(default, tuple):
        is_list = isinstance(value, (list, tuple)) and len(value) == len(default)
        is_right = is_list and all(map(_is_number, value))
        return None if is_right else f"a list of {len(default)} numbers"
    if not isinstance(default, (int, float)):
        return None
    if name == "brackets":  # Tune counts with it
        return None if isinstance(value, int) and _is_number(value) else "a whole number"
    if name == "reduction_factor":  # Tune divides by its logarithm
        return None if _is_number(value) and value > 1 else "a number above 1"
    return None if _is_number(value) else "a number"


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def scheduler_arguments(choice: Choice) -> dict[str, Any]:
    """Return the arguments of Tune's class, those that hold parameters excepted."""
    kind = KINDS[choice.name]
    given = {"time_attr": "step", **kind.defaults, **choice.arguments}
    given.pop(kind.mutates or "", None)
    return given


def _refused_by_tune(choice: Choice, source: str) -> list[str]:
    """Let Tune's own class look at the values."""
    example: dict[str, Any] = {}
    mutates = KINDS[choice.name].mutates
    if mutates is not None:
        example[mutates] = {"x": [0.0, 1.0]}
    try:
        scheduler_class(choice.name)(
            metric="x", mode="max", **scheduler_arguments(choice), **example
        )
    except (TypeError, ArithmeticError):
        # From the middle of Tune, where the message names nothing that the user knows.
        reason = "it cannot compute anything with these arguments together"
    except Exception as error:  # assertions, TuneError and others that it raises on purpose
        reason = str(error).strip().rstrip(".!") or type(error).__name__
    else:
        return []
    return [f"{source} is {choice.text()!r}, which Tune refuses: {reason}."]


def mutations(
    choice: Choice, space: SearchSpace, source: str = SOURCE
) -> tuple[dict[str, Sampler], list[str]]:
    """Find the parameters that a scheduler changes, by dotted path.

    Parameters
    ----------
    choice
        A scheduler that changes parameters.
    space
        The search space: what is drawn there can be changed, unless the choice says otherwise.
    source
        Config path of the choice, for the sentences.

    Returns
    -------
    tuple
        The samplers that say what values there can be, and a sentence for each mistake.
    """
    name = str(KINDS[choice.name].mutates)
    given = choice.arguments.get(name)
    if given is not None and not isinstance(given, Mapping):
        return {}, [f"{source}.{name} is {show(given)}; it must be a mapping of parameters."]
    where = f"{source}.{name}"
    chosen, mistakes = (
        parse_search_space(_bounds_as_samplers(given), where) if given else (space, [])
    )
    found: dict[str, Sampler] = {}
    for entry in chosen.entries.values():
        sampler = entry.cases[0].sampler
        if sampler is None or _not_alone(entry) is not None:
            continue
        if choice.name == "pb2" and bounds(sampler) is None:
            continue
        if given or not sampler.is_grid:
            found[entry.paths[0]] = sampler
    if given:
        mistakes += [
            f"{where}.{path} cannot be changed: it must be a parameter with a sampler of its own."
            for path in chosen.paths()
            if path not in found
        ]
        mistakes += _not_in_space(found, space, where)
    return found, mistakes


def _not_in_space(found: Collection[str], space: SearchSpace, where: str) -> list[str]:
    mistakes = [
        f"{where}.{path} is not in ray.search_space, which gives trials their first values"
        f"{did_you_mean(path, space.paths())}."
        for path in found
        if path not in space.paths()
    ]
    for path in found:
        entry = next((entry for entry in space.entries.values() if path in entry.paths), None)
        problem = "is computed" if path in space.functions else _not_alone(entry)
        if problem is not None:
            mistakes.append(
                f"{where}.{path} cannot be changed: in ray.search_space it {problem}; it must have "
                "one sampler of its own there, without conditions."
            )
    return mistakes


def _not_alone(entry: Entry | None) -> str | None:
    """Tell why a parameter of the space cannot be changed by itself."""
    if entry is None:
        return None
    if len(entry.paths) > 1:
        return f"moves together with others ({'+'.join(entry.paths)})"
    if entry.has_conditions or len(entry.cases) > 1:
        return "has conditions"
    return "is a constant" if entry.cases[0].sampler is None else None


def _bounds_as_samplers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``[low, high]``, as PB2 has it, as a range of floats."""

    def read(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: read(item) for name, item in value.items()}
        is_pair = isinstance(value, (list, tuple)) and len(value) == 2
        if is_pair and all(isinstance(bound, float) for bound in value):
            return {"uniform": list(value)}
        return value

    return {name: read(value) for name, value in given.items()}


def bounds(sampler: Sampler) -> tuple[float, float] | None:
    """Return the least and greatest value of a range; None for what has none."""
    lower, upper = sampler.arguments.get("lower"), sampler.arguments.get("upper")
    if lower is None or upper is None:
        return None
    is_open = sampler.name.endswith("randint") and sampler.arguments.get("q", 1) == 1
    return lower, upper - 1 if is_open else upper


def nested_mutations(found: Mapping[str, Sampler], name: str) -> dict[str, Any]:
    """Write the parameters as Tune's class takes them; imports Tune.

    Parameters
    ----------
    found
        From `mutations`.
    name
        Of the scheduler: ranges for PB2; lists and Tune's own samplers for PBT.
    """
    if name == "pb2":
        ranges = {path: bounds(sampler) for path, sampler in found.items()}
        return unflatten({path: list(pair) for path, pair in ranges.items() if pair is not None})
    listed = {path: sampler.values() for path, sampler in found.items()}
    return unflatten({path: values or found[path].to_tune() for path, values in listed.items()})
