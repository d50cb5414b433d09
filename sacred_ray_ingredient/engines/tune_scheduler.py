"""Tune's schedulers, which tell the workers why they end or pause a trial."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sacred_ray_ingredient import schedulers
from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.engines.base import EngineJob
from sacred_ray_ingredient.engines.endings import Endings
from sacred_ray_ingredient.metrics import report_name
from sacred_ray_ingredient.nested import flatten, get_path, has_path, unflatten
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.sampling import Sample
from sacred_ray_ingredient.tasks import TASK_KEY, Ending, TrialTask
from sacred_ray_ingredient.values import plain


def make_scheduler(job: EngineJob, endings: Endings) -> TrialScheduler:
    """Make the scheduler of a job.

    Parameters
    ----------
    job
        The trials.
    endings
        Told of each decision.
    """
    choice = job.scheduler
    if choice is None:
        return FIFOScheduler()
    arguments = schedulers.scheduler_arguments(choice)
    mutated: dict[str, Sampler] = {}
    mutates = schedulers.KINDS[choice.name].mutates
    if mutates is not None:
        mutated, _ = schedulers.mutations(choice, job.sampling.space)
        arguments[mutates] = schedulers.nested_mutations(mutated, choice.name)
    base = schedulers.scheduler_class(choice.name)
    announcing: Any = type(f"Announcing{base.__name__}", (_mixin(choice), base), {})
    scheduler: TrialScheduler = announcing(
        metric=report_name(job.metric), mode=job.mode, **arguments
    )
    scheduler.prepare(choice, job, endings, mutated)
    return scheduler


def _mixin(choice: Choice) -> type:
    kind = schedulers.KINDS[choice.name]
    if kind.mutates is not None:
        return _Mutating
    return _Halving if kind.pauses else _Announcing


class _Announcing:
    """Part of each scheduler class: announces decisions, and skips reports without a value."""

    def prepare(
        self, choice: Choice, job: EngineJob, endings: Endings, mutated: Mapping[str, Sampler]
    ) -> None:
        self._choice = choice
        self._endings = endings
        self._job = job
        self._mutated = mutated
        self._needed = (report_name(job.metric), choice.arguments.get("time_attr", "step"))
        # ``max_t`` steps are a full trial, which comes to its own end and returns its result.
        self._full = choice.arguments.get("max_t")

    def on_trial_result(self, controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if any(name not in result for name in self._needed):
            return str(TrialScheduler.CONTINUE)
        time = result[self._needed[1]]
        if self._full is not None and self._choice.name == "asha" and time >= self._full:
            decision = TrialScheduler.CONTINUE if time == self._full else TrialScheduler.STOP
        else:
            decision = super().on_trial_result(controller, trial, result)  # type: ignore[misc]
        if decision == TrialScheduler.STOP:
            self._announce(trial, Ending("stop", self._reason(result)))
        elif decision == TrialScheduler.PAUSE:
            self._pause(trial, result)
        return str(decision)

    def on_trial_complete(self, controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        is_median = self._choice.name == "median_stopping"
        if is_median and any(name not in result for name in self._needed):
            return  # it takes the last report for one with a value
        super().on_trial_complete(controller, trial, result)  # type: ignore[misc]

    def _announce(self, trial: Trial, ending: Ending) -> None:
        task = TrialTask.from_config(trial.config)
        self._endings.announce(trial.trial_id, task, ending)

    def _reason(self, result: Mapping[str, Any], verb: str = "stopped") -> str:
        metric, time = self._needed
        value, at = result.get(metric), result.get(time)
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        return f"{verb} by {self._choice.name} at {time}={at} with {self._job.metric}={shown}"

    def _pause(self, trial: Trial, result: Mapping[str, Any]) -> None:
        self._announce(trial, Ending("pause", self._reason(result, "paused")))
        task = trial.config[TASK_KEY]
        segment = self._endings.starts(trial)
        again = {**task, "segment": segment, "taken_over": None}
        trial.set_config({**trial.config, TASK_KEY: again})


class _Halving(_Announcing):
    """Part of the schedulers that let trials wait for each other, and stop the worse of them."""

    def wake(self, controller: Any) -> None:
        """Compare trials that all wait, the last one that ran having ended without a report.

        Tune's own classes do it then for the first comparison of these trials only.
        """
        scheduler: Any = self
        for bracket in [bracket for band in scheduler._hyperbands for bracket in band if bracket]:
            if any(trial.status == Trial.PAUSED for trial in bracket.current_trials()):
                scheduler._process_bracket(controller, bracket)


class _Mutating(_Announcing):
    """Part of the schedulers that change parameters: the trial stays itself, and is resolved."""

    _is_waking = False

    def wake(self, controller: Any) -> None:
        """Compare trials that all wait, the last one that ran having ended without a report.

        Tune's own class does it where a trial reports only. So one that waits reports once more;
        where it is too early for that one to be compared, all go on to the next time.
        """
        scheduler: Any = self
        if not scheduler._synch:
            return
        states = scheduler._trial_state
        waiting = [trial for trial in controller.get_live_trials() if trial.status == Trial.PAUSED]
        times = {trial: states[trial].last_train_time for trial in waiting}
        since = {trial: times[trial] - states[trial].last_perturbation_time for trial in waiting}
        longest = max(waiting, key=since.__getitem__)
        due = scheduler._next_perturbation_sync
        result = states[longest].last_result
        if result is not None:
            self._is_waking = True
            try:
                super().on_trial_result(controller, longest, result)
            finally:
                self._is_waking = False
        if scheduler._next_perturbation_sync == due:
            interval = scheduler._perturbation_interval
            scheduler._next_perturbation_sync = max(times.values()) + interval

    def _save_trial_state(
        self, state: Any, time: float, result: dict[str, Any], trial: Trial
    ) -> Any:
        if self._is_waking:  # it is known already
            return state.last_score
        return super()._save_trial_state(state, time, result, trial)  # type: ignore[misc]

    def _get_new_config(self, trial: Trial, donor: Trial) -> Any:
        """Explore from the donor's parameters; dependent ones are computed again."""
        with warnings.catch_warnings():
            # PB2's model of four trials tells at length that it is not sure.
            warnings.simplefilter("ignore")
            explored = super()._get_new_config(trial, donor)  # type: ignore[misc]
        # PB2 returns the config and nothing beside in some releases.
        config, operations = explored if isinstance(explored, tuple) else (explored, {})
        own, taken_over = TrialTask.from_config(trial.config), TrialTask.from_config(donor.config)
        sampled = flatten(taken_over.sampled)
        for path, sampler in self._mutated.items():
            if path in sampled and has_path(config, path):
                sampled[path] = _within(plain(get_path(config, path)), sampler)
        seed = get_path(own.sampled, "seed", None)
        if seed is not None:
            sampled["seed"] = seed
        task = self._job.resolver.complete(
            own.index,
            Sample(
                sampled=unflatten(sampled),
                configuration=own.configuration,
                repetition=own.repetition,
                named_configs=tuple(taken_over.named_configs),
            ),
        )
        reason = f"takes over trial {taken_over.index}, decided by {self._choice.name}"
        if trial.status == Trial.RUNNING:
            # It is paused next, and its worker must know before it feels it.
            self._announce(trial, Ending("pause", reason))
        task = dataclasses.replace(
            task, attempt=own.attempt, segment=self._endings.starts(trial), taken_over=reason
        )
        return task.to_config(), operations


def _within(value: Any, sampler: Sampler) -> Any:
    """Return the value nearest to an explored one that the sampler can give."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if sampler.values() is not None or not is_number:
        return value
    least, greatest = sampler.quantile(0.0), sampler.quantile(1.0)
    is_whole = sampler.name.endswith("randint")
    step = sampler.arguments.get("q", 1 if is_whole else None)
    nearest = min(max(value, least), greatest)
    if step is not None:
        nearest = min(max(round(nearest / step) * step, least), greatest)
    return int(nearest) if is_whole else float(nearest)
