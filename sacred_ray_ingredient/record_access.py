"""The record that commands about earlier runs work on: the most explicit of what the user said."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacred_ray_ingredient import mongo
from sacred_ray_ingredient.errors import DatabaseError

if TYPE_CHECKING:
    from sacred_ray_ingredient.record.sync import SyncReport
    from sacred_ray_ingredient.record.target import RecordTarget


def record_address(
    option: str | None = None, config: Mapping[str, Any] | None = None
) -> mongo.MongoAddress:
    """Find a record that is there, and start the project's own server for it if need be.

    Parameters
    ----------
    option
        What was given with ``-m``.
    config
        The entry ``ray.mongo``.

    Raises
    ------
    DatabaseError
        If the database cannot be reached, or there never was one in the project.
    """
    address: mongo.MongoAddress | None
    if option:
        address = mongo.from_option(option)
    else:
        address = mongo.from_config(config or {}) or mongo.from_environment(os.environ)
    if address is None:
        server = mongo.EmbeddedServer(mongo.project_folder())
        if not server.exists:
            # An empty database would only mislead.
            raise DatabaseError(
                f"There is no record in {server.folder}; go to the project's folder, or give the "
                "address of the MongoDB with -m HOST:PORT:DB or SACRED_MONGO_URL."
            )
        address = server.start()
    address.check()
    return address


def record_target(
    option: str | None = None, config: Mapping[str, Any] | None = None
) -> RecordTarget:
    """Return the record that is there as a target for further runs; see `record_address`.

    Parameters
    ----------
    option
        What was given with ``-m``.
    config
        The entry ``ray.mongo``.
    """
    from sacred_ray_ingredient.record.target import RecordTarget

    return RecordTarget(record_address(option, config), journal_folder=str(journals_folder()))


def journals_folder() -> Path:
    """Return the folder with the journals of the project."""
    from sacred_ray_ingredient.record.target import JOURNALS

    return mongo.project_folder() / JOURNALS


def tell_sync(report: SyncReport, say: Callable[[str], None]) -> int:
    """Say what became of journals.

    Parameters
    ----------
    report
        Of `sacred_ray_ingredient.record.sync.sync`, which has said what it brought.
    say
        Prints a line for the user.

    Returns
    -------
    int
        Exit code: 1 if something is left.
    """
    if not report.journals and not report.left:
        say("The database has everything.")
    for sentence in report.left:
        say(f"Left: {sentence}")
    return 1 if report.left else 0
