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

    def log_and_record(metric_name: str, value: Any, step: Any = None) -> None:
        log_scalar_metric(metric_name, value, step)
        taken = logger._metric_step_counter[metric_name]
        observer.log_scalar(metric_name, value, taken, utc_now())

    logger.log_scalar_metric = log_and_record
