"""From planned trials to Tune's, completed by dependent parameters and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ray.tune.experiment import Experiment, Trial
from ray.tune.registry import get_trainable_cls
from ray.tune.search.basic_variant import BasicVariantGenerator

from sacred_ray_ingredient.engines.tune_controller import SweepTrial
from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.restart import PlannedTrial


class TrialMaker:
    """Makes Tune's trials, which get what the resolver completes and nothing of Tune's own.

    Parameters
    ----------
    experiments
        What Tune gives to its search algorithms.
    resolver
        Completes samples.
    """

    def __init__(self, experiments: Any, resolver: TrialResolver) -> None:
        spec = _only(experiments).spec
        self._name = spec["run"]
        self._trainable = get_trainable_cls(self._name)
        self._resources = spec["resources_per_trial"]
        self._max_failures = spec["max_failures"]
        self._storage = spec["storage"]
        self._checkpoint_config = spec["checkpoint_config"]
        self._resolver = resolver

    def make(self, trial_id: str, planned: PlannedTrial) -> Trial:
        """Make a trial.

        Parameters
        ----------
        trial_id
            Tune's name for it.
        planned
            What was sampled, and which try it is.
        """
        task = self._resolver.complete(planned.index, planned.sample)
        task = dataclasses.replace(task, attempt=planned.attempt, restore_from=planned.restore_from)
        return SweepTrial(
            self._trainable,
            self._resources,
            trainable_name=self._name,
            config=task.to_config(),
            evaluated_params=flatten(task.parameters()),
            trial_id=trial_id,
            experiment_tag=str(planned.index),
            storage=self._storage,
            checkpoint_config=self._checkpoint_config,
            max_failures=self._max_failures,
        )


class ResolvingGenerator(BasicVariantGenerator):
    """Random and grid search: makes a trial of each sample when Tune wants one.

    A subclass, since Tune asks for this very class when it decides how many trials to prepare.

    Parameters
    ----------
    trials
        What is to be run, in this order.
    total
        How many there are, or the most that there can be.
    resolver
        Completes samples.
    max_concurrent
        Most trials at once; 0 for as many as the resources allow.
    """

    def __init__(
        self,
        trials: Iterator[PlannedTrial],
        total: int,
        resolver: TrialResolver,
        max_concurrent: int = 0,
    ) -> None:
        super().__init__(max_concurrent=max_concurrent)
        self._trials_left = trials
        self._total_samples = total
        self._resolver = resolver
        self._made = 0
        self._maker: TrialMaker | None = None

    def add_configurations(self, experiments: Any) -> None:
        """Take from Tune what its trials need besides their parameters."""
        self._maker = TrialMaker(experiments, self._resolver)

    def next_trial(self) -> Trial | None:
        """Return the next trial; None where there is none, or none yet."""
        full = 0 < self.max_concurrent <= len(self._live_trials)
        if self._maker is None or full or self.is_finished():
            return None
        planned = next(self._trials_left, None)
        if planned is None:
            self.set_finished()
            return None
        trial = self._maker.make(f"{self._uuid_prefix}{planned.index:05d}", planned)
        self._made += 1
        self._live_trials.add(trial.trial_id)
        return trial

    def is_finished(self) -> bool:
        """Tell whether there will be no more trials."""
        return self._finished or self._made >= self._total_samples

    def get_state(self) -> bool:
        """Keep no state in Tune's files: the record in MongoDB is the state of a sweep."""
        return False

    def save_to_dir(self, dirpath: str, session_str: str) -> bool:
        """Write nothing; see `get_state`."""
        return False


def _only(experiments: Any) -> Experiment:
    return experiments[0] if isinstance(experiments, list) else experiments
