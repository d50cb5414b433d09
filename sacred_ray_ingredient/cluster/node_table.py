"""What the terminal shows of the nodes of a cluster before the first trial."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from sacred_ray_ingredient.cluster.judgement import Problem, judge_all, sentences
from sacred_ray_ingredient.cluster.node_facts import PACKAGE
from sacred_ray_ingredient.cluster.nodes import Driver, NodeFacts, Software
from sacred_ray_ingredient.report import fits, table_text

_COLUMNS = (
    "node",
    "CPU/GPU",
    "Python",
    "Ray",
    "Sacred",
    "package",
    "experiment",
    "database",
    "disk",
    "clock",
)
_VERSIONS = ("Python", "Ray", "Sacred", "package")
# Of git, too, so long a beginning tells one state of a checkout from another.
_DIGITS = 7
_NOTHING = "-"
_WRONG = "\N{BALLOT X} "
_NOTED = "! "


def nodes_text(nodes: Sequence[NodeFacts], driver: Driver, with_all: bool) -> str:
    """Write a table of nodes, and a sentence for each thing that is wrong.

    Parameters
    ----------
    nodes
        All nodes of the cluster.
    driver
        What they are compared with.
    with_all
        Whether the nodes are shown with which nothing is wrong.

    Returns
    -------
    str
        Empty if there is nothing to show.
    """
    found = judge_all(nodes, driver)
    bad = {name for name, _ in found}
    shown = [node for node in nodes if with_all or node.name in bad]
    if not shown:
        return ""
    rows = _rows(shown, driver, found)
    table, same = _table(rows), ""
    if not fits(table):
        rows, same = _without_versions(rows)
        table = _table(rows)
    lines = [table_text(table), *([same] if same else [])]
    for title, is_error in (("Mistakes", True), ("Notes", False)):
        listed = sentences([entry for entry in found if entry[1].is_error == is_error])
        if listed:
            lines += [f"{title}:", *(f"  - {sentence}" for sentence in listed)]
    return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table


def _without_versions(rows: Sequence[Sequence[str]]) -> tuple[list[list[str]], str]:
    """Leave out the columns of versions that are the same everywhere, and say so in a line."""
    columns = list(zip(*rows, strict=True))
    same = [column for column in columns if column[0] in _VERSIONS and len(set(column[1:])) == 1]
    if not same:
        return [list(row) for row in rows], ""
    listed = ", ".join(f"{column[0]} {column[1]}" for column in same)
    kept = [column for column in columns if column not in same]
    return [list(row) for row in zip(*kept, strict=True)], f"The same everywhere: {listed}."


def _rows(
    nodes: Sequence[NodeFacts], driver: Driver, found: Sequence[tuple[str, Problem]]
) -> list[list[str]]:
    own = driver.software
    versions = (own.python, own.versions["ray"], own.versions["sacred"], _package(own))
    rest = [_NOTHING] * (len(_COLUMNS) - 2 - len(versions))
    rows = [list(_COLUMNS), ["this driver", _NOTHING, *map(_text, versions), *rest]]
    for node in nodes:
        worst: dict[str, bool] = {}
        for name, problem in found:
            if name == node.name:
                worst[problem.column] = worst.get(problem.column, False) or problem.is_error
        cells = _cells(node, driver)
        rows.append(
            [_mark(worst.get(column)) + cell for column, cell in zip(_COLUMNS, cells, strict=True)]
        )
    return rows


def _mark(is_error: bool | None) -> str:
    if is_error is None:
        return ""
    return _WRONG if is_error else _NOTED


def _cells(node: NodeFacts, driver: Driver) -> list[str]:
    name = node.name if node.name == node.ip else f"{node.name} {node.ip}"
    cpus, gpus = (node.resources.get(kind, 0) for kind in ("CPU", "GPU"))
    cells = [name, f"{cpus:g}/{gpus:g}"]
    software = node.software
    if software is None:
        silence = "no answer" if node.silent_s else "lost" if node.is_gone else "failed"
        return [*cells, silence, *[_NOTHING] * (len(_COLUMNS) - 3)]
    cells += [
        software.python,
        _text(software.versions.get("ray")),
        _text(software.versions.get("sacred")),
        _package(software),
    ]
    if not node.takes_trials:
        return [*cells, "no trials", _NOTHING, _NOTHING, _clock(node)]
    return [*cells, _experiment(node), _database(node, driver), _disk(node), _clock(node)]


def _package(software: Software) -> str:
    version, digest = software.versions.get(PACKAGE), software.digest
    return "missing" if digest is None else f"{version or '?'} ({digest[:_DIGITS]})"


def _text(value: str | None) -> str:
    return "missing" if value is None else value


def _experiment(node: NodeFacts) -> str:
    if node.import_mistake is not None:
        return "not found"
    return "ok" if node.has_imported else _NOTHING


def _database(node: NodeFacts, driver: Driver) -> str:
    if driver.is_started_later:
        return "starts later" if node.ip == driver.ip else "not reached"
    if node.database is None:
        return _NOTHING
    return "ok" if node.database["reason"] is None else "not reached"


def _disk(node: NodeFacts) -> str:
    if node.disk is None:
        return _NOTHING
    free = node.disk.free
    return f"{free / 1e9:.0f} GB" if free >= 1e10 else f"{free / 1e9:.2g} GB"


def _clock(node: NodeFacts) -> str:
    if node.clock is None:
        return _NOTHING
    ahead = node.clock.ahead_s if node.clock.at_least_s else 0.0
    return f"{ahead:+.1f} s"
