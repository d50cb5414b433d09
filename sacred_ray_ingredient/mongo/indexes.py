"""What the database needs besides documents: indexes, and columns for Omniboard."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sacred_ray_ingredient.errors import DatabaseError

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

# A dot or dollar in a column's name makes Omniboard's query fail for every page; a comma
# splits it in two.
_UNSAFE_IN_COLUMNS = re.compile(r"[.$,]")
_AUTHENTICATION_FAILED = 18


def ensure_indexes(database: Database, runs: str = "runs") -> None:
    """Create the indexes that recording, resuming and Omniboard search by.

    Any number of processes may do it at any time: what is there already stays.

    Parameters
    ----------
    database
        The database of the record.
    runs
        The collection of the runs.

    Raises
    ------
    DatabaseError
        If the server refuses, for example because the user may only read.
    """
    from pymongo.errors import OperationFailure

    once = {"unique": True, "sparse": True}
    wanted: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
        ("metrics", ("run_id", "name"), {}),
        (runs, ("meta.sweep.sweep_id", "meta.sweep.trial_index"), {}),
        (runs, ("omniboard.tags",), {}),
        # A journal that is brought home in two places at once becomes one document.
        (runs, ("meta.record.journal",), once),
        ("fs.chunks", ("files_id", "n"), {"unique": True}),
        ("fs.files", ("filename", "uploadDate"), {}),
    )
    for collection, fields, options in wanted:
        try:
            _ensure_index(database[collection], fields, options)
        except OperationFailure as error:
            if error.code == _AUTHENTICATION_FAILED:  # it is not the index that is refused
                raise
            reason = (error.details or {}).get("errmsg", str(error))
            raise DatabaseError(
                f"The index {', '.join(fields)} of {database.name}.{collection} cannot be "
                f"created ({reason}); the user of the MongoDB needs the role readWrite on "
                f"{database.name}."
            ) from error


def _ensure_index(
    collection: Collection, fields: Sequence[str], options: Mapping[str, Any]
) -> None:
    keys = [(field, 1) for field in fields]
    # The same index under another name would be refused, and does as well.
    existing = [list(index["key"]) for index in collection.index_information().values()]
    if keys not in existing:
        collection.create_index(keys, **options)


def register_omniboard_columns(
    database: Database, columns: Mapping[str, str], metrics: Sequence[str]
) -> None:
    """Give Omniboard columns to show; those that a user has changed stay changed.

    Parameters
    ----------
    database
        The database of the record.
    columns
        Column name to the path in a run's document, ``{"trial": "meta.sweep.trial_index"}``.
    metrics
        Names of metrics whose last value is shown.
    """
    custom = database["omniboard.custom.columns"]
    for name, path in columns.items():
        _insert_once(custom, name, {"config_path": path})
    for metric in metrics:
        _insert_once(
            database["omniboard.metric.columns"],
            metric,
            {"metric_name": metric, "extrema": "last"},
        )


def _insert_once(collection: Collection, name: str, content: Mapping[str, Any]) -> None:
    from bson import ObjectId
    from pymongo.errors import DuplicateKeyError

    name = _UNSAFE_IN_COLUMNS.sub("_", name)
    # Nothing in the collection makes names unique; an id made of the name does, so that two
    # sweeps that start at once give one column.
    identity = ObjectId(hashlib.sha256(name.encode()).digest()[:12])
    try:
        collection.update_one(
            {"name": name}, {"$setOnInsert": {"_id": identity, **content}}, upsert=True
        )
    except DuplicateKeyError:
        # Another process was faster, or the user has renamed the column: both are what is wanted.
        return
