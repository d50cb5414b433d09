"""The faults of the suite: each makes its tries and returns a row of the table."""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.driver_kills import drivers_killed
from tests.faults.ground_truth import Comparison
from tests.faults.machine_faults import clock_set_back, disk_full
from tests.faults.servers import Deployment
from tests.faults.sweeps import Plan, Scene, Started, note_exit
from tests.faults.table import Row

_KILLS_PER_SWEEP = 2


@dataclass(frozen=True)
class Fault:
    """A fault of the suite.

    Attributes
    ----------
    name : str
        What it is called on the command line.
    make : callable
        Makes its tries, the quick or all of them, and returns a row.
    needs_root : bool
        Whether only root can make it.
    quick : bool
        Whether it belongs to the quick part.
    """

    name: str
    make: Callable[[bool], Row]
    needs_root: bool = False
    quick: bool = True


def workers_killed(full: bool) -> Row:
    """Kill workers in the middle of trials that may be tried again."""
    row = Row("SIGKILL of a worker mid-trial")
    with Deployment() as deployment:
        for number in range(10 if full else 1):
            with Scene(deployment, Plan(trials=6, steps=12), name=f"try{number}") as scene:
                row.attempt(functools.partial(_kill_workers, scene))
    row.tries *= _KILLS_PER_SWEEP
    return row


def _kill_workers(scene: Scene) -> Comparison:
    started = scene.start_sweep("ray.max_failures=5")
    for _ in range(_KILLS_PER_SWEEP):
        scene.kill_a_worker(started)
    finished = started.ending.result()
    result = scene.compare()
    note_exit(result, finished)
    _check_attempts(result, scene)
    return result


def _check_attempts(result: Comparison, scene: Scene) -> None:
    """Make sure that each killed execution is an attempt of its own that another one follows."""
    executions = scene.executions()
    for one in executions:
        if scene.kills.cut(one):
            later = [other.key[2] for other in executions if other.trial == one.trial]
            if max(later) <= one.key[2]:
                result.problems.append(f"attempt {one.key[2]} of trial {one.key[1]} was the last")


def server_restarted(full: bool) -> Row:
    """Kill the server and start it again a little later."""
    return _server_away("mongod killed, back after 5 s", 5.0, 5 if full else 1)


def server_away_long(full: bool) -> Row:
    """Kill the server and start it again much later."""
    return _server_away("mongod killed, back after 60 s", 60.0, 5 if full else 1)


def _server_away(fault: str, seconds: float, tries: int) -> Row:
    row = Row(fault)
    # Trials end and begin while the server is away, and the sweep goes on after that.
    plan = Plan(trials=4 + round(seconds / 4), steps=25, pause_s=0.16)
    for _ in range(tries):
        with Deployment() as deployment, Scene(deployment, plan) as scene:
            row.attempt(functools.partial(_restart, scene, seconds))
    return row


def _restart(scene: Scene, seconds: float) -> Comparison:
    started = scene.start_sweep()
    scene.wait_until_logging(started)
    time.sleep(random.uniform(0, 2))
    scene.deployment.server.kill()
    time.sleep(seconds)
    return _repair(scene, started, scene.deployment.server.start)


def _repair(scene: Scene, started: Started, repair: Callable[[], None]) -> Comparison:
    """Repair what was broken, wait for the end of the sweep and compare."""
    in_time = started.runs
    repair()
    finished = started.ending.result()
    result = scene.compare()
    if not in_time:
        result.problems.append("the sweep had ended before the repair: the try was too short")
    note_exit(result, finished)
    return result


def server_frozen(full: bool) -> Row:
    """Let the server keep its connections and answer nothing."""
    seconds = 30.0 if full else 8.0
    row = Row(f"mongod frozen for {seconds:.0f} s")
    plan = Plan(trials=4 + round(seconds / 4), steps=25, pause_s=0.16)
    with Deployment() as deployment, Scene(deployment, plan) as scene:
        started = scene.start_sweep()
        scene.wait_until_logging(started)
        deployment.server.freeze()
        time.sleep(seconds)
        row.attempt(lambda: _repair(scene, started, deployment.server.thaw))
    return row


def server_late(full: bool) -> Row:
    """Start the server only when trials are running."""
    row = Row("mongod away at start, back later")
    plan = Plan(trials=6, steps=20, pause_s=0.15)
    with Deployment(started=False) as deployment, Scene(deployment, plan) as scene:
        started = scene.start_sweep("ray.record.without_database=True")
        scene.wait_until_logging(started)
        time.sleep(1.0)
        row.attempt(lambda: _repair(scene, started, deployment.server.start))
    return row


def server_gone(full: bool) -> Row:
    """Kill the server for the rest of the sweep, and bring the record home afterwards."""
    row = Row("mongod gone until after the sweep, then sync", tries=1)
    with Deployment() as deployment, Scene(deployment, Plan(steps=20)) as scene:
        started = scene.start_sweep()
        scene.wait_until_logging(started)
        deployment.server.kill()
        finished = started.ending.result()
        deployment.server.start()
        synced = scene.run("sync", module="sacred_ray_ingredient")
        result = scene.compare()
        note_exit(result, finished)
        note_exit(result, synced)
        before = _content(scene)
        note_exit(result, scene.run("sync", module="sacred_ray_ingredient"))
        if _content(scene) != before:
            result.problems.append("a second sync changed the database")
        row.total.add(result)
    return row


def _content(scene: Scene) -> dict[str, list[bytes]]:
    """Return all that is in the database, as bytes: NaN is equal to itself in them."""
    import bson

    with scene.deployment.client() as client:
        database = client[scene.name]
        return {
            name: sorted(bson.encode(document) for document in database[name].find())
            for name in sorted(database.list_collection_names())
        }


def failover(full: bool) -> Row:
    """Kill the primary of a replica set."""
    row = Row("failover of a three-member replica set")
    plan = Plan(trials=6, steps=25, pause_s=0.16)
    with Deployment(members=3) as deployment, Scene(deployment, plan) as scene:
        started = scene.start_sweep()
        scene.wait_until_logging(started)
        time.sleep(random.uniform(0, 2))
        deployment.primary().kill()
        row.attempt(lambda: _repair(scene, started, lambda: None))
    return row


def sweeps_at_once(full: bool) -> Row:
    """Run many sweeps into one database at the same time."""
    count = 8 if full else 4
    row = Row(f"{count} sweeps at once into one database", tries=1)
    plan = Plan(trials=4, steps=10)
    with Deployment() as deployment, Scene(deployment, plan) as scene:
        sweeps = [scene.start_sweep("ray.init_kwargs.num_cpus=1") for _ in range(count)]
        ended = [one.ending.result() for one in sweeps]
        result = scene.compare()
        for finished in ended:
            note_exit(result, finished)
        with deployment.client() as client:
            documents = client[scene.name].runs.count_documents({})
        wanted = count * (plan.trials + 1)
        if documents != wanted:
            result.problems.append(f"there are {documents} runs instead of {wanted}")
        row.total.add(result)
    return row


FAULTS = (
    Fault("workers-killed", workers_killed),
    Fault("drivers-killed", drivers_killed),
    Fault("server-restarted", server_restarted),
    Fault("server-away-long", server_away_long, quick=False),
    Fault("server-late", server_late),
    Fault("server-frozen", server_frozen),
    Fault("server-gone", server_gone),
    Fault("failover", failover),
    Fault("disk-full", disk_full, needs_root=True),
    Fault("clock-set-back", clock_set_back),
    Fault("sweeps-at-once", sweeps_at_once),
)


def make_row(fault: Fault, full: bool) -> Row:
    """Try a fault; what breaks within the suite itself is a problem of its row."""
    if fault.needs_root and os.geteuid() != 0:
        return Row(fault.name, skipped="only root can")
    try:
        return fault.make(full)
    except Exception as error:
        return Row(
            fault.name, 1, Comparison(problems=[f"the try failed: {type(error).__name__}: {error}"])
        )
