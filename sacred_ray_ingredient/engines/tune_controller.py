"""Tune's event loop, without the work per trial that a recorded sweep has no use for.

Tune looks after each trial as if it were the only account of it: it writes all trials into files
again and again, keeps them in memory for a table at the end, and asks Ray anew for resources that
it gives back a moment later. A sweep is resumed from its record and tells its own table, so this
is left out here. All that is left out is left out by overriding methods of Tune's own classes; a
release of Ray that has other ones does the work as before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ray.air.execution import PlacementGroupResourceManager, ResourceRequest
from ray.air.execution._internal import TrackedActor
from ray.exceptions import RayActorError
from ray.tune.callback import Callback
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.result import TRIAL_ID
from ray.tune.schedulers import TrialScheduler
from ray.tune.search.search_algorithm import SearchAlgorithm

from sacred_ray_ingredient.engines.node_loss import FREE_LOSSES, node_was_lost

# A step that begins when all trials wait lets the scheduler choose one of them.
_IDLE_STEPS = 2


class SweepTrial(Trial):
    """A trial that knows its trainable, and keeps nothing of its results but the last.

    Parameters
    ----------
    trainable
        Tune's class of it; otherwise it is fetched from Ray's store and unpickled several times
        for each trial.
    resources
        What the trial asks for; the same object for all trials, so that they are alike at a
        glance.
    **arguments
        Tune's own.
    """

    def __init__(self, trainable: type, resources: PlacementGroupFactory, **arguments: Any) -> None:
        self._trainable = trainable
        # Of the last error, and of all.
        self.node_lost = False
        self._node_losses = 0
        # A "stub" is not looked up in Ray's store; nothing else is different about it.
        super().__init__(placement_group_factory=resources, stub=True, **arguments)

    def get_trainable_cls(self) -> type:
        """Return the class of the trainable."""
        return self._trainable

    @property
    def last_result(self) -> dict[str, Any]:
        """The last result; nothing before the first."""
        result: dict[str, Any] = self.run_metadata.last_result
        result.setdefault(TRIAL_ID, self.trial_id)
        return result

    def handle_error(self, exc: Any = None) -> None:
        """Count an error as a failure of the trial, unless it is that its node was lost."""
        before = self.run_metadata.num_failures
        is_death = isinstance(exc, RayActorError)
        self.node_lost = is_death and node_was_lost(str(exc), exc.actor_id)
        super().handle_error(exc)
        if self.node_lost:
            self._node_losses += 1
            self.run_metadata.num_failures = before + (self._node_losses > FREE_LOSSES)

    def set_ray_actor(self, ray_actor: Any) -> None:
        """Note what runs the trial, which Tune would ask for a first result each time."""
        self.temporary_state.ray_actor = ray_actor

    def init_local_path(self) -> None:
        """Make the folder of the trial, once."""
        if self.relative_logdir is None:
            super().init_local_path()

    def update_last_result(self, result: dict[str, Any]) -> None:
        """Keep a result; Tune would keep running means of all its numbers besides."""
        self.run_metadata.last_result = result


class PlacementGroupPool(PlacementGroupResourceManager):
    """Gives resources that were asked for and not needed to the next that asks for the same.

    Tune asks for the resources of a waiting trial, and takes that back when the process of an
    ended trial can be used instead, which is nearly always.

    Parameters
    ----------
    most
        How many requests are kept.
    update_interval_s
        As Ray's class has it.
    """

    def __init__(self, most: int = 0, update_interval_s: float = 0.1) -> None:
        super().__init__(update_interval_s=update_interval_s)
        self._most = most
        self._spare: Counter[ResourceRequest] = Counter()

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Ask for resources, unless some are left over."""
        if self._spare[resource_request]:
            self._spare[resource_request] -= 1
        else:
            super().request_resources(resource_request)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Keep what was asked for, for the next."""
        if self._spare[resource_request] < self._most:
            self._spare[resource_request] += 1
        else:
            super().cancel_resource_request(resource_request)

    def release(self) -> None:
        """Give back what is left over, and keep nothing from now on."""
        self._most = 0
        spare, self._spare = self._spare, Counter()
        for resource_request in spare.elements():
            super().cancel_resource_request(resource_request)


class SweepController(TuneController):
    """Tune's event loop for a sweep that is recorded elsewhere.

    Parameters
    ----------
    experiment
        What is run, and where its files are.
    search_alg, scheduler, callbacks
        As Tune has them.
    at_once
        How many trials can run at once, as far as is known; so many worker processes are kept
        for the trials to come.
    forgets
        Whether trials that have ended are taken from Tune's list, over which schedulers go again
        and again. Not for those that look at trials that have ended.
    has_ended
        Whether a trial has sent its last report or was told that it ends.
    """

    def __init__(
        self,
        experiment: Experiment,
        search_alg: SearchAlgorithm,
        scheduler: TrialScheduler,
        callbacks: Sequence[Callback],
        at_once: int = 1,
        forgets: bool = True,
        has_ended: Callable[[Trial], bool] = lambda trial: True,
    ) -> None:
        self._pool = PlacementGroupPool(at_once)
        super().__init__(
            search_alg=search_alg,
            scheduler=scheduler,
            stopper=experiment.stopper,
            callbacks=list(callbacks),
            trial_checkpoint_config=experiment.checkpoint_config,
            storage=experiment.storage,
            reuse_actors=True,
            resource_manager_factory=lambda: self._pool,
        )
        self._forgets = forgets
        self._kept = at_once
        self._has_ended = has_ended
        # Processes that start for no trial, with their resources.
        self._spare: dict[TrackedActor, ResourceRequest] = {}
        self._idle_steps = 0
        self._wrapper = super()._wrapped()

    def _wrapped(self) -> Any:
        return self._wrapper

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Write nothing: a sweep goes on from its record."""

    def _mark_trial_to_checkpoint(self, trial: Trial) -> None:
        """Note nothing; see `checkpoint`."""

    def step(self) -> None:
        """Handle one event; where none can come any more, let paused trials go on."""
        super().step()
        # Tune leaves trials that failed among the live ones, for which others would wait.
        self._live_trials -= self._failed_trials
        if self._forgets:
            self._forget_ended()
        if self._search_alg.is_finished():
            self._pool.release()
        self._wake_paused()

    def _wake_paused(self) -> None:
        """Let paused trials go on where all wait, and nothing is left that they can wait for.

        Some schedulers look at paused trials when another one reports, and not when it ends.
        """
        if not self._paused_trials or self._running_trials or self._pending_trials:
            self._idle_steps = 0
            return
        self._idle_steps += 1
        # The scheduler has chosen none of them in between, and the searcher has made no other.
        if self._idle_steps == _IDLE_STEPS:
            wake = getattr(self._scheduler_alg, "wake", None)
            if wake is not None:
                wake(self._wrapped())
        elif self._idle_steps == 2 * _IDLE_STEPS:
            for trial in [trial for trial in self._trials if trial in self._paused_trials]:
                self._set_trial_status(trial, Trial.PENDING)

    def _forget_ended(self) -> None:
        ended = self._stopped_trials | self._failed_trials
        if ended:
            self._trials: list[Trial] = [trial for trial in self._trials if trial not in ended]
            self._live_trials -= ended
            self._stopped_trials.clear()
            self._failed_trials.clear()

    def add_trial(self, trial: Trial) -> None:
        """Take a trial, and with the first make room for the processes that are kept.

        By itself Tune keeps the process of an ended trial where another one waits for it already.
        Where the next comes a moment later, as it does with a searcher, a new process would have
        to start, which takes a second.
        """
        super().add_trial(trial)
        if self._kept:
            self._actor_cache.increase_max(trial.placement_group_factory, self._kept)
            self._kept = 0

    def _execute_action(self, trial: Trial, decision: str, after_save: bool = False) -> None:
        """Do what was decided; a trial that nothing has ended goes on."""
        if decision == TrialScheduler.STOP and not self._has_ended(trial):
            decision = TrialScheduler.CONTINUE
        super()._execute_action(trial, decision, after_save=after_save)

    def _schedule_trial_stop(self, trial: Trial, exception: Exception | None = None) -> None:
        """Take a trial from its process.

        Of a trial that is being saved Tune notes that it is to be stopped after that, and does it
        at once all the same. The note would end a trial that was paused when it is saved next.
        """
        super()._schedule_trial_stop(trial, exception=exception)
        self._cached_trial_decisions.pop(trial.trial_id, None)

    def _maybe_cache_trial_actor(self, trial: Trial) -> bool:
        """Keep the process of a trial that has ended or is paused.

        Tune ends it where no other trial waits for it just then and no more are to come, even if
        the trial itself is to go on. What nobody needs is ended after the event.
        """
        tracked_actor = self._trial_to_actor[trial]
        if not self._keep(tracked_actor, trial.placement_group_factory):
            return False
        del self._trial_to_actor[trial], self._actor_to_trial[tracked_actor]
        trial.set_ray_actor(None)
        return True

    def _keep(self, tracked_actor: TrackedActor, resources: ResourceRequest) -> bool:
        has_started = tracked_actor in self._started_actors
        is_usable = has_started and self._actor_manager.is_actor_started(tracked_actor)
        return is_usable and self._actor_cache.cache_object(resources, tracked_actor)

    def _cleanup_cached_actors(self, force_all: bool = False) -> None:
        # When no more trials come, and none that was paused, no process is kept for them.
        is_over = self._search_alg.is_finished() and not (
            self._pending_trials or self._paused_trials
        )
        super()._cleanup_cached_actors(force_all=force_all or is_over)
        if force_all or is_over:
            for tracked_actor in self._spare:
                self._actor_manager.remove_actor(tracked_actor, kill=True)
            self._spare.clear()

    def _maybe_reuse_cached_actor(self, trial: Trial) -> bool:
        """Give a trial a process that is free.

        Where its own is starting already, Tune ends that one. With trials that are shorter than
        the start of a process, as many as can run at once would never be there. So it is left to
        start for the next.
        """
        resources = trial.placement_group_factory
        is_free = self._actor_cache.has_cached_object(resources)
        own = self._trial_to_actor.get(trial)
        if is_free and trial not in self._resetting_trials and self._is_starting(own):
            del self._trial_to_actor[trial], self._actor_to_trial[own]
            self._spare[own] = resources
        reused: bool = super()._maybe_reuse_cached_actor(trial)
        return reused

    def _schedule_trial_actor(self, trial: Trial) -> None:
        """Ask for a process for a trial, unless one starts that nobody waits for."""
        resources = trial.placement_group_factory
        is_free = self._actor_cache.has_cached_object(resources)
        starting = self._starting_for_nobody(resources)
        # The trial itself is among those without.
        if is_free or not starting or len(self._without_process(resources)) > starting:
            super()._schedule_trial_actor(trial)
        else:
            trial.init_local_path()

    def _starting_for_nobody(self, resources: ResourceRequest) -> int:
        return sum(each == resources for each in self._spare.values())

    def _without_process(self, resources: ResourceRequest) -> list[Trial]:
        return [
            trial
            for trial in self._staged_trials
            if trial not in self._trial_to_actor and trial.placement_group_factory == resources
        ]

    def _is_starting(self, tracked_actor: TrackedActor | None) -> bool:
        return (
            tracked_actor in self._actor_manager._live_actors_to_ray_actors_resources
            and tracked_actor not in self._started_actors
        )

    def _actor_started(self, tracked_actor: TrackedActor, log: str = "STARTED") -> None:
        """Begin the trial of a process that has started, or keep it for the next."""
        if tracked_actor not in self._spare:
            super()._actor_started(tracked_actor, log=log)
            return
        resources = self._spare.pop(tracked_actor)
        self._started_actors.add(tracked_actor)
        if not self._keep(tracked_actor, resources):
            self._remove_actor(tracked_actor)

    def _actor_failed(self, tracked_actor: TrackedActor, exception: Exception) -> None:
        """Let the trial of a process fail that has died; in place of one without, ask anew."""
        resources = self._spare.pop(tracked_actor, None)
        if resources is None:
            super()._actor_failed(tracked_actor, exception)
            return
        without = self._without_process(resources)
        if len(without) > self._starting_for_nobody(resources):
            super()._schedule_trial_actor(without[0])

    def _remove_actor(self, tracked_actor: TrackedActor) -> None:
        if self._actor_manager.is_actor_started(tracked_actor):
            super()._remove_actor(tracked_actor)
        else:
            # Never started, as a trial got the process of another: there is nothing to end, and
            # what Tune would tell it is kept for ever.
            self._actor_manager.remove_actor(tracked_actor)


def run_experiment(
    controller: SweepController, experiment: Experiment, max_pending: int | None = None
) -> None:
    """Run an experiment to its end, as ``tune.run`` does.

    Not that function, nor ``tune.Tuner``, which look for files of each trial at the end, for a
    table that nobody asks for.

    Parameters
    ----------
    controller
        The event loop.
    experiment
        What is run.
    max_pending
        How many trials are made ready while others run; None for Tune's own number.
    """
    search_alg, scheduler = controller.search_alg, controller.scheduler_alg
    scheduler.set_search_properties(None, None, **experiment.public_spec)
    search_alg.add_configurations([experiment])
    controller.update_max_pending_trials(max_pending)
    controller.setup_experiments([experiment], total_num_samples=search_alg.total_samples)
    try:
        while not controller.is_finished():
            controller.step()
    except Exception:
        controller.cleanup()
        raise
    controller.cleanup()
