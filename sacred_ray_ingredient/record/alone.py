"""The observer for any Sacred experiment, without a sweep."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacred import Experiment
from sacred.observers.base import RunObserver as SacredObserver

from sacred_ray_ingredient import mongo
from sacred_ray_ingredient.errors import InnerImportError
from sacred_ray_ingredient.inner import reference_to
from sacred_ray_ingredient.record.sync import sync
from sacred_ray_ingredient.record.target import JOURNALS, RecordTarget

_log = logging.getLogger(__name__)


class _ForEachRun(SacredObserver):
    """Stands among the observers of an experiment; puts one of its own into each run."""

    priority = -1000

    def __init__(self, experiment: Experiment, target: RecordTarget, tags: Sequence[str]) -> None:
        self._experiment = experiment
        self._target = target
        self._tags = tuple(tags)
        self._has_brought = False

    def started_event(self, *arguments: Any, **named: Any) -> int | None:
        """Record the run that starts, which is the one that was made last."""
        run_id: int | None = self._observer().started_event(*arguments, **named)
        return run_id

    def queued_event(self, *arguments: Any, **named: Any) -> int | None:
        """Record a run that is only to be queued."""
        run_id: int | None = self._observer().queued_event(*arguments, **named)
        return run_id

    def _observer(self) -> Any:
        run = self._experiment.current_run
        if not self._has_brought:
            # What earlier runs left; the run does not wait for it.
            self._has_brought = True
            threading.Thread(target=self._bring_what_is_left, daemon=True).start()
        observer = self._target.observe(run, self._tags)
        # From now on it hears what this one would: a run has an observer of its own.
        run.observers.remove(observer)
        run.observers[run.observers.index(self)] = observer
        return observer

    def _bring_what_is_left(self) -> None:
        sync(Path(self._target.journal_folder), _log.info, only_to=self._target.address)

    def __eq__(self, other: object) -> bool:
        """Tell observers apart by identity: Sacred drops a failed one by comparing."""
        return self is other

    def __hash__(self) -> int:
        """Hash by identity."""
        return id(self)


def observe(
    experiment: Experiment,
    url: str | None = None,
    *,
    tags: Sequence[str] = (),
    wait_s: float = 5.0,
    fsync_s: float | None = None,
) -> None:
    """Record all runs of an experiment in MongoDB, whatever happens to the database meanwhile.

    Each event goes to a journal on the disk first, from where a thread brings it to the database:
    the experiment neither waits for it nor fails because of it. What the database did not take by
    the end of a run is brought there by the next run of the project, or by ``sacred-ray sync``.

    Parameters
    ----------
    experiment
        Any Sacred experiment.
    url
        ``mongodb://HOST:PORT/DATABASE``, without a password; that comes from the environment
        variable ``SACRED_MONGO_URL``, which is also the default. Without either, the project's
        own server is started.
    tags
        Tags of the runs in Omniboard.
    wait_s
        How long a run waits at its end for the database, in seconds.
    fsync_s
        Seconds between two times that a journal is forced to the disk; None: at its end.

    Raises
    ------
    DatabaseError
        If the address is none, or the project's own server cannot be started.
    """
    address = mongo.from_config({"url": url}) if url else mongo.from_environment(os.environ)
    if address is None:
        address = mongo.EmbeddedServer(mongo.project_folder()).start()
    folder = mongo.create_project_folder(mongo.project_folder()) / JOURNALS
    try:
        about = {"experiment": str(reference_to(experiment))}
    except InnerImportError:  # made in a function: it can be recorded, though not found again
        about = {}
    target = RecordTarget(
        address, journal_folder=str(folder), wait_s=wait_s, fsync_s=fsync_s, about=about
    )
    experiment.observers.append(_ForEachRun(experiment, target, tags))
