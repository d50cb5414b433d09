"""What an engine is given and what it tells the sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.search_space import SearchSpace
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.tasks import SweepTask, TrialOutcome


@dataclass(frozen=True)
class EngineJob:
    """All that an engine needs for the trials of a sweep.

    Parameters
    ----------
    sweep
        What all trials share.
    space
        What is sampled.
    num_samples
        How often the space is sampled; each sample goes over the whole grid.
    seed
        Seed of the sampling.
    resolver
        Completes what was sampled.
    settings
        Resources, retries and concurrency.
    storage_path
        Folder for the engine's own files.
    """

    sweep: SweepTask
    space: SearchSpace
    num_samples: int
    seed: int
    resolver: TrialResolver
    settings: SweepSettings
    storage_path: str


class TrialListener(Protocol):
    """What the sweep wants to hear from an engine; called in the driver's main thread."""

    def trial_started(self, outcome: TrialOutcome) -> None:
        """Hear that an attempt has begun; its status is RUNNING."""

    def trial_died(self, outcome: TrialOutcome, will_retry: bool) -> None:
        """Hear that an attempt ended without a final report, or raised."""

    def trial_finished(self, outcome: TrialOutcome) -> None:
        """Hear that an attempt has reported its end."""


class Engine(Protocol):
    """Executes trials until there are no more or it is told to stop."""

    def run(self, job: EngineJob, listener: TrialListener, should_stop: Callable[[], bool]) -> None:
        """Run all trials of a job on the connected Ray.

        Parameters
        ----------
        job
            The trials.
        listener
            Hears of each trial.
        should_stop
            Asked again and again; once it says yes, running trials are ended and no more begin.
        """
