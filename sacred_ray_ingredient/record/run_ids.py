"""Run ids that are given away before their runs are in the database, so that no two get the same.

The collection `run_ids` has one small document per collection of runs: ``next`` is the first id
that was never reserved. It only grows.
"""

from __future__ import annotations

import logging
from typing import Any

COLLECTION = "run_ids"
# How long a reservation may take before runs do without.
_PATIENCE_S = 3.0
# The counter may be missing at first, and somebody may delete it meanwhile.
_ATTEMPTS = 4

_log = logging.getLogger(__name__)


def next_free(database: Any, collection: str) -> int:
    """Return the smallest whole number above all run ids that are taken or reserved.

    Parameters
    ----------
    database
        A pymongo database.
    collection
        Name of the collection of runs.

    Returns
    -------
    int
        It may be taken by another process the next moment.
    """
    # The counter comes along with the last run, as a second request would take as long again.
    last = [
        {"$match": {"_id": {"$type": "number"}}},
        {"$sort": {"_id": -1}},
        {"$limit": 1},
        {"$project": {"counter": {"$literal": collection}}},
        {
            "$lookup": {
                "from": COLLECTION,
                "localField": "counter",
                "foreignField": "_id",
                "as": "counter",
            }
        },
    ]
    found = next(iter(database[collection].aggregate(last)), None)
    if found is None:  # there is no run
        counter = database[COLLECTION].find_one({"_id": collection})
        return max(_next_of(counter), 1)
    counter = found["counter"][0] if found["counter"] else None
    return max(int(found["_id"]) + 1, _next_of(counter), 1)


def reserve(database: Any, collection: str, count: int) -> range:
    """Reserve whole numbers that follow each other, for runs that are to come.

    Parameters
    ----------
    database
        A pymongo database.
    collection
        Name of the collection of runs.
    count
        How many.

    Returns
    -------
    range
        Ids that no run has, and that nobody else is given.

    Raises
    ------
    pymongo.errors.PyMongoError
        If the database does not answer or refuses it.
    """
    from pymongo import ReturnDocument
    from pymongo.errors import DuplicateKeyError, OperationFailure

    counters = database[COLLECTION]
    for _ in range(_ATTEMPTS):
        first = next_free(database, collection)
        # One step, and so nobody else's ids; where the counter is behind the runs it comes first.
        counter = counters.find_one_and_update(
            {"_id": collection, "next": {"$gte": first}},
            {"$inc": {"next": count}},
            return_document=ReturnDocument.AFTER,
        )
        if counter is not None:
            return range(int(counter["next"]) - count, int(counter["next"]))
        try:
            counters.update_one({"_id": collection}, {"$max": {"next": first}}, upsert=True)
        except DuplicateKeyError:  # another process has made it at the same moment
            continue
    raise OperationFailure(f"the counter {collection!r} in {COLLECTION} cannot be raised")


def reserve_in_time(open_database: Any, collection: str, count: int) -> range | None:
    """Reserve ids, or do without if the database does not answer soon.

    Parameters
    ----------
    open_database
        Returns the pymongo database.
    collection
        Name of the collection of runs.
    count
        How many ids.

    Returns
    -------
    range or None
        The ids; None where the database does not answer or refuses it.
    """
    if count < 1:
        return range(0)
    import pymongo
    from pymongo.errors import PyMongoError

    from sacred_ray_ingredient.errors import SacredRayError

    try:
        with pymongo.timeout(_PATIENCE_S):
            return reserve(open_database(), collection, count)
    except (PyMongoError, SacredRayError, OSError) as error:
        # Runs without reserved ids get theirs later, one by one.
        _log.debug("no run ids were reserved: %s: %s", type(error).__name__, error)
        return None


def _next_of(counter: Any) -> int:
    value = counter.get("next") if counter else None
    return int(value) if isinstance(value, (int, float)) else 0
