"""The ``tune`` engine: trials as Ray Tune runs them, on reused worker processes."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ray import tune
from ray.exceptions import RayActorError
from ray.tune.callback import Callback
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper

from sacred_ray_ingredient.engines.base import EngineJob, TrialListener
from sacred_ray_ingredient.engines.tune_search import ResolvingGenerator
from sacred_ray_ingredient.engines.tune_worker import make_trainable
from sacred_ray_ingredient.metrics import reported_metrics
from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.tasks import TASK_KEY, TrialOutcome, TrialTask

# Read by Tune on the driver; the record is MongoDB, so Tune's own loggers only cost time.
_DRIVER_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class TuneEngine:
    """Runs trials with Ray Tune; see `sacred_ray_ingredient.engines.base.Engine`."""

    def run(self, job: EngineJob, listener: TrialListener, should_stop: Callable[[], bool]) -> None:
        """Run all trials of a job on the connected Ray."""
        settings = job.settings
        with _environment(_DRIVER_ENVIRONMENT), _quiet_tune():
            # Not tune.Tuner, which writes all it is given to a file for a later restore; a sweep
            # is resumed from its record.
            tune.run(
                make_trainable(job.sweep),
                name=job.sweep.sweep_id,
                config=job.space.param_space(),
                num_samples=job.num_samples,
                search_alg=ResolvingGenerator(
                    job.resolver, job.seed, settings.max_concurrent_trials or 0
                ),
                resources_per_trial=dict(settings.resources_per_trial),
                max_failures=settings.max_failures,
                reuse_actors=True,
                stop=_StopOnRequest(should_stop),
                callbacks=[_ToListener(listener)],
                storage_path=job.storage_path,
                raise_on_failed_trial=False,
                verbose=0,
            )


class _StopOnRequest(Stopper):
    """Lets the sweep end all trials; Tune asks after every event."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._should_stop()

    def __getstate__(self) -> dict[str, Any]:
        # Tune's snapshots hold the stopper; the sweep that it asks cannot be put into a file.
        return {"_should_stop": _never}


def _never() -> bool:
    return False


class _ToListener(Callback):
    """Translates Tune's events of trials for the sweep."""

    def __init__(self, listener: TrialListener) -> None:
        self._listener = listener

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._listener.trial_started(_outcome(trial, "RUNNING", {}))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        result = _result_of_attempt(trial)
        self._listener.trial_finished(_outcome(trial, result.get("status", "RUNNING"), result))

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._died(trial, will_retry=True)
        task = TrialTask.from_config(trial.config)
        again = {**trial.config[TASK_KEY], "attempt": task.attempt + 1}
        trial.set_config({**trial.config, TASK_KEY: again})

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._died(trial, will_retry=False)

    def _died(self, trial: Trial, will_retry: bool) -> None:
        result = _result_of_attempt(trial)
        outcome = _outcome(trial, result.get("status", "RUNNING"), result)
        if outcome.status == "RUNNING":  # without a final report
            outcome.status = "FAILED"
            outcome.error = _why(trial)
        self._listener.trial_died(outcome, will_retry)


def _result_of_attempt(trial: Trial) -> Mapping[str, Any]:
    """Return the last report of the current attempt; Tune keeps that of an earlier one."""
    result: Mapping[str, Any] = trial.last_result or {}
    task = TrialTask.from_config(trial.config)
    return result if result.get("attempt") == task.attempt else {}


def _why(trial: Trial) -> str:
    error = trial.get_error()
    if error is None or isinstance(error, RayActorError):
        return "the worker process died"
    return str(error).strip().rpartition("\n")[2]


def _outcome(trial: Trial, status: str, result: Mapping[str, Any]) -> TrialOutcome:
    task = TrialTask.from_config(trial.config)
    parameters = {**flatten(task.sampled), **flatten(task.resolved)}
    return TrialOutcome(
        index=task.index,
        attempt=task.attempt,
        status=status,
        parameters=parameters,
        seed=task.seed,
        run_id=result.get("run_id"),
        metrics=reported_metrics(result),
        error=result.get("error"),
        config=result.get("run_config"),
    )


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that the user has not set, for a while."""
    added = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    """Keep Tune's own accounts of what the sweep tells in its own words from the terminal."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
