"""The worker processes of the ``direct`` engine, and the batches that they have."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from sacred_ray_ingredient.cluster.resources import RAY_NAMES, room_for
from sacred_ray_ingredient.engines.direct_worker import BatchReport, TrialWorker
from sacred_ray_ingredient.errors import InnerImportError, SacredRayError, SweepFailed
from sacred_ray_ingredient.tasks import TrialTask

# Seconds between two looks at how many workers the cluster has room for.
_LOOK_S = 2.0
# As many workers may die in a row before any is ready.
_MOST_STILLBORN = 3
_CLOSE_S = 10.0


@dataclass
class _Worker:
    actor: Any
    starting: Any
    batches: deque[tuple[Any, list[TrialTask]]] = field(default_factory=deque)

    @property
    def is_ready(self) -> bool:
        return self.starting is None


@dataclass(frozen=True)
class Came:
    """What became of a batch.

    Parameters
    ----------
    tasks
        Of the batch; where the worker died, of all the batches that it had.
    report
        None if the worker died.
    error
        Ray's text about its death.
    worker
        Ray's id of the worker.
    """

    tasks: list[TrialTask]
    report: BatchReport | None
    error: str = ""
    worker: str = ""


class Crew:
    """Starts workers as the cluster has room for them, hands out batches, hears of their ends.

    Parameters
    ----------
    start_worker
        Starts an actor of `TrialWorker`.
    resources
        What each worker takes, by Ray Tune's names.
    most
        The most workers.
    """

    def __init__(
        self, start_worker: Callable[[], Any], resources: Mapping[str, float], most: int
    ) -> None:
        self._start_worker = start_worker
        self._resources = resources
        self._most = most
        self._workers: list[_Worker] = []
        self._looked = float("-inf")
        self._stillborn = 0
        self._failure: SacredRayError | None = None

    def __len__(self) -> int:
        """Return the number of workers that can be given something."""
        return sum(worker.is_ready for worker in self._workers)

    @property
    def busy(self) -> int:
        """Number of workers that have a batch."""
        return sum(bool(worker.batches) for worker in self._workers)

    def grow(self, needed: int) -> None:
        """Start workers up to what the cluster has room for.

        Parameters
        ----------
        needed
            How many there is work for, those included that have some.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        wanted = min(needed, self._most, room_for(self._resources, ray.cluster_resources()))
        for _ in range(wanted - len(self._workers)):
            actor = self._start_worker()
            self._workers.append(_Worker(actor, actor.ready.remote()))

    def idle(self, batches_ahead: int) -> list[_Worker]:
        """Return the workers that have fewer batches, those with the fewest first."""
        found = [
            worker
            for worker in self._workers
            if worker.is_ready and len(worker.batches) < batches_ahead
        ]
        return sorted(found, key=lambda worker: len(worker.batches))

    def give(self, worker: _Worker, tasks: list[TrialTask]) -> None:
        """Hand a batch to a worker."""
        worker.batches.append((worker.actor.run.remote(tasks), tasks))

    def wait(self, seconds: float) -> list[Came]:
        """Wait until something has come from the workers, at most for so long.

        Raises
        ------
        InnerImportError
            If a worker cannot import the inner experiment.
        SweepFailed
            If no worker process can be started.
        """
        if self._failure is not None:
            raise self._failure
        expected = {}
        for worker in self._workers:
            if not worker.is_ready:
                expected[worker.starting] = worker
            elif worker.batches:
                expected[worker.batches[0][0]] = worker
        if not expected:
            time.sleep(seconds)
            return []
        done, _ = ray.wait(list(expected), num_returns=1, timeout=seconds)
        if done:
            done, _ = ray.wait(list(expected), num_returns=len(expected), timeout=0)
        came = (self._take(expected[reference], reference) for reference in done)
        return [each for each in came if each is not None]

    def dismiss_unready(self) -> None:
        """End the workers that are only starting."""
        for worker in [worker for worker in self._workers if not worker.is_ready]:
            self._dismiss(worker)

    def dismiss_all(self) -> None:
        """End all workers at once, whatever they do."""
        while self._workers:
            self._dismiss(self._workers[0])

    def close(self) -> list[list[TrialTask]]:
        """Let the workers bring home what they recorded, and end all.

        Returns
        -------
        list of list of TrialTask
            What those had that were still busy.
        """
        self.dismiss_unready()
        left = [self._dismiss(worker) for worker in list(self._workers) if worker.batches]
        closing = [worker.actor.close.remote() for worker in self._workers]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S)
        self.dismiss_all()
        return left

    def _take(self, worker: _Worker, reference: Any) -> Came | None:
        try:
            found = ray.get(reference, timeout=_CLOSE_S)
        except GetTimeoutError:  # its answer is on the way
            return None
        except RayError as error:
            return self._lost(worker, str(error).strip())
        if reference is worker.starting:
            self._started(worker, found)
            return None
        _, tasks = worker.batches.popleft()
        return Came(tasks, found)

    def _started(self, worker: _Worker, sentence: str | None) -> None:
        if sentence is not None:  # said at the next wait: something else may have come with it
            self._failure = InnerImportError(f"On a worker process: {sentence}")
            return
        worker.starting = None
        self._stillborn = 0

    def _lost(self, worker: _Worker, error: str) -> Came | None:
        was_ready = worker.is_ready
        tasks = self._dismiss(worker)
        if was_ready:
            self._looked = float("-inf")  # another one may take its place
            return Came(tasks, None, error, worker.actor._actor_id.hex())
        self._stillborn += 1
        if self._stillborn >= _MOST_STILLBORN and not len(self):
            self._failure = SweepFailed(f"No worker process can be started: {error}")
        return None

    def _dismiss(self, worker: _Worker) -> list[TrialTask]:
        self._workers.remove(worker)
        ray.kill(worker.actor)
        return [task for _, tasks in worker.batches for task in tasks]


def starter(
    sweep: Any, stop_rules: Sequence[Any], folder: str, resources: Mapping[str, float]
) -> Any:
    """Return a function that starts a worker.

    Parameters
    ----------
    sweep, stop_rules, folder
        As for `TrialWorker`.
    resources
        What each worker takes.

    Raises
    ------
    SweepFailed
        If they cannot be sent to another process.
    """
    try:
        shared = ray.put(sweep)
        rules = ray.put(list(stop_rules))
    except TypeError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise SweepFailed(
            f"A function of ray.stop cannot be sent to the worker processes ({first_line}); give "
            "it as 'module:function', or use ray.engine=tune."
        ) from error
    made = ray.remote(TrialWorker).options(**actor_options(resources))
    # Not resolved by Ray: the rules may need the project's code, which the worker installs first.
    return lambda: made.remote(shared, [rules], folder)


def actor_options(resources: Mapping[str, float]) -> dict[str, Any]:
    """Translate ``ray.resources_per_trial`` for an actor.

    Parameters
    ----------
    resources
        Amounts by Ray Tune's names.
    """
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0}
    custom = {}
    for name, amount in resources.items():
        if name.lower() in RAY_NAMES:
            options[f"num_{name.lower()}s"] = amount
        elif name == "memory":
            options["memory"] = amount
        else:
            custom[name] = amount
    return {**options, "resources": custom} if custom else options
