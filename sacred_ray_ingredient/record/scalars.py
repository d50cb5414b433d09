"""Scalars reach the record when they are logged, and not with the next heartbeat."""

from __future__ import annotations

from typing import Any

from sacred.run import Run

from sacred_ray_ingredient.record.documents import utc_now
from sacred_ray_ingredient.record.observer import RunObserver


def hook_scalars(run: Run, observer: RunObserver) -> None:
    """Let each logged scalar reach the observer at once, where Sacred collects them for seconds.

    Parameters
    ----------
    run
        A run that has not started.
    observer
        Its observer.
    """
    logger = run._metrics
    log_scalar_metric = logger.log_scalar_metric
    steps = logger._metric_step_counter
    only_this = [observer]

    def log_and_record(metric_name: str, value: Any, step: Any = None) -> None:
        is_plain = type(value) is float and (step is None or type(step) is int)
        if is_plain and run.observers == only_this:  # nobody else is given what Sacred collects
            steps[metric_name] = steps.get(metric_name, -1) + 1 if step is None else step
        else:
            log_scalar_metric(metric_name, value, step)
        observer.log_scalar(metric_name, value, steps[metric_name], utc_now())

    logger.log_scalar_metric = log_and_record
