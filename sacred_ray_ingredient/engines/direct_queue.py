"""What the ``direct`` engine has to run, in its order, and in batches of which size."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.restart import PlannedTrial
from sacred_ray_ingredient.tasks import TrialTask

# So many trials are made ahead at most: their run ids are reserved with one request.
_MOST_AHEAD = 512
# Seconds that a batch shall take: long against the milliseconds that it costs to hand it out.
_BATCH_S = 0.25
_MOST_IN_BATCH = 200
# So many trials for each worker are far from the end, unless they are as long as this.
_FAR, _LONG_S = 4, 10.0
# Share of the newest batch in the mean time of a trial.
_NEWEST = 0.3


class TaskQueue:
    """The trials of a job that have not been handed out.

    Parameters
    ----------
    planned
        All of them, in their order.
    resolver
        Completes samples.
    reserve_ids
        Returns as many run ids as are asked for, or None.
    ahead
        How many trials are made ahead at first; later more.
    """

    def __init__(
        self,
        planned: Iterator[PlannedTrial],
        resolver: TrialResolver,
        reserve_ids: Callable[[int], Sequence[int] | None],
        ahead: int = 1,
    ) -> None:
        self._planned = planned
        self._resolver = resolver
        self._reserve_ids = reserve_ids
        self._ahead = max(ahead, 1)
        self._ready: deque[TrialTask] = deque()
        self._is_over = False
        self._failure: Exception | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left; makes trials ahead to find out.

        Raises
        ------
        ResolverError
            If the next trial cannot be made.
        """
        self._make_ahead()
        return not self._ready

    def take(self, count: int) -> list[TrialTask]:
        """Take the next trials, at most so many.

        Raises
        ------
        ResolverError
            If the next trial cannot be made.
        """
        self._make_ahead()
        return [self._ready.popleft() for _ in range(min(count, len(self._ready)))]

    def put_back(self, tasks: Sequence[TrialTask]) -> None:
        """Let trials be the next again."""
        self._ready.extendleft(reversed(tasks))

    def _make_ahead(self) -> None:
        if self._ready or self._is_over:
            return
        if self._failure is not None:
            raise self._failure
        tasks: list[TrialTask] = []
        try:
            for planned in itertools.islice(self._planned, self._ahead):
                tasks.append(self._make(planned))
        except Exception as error:
            if not tasks:
                raise
            self._failure = error  # those before it are run first
        self._is_over = len(tasks) < self._ahead and self._failure is None
        self._ahead = min(2 * self._ahead, _MOST_AHEAD)
        ids = self._reserve_ids(len(tasks)) if tasks else None
        if ids is not None:
            tasks = [
                dataclasses.replace(task, run_id=run_id)
                for task, run_id in zip(tasks, ids, strict=True)
            ]
        self._ready.extend(tasks)

    def _make(self, planned: PlannedTrial) -> TrialTask:
        task = self._resolver.complete(planned.index, planned.sample)
        if planned.attempt or planned.restore_from:
            again = {"attempt": planned.attempt, "restore_from": planned.restore_from}
            return dataclasses.replace(task, **again)  # type: ignore[arg-type]
        return task


class BatchSize:
    """Chooses how many trials a worker is given at once, by how long they have taken.

    Parameters
    ----------
    most
        The most in a batch; None for as many as are good.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = _MOST_IN_BATCH if most is None else most
        self._mean_s: float | None = None

    def learn(self, trials: int, seconds: float) -> None:
        """Take into account how long some trials took together."""
        if not trials:
            return
        newest = seconds / trials
        before = self._mean_s
        self._mean_s = newest if before is None else before + _NEWEST * (newest - before)

    def batches_ahead(self, left: int, workers: int) -> int:
        """Return how many batches a worker is given before it has reported.

        A second one, so that it need not wait for the driver; but no long trial waits at the end
        behind another while a worker is free.

        Parameters
        ----------
        left, workers
            As for `choose`.
        """
        if self._mean_s is None:
            return 1
        is_short = self._mean_s < _BATCH_S / 2
        is_far_from_end = left > _FAR * workers and self._mean_s < _LONG_S
        return 2 if is_short or is_far_from_end else 1

    def choose(self, left: int, workers: int) -> int:
        """Return the number of trials of the next batch.

        Parameters
        ----------
        left
            How many have not been handed out; at the end, workers get fewer, so that they end
            together.
        workers
            How many there are.
        """
        if self._mean_s is None:
            return 1
        wanted = self._most if self._mean_s <= 0 else int(_BATCH_S / self._mean_s)
        fair = math.ceil(left / (2 * max(workers, 1)))
        return max(min(wanted, fair, self._most), 1)
