"""Journals whose process is gone: brought to MongoDB, with the end that it could not write."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.errors import DatabaseError
from sacred_ray_ingredient.mongo.address import MongoAddress
from sacred_ray_ingredient.nested import get_path
from sacred_ray_ingredient.record.documents import utc_now
from sacred_ray_ingredient.record.journal import SUFFIX, DeadJournal, is_alive, journals_in
from sacred_ray_ingredient.record.shipment import EventSource, Shipment
from sacred_ray_ingredient.record.target import database_at, make_indexes, own_folders

DRIVER_DIED = "The driver process died before the sweep ended."
_RUN_DIED = "The process of the run ended without a word: it was killed, or the machine went down."
# The journal of a sweep itself, beside those of its trials.
OUTER = "sweep"
# What a driver locks for as long as it lives; nothing else is in it.
DRIVER = f"{OUTER}-driver-"
_PAUSE_S = 0.5
# A process that has just made its journal may not have locked it yet.
_YOUNG_S = 5.0


@dataclass
class SyncReport:
    """What became of journals.

    Attributes
    ----------
    journals, events : int
        How many were brought to the database.
    left : list of str
        A sentence about each that was not.
    alive : int
        How many are left to their own processes.
    """

    journals: int = 0
    events: int = 0
    left: list[str] = field(default_factory=list)
    alive: int = 0


def sync(
    folder: Path,
    say: Callable[[str], None],
    address: MongoAddress | None = None,
    patience_s: float = 10.0,
    only_to: MongoAddress | None = None,
) -> SyncReport:
    """Bring all journals below a folder to the database, if the process that wrote them is gone.

    Doing it twice, or at the same time in two places, changes nothing. A run that has no end in
    its journal gets one.

    Parameters
    ----------
    folder
        With journals anywhere below it.
    say
        Prints a line for the user.
    address
        Database that gets them; None: the one that each journal names.
    patience_s
        How long a database that does not answer is tried again, in seconds.
    only_to
        Leave journals for other databases alone.

    Returns
    -------
    SyncReport
        What was done, and what was not and why.
    """
    report = SyncReport()
    deadline = time.monotonic() + patience_s
    driven = {path.parent for path in journals_in(folder) if _is_of_a_driver(path)}
    for path in journals_in(folder):
        # What became of a trial, its driver knows.
        is_driven = path.parent in driven and not path.name.startswith(f"{OUTER}-")
        if is_driven or is_alive(path):
            report.alive += 1
            continue
        try:
            _sync_one(DeadJournal(path), address, only_to, deadline, report)
        except FileNotFoundError:  # somebody else has brought it meanwhile
            continue
        except (DatabaseError, OSError, ValueError) as error:
            report.left.append(f"{path.name}: {error}")
        except Exception as error:  # its lines are events, but not such as are written here
            report.left.append(f"{path.name}: it is broken ({type(error).__name__}: {error})")
    if report.journals:
        say(f"{report.journals} journals with {report.events} events were brought to the database.")
    return report


def _sync_one(
    journal: DeadJournal,
    address: MongoAddress | None,
    only_to: MongoAddress | None,
    deadline: float,
    report: SyncReport,
) -> None:
    path = journal.path
    if _only_said_that_there_was_a_driver(journal) or _is_old_and_unbegun(journal):
        return
    target = address or _address_in(journal)
    if only_to is not None and not _same_database(target, only_to):
        return
    if target.embedded and address is None:
        target = _embedded_now(path, target)
    if _goes_on(path, target):
        report.alive += 1
    else:
        _bring(journal, target, deadline, report)


def sync_all(
    folders: Sequence[Path], say: Callable[[str], None], address: MongoAddress | None = None
) -> SyncReport:
    """Bring all journals below several folders; see `sync`."""
    whole = SyncReport()
    for folder in folders:
        part = sync(folder, say, address)
        whole.journals += part.journals
        whole.events += part.events
        whole.left += part.left
        whole.alive += part.alive
    return whole


def driver_file() -> str:
    """Return a name for the file that a driver locks."""
    return f"{DRIVER}{uuid.uuid4().hex}{SUFFIX}"


def _is_of_a_driver(path: Path) -> bool:
    return path.name.startswith(f"{OUTER}-") and is_alive(path)


def wait_for_processes(folder: Path, seconds: float) -> bool:
    """Wait until no process writes a journal below a folder.

    Workers outlive a driver that was killed by a moment, in which a trial can come to its end.

    Parameters
    ----------
    folder
        Of a sweep.
    seconds
        The longest time.

    Returns
    -------
    bool
        Whether all of them have ended.
    """
    deadline = time.monotonic() + seconds
    while any(map(is_alive, journals_in(folder))):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE_S)
    return True


def _only_said_that_there_was_a_driver(journal: DeadJournal) -> bool:
    """Tell what a killed driver has left besides the journals of runs, and delete it."""
    if not journal.path.name.startswith(DRIVER):
        return False
    if _is_old(journal.path):
        journal.delete()
    return True


def write_end(shipment: Shipment, ending: Mapping[str, Any]) -> None:
    """Write the end of a run into its journal, if there is a run in it that has no end."""
    state = shipment.state
    if state.started is None or state.has_ended or not isinstance(shipment.source, DeadJournal):
        return
    content = {"time": state.last_time or utc_now(), **ending}
    shipment.source.append("end", content)
    shipment.read()


def address_from(content: Mapping[str, Any]) -> MongoAddress:
    """Read the address that a journal names."""
    names = {entry.name for entry in dataclasses.fields(MongoAddress)}
    if not isinstance(content, dict) or not {"uri"} <= set(content) <= names:
        raise ValueError("it does not say which database it is for; give the address")
    return MongoAddress(**content)


def _address_in(journal: DeadJournal) -> MongoAddress:
    events, _ = journal.read(0)
    for kind, content in events[:1]:
        if kind == "target":
            return address_from(content)
    raise ValueError("it does not say which database it is for; give the address")


def _embedded_now(path: Path, named: MongoAddress) -> MongoAddress:
    """Return the address of the project's own server, which has another port after a restart."""
    from sacred_ray_ingredient.mongo.embedded import EmbeddedServer
    from sacred_ray_ingredient.mongo.folder import project_folder

    # <project folder>/journals/<sweep>/<journal>
    own = path.absolute().parents[2]
    if not _is_of_another_machine(path):
        return EmbeddedServer(own if EmbeddedServer(own).exists else project_folder()).start()
    # <project folder>/mongo/password
    server = EmbeddedServer(Path(named.password_file or "/").parents[1])
    if server.exists:
        address = server.start()
        if _outer_runs(path.parent.name, address):  # not only a folder of the same name
            return address
    raise ValueError(
        f"it is for the project's own server in {server.folder} on another machine, which cannot "
        "be reached from here; the next sweep or resume on the same cluster fetches it"
    )


def _is_of_another_machine(path: Path) -> bool:
    """Tell whether the journal is of a trial whose driver does not share this folder."""
    return not set(path.absolute().parents).isdisjoint(own_folders())


def _goes_on(path: Path, address: MongoAddress) -> bool:
    """Tell whether the driver of a sweep is on another machine, and fetches its journals itself."""
    if not _is_of_another_machine(path):
        return False
    from sacred_ray_ingredient.record.reconcile import close_abandoned

    sweep_id = path.parent.name
    found = _outer_runs(sweep_id, address)
    if any(run.get("status") == "RUNNING" for run in found):
        close_abandoned(database_at(address), address.collection)
        found = _outer_runs(sweep_id, address)
    return any(run.get("status") == "RUNNING" for run in found)


def _outer_runs(sweep_id: str, address: MongoAddress) -> list[dict[str, Any]]:
    """Read the sweep's own runs."""
    from pymongo.errors import PyMongoError

    query = {"meta.sweep.sweep_id": sweep_id, "meta.sweep.trial_index": {"$exists": False}}
    try:
        return list(database_at(address)[address.collection].find(query, {"status": 1}))
    except PyMongoError as error:
        raise ValueError(f"the database does not answer ({type(error).__name__})") from error


def _same_database(one: MongoAddress, other: MongoAddress) -> bool:
    if one.embedded and other.embedded:
        return True
    return one == other


# What a journal may have before its run begins.
_BEFORE_THE_START = {"target", "file", "document"}


def discard_unbegun(journal: EventSource) -> bool:
    """Delete the journal of a process that died before its run began.

    Parameters
    ----------
    journal
        Of a dead process.

    Returns
    -------
    bool
        Whether it was that; it is left where the beginning of a run cannot be read.
    """
    events, _ = journal.read(0)
    if not {kind for kind, _ in events} <= _BEFORE_THE_START:
        return False
    journal.delete()
    return True


def _is_old_and_unbegun(journal: DeadJournal) -> bool:
    return _is_old(journal.path) and discard_unbegun(journal)


def _bring(
    journal: DeadJournal, address: MongoAddress, deadline: float, report: SyncReport
) -> None:
    def open_database() -> Any:
        make_indexes(address)
        return database_at(address)

    shipment = Shipment(journal, open_database, address.collection)
    shipment.read()
    if shipment.state.started is None:
        if _is_old(journal.path):
            raise ValueError("the beginning of the run is not in it, or cannot be read")
        return
    if not shipment.state.has_ended:
        write_end(shipment, _end_of(shipment, deadline, open_database, address.collection))
    _patiently(shipment.advance, shipment, deadline)
    if not shipment.is_complete:
        raise ValueError(shipment.refusal or "the database does not answer")
    journal.delete()
    report.journals += 1
    report.events += shipment.state.events


def _end_of(
    shipment: Shipment, deadline: float, open_database: Callable[[], Any], collection: str
) -> dict[str, Any]:
    """Return the end of a run that has none in its journal: what the database says, if it does."""
    meta = (shipment.state.started or {})["meta"]
    query = {"meta.record.journal": meta["record"]["journal"]}
    fields = {"status": 1, "stop_time": 1, "fail_trace": 1, "info.sweep.stop_reason": 1}
    found = _patiently(
        lambda: open_database()[collection].find_one(query, fields), shipment, deadline
    )
    if shipment.refusal is not None:
        raise ValueError(shipment.refusal)
    if found is not None and found.get("status") not in (None, "RUNNING"):
        # A driver that lost the worker's node has closed it.
        reason = get_path(found, "info.sweep.stop_reason")
        trace, time = found.get("fail_trace") or [], found.get("stop_time")
        known = {"status": found["status"], "reason": reason, "trace": trace}
        return {**known, **({"time": time} if time else {})}
    status, reason = ("INTERRUPTED", DRIVER_DIED) if "sweep" in meta else ("FAILED", _RUN_DIED)
    return {"status": status, "reason": reason, "trace": [f"{reason}\n"]}


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _YOUNG_S


def _patiently(request: Callable[[], Any], shipment: Shipment, deadline: float) -> Any:
    """Repeat a request until it succeeds, the deadline comes, or the server refuses it again."""
    from pymongo.errors import ConnectionFailure, PyMongoError, ServerSelectionTimeoutError

    refused = 0
    while True:
        try:
            answer = request()
            shipment.refusal = None
            return answer
        except (ConnectionFailure, ServerSelectionTimeoutError) as error:
            shipment.refusal = f"the database does not answer ({str(error).partition(',')[0]})"
        except PyMongoError as error:
            refused += 1
            shipment.refusal = f"the database refuses it ({str(error).partition(', full')[0]})"
            if refused >= _MOST_REFUSALS:
                return None
        if time.monotonic() >= deadline:
            return None
        time.sleep(_PAUSE_S)


# A lost race against another process that brings the same journal is one, too.
_MOST_REFUSALS = 3
