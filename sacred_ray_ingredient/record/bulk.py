"""Many runs in a few requests: short runs that begin and end while the database is not waited for.

Only what is ordinary goes together; whatever is not, and whatever goes wrong, is left to
`Shipment.advance`, which finds out what the database has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sacred_ray_ingredient.record.shipment import Shipment

# Bytes of journals; the documents of one request are about as large.
_MOST_BYTES = 2**24


def ship_together(shipments: Sequence[Shipment]) -> list[Shipment]:
    """Write what several journals have, as far as that can be done with few requests.

    Parameters
    ----------
    shipments
        For one database.

    Returns
    -------
    list of Shipment
        Those that are to be advanced one by one.

    Raises
    ------
    pymongo.errors.ConnectionFailure
        If the database does not answer; nothing is lost.
    """
    left: list[Shipment] = []
    for part in _parts(shipments, left):
        _ship_part(part, left)
    return left


def _parts(shipments: Sequence[Shipment], left: list[Shipment]) -> Iterator[list[Shipment]]:
    """Read the journals; divide those that can be written together into parts of a bounded size."""
    part: list[Shipment] = []
    size = 0
    for shipment in shipments:
        try:
            shipment.read()
            is_ordinary = shipment.is_ordinary
        except Exception:
            # It is broken; it says so once more when it is advanced by itself.
            is_ordinary = False
        if not is_ordinary or (part and shipment.place != part[0].place):
            left.append(shipment)
            continue
        if part and size + shipment.size > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(shipment)
        size += shipment.size
    if part:
        yield part


def _ship_part(part: list[Shipment], left: list[Shipment]) -> None:
    from pymongo.errors import ConnectionFailure

    before = set(left)
    try:
        database, collection = part[0].place
        known = [shipment for shipment in part if shipment.run_id is not None]
        new = [shipment for shipment in part if shipment.run_id is None]
        left += _insert(database[collection], new)
        _append_points(database["metrics"], [each for each in part if each.run_id is not None])
        _update(database[collection], known)
    except Exception as error:
        for shipment in part:
            shipment.doubt()
        if isinstance(error, ConnectionFailure):
            raise
        left[:] = [*(each for each in left if each in before), *part]
        return
    for shipment in part:
        if shipment.run_id is not None:
            shipment.confirm()


def _insert(runs: Any, shipments: list[Shipment]) -> list[Shipment]:
    """Insert documents; return the shipments whose document was refused."""
    from pymongo.errors import BulkWriteError

    if not shipments:
        return []
    documents = [shipment.first_document() for shipment in shipments]
    refused: set[int] = set()
    try:
        runs.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if error.details.get("writeConcernErrors"):
            raise
        refused = {entry["index"] for entry in error.details["writeErrors"]}
    left = []
    for number, (shipment, document) in enumerate(zip(shipments, documents, strict=True)):
        if number in refused:
            shipment.doubt()
            left.append(shipment)
        else:
            shipment.take_inserted(document)
    return left


def _append_points(metrics: Any, shipments: list[Shipment]) -> None:
    writes = [(shipment, shipment.metric_writes()) for shipment in shipments]
    requests = [write for _, own in writes for write, *_ in own]
    if not requests:
        return
    done = metrics.bulk_write(requests, ordered=False)
    if done.matched_count + done.upserted_count + done.inserted_count < len(requests):
        raise _NotAsExpected
    for shipment, own in writes:
        shipment.take_appended(own)


def _update(runs: Any, shipments: list[Shipment]) -> None:
    from pymongo import UpdateOne

    changed = [(shipment, shipment.changes()) for shipment in shipments]
    changes = [(shipment, change) for shipment, change in changed if change is not None]
    if not changes:
        return
    done = runs.bulk_write([UpdateOne(*change[:2]) for _, change in changes], ordered=False)
    if done.matched_count < len(changes):
        raise _NotAsExpected
    for shipment, change in changes:
        shipment.take_updated(change[2])


class _NotAsExpected(Exception):
    """The database has other documents than it had confirmed."""
