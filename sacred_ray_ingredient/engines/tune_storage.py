"""What Ray Tune knows of checkpoints: where the worker has put them, and no more.

Tune would copy them by itself, into a folder of its own for each trial, in which nothing tells a
checkpoint that is whole from one whose worker died over it.
"""

from __future__ import annotations

from ray import tune
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Experiment

from sacred_ray_ingredient.storage import Storage


class SweepStorage(StorageContext):
    """Tune's idea of a storage, which writes nothing."""

    def persist_current_checkpoint(self, checkpoint: tune.Checkpoint) -> tune.Checkpoint:
        """Return a checkpoint, which is where it stays already."""
        return checkpoint

    def _create_validation_file(self) -> None:
        """Make no file to find out whether files can be made."""

    def _check_validation_file(self) -> None:
        """Look for none."""


class SweepExperiment(Experiment):
    """Tune's description of a search, with such a storage."""

    _storage_context_cls = SweepStorage


def as_tune_checkpoint(storage: Storage, place: str) -> tune.Checkpoint:
    """Describe a checkpoint so that Tune can pass it on to any node.

    Parameters
    ----------
    storage
        Where it is kept.
    place
        Its path or URL.
    """
    filesystem, path = storage.locate(place)
    return tune.Checkpoint(path, filesystem=filesystem)
