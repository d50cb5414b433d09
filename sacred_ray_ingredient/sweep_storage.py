"""How the files of a sweep's trials get to where they are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from sacred import Experiment

from sacred_ray_ingredient.checkpoints import has_checkpoints
from sacred_ray_ingredient.cluster_check import is_cluster
from sacred_ray_ingredient.engines.base import EngineJob
from sacred_ray_ingredient.inner import ingredients_of


@contextlib.contextmanager
def with_storage(
    job: EngineJob, inner: Experiment, say: Callable[[str], None]
) -> Iterator[EngineJob]:
    """Let files come from all nodes of the connected Ray, for the time of the block.

    Nothing is done where every process sees the folder, and where trials keep no files.

    Parameters
    ----------
    job
        With a storage that has been checked.
    inner
        The experiment that the trials run.
    say
        Tells the user a sentence.

    Yields
    ------
    EngineJob
        The same, whose storage can be sent to all nodes.
    """
    keeps_files = bool(job.storage.log_names) or any(
        has_checkpoints(each) for each in (inner, *ingredients_of(inner))
    )
    if job.storage.is_url or not keeps_files or not is_cluster(job.settings):
        yield job
        return
    from sacred_ray_ingredient.cluster.carried_storage import carried

    with carried(job.storage, say) as storage:
        yield replace(job, storage=storage)
