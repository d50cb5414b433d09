"""What became of runs that cannot say it themselves, as it stands in the journal of the sweep."""

from __future__ import annotations

import datetime
from typing import Any

# Kinds of amendment.
DIED, NOT_CONTINUED = "died", "not continued"


def ending_of(reason: str, status: str, time: datetime.datetime) -> dict[str, Any]:
    """Return what a document gets whose run could not write its end.

    Parameters
    ----------
    reason
        A sentence, which becomes its trace and its stop reason.
    status
        One of Sacred's.
    time
        When it ended.
    """
    return {
        "status": status,
        "stop_time": time,
        "fail_trace": [reason + "\n"],
        "info.sweep.stop_reason": reason,
    }


def as_update(amendment: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return query and changes for MongoDB.

    Parameters
    ----------
    amendment
        From a journal: ``kind``, ``sweep_id``, ``index``, ``attempt``, ``segment``, ``status``,
        ``reason``, ``time``; all of it is data, and none of it an operator.

    Raises
    ------
    ValueError
        If it is of no known kind.
    """
    query: dict[str, Any] = {
        "meta.sweep.sweep_id": str(amendment["sweep_id"]),
        "meta.sweep.trial_index": int(amendment["index"]),
        "meta.sweep.attempt": int(amendment["attempt"]),
    }
    reason = str(amendment["reason"])
    if amendment["kind"] == DIED:
        query["status"] = "RUNNING"
        return query, {"$set": ending_of(reason, str(amendment["status"]), amendment["time"])}
    if amendment["kind"] == NOT_CONTINUED:
        query["meta.sweep.segment"] = int(amendment["segment"])
        query["omniboard.tags"] = "paused"
        return query, {
            "$set": {"info.sweep.stop_reason": reason},
            "$addToSet": {"omniboard.tags": "early-stopped"},
        }
    raise ValueError(f"an amendment of the unknown kind {amendment['kind']!r}")
