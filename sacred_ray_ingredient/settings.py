"""The entries of ``ray.*``: their types and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sacred_ray_ingredient.cluster.resources import STRATEGIES, is_resources
from sacred_ray_ingredient.errors import did_you_mean
from sacred_ray_ingredient.storage_url import storage_mistakes

RANDOM_SEARCH_SAMPLES = 10
ENGINES = ("auto", "direct", "tune")
# NumPy's global random state, which Sacred seeds for each run, takes no larger ones.
_SEEDS_BELOW = 2**32
# Some years; the clocks that wait for the end of a time refuse much more.
_MOST_SECONDS = 1e8


@dataclass(frozen=True)
class RecordSettings:
    """How the events of runs get into the database: the entries of ``ray.record``.

    Parameters
    ----------
    without_database
        Whether a sweep starts although the database does not answer; its runs are in journals
        until it does.
    wait_s
        Longest time that a run waits for the database at its end, in seconds.
    fsync_s
        Seconds between two times that journals are forced to the disk; None for checkpoints and
        the end only.
    """

    without_database: bool = False
    wait_s: float = 5.0
    fsync_s: float | None = None


@dataclass(frozen=True)
class SweepSettings:
    """The configuration of a sweep, as the ``ray`` ingredient has it.

    The entries are described where they are defined, in the configuration of
    ``sacred_ray_ingredient.ingredient.ray_ingredient``.
    """

    search_space: Mapping[str, Any] = field(default_factory=dict)
    dependent: Mapping[str, Any] = field(default_factory=dict)
    named_configs: Any = ()
    trials: Sequence[Mapping[str, Any]] = ()
    metric: str | Sequence[str] = "result"
    mode: str | Sequence[str] = "max"
    num_samples: int | None = None
    repeat: int = 1
    evaluate_best: int = 0
    search_alg: Any = None
    points_to_evaluate: Sequence[Mapping[str, Any]] = ()
    warm_start: str | Sequence[str] | None = None
    scheduler: Any = None
    stop: Any = None
    time_budget_s: float | None = None
    trial_timeout_s: float | None = None
    envs: Sequence[Any] = ()
    env_key: str = "env_name"
    seeds: int | Sequence[int] | None = None
    max_concurrent_trials: int | None = None
    max_failures: int = 0
    resources_per_trial: Mapping[str, Any] = field(default_factory=lambda: {"cpu": 1})
    engine: str = "auto"
    address: str | None = None
    init_kwargs: Mapping[str, Any] = field(default_factory=dict)
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    log_to_file: bool | str | Sequence[str] | None = None
    storage_path: str | None = None
    exp_name: str | None = None
    report_every: float | None = None
    resume: str | None = None
    retry_failed: bool = False
    accept_changes: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)
    mongo: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recording(self) -> RecordSettings:
        """How events get into the database."""
        return RecordSettings(**self.record)

    @property
    def metrics(self) -> list[str]:
        """The metrics that trials are compared by; the first decides the order of tables."""
        return [self.metric] if isinstance(self.metric, str) else list(self.metric)

    @property
    def modes(self) -> list[str]:
        """Which way each metric is compared; one for all, or one for each."""
        if isinstance(self.mode, str):
            return [self.mode] * len(self.metrics)
        return list(self.mode)

    @property
    def seconds_between_reports(self) -> float:
        """Shortest time between two reports of a trial; 0 where every step counts."""
        if self.report_every is not None:
            return self.report_every
        return 0.0 if self.scheduler or self.stop else 1.0


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Not with math.isfinite, which refuses whole numbers that no float can be.
    return is_number and abs(value) <= sys.float_info.max


def _is_seeds(value: Any) -> bool:
    if value is None or _is_int(value, 1):
        return True
    is_list = isinstance(value, Sequence) and bool(value)
    right = is_list and all(_is_int(seed, 0) and seed < _SEEDS_BELOW for seed in value)
    return right and len(set(value)) == len(value)


def _is_envs(value: Any) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    right = all(isinstance(env, (str, int, float)) for env in value)
    # True and 1 are two environments, 1 and 1.0 are not.
    return right and len({(isinstance(env, bool), env) for env in value}) == len(value)


def _is_optional_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and bool(value))


def _is_list_of(value: Any, kind: type) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and all(isinstance(item, kind) for item in value)


def _is_names(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return _is_list_of(names, str) and bool(names) and all(names)


def _is_metrics(value: Any) -> bool:
    return _is_names(value) and (isinstance(value, str) or len(set(value)) == len(value))


def _is_modes(value: Any) -> bool:
    modes = [value] if isinstance(value, str) else value
    return _is_names(modes) and all(mode in ("min", "max") for mode in modes)


def _is_log_names(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return True
    names = [value] if isinstance(value, str) else value
    is_right = _is_names(names) and len(names) <= 2 and len(set(names)) == len(names)
    return is_right and not any("/" in name or name in (".", "..") for name in names)


def _is_seconds(value: Any) -> bool:
    return value is None or (_is_number(value) and 0 < value <= _MOST_SECONDS)


def _is_seconds_from_0(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= _MOST_SECONDS


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "search_space": (lambda v: isinstance(v, Mapping), "a mapping of parameters to samplers"),
    "dependent": (lambda v: isinstance(v, Mapping), "a mapping of parameters to expressions"),
    "named_configs": (
        lambda v: isinstance(v, (str, Sequence, Mapping)),
        "a list of alternatives, each a named config of the inner experiment or a list of them",
    ),
    "trials": (
        lambda v: _is_list_of(v, Mapping),
        "a list of trials such as {'named_configs': ['fast'], 'config_updates': {'lr': 0.1}}",
    ),
    "metric": (
        _is_metrics,
        "the name of a logged metric or 'result', or a list of different names",
    ),
    "mode": (_is_modes, "'min' or 'max', or a list of these, one for each metric"),
    "repeat": (lambda v: _is_int(v, 1), "a whole number from 1"),
    "evaluate_best": (lambda v: _is_int(v, 0), "a whole number from 0"),
    # What these may hold is checked where they are read.
    "search_alg": (lambda v: True, "a searcher"),
    "scheduler": (lambda v: True, "a scheduler"),
    "stop": (lambda v: True, "rules"),
    "points_to_evaluate": (
        lambda v: _is_list_of(v, Mapping),
        "a list of points, each a mapping of parameters to values",
    ),
    "warm_start": (
        lambda v: v is None or _is_names(v),
        "the id of an earlier sweep, such as 'sweep-94889e7c9c', or a list of ids",
    ),
    "time_budget_s": (_is_seconds, "seconds, above 0 and at most 100,000,000, or None"),
    "trial_timeout_s": (_is_seconds, "seconds, above 0 and at most 100,000,000, or None"),
    "num_samples": (lambda v: v is None or _is_int(v, 1), "a whole number from 1, or None"),
    "envs": (_is_envs, "a list of different names or numbers, such as ['uniform', 'normal']"),
    "env_key": (
        lambda v: isinstance(v, str) and bool(v),
        "the name of the parameter that picks the environment",
    ),
    "seeds": (
        _is_seeds,
        "the number of seeds, from 1, or a list of different whole numbers from 0, below 2**32",
    ),
    "max_concurrent_trials": (
        lambda v: v is None or _is_int(v, 1),
        "a whole number from 1, or None",
    ),
    "max_failures": (lambda v: _is_int(v, 0), "a whole number from 0"),
    "resources_per_trial": (
        is_resources,
        "amounts by name from 0 (of a GPU up to 1, or a whole number), such as {'cpu': 1, "
        "'gpu': 0.5}; 'bundles', a list of such, for what a trial starts itself; and 'strategy', "
        f"one of {', '.join(STRATEGIES)}",
    ),
    "engine": (lambda v: v in ENGINES, "'auto', 'direct' or 'tune'"),
    "address": (_is_optional_text, "'auto', the address of a Ray cluster, or None"),
    "init_kwargs": (lambda v: isinstance(v, Mapping), "arguments of ray.init by name"),
    "runtime_env": (lambda v: isinstance(v, Mapping), "a runtime environment of Ray, a mapping"),
    "log_to_file": (_is_log_names, "True, the name of a file, two names, or None"),
    "storage_path": (_is_optional_text, "a folder or a URL such as s3://bucket/path, or None"),
    "exp_name": (_is_optional_text, "a name, or None"),
    "report_every": (
        lambda v: v is None or (_is_number(v) and v >= 0),
        "seconds, from 0, or None",
    ),
    "resume": (
        _is_optional_text,
        "the id of a sweep, such as 'sweep-94889e7c9c', or 'last', or None",
    ),
    "retry_failed": (_is_bool, "True or False"),
    "accept_changes": (_is_bool, "True or False"),
    "record": (
        lambda v: isinstance(v, Mapping),
        "a mapping such as {'wait_s': 5.0}",
    ),
    "mongo": (
        lambda v: isinstance(v, Mapping),
        "a mapping such as {'url': 'mongodb://host:27017'}",
    ),
}


_RECORD_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "without_database": (_is_bool, "True or False"),
    "wait_s": (_is_seconds_from_0, "seconds, from 0 to 100,000,000"),
    "fsync_s": (
        lambda v: v is None or _is_seconds_from_0(v),
        "seconds, from 0 to 100,000,000, or None",
    ),
}


def read_settings(ray_config: Mapping[str, Any]) -> tuple[SweepSettings, list[str]]:
    """Build the settings from the configuration of the ``ray`` ingredient.

    Parameters
    ----------
    ray_config
        The resolved entries of ``ray``.

    Returns
    -------
    settings : SweepSettings
        With the default in the place of each wrong value.
    mistakes : list of str
        A sentence for each wrong value and each unknown entry.
    """
    known = {entry.name for entry in fields(SweepSettings)}
    mistakes = []
    right: dict[str, Any] = {}
    for name, value in ray_config.items():
        if name in ("seed", "__doc__"):  # Sacred's own; trials are seeded from the outer seed
            continue
        if name not in known:
            hint = did_you_mean(name, known)
            mistakes.append(f"ray.{name} is not an entry of the ray ingredient{hint}.")
            continue
        accepts, wanted = _RULES[name]
        if accepts(value):
            right[name] = value
        else:
            mistakes.append(f"ray.{name} is {value!r}; it must be {wanted}.")
    right["record"], wrong = _read_record(right.get("record", {}))
    settings = SweepSettings(**right)
    mistakes += wrong
    mistakes += _mistakes_between(settings, ray_config.keys() - right.keys())
    return settings, mistakes


def _read_record(entries: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the right entries of ``ray.record``, and a sentence for each wrong one."""
    right, mistakes = {}, []
    for name, value in entries.items():
        accepts, wanted = _RECORD_RULES.get(name, (None, ""))
        if accepts is None:
            hint = did_you_mean(str(name), _RECORD_RULES)
            mistakes.append(
                f"ray.record.{name} is not a known entry{hint}; known are "
                f"{', '.join(_RECORD_RULES)}."
            )
        elif accepts(value):
            right[name] = value
        else:
            mistakes.append(f"ray.record.{name} is {value!r}; it must be {wanted}.")
    return right, mistakes


def _mistakes_between(settings: SweepSettings, wrong: Collection[str]) -> list[str]:
    """Find entries that do not go together; what stands in for a wrong value is none of them."""
    mistakes = storage_mistakes(settings.storage_path)
    is_known = "metric" not in wrong and "mode" not in wrong
    if is_known and len(settings.metrics) != len(settings.modes):
        mistakes.append(
            f"ray.mode has {len(settings.modes)} entries and ray.metric {len(settings.metrics)}; "
            "give one mode for all metrics, or one for each."
        )
    if settings.repeat > 1 and settings.seeds is not None:
        mistakes.append(
            f"ray.repeat={settings.repeat} and ray.seeds={settings.seeds!r} both say how often a "
            "configuration is run; give one of them."
        )
    if settings.resume is None:
        mistakes += [
            f"ray.{name} is True, which is about a sweep that goes on; give ray.resume, or "
            "resume SWEEP_ID in front of 'with'."
            for name in ("retry_failed", "accept_changes")
            if getattr(settings, name) and "resume" not in wrong
        ]
    if settings.trials:
        others = ("search_space", "named_configs", "envs", "search_alg", "points_to_evaluate")
        mistakes += [
            f"ray.trials lists the trials, so that ray.{name} has no place beside it; "
            "give one of them."
            for name in others
            if getattr(settings, name)
        ]
        if settings.num_samples is not None:
            mistakes.append(
                f"ray.num_samples is {settings.num_samples}, but ray.trials lists the trials; "
                "use ray.repeat to run each of them several times."
            )
    return mistakes
