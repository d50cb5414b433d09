"""Looking at the whole cluster before the first trial: as a sweep starts, and with ``check``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sacred_ray_ingredient import mongo
from sacred_ray_ingredient.cluster import node_facts
from sacred_ray_ingredient.cluster.capacity import check_resources
from sacred_ray_ingredient.cluster.connection import connected_ray
from sacred_ray_ingredient.cluster.judgement import judge_all
from sacred_ray_ingredient.cluster.node_table import nodes_text
from sacred_ray_ingredient.cluster.nodes import Driver, NodeFacts, Software
from sacred_ray_ingredient.cluster.probe import Question, ask_nodes
from sacred_ray_ingredient.cluster.resources import read_resources
from sacred_ray_ingredient.cluster.runtime_env import runtime_env_of
from sacred_ray_ingredient.errors import DatabaseError, NodeMistakes
from sacred_ray_ingredient.frozen_code import freeze
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.record.target import JOURNALS, RecordTarget
from sacred_ray_ingredient.recording import choose_address
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.tasks import SweepTask

_MISTAKES_EXIT_CODE = NodeMistakes.exit_code


def is_cluster(settings: SweepSettings) -> bool:
    """Tell whether the connected Ray is more than a local one of this process.

    Parameters
    ----------
    settings
        ``address`` is used.
    """
    import ray
    from ray.util.client import ray as client

    if settings.address not in (None, "local") or client.is_connected():
        return True
    return sum(bool(node["Alive"]) for node in ray.nodes()) > 1


def check_nodes(
    sweep: SweepTask,
    settings: SweepSettings,
    look: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Ask all nodes whether they can run the trials of a sweep.

    Parameters
    ----------
    sweep
        What all trials share.
    settings
        The entries of ``ray``.
    look
        Called again and again, to end the waiting with an exception.
    say
        Is told of what does not keep the sweep from starting.

    Raises
    ------
    NodeMistakes
        If trials would fail on one of them.
    """
    question = _question(sweep, settings)
    driver = _driver(sweep.target)
    nodes = ask_nodes(question, look)
    text = nodes_text(nodes, driver, with_all=False)
    if _has_mistakes(nodes, driver):
        raise NodeMistakes(f"Not every node can run the trials, so that none was started.\n{text}")
    if text:
        say(text)


def check_cluster(
    plan: SweepPlan, options: Mapping[str, Any], asked: bool, say: Callable[[str], None]
) -> int:
    """Connect as a sweep would, ask all nodes, and tell what they are like.

    Parameters
    ----------
    plan
        The sweep, which is not run.
    options
        Sacred's options of the command.
    asked
        Whether the user asked for a record in MongoDB although there are files.
    say
        Prints a line, or several, for the user.

    Returns
    -------
    int
        Exit code: 2 if trials would fail on a node.

    Raises
    ------
    ConfigMistakes, DatabaseError
        As a sweep would.
    """
    settings = plan.settings
    target, is_started_later = _target(options, settings, asked, say)
    sweep = SweepTask(
        sweep_id=plan.sweep_id,
        exp_name=plan.exp_name,
        engine=plan.engine,
        inner=plan.reference,
        options={},
        target=target,
        folder=os.getcwd(),
        code=freeze(plan.reference),
    )
    with connected_ray(settings, sweep.folder, sweep.code, say) as tree:
        driver = _driver(target, is_started_later)
        nodes = ask_nodes(_question(replace(sweep, tree=tree), settings), _nothing)
        say(nodes_text(nodes, driver, with_all=True))
        may_grow = settings.address not in (None, "local")
        _, note = check_resources(settings.resources_per_trial, may_grow)
        if note is not None:
            say(note)
    if _has_mistakes(nodes, driver):
        say("Not every node can run the trials.")
        return _MISTAKES_EXIT_CODE
    able = sum(node.software is not None and node.takes_trials for node in nodes)
    say(f"{able} of {len(nodes)} nodes can run the trials.")
    return 0


def _nothing() -> None:
    return None


def _has_mistakes(nodes: Sequence[NodeFacts], driver: Driver) -> bool:
    return any(problem.is_error for _, problem in judge_all(nodes, driver))


def _question(sweep: SweepTask, settings: SweepSettings) -> Question:
    return Question(
        sweep,
        read_resources(settings.resources_per_trial),
        runtime_env_of(settings),
        node_facts.package_digest(),
    )


def _driver(target: RecordTarget, is_started_later: bool = False) -> Driver:
    found = node_facts.software()
    software = Software(found["python"], found["versions"], found["digest"])
    driver = Driver(software, _own_ip(), target.address, None, is_started_later)
    if target.address is None or not driver.is_loopback:
        return driver
    server = node_facts.reach(target.address)["server"]
    return Driver(software, driver.ip, target.address, server)


def _own_ip() -> str | None:
    """Return the address of the node that this process is on, None if it is none of the cluster."""
    import ray
    from ray.util.client import ray as client

    if client.is_connected():
        return None
    own = ray.get_runtime_context().get_node_id()
    return next((node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == own), None)


def _target(
    options: Mapping[str, Any], settings: SweepSettings, asked: bool, say: Callable[[str], None]
) -> tuple[RecordTarget, bool]:
    """Return where a sweep would be recorded, and whether its database would be started first."""
    if options.get("--unobserved"):
        return RecordTarget(None), False
    not_running: list[mongo.EmbeddedServer] = []

    def address_if_it_runs(server: mongo.EmbeddedServer) -> mongo.MongoAddress | None:
        try:
            return server.address()
        except DatabaseError:
            not_running.append(server)
            return None

    address = choose_address(options, settings.mongo, asked, address_if_it_runs)
    if address is None and not not_running:
        return RecordTarget(None), False
    folder = mongo.create_project_folder(mongo.project_folder()) / JOURNALS
    target = RecordTarget(address, journal_folder=str(folder))
    if address is not None:
        try:
            address.check()
        except DatabaseError as error:
            if not settings.recording.without_database:
                raise
            say(f"{error} A sweep would go on without it; its record would be in journals.")
    return target, address is None
