"""Files in MongoDB's GridFS, under ids made of their content, so that none is stored twice.

The layout is that of the GridFS specification; the driver's own ``put`` is not used, since it can
neither be repeated after a lost answer nor be done by two processes at once.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from typing import Any

CHUNK_BYTES = 255 * 1024
_CHUNKS_PER_REQUEST = 32


def missing_files(database: Any, ids: Collection[str]) -> set[str]:
    """Find the files that the database does not have.

    Parameters
    ----------
    database
        A pymongo database.
    ids
        Of files, as hexadecimal text.

    Returns
    -------
    set of str
        Those of the ids that are not there.
    """
    from bson import ObjectId

    wanted = {ObjectId(file_id) for file_id in ids}
    there = {
        file["_id"]
        for file in database["fs.files"].find({"_id": {"$in": list(wanted)}}, {"_id": 1})
    }
    return {str(file_id) for file_id in wanted - there}


def store_file(database: Any, description: Mapping[str, Any], content: bytes) -> None:
    """Store a file; doing it again, also at the same time elsewhere, changes nothing.

    Parameters
    ----------
    database
        A pymongo database.
    description
        ``id`` as hexadecimal text, ``filename``, and maybe ``content_type`` and ``metadata``.
    content
        What is in it.
    """
    from bson import ObjectId
    from pymongo import UpdateOne

    file_id = ObjectId(description["id"])
    starts = range(0, len(content), CHUNK_BYTES)
    writes = [
        UpdateOne(
            {"files_id": file_id, "n": number},
            {"$setOnInsert": {"data": content[start : start + CHUNK_BYTES]}},
            upsert=True,
        )
        for number, start in enumerate(starts)
    ]
    for first in range(0, len(writes), _CHUNKS_PER_REQUEST):
        _write(database["fs.chunks"], writes[first : first + _CHUNKS_PER_REQUEST])
    # Last, so that a file that is listed is complete.
    about = {
        "filename": description["filename"],
        "length": len(content),
        "chunkSize": CHUNK_BYTES,
        "uploadDate": datetime.datetime.now(datetime.timezone.utc),
    }
    about |= {
        field: description[key]
        for key, field in (("content_type", "contentType"), ("metadata", "metadata"))
        if description.get(key) is not None
    }
    _write(
        database["fs.files"],
        [UpdateOne({"_id": file_id}, {"$setOnInsert": about}, upsert=True)],
    )


def _write(collection: Any, writes: list[Any]) -> None:
    """Insert what is missing; what another process has inserted meanwhile is there."""
    from pymongo.errors import BulkWriteError

    duplicate = 11000
    try:
        collection.bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        if any(entry["code"] != duplicate for entry in error.details["writeErrors"]):
            raise


def read_file(database: Any, file_id: str) -> bytes:
    """Read a file.

    Parameters
    ----------
    database
        A pymongo database.
    file_id
        As hexadecimal text.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    gridfs.errors.NoFile
        If it is not there.
    """
    import gridfs
    from bson import ObjectId

    return bytes(gridfs.GridFS(database).get(ObjectId(file_id)).read())
