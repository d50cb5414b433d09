"""What makes a sweep the one that it is, as data that can be stored and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sacred_ray_ingredient.inner import evaluate_config
from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.values import plain, show

# Which trials are made of a sweep; the rest says what becomes of them.
_SAMPLED = frozenset(
    {
        *("seed", "search_space", "named_configs", "trials", "envs", "env_key"),
        *("seeds", "repeat", "points_to_evaluate"),
    }
)
_MISSING = object()


def fingerprint(plan: SweepPlan) -> dict[str, Any]:
    """Describe a sweep by what its trials depend on.

    Parameters
    ----------
    plan
        The sweep.

    Returns
    -------
    dict
        ``search``: what is searched and how, by entry. ``inner``: the configuration of the inner
        experiment before anything is sampled, by dotted path. ``given``: what the user changed of
        it. All of it is plain data that JSON gives back as it was.
    """
    settings, sampling = plan.settings, plan.sampling
    named = sampling.named_configs
    search: dict[str, Any] = {
        "seed": sampling.seed,
        **_below("search_space", plan.space.text()),
        **{f"dependent.{each.path}": _resolver_text(each) for each in plan.resolvers},
        "named_configs": None if named is None else named.text(),
        "trials": [dict(trial) for trial in sampling.trials],
        "envs": list(sampling.envs),
        "env_key": sampling.env_key,
        "seeds": None if sampling.seeds is None else list(sampling.seeds),
        "repeat": sampling.repeat,
        "points_to_evaluate": [dict(point) for point in settings.points_to_evaluate],
        "metric": settings.metrics,
        "mode": settings.modes,
        "search_alg": plan.searcher.text() if plan.searcher else None,
        "scheduler": plan.scheduler.text() if plan.scheduler else None,
        "stop": [rule.text for rule in plan.stop_rules],
        "experiment": plan.inner.path,
    }
    given = flatten(plan.updates_of({}, ()))
    described = {"search": search, "inner": _inner_config(plan), "given": given}
    return {part: _data(entries) for part, entries in described.items()}


def _below(name: str, entries: Any) -> dict[str, Any]:
    flat = flatten(entries) if isinstance(entries, Mapping) else {"": entries}
    return {f"{name}.{path}".rstrip("."): value for path, value in flat.items()}


def _resolver_text(resolver: Any) -> str:
    source = getattr(resolver, "source_code", None)
    return resolver.text if source is None else f"{resolver.text}: {source}"


def _inner_config(plan: SweepPlan) -> dict[str, Any]:
    """Return the configuration without what is another one each time it is evaluated."""
    updates = plan.updates_of({}, ())
    first, second = (_data(flatten(evaluate_config(plan.inner, updates))) for _ in range(2))
    return {
        path: value
        for path, value in first.items()
        if not path.endswith("__doc__") and same(value, second.get(path, _MISSING))
    }


def _data(value: Any) -> Any:
    """Return plain data that JSON does not change; what is none is described."""
    value = plain(value)
    if isinstance(value, Mapping):
        return {str(key): _data(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_data(below) for below in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value)
    text = repr(value)
    # The place in memory differs in each process.
    return f"({type(value).__name__})" if " at 0x" in text else text


def same(left: Any, right: Any) -> bool:
    """Tell whether two values of a fingerprint are the same; 1 and 1.0 are not, NaN is itself."""
    return repr(left) == repr(right)


def changes(recorded: Mapping[str, Any], plan: SweepPlan) -> list[str]:
    """Find what is not as it was when a sweep was started.

    Parameters
    ----------
    recorded
        Fingerprint of the recorded sweep.
    plan
        What is asked for now.

    Returns
    -------
    list of str
        A sentence for each entry.
    """
    if not all(isinstance(recorded.get(part), Mapping) for part in ("search", "inner", "given")):
        return [
            "The sweep was recorded without a description of its search, so that it cannot be "
            "compared with what is asked for now."
        ]
    now = fingerprint(plan)
    sentences = _differences(recorded["search"], now["search"], _search_name)
    inner = plan.inner.path

    def inner_name(path: str) -> str:
        return f"{inner}.{path}"

    sentences += _differences(recorded["inner"], now["inner"], inner_name)
    known = {path for path in {**recorded["inner"], **now["inner"]}}
    # What is given and what follows from it differ together, and are told once.
    further = {part: _without(each["given"], known) for part, each in _two(recorded, now)}
    return sentences + _differences(further["recorded"], further["now"], inner_name)


def _two(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("recorded", recorded), ("now", now)]


def _without(entries: Mapping[str, Any], paths: set[str]) -> dict[str, Any]:
    return {path: value for path, value in entries.items() if path not in paths}


def _search_name(path: str) -> str:
    if path == "seed":
        return path
    return "The inner experiment" if path == "experiment" else f"ray.{path}"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], name_of: Any) -> list[str]:
    sentences = []
    for path in dict.fromkeys([*before, *now]):
        old, new = before.get(path, _MISSING), now.get(path, _MISSING)
        if same(old, new):
            continue
        if old is _MISSING:
            sentences.append(f"{name_of(path)} is new: {show(new)}.")
        elif new is _MISSING:
            sentences.append(f"{name_of(path)} was {show(old)} and is not there any more.")
        else:
            sentences.append(f"{name_of(path)} was {show(old)}, is now {show(new)}.")
    return sentences


def space_changed(recorded: Mapping[str, Any], plan: SweepPlan) -> bool:
    """Tell whether other trials would be made than those of a recorded sweep.

    Parameters
    ----------
    recorded
        Its fingerprint.
    plan
        What is asked for now.
    """
    before, now = recorded.get("search"), fingerprint(plan)["search"]
    if not isinstance(before, Mapping):
        return False

    def sampled(search: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in sorted(search.items()) if k.partition(".")[0] in _SAMPLED}

    return not same(sampled(before), sampled(now))
