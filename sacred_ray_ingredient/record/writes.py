"""What is written to MongoDB of a run: the requests, without making them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sacred_ray_ingredient.record.run_state import as_object_id, metric_id
from sacred_ray_ingredient.record.series import Series

# The largest array that one request appends.
POINTS_PER_REQUEST = 50_000
_MISSING = object()


def points_write(record_id: str, run_id: int | None, series: Series, there: int) -> tuple[Any, int]:
    """Make the write that appends points, only where those before them are there.

    Parameters
    ----------
    record_id
        What tells the run's document from all others.
    run_id
        Id of the run.
    series
        The metric.
    there
        How many of its points the database has.

    Returns
    -------
    tuple
        A write for ``bulk_write``, and how many points are there afterwards.
    """
    from pymongo import InsertOne, UpdateOne

    metric = as_object_id(metric_id(record_id, series.name))
    end = POINTS_PER_REQUEST
    series.unpack(end)
    points = {
        "steps": series.steps[:end],
        "values": series.values[:end],
        "timestamps": series.timestamps[:end],
    }
    count = series.shipped + len(points["values"])
    if not there:
        about = {"run_id": run_id, "name": series.name}
        if series.part > 1:
            about |= {"of": series.of, "part": series.part}
        return InsertOne({"_id": metric, **about, **points}), count
    pushes = {name: {"$each": values} for name, values in points.items()}
    return UpdateOne({"_id": metric, "values": {"$size": there}}, {"$push": pushes}), count


def changes_of(
    document: Mapping[str, Any],
    written: Mapping[str, Any],
    new_tags: Sequence[str],
    has_ended: bool,
    is_live: bool,
) -> dict[str, Any] | None:
    """Return the update of a run document; None where nothing is new.

    Parameters
    ----------
    document
        As it is to be.
    written
        As the database has it, as far as that is known.
    new_tags
        Tags that it does not have.
    has_ended
        Whether nothing comes any more.
    is_live
        Whether it is the process of the run that writes.
    """
    changes = {
        name: value for name, value in document.items() if written.get(name, _MISSING) != value
    }
    if not changes and not new_tags:
        return None
    if has_ended:
        # All of it: somebody may have taken the run for dead, and closed its document.
        changes = dict(document)
    update: dict[str, Any] = {"$set": {**changes, "status": document["status"]}}
    if has_ended and "fail_trace" not in document:
        update["$unset"] = {"fail_trace": ""}
    if new_tags:
        update["$addToSet"] = {"omniboard.tags": {"$each": list(dict.fromkeys(new_tags))}}
    if is_live:
        # By the server's clock, which is the same for everybody who looks.
        update["$currentDate"] = {"meta.record.seen": True}
        _spread(update["$set"], "meta")
    return update


def _spread(changes: dict[str, Any], name: str) -> None:
    """Set the entries below a field one by one, so that one of them can be set in another way."""
    for key, value in (changes.pop(name, None) or {}).items():
        if key == "record":
            changes |= {f"{name}.{key}.{below}": item for below, item in value.items()}
        else:
            changes[f"{name}.{key}"] = value
