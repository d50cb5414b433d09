"""Couriers: an actor on each node that does not share the driver's folder gives it the journals.

A thread of the driver asks them every two seconds and writes what they give into its own folder,
so that it survives the node, and reaches the database also where the node cannot.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.cluster.courier_nodes import Nodes, RayNodes
from sacred_ray_ingredient.cluster_check import is_cluster
from sacred_ray_ingredient.record.arrivals import Arrivals
from sacred_ray_ingredient.record.carried import Parcel
from sacred_ray_ingredient.record.left_sweeps import LeftSweeps
from sacred_ray_ingredient.record.settlement import SweepRecord
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.settings import SweepSettings

# Seconds between two requests to a node, and between two looks for new nodes.
_PAUSE_S = 2.0
_LOOK_S = 3.0
# A node that takes longer for an answer holds up neither others nor a trial's end.
_ANSWER_S = 3.0
# How long the end of a sweep waits for processes that still write, and for what they wrote.
_WORKERS_S = 10.0
# How long it waits for the first answer of a node, where a process has to start for it.
_START_S = 30.0
_END_PAUSE_S = 0.2
# A courier that dies is made anew, not too often.
_AGAIN_S = 10.0

_log = logging.getLogger(__name__)


_Take = Callable[[str, "_Node", Any], None]


@dataclass
class _Node:
    """What the driver knows of one node.

    Attributes
    ----------
    courier : Any
        Its actor; None until it is known that one is needed.
    answer : Any
        Reference to the answer that is awaited.
    take : callable
        Takes the answer.
    asked_at : float
        When it was asked.
    is_home : bool
        Whether it shares the folder.
    is_known : bool
        Whether its courier has answered.
    is_served : bool
        Whether it has answered in this round, and has no more.
    alive : int
        How many journals of the sweep have a process that lives there.
    started_at : float
        When it was last tried to have a courier there.
    groups : list of str
        Earlier sweeps whose journals are to be fetched.
    """

    courier: Any = None
    answer: Any = None
    take: _Take | None = None
    asked_at: float = 0.0
    is_home: bool = False
    is_known: bool = False
    is_served: bool = False
    alive: int = 0
    started_at: float = 0.0
    groups: list[str] = field(default_factory=list)


class Couriers:
    """The driver's thread that asks the nodes.

    Parameters
    ----------
    nodes
        Of the cluster.
    target
        Where the trials are recorded.
    arrivals
        Gets what nodes have of the sweep.
    left
        Gets what they have of earlier sweeps.
    """

    def __init__(
        self, nodes: Nodes, target: RecordTarget, arrivals: Arrivals, left: LeftSweeps
    ) -> None:
        self._nodes = nodes
        self._target = target
        self._arrivals = arrivals
        self._left = left
        self._known: dict[str, _Node] = {}
        self._looked_at = 0.0
        self._changed = threading.Condition()
        self._wanted = self._served = 0
        self._is_ending = False
        self._thread = threading.Thread(target=self._work, name="couriers", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Fetch what is left, wait a while for processes that still write, and end."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._thread.join(_START_S + _WORKERS_S)

    def fetch(self, is_enough: Callable[[], bool], seconds: float) -> None:
        """Fetch what there is by now, from the caller's thread.

        Parameters
        ----------
        is_enough
            Asked after each round.
        seconds
            The longest time.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            if not any(node.courier is not None for node in self._known.values()):
                return
        while True:
            with self._changed:
                self._wanted += 1
                wanted = self._wanted
                self._changed.notify_all()
                while self._served < wanted and self._thread.is_alive():
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return
                    self._changed.wait(left)
            if is_enough() or time.monotonic() > deadline or not self._thread.is_alive():
                return
            time.sleep(0.05)

    def _work(self) -> None:
        while not self._is_ending:
            with self._changed:
                wanted = self._wanted
            self._round_safely(_ANSWER_S)
            with self._changed:
                self._served = wanted
                self._changed.notify_all()
                if self._wanted == wanted and not self._is_ending:
                    self._changed.wait(_PAUSE_S)
        self._finish()
        with self._changed:
            self._served = self._wanted
            self._changed.notify_all()

    def _finish(self) -> None:
        self._looked_at = 0.0
        started = time.monotonic()
        self._round_safely(_ANSWER_S)
        while not all(self._is_over(*known, started) for known in self._known.items()):
            time.sleep(_END_PAUSE_S)
            self._round_safely(_ANSWER_S)
        with _logging("earlier sweeps"):
            self._left.settle()
        for name, node in self._known.items():
            if node.courier is not None:
                self._end(name, node)

    def _is_over(self, name: str, node: _Node, started: float) -> bool:
        """Tell whether nothing more is to be had from a node, now that the trials have ended."""
        now = time.monotonic()
        if now - started > (_WORKERS_S if node.is_known else _START_S):
            return True
        if node.answer is not None:
            return node.is_known and now - node.asked_at > _ANSWER_S
        if node.courier is None:
            return True
        is_whole = not self._arrivals.have(name) and not self._arrivals.done(name)
        return is_whole and node.is_served and not node.alive and not node.groups

    def _end(self, name: str, node: _Node) -> None:
        with _logging(f"node {name}"):
            if node.is_served:
                cleared = self._nodes.ask(node.courier, "clear", self._target.group)
                self._nodes.answers([cleared], 1.0)
        with _logging(f"node {name}"):
            self._nodes.end(node.courier)
        self._arrivals.release(name)

    def _round_safely(self, seconds: float) -> None:
        with _logging("journals of other nodes"):  # nothing is lost until the next round
            self._round(seconds)

    def _round(self, seconds: float) -> None:
        """Ask every node, again and again until it has no more, and take what it gives."""
        self._look()
        deadline = time.monotonic() + seconds
        for name, node in self._known.items():
            node.is_served = False
            if node.courier is not None and node.answer is None:
                self._ask(name, node)
        while True:
            waiting = {
                node.answer: (name, node)
                for name, node in self._known.items()
                if node.answer is not None
            }
            # One that has not answered for long is not waited for, but heard when it does.
            now = time.monotonic()
            fresh = [ref for ref, (_, node) in waiting.items() if now - node.asked_at < _ANSWER_S]
            left = deadline - now if fresh else 0.0
            if not waiting or left < 0:
                return
            there = self._nodes.answers(list(waiting), left)
            if not there:
                return
            for reference in there:
                self._hear(*waiting[reference])

    def _look(self) -> None:
        """Find nodes that are new, and those that are gone."""
        now = time.monotonic()
        if self._looked_at and now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        alive = self._nodes.alive()
        for name in [name for name in self._known if name not in alive]:
            del self._known[name]
            self._arrivals.release(name)
            self._left.release(name)
        for name in sorted(alive):
            node = self._known.setdefault(name, _Node())
            is_unknown = node.courier is None and not node.is_home and node.answer is None
            if is_unknown and (not node.started_at or now - node.started_at > _AGAIN_S):
                node.started_at = now
                asked = self._nodes.ask_whether_home(name, self._target)
                self._await(node, asked, self._take_whether_home)

    def _await(self, node: _Node, reference: Any, take: _Take) -> None:
        node.answer, node.take, node.asked_at = reference, take, time.monotonic()

    def _hear(self, name: str, node: _Node) -> None:
        reference, take = node.answer, node.take
        node.answer = node.take = None
        try:
            answer = self._nodes.get(reference)
            if take is not None:
                take(name, node, answer)
        except OSError as error:  # of this machine: no room; the node keeps it, and is asked again
            _log.debug("journals of node %s: %s", name, error)
        except Exception as error:
            _log.debug("node %s: %s: %s", name, type(error).__name__, error)
            self._lose(name, node)

    def _lose(self, name: str, node: _Node) -> None:
        """Go on without a courier: its node is lost, or it was killed and is made anew."""
        node.courier = None
        node.is_known = False
        node.alive = 0
        self._arrivals.release(name)
        self._looked_at = 0.0

    def _take_whether_home(self, name: str, node: _Node, is_home: bool) -> None:
        node.is_home = is_home
        if not is_home:
            node.courier = self._nodes.start(name)
            self._await(node, self._nodes.ask(node.courier, "groups"), self._take_groups)

    def _take_groups(self, name: str, node: _Node, groups: list[str]) -> None:
        node.is_known = True
        node.groups = self._left.ours(groups)
        self._ask(name, node)

    def _ask(self, name: str, node: _Node) -> None:
        """Ask for what follows of the sweep."""
        done = self._arrivals.done(name)

        def take(name: str, node: _Node, parcel: Parcel) -> None:
            node.alive = parcel.alive
            if self._took(name, self._arrivals, parcel, done):
                self._ask(name, node)
            elif node.groups:
                self._ask_left(name, node, node.groups[0])
            else:
                node.is_served = True

        self._give(name, node, self._target.group, self._arrivals, done, take)

    def _ask_left(self, name: str, node: _Node, group: str) -> None:
        """Ask for what follows of an earlier sweep."""
        arrivals = self._left.arrivals(group)
        done = arrivals.done(name)

        def take(name: str, node: _Node, parcel: Parcel) -> None:
            if self._took(name, arrivals, parcel, done):
                self._ask_left(name, node, group)
                return
            if not parcel.alive:  # otherwise a worker has just lost its driver
                node.groups.remove(group)
                self._nodes.ask(node.courier, "clear", group)
                self._left.fetched(name, group)
            node.is_served = True

        self._give(name, node, group, arrivals, done, take)

    def _give(
        self,
        name: str,
        node: _Node,
        group: str,
        arrivals: Arrivals,
        done: Sequence[str],
        take: _Take,
    ) -> None:
        asked = group, arrivals.have(name), arrivals.leave(name), done
        self._await(node, self._nodes.ask(node.courier, "give", *asked), take)

    @staticmethod
    def _took(name: str, arrivals: Arrivals, parcel: Parcel, done: Sequence[str]) -> bool:
        """Write what a node has given; tell whether it is to be asked at once again."""
        arrivals.deleted(name, done)
        arrivals.take(name, parcel)
        return parcel.has_more or bool(arrivals.done(name))


@contextlib.contextmanager
def _logging(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _log.debug("%s: %s: %s", what, type(error).__name__, error)


@contextlib.contextmanager
def couriers(
    record: SweepRecord | None,
    target: RecordTarget,
    settings: SweepSettings,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Let journals come home from all nodes of the connected Ray, for the time of the block.

    A local Ray is left alone.

    Parameters
    ----------
    record
        The driver's hand on the record; None for a sweep that is not in a database.
    target
        Where the trials are recorded.
    settings
        The entries of ``ray``.
    say
        Tells the user a sentence.
    """
    if record is None or not is_cluster(settings):
        yield
        return
    fetching = Couriers(RayNodes(), target, record.arrivals, LeftSweeps(target, say))
    with record.fetched_by(fetching.fetch):
        fetching.start()
        try:
            yield
        finally:
            fetching.stop()
