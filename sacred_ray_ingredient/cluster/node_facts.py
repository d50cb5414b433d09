"""What each node is asked before the first trial.

The driver sends the functions of this module themselves and not their names, so that a node without
this package, or with another version of it, answers too. They use the standard library, and what
else they need only if it is there.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = "sacred_ray_ingredient"
DISTRIBUTIONS = ("ray", "sacred", "pymongo", PACKAGE)
# Seconds after which a database counts as unreachable.
DATABASE_TIMEOUT_S = 5.0


def answer(kind: str, about: Sequence[Any]) -> Any:
    """Answer one of the questions; one function for all, so that one process answers them.

    Parameters
    ----------
    kind
        ``gather``, ``clock`` or ``import``.
    about
        What the question is about; see the function for it.
    """
    if kind == "gather":
        return gather(about)
    return clock() if kind == "clock" else try_import(about)


def gather(about_record: Sequence[Any]) -> dict[str, Any]:
    """Return what there is to know of this node, but for its clock and the experiment.

    Parameters
    ----------
    about_record
        Reference to the target of the record, in a list: it can only be read where this package
        is; empty for a node that runs no trials.

    Returns
    -------
    dict
        Plain data. ``trouble`` is there if the package cannot be used, ``disk`` and ``database``
        if it can.
    """
    found: dict[str, Any] = software()
    if about_record and found["digest"] is not None:
        try:
            found |= _record(about_record[0])
        except BaseException as error:  # a package that is broken can raise anything
            found["trouble"] = f"{type(error).__name__}: {error}"
    return found


def software() -> dict[str, Any]:
    """Return the versions of Python and of what trials need, None for what is not there."""
    versions: dict[str, str | None] = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "versions": versions,
        "digest": package_digest(),
    }


def package_digest() -> str | None:
    """Return what tells the source of this package from any other; None where there is none.

    A version number does not change while somebody works on a checkout.
    """
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except (ImportError, ValueError):
        spec = None
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    digest = hashlib.sha256()
    count = 0
    for folder in map(Path, folders):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
            count += 1
    return digest.hexdigest() if count else None


def clock() -> float:
    """Return the time of this node."""
    return time.time()


def try_import(about_trials: Sequence[Any]) -> str | None:
    """Try what each trial begins with; only where this package is.

    Parameters
    ----------
    about_trials
        Reference to the arguments of `sacred_ray_ingredient.trial.check_import`, in a list.

    Returns
    -------
    str or None
        A sentence if the experiment cannot be imported here.
    """
    import ray

    from sacred_ray_ingredient.trial import check_import

    return check_import(*ray.get(about_trials[0]))


def _record(reference: Any) -> dict[str, Any]:
    import ray

    target = ray.get(reference)
    found: dict[str, Any] = {}
    if target.journal_folder != ".":  # else there are no journals
        found["disk"] = free_space(target.folder())
    if target.address is not None:
        found["database"] = reach(target.address)
    return found


def free_space(folder: Path) -> dict[str, Any]:
    """Return how much can be written into a folder, which may not be there yet.

    Parameters
    ----------
    folder
        An absolute path.
    """
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    return {
        "folder": str(folder),
        "free": shutil.disk_usage(place).free,
        "is_writable": os.access(place, os.W_OK | os.X_OK),
    }


def reach(address: Any) -> dict[str, str | None]:
    """Try to reach a database.

    Parameters
    ----------
    address
        The `sacred_ray_ingredient.mongo.address.MongoAddress`, which holds no password.

    Returns
    -------
    dict
        ``reason``, why it cannot be reached, and ``server``, what tells its process from others.
    """
    import pymongo
    from pymongo.errors import PyMongoError

    from sacred_ray_ingredient.errors import DatabaseError

    patience = int(DATABASE_TIMEOUT_S * 1000)
    try:
        client = address.client(serverSelectionTimeoutMS=patience, connectTimeoutMS=patience)
    except DatabaseError as error:
        return {"reason": str(error).rstrip("."), "server": None}
    try:
        with pymongo.timeout(DATABASE_TIMEOUT_S):
            hello = client.admin.command("hello")
            client[address.db_name][address.collection].find_one({}, {"_id": 1})
    except PyMongoError as error:
        # pymongo lists its timeouts and its picture of the servers behind the reason.
        reason = str(error).split(" (configured timeouts")[0].split(", Timeout:")[0]
        return {"reason": reason.split(", full error:")[0], "server": None}
    finally:
        client.close()
    # Members of a replica set are many processes; only that of a single server is one.
    process = None if "setName" in hello else hello.get("topologyVersion", {}).get("processId")
    return {"reason": None, "server": None if process is None else str(process)}
