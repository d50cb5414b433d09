"""Checkpoints of the inner experiment: what it saves in a trial, it finds again when it goes on.

Schedulers that pause trials or let one go on from another's state need them; so does a trial that
goes on after its worker died. Run alone, an experiment with checkpoints does nothing special.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Where an experiment is told to have checkpoints, so that it is known before the first trial.
_MARK = "sacred_ray_checkpoints"


class Checkpoints:
    """Saves and restores the state of an experiment.

    Parameters
    ----------
    experiment
        The Sacred experiment whose main function uses it.

    Examples
    --------
    Within the main function, ``path`` being a folder in which the experiment keeps its files::

        folder = checkpoints.restore()
        first_epoch = load(folder) if folder else 1
        for epoch in range(first_epoch, epochs + 1):
            ...
            save(path, epoch)
            checkpoints.save(path)
            _run.log_scalar("val_accuracy", accuracy, epoch)
    """

    def __init__(self, experiment: Any) -> None:
        setattr(experiment, _MARK, self)

    def restore(self) -> Path | None:
        """Return the folder to go on from.

        Returns
        -------
        pathlib.Path or None
            What was given to the last `save` of this trial, or of the one whose state it takes
            over; None where it starts afresh, as always when it is run alone.
        """
        return None if _keeper is None else _keeper.restored

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Keep a copy of a folder, together with the metrics of the step that is logged next.

        Parameters
        ----------
        folder
            Holds all that the experiment needs to go on; it may be changed or deleted afterwards.
            Run alone, nothing is done with it.

        Raises
        ------
        NotADirectoryError
            If there is no such folder, also when it is run alone.
        """
        path = Path(folder)
        if not path.is_dir():
            raise NotADirectoryError(f"checkpoints.save needs a folder; {path} is none.")
        if _keeper is not None:
            _keeper.keep(path)


class Keeper:
    """What a trial does with checkpoints.

    Parameters
    ----------
    restored
        Folder to go on from.
    keep
        Takes the folder of a new checkpoint and copies it.
    """

    def __init__(self, restored: Path | None, keep: Callable[[Path], None]) -> None:
        self.restored = restored
        self.keep = keep


# One trial runs in a process at a time.
_keeper: Keeper | None = None


def set_keeper(keeper: Keeper | None) -> None:
    """Choose what becomes of checkpoints in this process; for engines.

    Parameters
    ----------
    keeper
        Of the trial that begins; None once it has ended.
    """
    global _keeper
    _keeper = keeper


def has_checkpoints(experiment: Any) -> bool:
    """Tell whether an experiment saves checkpoints."""
    return hasattr(experiment, _MARK)
