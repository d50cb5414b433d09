"""The ``tune`` engine: trials as Ray Tune runs them, on reused worker processes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ray.tune.callback import Callback
from ray.tune.error import TuneError
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper

from sacred_ray_ingredient.cluster.ray_client import staging_folder
from sacred_ray_ingredient.cluster.resources import TrialResources, read_resources
from sacred_ray_ingredient.engines.base import EngineJob, TrialListener
from sacred_ray_ingredient.engines.deaths import deaths_of_single_trials, why
from sacred_ray_ingredient.engines.endings import Endings, result_of_attempt
from sacred_ray_ingredient.engines.tune_controller import SweepController, run_experiment
from sacred_ray_ingredient.engines.tune_registry import own_registry
from sacred_ray_ingredient.engines.tune_scheduler import make_scheduler
from sacred_ray_ingredient.engines.tune_search import make_generator, trials_at_once
from sacred_ray_ingredient.engines.tune_storage import SweepExperiment
from sacred_ray_ingredient.engines.tune_worker import make_trainable
from sacred_ray_ingredient.errors import SweepFailed
from sacred_ray_ingredient.metrics import report_name, reported_metrics
from sacred_ray_ingredient.schedulers import KINDS
from sacred_ray_ingredient.stop_rules import reason_to_stop
from sacred_ray_ingredient.tasks import TASK_KEY, Ending, TrialOutcome, TrialTask

# Read by Tune on the driver; the record is MongoDB, so Tune's own loggers only cost time.
_DRIVER_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # A metric need not be logged at every step.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}

_PENDING_AT_LEAST = 4
_ENDED_BY_TUNE = "Ray Tune ended it before its last report, which nothing here had decided"


class TuneEngine:
    """Runs trials with Ray Tune; see `sacred_ray_ingredient.engines.base.Engine`."""

    def run(
        self, job: EngineJob, listener: TrialListener, should_stop: Callable[[], str | None]
    ) -> None:
        """Run all trials of a job on the connected Ray."""
        settings = job.settings
        endings = Endings(job.sweep.sweep_id)
        with _environment(_DRIVER_ENVIRONMENT), _quiet_tune(), deaths_of_single_trials(), _apart():
            try:
                experiment = SweepExperiment(
                    job.name,
                    make_trainable(job.sweep, job.storage.of_job(job.name)),
                    config={},
                    num_samples=job.total,
                    resources_per_trial=_placement(read_resources(settings.resources_per_trial)),
                    max_failures=settings.max_failures,
                    stop=_StopByRule(job, endings, should_stop),
                    # Of Tune's own, in which nothing is written.
                    storage_path=tempfile.gettempdir(),
                )
                at_once = trials_at_once(settings, job.autoscaler)
                controller = SweepController(
                    experiment,
                    make_generator(job),
                    make_scheduler(job, endings),
                    [_ToListener(job, listener, endings)],
                    at_once,
                    forgets=job.scheduler is None or KINDS[job.scheduler.name].mutates is None,
                    has_ended=endings.has_ended,
                )
                run_experiment(controller, experiment, _most_pending(job, at_once))
            except TuneError as error:
                # The text is a stack trace, whose last line says what is wrong.
                last_line = str(error).strip().rpartition("\n")[2]
                sentence = re.sub(r"^[\w.]*Error: ", "", last_line)
                raise SweepFailed(f"Ray Tune ended the search: {sentence}") from error
            finally:
                endings.clear()


def _placement(resources: TrialResources) -> PlacementGroupFactory:
    return PlacementGroupFactory([dict(bundle) for bundle in resources.group], resources.strategy)


def _most_pending(job: EngineJob, at_once: int) -> int | None:
    """Return how many trials are made ready while others run; None for Tune's own number.

    With each event Tune looks at all that it has asked Ray for, by default for 200 trials. As
    many as can end at once are enough, and some more that let a cluster grow.
    """
    if "TUNE_MAX_PENDING_TRIALS_PG" in os.environ or job.searcher is not None:
        return None
    pauses = job.scheduler is not None and KINDS[job.scheduler.name].pauses
    return None if pauses else 2 * at_once + _PENDING_AT_LEAST


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Keep Tune's own things off the cluster."""
    with own_registry(), staging_folder():
        yield


class _StopByRule(Stopper):
    """Ends trials by the rules of ``ray.stop``, and all of them when the sweep says so."""

    def __init__(
        self, job: EngineJob, endings: Endings, should_stop: Callable[[], str | None]
    ) -> None:
        self._rules = job.stop_rules
        self._endings = endings
        self._should_stop = should_stop
        self._is_over = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if result.get("status") != "RUNNING":
            return False
        reason = reason_to_stop(self._rules, trial_id, result)
        if reason is None:
            return False
        ending = Ending("stop", reason)
        self._endings.announce(trial_id, TrialTask.from_config(result["config"]), ending)
        return True

    def stop_all(self) -> bool:
        reason = self._should_stop()
        if reason is not None and not self._is_over:
            self._is_over = True
            self._endings.announce_to_all(reason)
        return reason is not None

    def __getstate__(self) -> dict[str, Any]:
        # Tune's snapshots hold the stopper; the sweep that it asks cannot be put into a file.
        return {"_rules": [], "_endings": None, "_should_stop": _never, "_is_over": True}


def _never() -> None:
    return None


class _ToListener(Callback):
    """Translates Tune's events of trials for the sweep."""

    def __init__(self, job: EngineJob, listener: TrialListener, endings: Endings) -> None:
        self._listener = listener
        self._endings = endings
        self._compared_by = None if job.scheduler is None else report_name(job.metric)
        self._compared: set[str] = set()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if self._compared_by in result and result.get("status") == "RUNNING":
            self._compared.add(trial.trial_id)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._endings.started(trial)
        self._listener.trial_started(_outcome(trial, "RUNNING", {}))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        result = result_of_attempt(trial)
        outcome = _outcome(trial, result.get("status", "RUNNING"), result)
        ending = self._endings.ending(trial)
        if outcome.status == "RUNNING" and ending is not None:
            outcome.status, outcome.stop_reason = ending.status, ending.reason
            if ending.kind == "pause":
                outcome.stop_reason = f"not continued after it was {ending.reason}"
        elif outcome.status == "RUNNING":
            outcome.status, outcome.error = "INTERRUPTED", _ENDED_BY_TUNE
        is_silent = self._compared_by is not None and trial.trial_id not in self._compared
        outcome.was_compared = not is_silent
        self._listener.trial_finished(outcome)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        outcome = self._died(trial, will_retry=True)
        again = dict(trial.config[TASK_KEY])
        if outcome.status == "COMPLETED":  # Tune runs it again, and the worker says so at once
            again["reported"] = _last_report(outcome)
        else:
            again |= {"attempt": outcome.attempt + 1, "segment": 0, "taken_over": None}
        trial.set_config({**trial.config, TASK_KEY: again})

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._died(trial, will_retry=False)

    def _died(self, trial: Trial, will_retry: bool) -> TrialOutcome:
        result = result_of_attempt(trial)
        outcome = _outcome(trial, result.get("status", "RUNNING"), result)
        if outcome.status == "RUNNING":  # without a final report
            outcome.status = "FAILED"
            outcome.error = why(trial)
            outcome.node_lost = getattr(trial, "node_lost", False)
        self._listener.trial_died(outcome, will_retry)
        return outcome


def _last_report(outcome: TrialOutcome) -> dict[str, Any]:
    """Return what the worker of a trial would have reported at its end."""
    return {
        **{report_name(name): value for name, value in outcome.metrics.items()},
        "run_id": outcome.run_id,
        "attempt": outcome.attempt,
        "status": outcome.status,
        "run_config": outcome.config,
    }


def _outcome(trial: Trial, status: str, result: Mapping[str, Any]) -> TrialOutcome:
    task = TrialTask.from_config(trial.config)
    return TrialOutcome(
        index=task.index,
        attempt=task.attempt,
        status=status,
        parameters=task.shown(),
        seed=task.seed,
        run_id=result.get("run_id"),
        metrics=reported_metrics(result),
        error=result.get("error"),
        config=result.get("run_config"),
        segment=task.segment,
        configuration=task.configuration,
        sampled=task.sampled,
        named_configs=task.named_configs,
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
