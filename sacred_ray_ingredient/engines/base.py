"""What an engine is given and what it tells the sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.cluster.capacity import Autoscaler
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.restart import PlannedTrial, Restart
from sacred_ray_ingredient.sampling import Sample, Sampling
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.stop_rules import StopRule
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import SweepTask, TrialOutcome


@dataclass(frozen=True)
class EngineJob:
    """All that an engine needs for the trials of a sweep.

    Parameters
    ----------
    sweep
        What all trials share.
    sampling
        What is sampled, and how often.
    resolver
        Completes what was sampled.
    settings
        Resources, retries and concurrency.
    storage
        For checkpoints and logs of the trials.
    searcher
        Chooses what is sampled; None for random and grid search.
    scheduler
        Ends and pauses trials; None for first in, first out.
    stop_rules
        End a trial.
    earlier
        Values by dimension and of the metrics, from earlier sweeps, which the searcher is told.
    first_index
        Index of the first trial.
    first_configuration
        Number of the first configuration.
    restart
        Where a sweep goes on that was begun before.
    autoscaler
        What starts nodes for the cluster, if something does.
    """

    sweep: SweepTask
    sampling: Sampling
    resolver: TrialResolver
    settings: SweepSettings
    storage: Storage
    searcher: Choice | None = None
    scheduler: Choice | None = None
    stop_rules: Sequence[StopRule] = ()
    earlier: Sequence[Any] = ()
    first_index: int = 0
    first_configuration: int = 0
    restart: Restart | None = None
    autoscaler: Autoscaler | None = None

    @property
    def is_recorded(self) -> bool:
        """Whether each trial has a document in a database."""
        return self.sweep.target.address is not None and not self.sweep.options.get("--unobserved")

    @property
    def total(self) -> int:
        """Number of trials, or the most that there can be; those that are done among them."""
        total = self.sampling.total(suggested=self.searcher is not None)
        return total if self.restart is None else self.restart.total(total)

    @property
    def name(self) -> str:
        """Name of the engine's own files, unlike that of any other job."""
        number = 0 if self.restart is None else len(self.restart.outer_run_ids)
        again = f"-{number}" if number else ""
        return f"{self.sweep.sweep_id}-{self.first_index}{again}"

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do of a sweep that was begun before."""
        if self.restart is None:
            return False
        if self.searcher is None:
            return next(self.trials(), None) is None
        return not self.restart.suggestions and self.restart.asked >= self.sampling.num_samples

    def trials(self) -> Iterator[PlannedTrial]:
        """Yield the trials that are to be run without a searcher."""
        if self.restart is None:
            for index, sample in enumerate(self.samples(), self.first_index):
                yield PlannedTrial(index, sample)
        else:
            yield from self.restart.trials(self.samples())

    def samples(self) -> Iterator[Sample]:
        """Yield what is sampled without a searcher, numbered as within the sweep."""
        for sample in self.sampling.samples():
            yield replace(sample, configuration=self.first_configuration + sample.configuration)

    @property
    def metric(self) -> str:
        """What trials are compared by; of several metrics the first."""
        return self.settings.metrics[0]

    @property
    def mode(self) -> str:
        """Which way the metric is compared."""
        return self.settings.modes[0]


class TrialListener(Protocol):
    """What the sweep wants to hear from an engine; called in the driver's main thread."""

    def note(self, sentence: str) -> None:
        """Hear of something besides what becomes of trials."""

    def trial_started(self, outcome: TrialOutcome) -> None:
        """Hear that an attempt has begun; its status is RUNNING."""

    def trial_failed(self, outcome: TrialOutcome, will_retry: bool) -> None:
        """Hear that an attempt has reported that it raised; its record is complete."""

    def has_begun(self, outcome: TrialOutcome) -> bool:
        """Tell whether the record knows of an attempt whose worker has died."""

    def trial_died(self, outcome: TrialOutcome, will_retry: bool) -> None:
        """Hear that an attempt ended without a final report, or raised.

        Where the record knows that it had come to its end before, the outcome is changed to say
        so, with its metrics and configuration.
        """

    def trial_finished(self, outcome: TrialOutcome) -> None:
        """Hear that an attempt has reported its end."""


class Engine(Protocol):
    """Executes trials until there are no more or it is told to stop."""

    def run(
        self, job: EngineJob, listener: TrialListener, should_stop: Callable[[], str | None]
    ) -> None:
        """Run all trials of a job on the connected Ray.

        Parameters
        ----------
        job
            The trials.
        listener
            Hears of each trial.
        should_stop
            Asked again and again; once it gives a reason, running trials are ended with it and
            no more begin.
        """
