"""Where the runs of a sweep are recorded, for the driver and the workers alike."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import stat
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacred_ray_ingredient.mongo.address import MongoAddress
from sacred_ray_ingredient.shared_folder import FolderMark

if TYPE_CHECKING:
    from sacred_ray_ingredient.record.shipper import Shipper

# Of the connections on which records go. Short, since every request is repeated until it succeeds.
_CONNECTION = {
    "serverSelectionTimeoutMS": 3000,
    "connectTimeoutMS": 5000,
    "socketTimeoutMS": 20000,
}
# Folder below the project folder.
JOURNALS = "journals"
# The folder of journals of runs that are no part of a sweep.
ALONE = "runs"


@dataclass(frozen=True)
class RecordTarget:
    """The database of a sweep; holds no secret, so that it can travel to workers.

    Parameters
    ----------
    address
        The MongoDB; None for a sweep that is not recorded there.
    tags
        Tags of every run of the sweep.
    journal_folder
        Folder for journals, below the project folder; on a node that does not share it with the
        driver, one of its own is taken.
    group
        Folder within it: the sweep.
    wait_s
        The longest time that a run's end waits for the database, in seconds.
    fsync_s
        Seconds between two calls of fsync for a journal; None: at checkpoints and at the end.
    about
        What each run document has under ``meta.record``.
    stored
        Ids of files and documents that the database is given by the driver.
    has_indexes
        Whether the database has its indexes.
    driver
        Name of the file that the driver keeps in the sweep's folder as long as it lives; a node
        that sees it there shares the folder. Empty for runs without a driver.
    """

    address: MongoAddress | None
    tags: tuple[str, ...] = ()
    journal_folder: str = "."
    group: str = ALONE
    wait_s: float = 5.0
    fsync_s: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    stored: frozenset[str] = frozenset()
    has_indexes: bool = False
    driver: str = ""

    def observe(
        self,
        run: Any,
        extra_tags: Sequence[str] = (),
        name: str = "run",
        sources: Callable[[str], bytes | None] | None = None,
        is_patient: bool = True,
        run_id: int | None = None,
    ) -> Any:
        """Let a run be recorded.

        Parameters
        ----------
        run
            A Sacred run that has not started.
        extra_tags
            Tags besides those of the sweep.
        name
            Beginning of the name of its journal.
        sources
            Gives the content of a source file as it was imported; None: as it is now.
        is_patient
            Whether the end of the run waits for the database.
        run_id
            Id from `reserve_ids`, so that its start does not wait either; None: the run gets the
            next one that is free.

        Returns
        -------
        RunObserver or None
            The observer that was added; None where there is no database.
        """
        if self.address is None:
            return None
        from sacred_ray_ingredient.record.journal import SUFFIX, Journal
        from sacred_ray_ingredient.record.observer import RunObserver
        from sacred_ray_ingredient.record.patience import Patience
        from sacred_ray_ingredient.record.scalars import hook_scalars
        from sacred_ray_ingredient.record.shipment import Shipment
        from sacred_ray_ingredient.record.surroundings import Surroundings, as_it_is

        path = self.folder() / f"{name}-{uuid.uuid4().hex}{SUFFIX}"
        journal = Journal(path, self.fsync_s)
        journal.append("target", _as_dict(self.address))
        observer = RunObserver(
            run,
            journal,
            Shipment(journal, self._database_to_write, self.address.collection, is_new=True),
            self._shipper(self.address),
            tags=[*self.tags, *extra_tags],
            surroundings=Surroundings(
                self.about, sources or as_it_is, _given.setdefault(self.address, set(self.stored))
            ),
            patience=Patience(self.wait_s, waits_at_end=is_patient, known_id=run_id),
        )
        run.observers.append(observer)
        hook_scalars(run, observer)
        return observer

    def reserve_ids(self, count: int) -> range | None:
        """Reserve run ids that follow each other, which no other run gets then.

        Parameters
        ----------
        count
            How many.

        Returns
        -------
        range or None
            The ids; None without a database, or where it does not answer within a few seconds.
        """
        if self.address is None:
            return None
        from sacred_ray_ingredient.record.run_ids import reserve_in_time

        return reserve_in_time(self.database, self.address.collection, count)

    def folder(self) -> Path:
        """Return the folder of this sweep's journals on this node."""
        if self.is_at_home():
            return self.home()
        return _own_folder(_own_name()) / Path(self.journal_folder).name / self.group

    def home(self) -> Path:
        """Return the folder of this sweep's journals on the machine of the driver."""
        return Path(self.journal_folder) / self.group

    def is_at_home(self) -> bool:
        """Tell whether this node shares the folder for journals with the driver."""
        if self.driver:
            return _sees(str(self.home() / self.driver))
        return Path(self.journal_folder).parent.is_dir()

    def database(self) -> Any:
        """Return the pymongo database, on one client per process."""
        if self.address is None:
            raise ValueError("a sweep without a MongoDB address has no database")
        return database_at(self.address)

    def runs(self) -> Any:
        """Return the pymongo collection of runs."""
        if self.address is None:
            raise ValueError("a sweep without a MongoDB address has no runs collection")
        return self.database()[self.address.collection]

    def _shipper(self, address: MongoAddress) -> Shipper:
        from sacred_ray_ingredient.record.shipper import UNREACHABLE

        shipper = shipper_for(address)
        shipper.beacon = None if self.is_at_home() else self.folder() / UNREACHABLE
        return shipper

    def _database_to_write(self) -> Any:
        if self.address is not None and self.address.embedded and not self.is_at_home():
            from pymongo.errors import ConnectionFailure

            # It listens to its own machine only; here, the same address is of somebody else.
            raise ConnectionFailure("the project's own server is on the machine of the driver")
        if self.address is not None and not self.has_indexes:
            make_indexes(self.address)
        return self.database()


@functools.lru_cache(maxsize=16)
def _as_dict(address: MongoAddress) -> dict[str, Any]:
    return dataclasses.asdict(address)


# One client per database and process: each has threads and connections of its own.
_clients: dict[MongoAddress, Any] = {}
_shippers: dict[MongoAddress, Shipper] = {}
_indexed: set[MongoAddress] = set()
# Ids of files and documents that runs of this process have given to the database.
_given: dict[MongoAddress, set[str]] = {}


def database_at(address: MongoAddress) -> Any:
    """Return the pymongo database at an address, on one client per process."""
    if address not in _clients:
        _clients[address] = address.client(**_CONNECTION)
    return _clients[address][address.db_name]


def make_indexes(address: MongoAddress) -> None:
    """Make the indexes of a database, once per process."""
    from sacred_ray_ingredient.mongo.indexes import ensure_indexes

    if address not in _indexed:
        ensure_indexes(database_at(address), address.collection)
        _indexed.add(address)


def shipper_for(address: MongoAddress) -> Shipper:
    """Return the thread of this process that brings journals to a database."""
    from sacred_ray_ingredient.record.shipper import Shipper

    if address not in _shippers:
        _shippers[address] = Shipper()
    return _shippers[address]


def close_clients() -> None:
    """End the threads and close the connections of this process; later ones are opened anew."""
    while _shippers:
        _shippers.popitem()[1].stop()
    while _clients:
        _clients.popitem()[1].close()
    _given.clear()


def given_to(address: MongoAddress) -> frozenset[str]:
    """Return the ids of files and documents that runs of this process give to a database."""
    return frozenset(_given.get(address, ()))


@functools.lru_cache(maxsize=64)
def _sees(mark: str) -> bool:
    # Asked once: what a process began in one folder it goes on with there.
    return FolderMark(mark).is_here()


def _own_name() -> str:
    return f"sacred-ray-{os.getuid()}"


def own_folders() -> list[Path]:
    """Return the folders for journals on this machine of sweeps whose driver is on another."""
    temporary = Path(tempfile.gettempdir())
    named = [temporary / _own_name(), *temporary.glob(f"{_own_name()}-*")]
    journals = sorted(path / JOURNALS for path in named)
    return [path for path in journals if path.is_dir() and _is_private(path.parent)]


def _is_private(folder: Path) -> bool:
    """Tell whether a folder is ours, and nobody else can write to it."""
    about = folder.lstat()
    is_own = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    return is_own and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _own_folder(name: str) -> Path:
    """Return a folder for temporary files that nobody else can have made or can write to."""
    folder = Path(tempfile.gettempdir()) / name
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _is_private(folder):
        return _another_folder(str(folder))
    return folder


@functools.lru_cache(maxsize=4)
def _another_folder(taken: str) -> Path:
    """Return a folder of this process instead of one that is somebody else's."""
    return Path(tempfile.mkdtemp(prefix=f"{Path(taken).name}-"))
