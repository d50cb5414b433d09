"""Where the runs of a sweep are recorded, for the driver and the workers alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacred_ray_ingredient.mongo.address import MongoAddress


@dataclass(frozen=True)
class RecordTarget:
    """The database of a sweep; holds no secret, so that it can travel to workers.

    Parameters
    ----------
    address
        The MongoDB; None for a sweep that is not recorded there.
    tags
        Tags of every run of the sweep.
    failure_dir
        Folder for what MongoDB did not take at the end of a run.
    """

    address: MongoAddress | None
    tags: tuple[str, ...] = ()
    failure_dir: str = "."

    def observe(self, run: Any, extra_tags: Sequence[str] = ()) -> Any:
        """Let a run be recorded.

        Parameters
        ----------
        run
            A Sacred run that has not started.
        extra_tags
            Tags besides those of the sweep.

        Returns
        -------
        RunObserver or None
            The observer that was added; None where there is no database.
        """
        if self.address is None:
            return None
        from sacred_ray_ingredient.record.observer import RunObserver

        observer = RunObserver(
            run,
            self.database(),
            collection=self.address.collection,
            tags=[*self.tags, *extra_tags],
            failure_dir=self.failure_dir,
        )
        run.observers.append(observer)
        return observer

    def database(self) -> Any:
        """Return the pymongo database, on one client per process."""
        if self.address is None:
            raise ValueError("a sweep without a MongoDB address has no database")
        return _client(self.address)[self.address.db_name]

    def runs(self) -> Any:
        """Return the pymongo collection of runs."""
        if self.address is None:
            raise ValueError("a sweep without a MongoDB address has no runs collection")
        return self.database()[self.address.collection]


# One client per database and process: each has threads and connections of its own.
_clients: dict[MongoAddress, Any] = {}


def _client(address: MongoAddress) -> Any:
    if address not in _clients:
        _clients[address] = address.client()
    return _clients[address]


def close_clients() -> None:
    """Close the connections of this process; later ones are opened anew."""
    while _clients:
        _clients.popitem()[1].close()
