"""What the driver and the workers tell each other about a sweep and its trials; plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.nested import merge
from sacred_ray_ingredient.record.target import RecordTarget

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
    report_every
        Shortest time between reports to the scheduler, in seconds.
    """

    sweep_id: str
    exp_name: str
    engine: str
    inner: InnerReference
    options: Mapping[str, Any]
    target: RecordTarget
    folder: str
    outer_run_id: int | str | None = None
    report_every: float = 1.0


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
    """

    index: int
    sampled: Mapping[str, Any]
    resolved: Mapping[str, Any]
    seed: int
    updates: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 0

    def parameters(self) -> dict[str, Any]:
        """Return what the trial changes of the sweep-wide configuration, nested."""
        return merge({"seed": self.seed}, self.sampled, self.resolved)

    def config_updates(self) -> dict[str, Any]:
        """Return all that the trial changes of the inner experiment's defaults, nested."""
        return merge(self.updates, self.parameters())

    def to_config(self) -> dict[str, Any]:
        """Write the trial as a Tune config: its parameters and our own entry."""
        own = {
            "index": self.index,
            "sampled": dict(self.sampled),
            "resolved": dict(self.resolved),
            "seed": self.seed,
            "updates": dict(self.updates),
            "attempt": self.attempt,
        }
        return {**self.parameters(), TASK_KEY: own}

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
        The complete configuration, for a completed trial.
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
