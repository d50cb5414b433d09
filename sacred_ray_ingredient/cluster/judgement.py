"""What the answers of the nodes mean for a sweep: mistakes that stop it, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sacred_ray_ingredient.cluster.node_facts import PACKAGE
from sacred_ray_ingredient.cluster.nodes import Clock, Disk, Driver, NodeFacts, Software

MANY_BYTES = 1_000_000_000
FEW_BYTES = 100_000_000
CLOCK_NOTED_S = 5.0
CLOCK_WRONG_S = 60.0
# As many nodes are named in a sentence.
_MOST_NAMED = 8
_BITS_OF_VERSION = 2


@dataclass(frozen=True)
class Problem:
    """Something about a node that a user should know.

    Parameters
    ----------
    column
        Of the table.
    sentence
        What is wrong, and what to do; the same for all nodes with the same problem.
    is_error
        Whether trials on the node would fail.
    """

    column: str
    sentence: str
    is_error: bool = True


def judge(node: NodeFacts, driver: Driver) -> list[Problem]:
    """Find what is wrong with a node.

    Parameters
    ----------
    node
        What it answered.
    driver
        What it is compared with.

    Returns
    -------
    list of Problem
        Nothing for a node that takes no trials.
    """
    if not node.takes_trials:
        return []
    if node.software is None:
        return [_no_answer(node)]
    found = _software_problems(node.software, driver)
    if node.trouble is not None and not found:
        found.append(
            Problem(
                "package",
                f"{PACKAGE} cannot be used there: {node.trouble}. Install it with all that it "
                "needs.",
            )
        )
    if node.import_mistake is not None:
        found.append(Problem("experiment", _import_sentence(node.import_mistake)))
    found += _disk_problems(node.disk)
    found += _database_problems(node, driver)
    return found + _clock_problems(node.clock)


def judge_all(nodes: Sequence[NodeFacts], driver: Driver) -> list[tuple[str, Problem]]:
    """Find what is wrong with the nodes of a cluster.

    Parameters
    ----------
    nodes
        All of them.
    driver
        What they are compared with.

    Returns
    -------
    list of tuple
        Name of the node, and what is wrong with it.
    """
    found = [(node.name, problem) for node in nodes for problem in judge(node, driver)]
    able = [node for node in nodes if node.takes_trials and not (node.silent_s or node.is_gone)]
    if able:
        return found
    # Nobody answered: the trials would wait for ever.
    return [(name, Problem(problem.column, problem.sentence)) for name, problem in found]


def sentences(problems: Sequence[tuple[str, Problem]]) -> list[str]:
    """Write each problem once, with the nodes that have it.

    Parameters
    ----------
    problems
        Names of nodes, and what is wrong with them.
    """
    names: dict[str, list[str]] = {}
    for name, problem in problems:
        names.setdefault(problem.sentence, []).append(name)
    return [f"{named(found)}: {sentence}" for sentence, found in names.items()]


def named(names: Sequence[str]) -> str:
    """List names, the first of them if there are many.

    Parameters
    ----------
    names
        At least one.
    """
    more = len(names) - _MOST_NAMED
    if more <= 1:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_NAMED])} and {more} more"


def _no_answer(node: NodeFacts) -> Problem:
    if node.is_gone:
        return Problem(
            "node", "the cluster lost it while it was asked; trials run elsewhere.", is_error=False
        )
    if node.silent_s:
        return Problem(
            "node",
            f"no answer within {node.silent_s:.0f} s, so that nothing is known of it; look "
            "whether it is overloaded or cut off.",
            is_error=False,
        )
    return Problem("node", f"nothing can be run there: {str(node.failure).rstrip('.')}.")


def _software_problems(found: Software, driver: Driver) -> list[Problem]:
    own = driver.software
    problems = []
    if _short(found.python) != _short(own.python):
        problems.append(
            Problem(
                "Python",
                f"Python {found.python} there, {own.python} on the driver; both have to be "
                f"{_short(own.python)}.",
            )
        )
    for column, name in (("Ray", "ray"), ("Sacred", "sacred")):
        if found.versions.get(name) != own.versions.get(name):
            problems.append(Problem(column, _other_version(column, name, found, own)))
    if found.digest is None:
        problems.append(
            Problem("package", f"{PACKAGE} is not installed there; install the driver's version.")
        )
    elif found.digest != own.digest:
        problems.append(Problem("package", _other_package(found, own)))
    if driver.address is not None and found.versions.get("pymongo") is None:
        problems.append(
            Problem("package", "pymongo is not installed there; trials cannot be recorded.")
        )
    return problems


def _other_version(title: str, name: str, found: Software, own: Software) -> str:
    there, here = found.versions.get(name), own.versions.get(name)
    what = f"{title} is not installed there" if there is None else f"{title} {there} there"
    return f"{what}, {here} on the driver; install {name}=={here} there."


def _other_package(found: Software, own: Software) -> str:
    there, here = found.versions.get(PACKAGE), own.versions.get(PACKAGE)
    if there != here:
        return (
            f"{PACKAGE} {there or 'of unknown version'} there, {here or 'of unknown version'} on "
            "the driver; install the driver's version there."
        )
    return (
        f"{PACKAGE} has the driver's version there, but other source files; install it there "
        "from the same checkout."
    )


def _import_sentence(mistake: str) -> str:
    return (
        f"{mistake} What it imports has to be installed there, or come along with the sweep: see "
        "ray.runtime_env."
    )


def _disk_problems(disk: Disk | None) -> list[Problem]:
    if disk is None:
        return []
    if not disk.is_writable:
        return [Problem("disk", f"journals of trials cannot be written to {disk.folder} there.")]
    if disk.free < FEW_BYTES:
        return [
            Problem(
                "disk",
                f"less than {_megabytes(FEW_BYTES)} free there for the journals of trials in "
                f"{disk.folder}; make room.",
            )
        ]
    if disk.free < MANY_BYTES:
        return [
            Problem(
                "disk",
                f"less than {_megabytes(MANY_BYTES)} free there for the journals of trials in "
                f"{disk.folder}; long trials that log much can fill it.",
                is_error=False,
            )
        ]
    return []


def _megabytes(count: int) -> str:
    return f"{count // 1_000_000} MB"


def _database_problems(node: NodeFacts, driver: Driver) -> list[Problem]:
    if driver.is_started_later:
        if node.ip == driver.ip:
            return []
        return [_unreachable_own_server("it listens on the driver's machine only")]
    if node.database is None or driver.address is None:
        return []
    where = driver.address.describe()
    reason = node.database["reason"]
    if reason is not None:
        if driver.address.embedded:
            return [_unreachable_own_server(reason)]
        way = (
            "Its address means each machine itself; give one in ray.mongo.url that means the same "
            "server everywhere."
            if driver.is_loopback
            else "For a direct way let its server listen where this node reaches it, and give the "
            "address in ray.mongo.url."
        )
        return [
            Problem(
                "database",
                f"the MongoDB at {where} cannot be reached from there ({reason}); what trials "
                f"record comes through the driver, and later. {way}",
                is_error=False,
            )
        ]
    servers = {node.database["server"], driver.server}
    if driver.is_loopback and None not in servers and len(servers) > 1:
        return [
            Problem(
                "database",
                f"another MongoDB than the driver's answers at {where} there, and would get the "
                "record; give an address in ray.mongo.url that means the same server everywhere.",
            )
        ]
    return []


def _unreachable_own_server(reason: str) -> Problem:
    return Problem(
        "database",
        "the project's own MongoDB, on the driver's machine, cannot be reached from there "
        f"({reason}); what trials record comes through the driver, and later. For a direct way "
        "give ray.mongo.url with the address of a MongoDB that listens where all nodes reach it.",
        is_error=False,
    )


def _clock_problems(clock: Clock | None) -> list[Problem]:
    if clock is None or clock.at_least_s <= CLOCK_NOTED_S:
        return []
    if clock.at_least_s <= CLOCK_WRONG_S:
        sentence = (
            f"the clock is more than {CLOCK_NOTED_S:.0f} s off the driver's; start and stop times "
            "of trials in the record are those of their nodes."
        )
    else:
        sentence = (
            f"the clock is WRONG by more than {CLOCK_WRONG_S:.0f} s, compared with the driver's: "
            "start and stop times of trials in the record will be wrong with it. Set it, best by "
            "NTP on all machines."
        )
    return [Problem("clock", sentence, is_error=False)]


def _short(version: str) -> str:
    return ".".join(version.split(".")[:_BITS_OF_VERSION])
