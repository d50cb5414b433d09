"""What the driver and the workers tell each other about a sweep and its trials; plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.metrics import Urgent
from sacred_ray_ingredient.nested import flatten, merge
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.sampling import NAMED_CONFIGS
from sacred_ray_ingredient.trial_folder import TravellingTree

# The entry of a trial's Tune config that is ours; all others are parameters.
TASK_KEY = "__sweep__"


@dataclass(frozen=True)
class SweepTask:
    """What all trials of a sweep share.

    Parameters
    ----------
    sweep_id
        ``sweep-`` and letters and digits.
    exp_name
        Name that the user gave to the search.
    engine
        What executes the trials.
    inner
        The inner experiment.
    options
        Sacred's command-line options for each trial.
    target
        Where trials are recorded.
    folder
        Current folder of the driver, which becomes that of the trials.
    outer_run_id
        Run id of the sweep itself, None without a record.
    metric
        What trials are compared by.
    report_every
        Shortest time between reports to the scheduler, in seconds.
    trial_timeout_s
        Longest time that a trial may take, in seconds.
    code
        The project's modules as they were when the sweep started; None: as they are on the disk.
    code_id
        Id of these in the database.
    urgent
        Which reports a scheduler or rule must see, where steps that come fast are reported in
        part; None for all steps.
    is_watched
        Whether a scheduler or rule looks at reports at all.
    tree
        What a worker must know to find the project's files; None on a local Ray of our own, which
        has them where the driver has them.
    """

    sweep_id: str
    exp_name: str
    engine: str
    inner: InnerReference
    options: Mapping[str, Any]
    target: RecordTarget
    folder: str
    outer_run_id: int | str | None = None
    metric: str = "result"
    report_every: float = 1.0
    trial_timeout_s: float | None = None
    code: FrozenCode | None = None
    code_id: str | None = None
    urgent: Urgent | None = None
    is_watched: bool = True
    tree: TravellingTree | None = None


@dataclass(frozen=True)
class Ending:
    """Why an engine ends a trial before its main function returns.

    Parameters
    ----------
    kind
        ``stop``: a scheduler or a rule of ``ray.stop`` has seen enough of it; ``pause``: it goes
        on later, in a segment of its own; ``interrupt``: the sweep ends.
    reason
        A sentence for the record.
    """

    kind: str
    reason: str

    @property
    def status(self) -> str:
        """Sacred's status of the run: a trial that was ended as planned is complete."""
        return "INTERRUPTED" if self.kind == "interrupt" else "COMPLETED"

    @property
    def tags(self) -> list[str]:
        """Tags of the run that tell it from those that returned."""
        return {"stop": ["early-stopped"], "pause": ["paused"]}.get(self.kind, [])


@dataclass(frozen=True)
class TrialTask:
    """One trial: a point of the search space and what was computed from it.

    Parameters
    ----------
    index
        Counts from 0 over the sweep.
    sampled
        Parameters from the search space, nested.
    resolved
        Dependent parameters, nested.
    seed
        Seed of the run.
    updates
        What the user changed of the inner experiment for the whole sweep, nested.
    attempt
        Number of the try, from 0.
    segment
        Number of the part of the attempt, from 0; schedulers pause trials and let them go on.
    configuration
        Number of the point of the search space, which all its repetitions share.
    repetition
        Number of the repetition of that point.
    named_configs
        Named configs of the inner experiment that the search chose.
    taken_over
        What a scheduler replaced the state of the trial with, as a sentence.
    restore_from
        Folder of a checkpoint of an earlier attempt, of before the sweep was resumed.
    reported
        The last report of the attempt, which came to its end before its worker died: it is made
        again, and the trial is not.
    run_id
        Id that was reserved for its run; None: the run gets the next that is free.
    """

    index: int
    sampled: Mapping[str, Any]
    resolved: Mapping[str, Any]
    seed: int
    updates: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 0
    segment: int = 0
    configuration: int = 0
    repetition: int = 0
    named_configs: Sequence[str] = ()
    taken_over: str | None = None
    restore_from: str | None = None
    reported: Mapping[str, Any] | None = None
    run_id: int | None = None

    @property
    def name(self) -> str:
        """Beginning of the name of its journal."""
        return f"trial{self.index}-{self.attempt}-{self.segment}"

    def parameters(self) -> dict[str, Any]:
        """Return what the trial changes of the sweep-wide configuration, nested."""
        return merge({"seed": self.seed}, self.sampled, self.resolved)

    def config_updates(self) -> dict[str, Any]:
        """Return all that the trial changes of the inner experiment's defaults, nested."""
        return merge(self.updates, self.parameters())

    def to_config(self) -> dict[str, Any]:
        """Write the trial as a Tune config: its parameters and our own entry."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {**self.parameters(), TASK_KEY: own}

    def shown(self) -> dict[str, Any]:
        """Return the parameters for tables, by dotted path."""
        chosen = {NAMED_CONFIGS: ", ".join(self.named_configs)} if self.named_configs else {}
        return {**chosen, **flatten(self.sampled), **flatten(self.resolved)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TrialTask:
        """Read a trial from its Tune config."""
        return cls(**config[TASK_KEY])


@dataclass
class TrialOutcome:
    """How an attempt of a trial ended, as the driver knows it.

    Parameters
    ----------
    index
        Index of the trial.
    attempt
        Number of the try.
    status
        Sacred's status of the run.
    parameters
        Sampled and resolved parameters by dotted path.
    seed
        Seed of the run.
    run_id
        Id of the run in the record, None without one.
    metrics
        Last values by name; ``result`` for a scalar result.
    error
        One line about what went wrong, for a failed trial.
    config
        The complete configuration, for a trial that returned.
    segment
        Number of the part of the attempt.
    configuration
        Number of the point of the search space.
    stop_reason
        Why the engine ended it early, if it did.
    sampled
        Parameters from the search space, nested.
    named_configs
        Named configs of the inner experiment that the search chose.
    was_compared
        Whether the scheduler, if there is one, saw a value of the metric while the trial ran.
    node_lost
        Whether it failed since its node was lost.
    """

    index: int
    attempt: int
    status: str
    parameters: dict[str, Any]
    seed: int
    run_id: int | str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    config: dict[str, Any] | None = None
    segment: int = 0
    configuration: int = 0
    stop_reason: str | None = None
    was_compared: bool = True
    node_lost: bool = False
    sampled: Mapping[str, Any] = field(default_factory=dict)
    named_configs: Sequence[str] = ()
