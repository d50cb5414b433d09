"""What is known of the nodes of a cluster, and of the driver that they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Software:
    """What is installed somewhere.

    Parameters
    ----------
    python
        Version of Python.
    versions
        Of Ray, Sacred, pymongo and this package; None for what is missing.
    digest
        What tells the source of this package from any other; None where it is missing.
    """

    python: str
    versions: Mapping[str, str | None]
    digest: str | None


@dataclass(frozen=True)
class Disk:
    """Where a node keeps its journals.

    Parameters
    ----------
    folder
        Its path there.
    free
        Free bytes.
    is_writable
        Whether something can be written.
    """

    folder: str
    free: int
    is_writable: bool


@dataclass(frozen=True)
class Clock:
    """How far the clock of a node is from the driver's.

    Parameters
    ----------
    ahead_s
        Seconds that it is ahead.
    within_s
        How wrong that can be: half the time that the answer took.
    """

    ahead_s: float
    within_s: float

    @property
    def at_least_s(self) -> float:
        """How far off it is at least."""
        return max(abs(self.ahead_s) - self.within_s, 0.0)


@dataclass(frozen=True)
class NodeFacts:
    """What is known of a node; None for what it was not asked or did not answer.

    Parameters
    ----------
    name
        That no other node of the cluster has.
    ip
        Its address.
    resources
        What it has in all, by Ray's names.
    takes_trials
        Whether it has room for a trial.
    failure
        Why it cannot run anything.
    silent_s
        After how many seconds it was given up on.
    is_gone
        Whether the cluster lost it meanwhile.
    software
        What is installed.
    trouble
        Why this package cannot be used although it is there.
    import_mistake
        Why the experiment cannot be imported, a sentence.
    has_imported
        Whether it could be.
    disk
        For journals.
    database
        ``reason`` why it cannot be reached, None if it can; ``server``, which process that is.
    clock
        Its clock.
    """

    name: str
    ip: str
    resources: Mapping[str, float] = field(default_factory=dict)
    takes_trials: bool = True
    failure: str | None = None
    silent_s: float | None = None
    is_gone: bool = False
    software: Software | None = None
    trouble: str | None = None
    import_mistake: str | None = None
    has_imported: bool = False
    disk: Disk | None = None
    database: Mapping[str, str | None] | None = None
    clock: Clock | None = None


@dataclass(frozen=True)
class Driver:
    """What the nodes are compared with.

    Parameters
    ----------
    software
        Of the driver.
    ip
        The driver's address within the cluster, None if it is no node of it.
    address
        The `MongoAddress` of the record, None without one.
    server
        What tells the process of its server from others, None where it is not known.
    is_started_later
        Whether the address is that of the project's own server, which does not run yet.
    """

    software: Software
    ip: str | None = None
    address: Any = None
    server: str | None = None
    is_started_later: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether the database's address means another machine on each machine."""
        return self.is_started_later or (self.address is not None and _is_loopback(self.address))


def _is_loopback(address: Any) -> bool:
    hosts = address.describe().rpartition(", database ")[0].split(",")
    return all(_is_loopback_host(host.rpartition(":")[0].strip("[]")) for host in hosts)


def _is_loopback_host(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
