"""The worker processes of the ``direct`` engine, and the batches that they have."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import NODE_ID_LABEL_KEY, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sacred_ray_ingredient.cluster.capacity import nodes_there
from sacred_ray_ingredient.cluster.resources import Resources, TrialResources, holds, room_for
from sacred_ray_ingredient.engines.direct_worker import BatchReport, Refusal, TrialWorker
from sacred_ray_ingredient.errors import InnerImportError, SacredRayError, SweepFailed
from sacred_ray_ingredient.storage import Storage
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
    # The placement group that it is in, where it has one of its own.
    group: Any = None
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
        Starts an actor of `TrialWorker`, given the ids of nodes that it must not be on; returns
        it and its placement group, if it has one.
    resources
        What each worker takes.
    most
        The most workers.
    can_grow
        Whether the cluster starts nodes for workers that have no room yet.
    tell
        Is told, in a sentence, of nodes that get no trials.
    """

    def __init__(
        self,
        start_worker: Callable[[Collection[str]], tuple[Any, Any]],
        resources: TrialResources,
        most: int,
        can_grow: bool = False,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._start_worker = start_worker
        self._resources = resources
        self._most = most
        self._can_grow = can_grow
        self._tell = tell
        # Ids of nodes on which the experiment cannot be imported, and what was said last of one.
        self._left_out: set[str] = set()
        self._refusal = ""
        self._workers: list[_Worker] = []
        self._looked = float("-inf")
        self._stillborn = 0
        self._failure: SacredRayError | None = None

    def __len__(self) -> int:
        """Return the number of workers that can be given something."""
        return sum(worker.is_ready for worker in self._workers)

    @property
    def expected(self) -> int:
        """Number of workers, those included that are starting."""
        return len(self._workers)

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
        if self._left_out and not self._workers and not self._has_node():
            self._failure = InnerImportError(f"On a worker process: {self._refusal}")
            return
        room = room_for(self._resources, nodes_there(self._left_out))
        # Those without room are what an autoscaler starts nodes for: at most as many as there are.
        wanted = min(needed, self._most, 2 * room if self._can_grow else room)
        for _ in range(wanted - len(self._workers)):
            actor, group = self._start_worker(self._left_out)
            self._workers.append(_Worker(actor, actor.ready.remote(), group))

    def shrink(self) -> None:
        """End workers that have nothing to do, where an autoscaler can take their nodes away."""
        if self._can_grow:
            for worker in [worker for worker in self._workers if not worker.batches]:
                self._dismiss(worker)

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
        if reference == worker.starting:
            self._started(worker, found)
            return None
        _, tasks = worker.batches.popleft()
        return Came(tasks, found)

    def _started(self, worker: _Worker, refusal: Refusal | None) -> None:
        if refusal is None:
            worker.starting = None
            self._stillborn = 0
            return
        self._dismiss(worker)
        is_known = refusal.node_id in self._left_out
        self._left_out.add(refusal.node_id)
        self._refusal = refusal.sentence
        if not self._has_node():  # said at the next wait: something else may have come with it
            self._failure = InnerImportError(f"On a worker process: {refusal.sentence}")
        elif self._tell is not None and not is_known:  # it has joined after all were asked
            self._tell(f"Note: no trials run on the node {refusal.node}. {refusal.sentence}")

    def _has_node(self) -> bool:
        """Tell whether a node is there on which a worker can start, now or later."""
        own = self._resources.own
        return any(holds(own, node) for node in nodes_there(self._left_out))

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
        if worker.group is not None:
            remove_placement_group(worker.group)
        return [task for _, tasks in worker.batches for task in tasks]


def starter(
    sweep: Any, stop_rules: Sequence[Any], storage: Storage, resources: TrialResources
) -> Callable[[Collection[str]], tuple[Any, Any]]:
    """Return a function that starts a worker, and gives its placement group besides.

    Parameters
    ----------
    sweep, stop_rules, storage
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
    worker, options = ray.remote(TrialWorker), actor_options(resources.own)

    def start(left_out: Collection[str]) -> tuple[Any, Any]:
        group = _reserve(resources, left_out)
        place: dict[str, Any] = {"label_selector": _anywhere_but(left_out)}
        if group is not None:
            place = {"scheduling_strategy": _within(group)}
        # Not resolved by Ray: rules may need the project's code, which the worker installs first.
        return worker.options(**options, **place).remote(shared, [rules], storage), group

    return start


def _anywhere_but(left_out: Collection[str]) -> dict[str, str]:
    return {NODE_ID_LABEL_KEY: f"!in({', '.join(sorted(left_out))})"} if left_out else {}


def _reserve(resources: TrialResources, left_out: Collection[str]) -> Any:
    """Reserve a trial's own resources together with those of what it starts, if it asks for any."""
    if not resources.bundles:
        return None
    group = [dict(bundle) for bundle in resources.group if bundle]
    where = [_anywhere_but(left_out)] * len(group) if left_out else None
    return placement_group(group, strategy=resources.strategy, bundle_label_selector=where)


def _within(group: Any) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(
        group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )


def actor_options(own: Resources) -> dict[str, Any]:
    """Translate what a trial's process is given for an actor.

    Parameters
    ----------
    own
        Amounts by Ray's names.
    """
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0}
    known = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    options |= {known[name]: amount for name, amount in own.items() if name in known}
    custom = {name: amount for name, amount in own.items() if name not in known}
    return {**options, "resources": custom} if custom else options
