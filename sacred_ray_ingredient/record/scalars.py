"""Scalars reach the record when they are logged, and not with the next heartbeat."""

from __future__ import annotations

import struct
import time
from typing import Any

from sacred.run import Run

from sacred_ray_ingredient.record.documents import utc_now
from sacred_ray_ingredient.record.observer import RunObserver
from sacred_ray_ingredient.record.points import (
    FLOAT,
    FLOAT_RECORD,
    INT,
    INT_RECORD,
    RECORD_BYTES,
)


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
    points, now = observer.points, time.time
    ways = {float: (FLOAT_RECORD.pack_into, FLOAT), int: (INT_RECORD.pack_into, INT)}

    def log_and_record(metric_name: str, value: Any, step: Any = None) -> None:
        way = ways.get(type(value))
        # Only then is nobody else given what Sacred collects.
        is_alone = run.observers == only_this
        if way is not None and is_alone and (step is None or type(step) is int):
            # As `PointsFile.put` does, but for what is rare: this is called very often.
            given = steps.get(metric_name, -1) + 1 if step is None else step
            if type(metric_name) is str:
                with points.lock:
                    number = points.numbers.get(metric_name)
                    place = points.place
                    if number is not None and place < points.limit:
                        write, kind = way
                        try:
                            write(points.buffer, place, value, given, now(), number, kind)
                        except struct.error:  # a number is too long
                            pass
                        else:
                            points.place = place + RECORD_BYTES
                            steps[metric_name] = given
                            return
            steps[metric_name] = given
        else:
            log_scalar_metric(metric_name, value, step)
        observer.log_scalar(metric_name, value, steps[metric_name], utc_now())

    logger.log_scalar_metric = log_and_record
