"""Drivers killed at moments that nobody chose, and sweeps that are resumed after that."""

from __future__ import annotations

import functools
import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tests.faults.ground_truth import Comparison
from tests.faults.servers import Deployment
from tests.faults.sweeps import Plan, Scene, Started, note_exit
from tests.faults.table import Row

_TRIALS = 6
_PLAN = Plan(trials=_TRIALS, steps=16, pause_s=0.15)
_SEED = "seed=7"
# Resumed this often, a sweep has come to its end whatever happens.
_MOST_RESUMES = 3
# About how long it takes from the record of a sweep's start to the first trial, and from that to
# the end of the last one.
_RAY_STARTS_S = 4.0
_TRIALS_S = 7.0
# Most kills should find trials that have finished and trials that run.
_EARLY_EACH = 5
_MOST_STARTED = 60

# Trial index, point and seed of every trial that completed.
Final = set[tuple[Any, Any, Any]]


def drivers_killed(full: bool) -> Row:
    """Kill drivers; resume, and compare with the sweep that nobody disturbed."""
    row = Row("SIGKILL of the driver, then resume")
    with Deployment() as deployment, ThreadPoolExecutor() as pool:
        spaces = [
            [f"ray.search_space.point={list(range(_TRIALS))}"],
            ["ray.search_space.point=uniform(0, 1)", f"ray.num_samples={_TRIALS}"],
        ]
        spaces = spaces[: 2 if full else 1]
        wanted = [pool.submit(_undisturbed, deployment, space) for space in spaces]
        begun = 0
        while row.tries < (20 if full else 1):
            begun += 1
            if begun > _MOST_STARTED:
                raise AssertionError("the sweeps end before they can be killed")
            kind = row.tries % len(wanted)
            early = row.tries % _EARLY_EACH == _EARLY_EACH - 1
            with Scene(deployment, _PLAN, name=f"try{begun}") as scene:
                make = functools.partial(
                    _killed_and_resumed, scene, spaces[kind], wanted[kind], early
                )
                row.attempt(make)
    return row


def _words(scene: Scene, space: list[str]) -> list[str]:
    return [*(word for word in scene.plan.words(scene.notes) if "search_space" not in word), *space]


def _undisturbed(deployment: Deployment, space: list[str]) -> Final:
    with Scene(deployment, _PLAN, name=f"undisturbed{random.randrange(10**9)}") as scene:
        finished = scene.run("with", *_words(scene, space), _SEED)
        if finished.code != 0:
            raise AssertionError(f"the undisturbed sweep fails: {finished.text[-1500:]}")
        return _final(scene)


def _final(scene: Scene) -> Final:
    query = {"meta.sweep.trial_index": {"$exists": True}, "status": "COMPLETED"}
    with scene.deployment.client() as client:
        return {
            (run["meta"]["sweep"]["trial_index"], run["config"]["point"], run["config"]["seed"])
            for run in client[scene.name].runs.find(query)
        }


def _killed_and_resumed(
    scene: Scene, space: list[str], undisturbed: Future[Final], early: bool
) -> Comparison | None:
    """Make one try; None if the sweep ended before it could be killed."""
    started = scene.start("with", *_words(scene, space), _SEED)
    dying = _kill_at_random(scene, started, early)
    if dying is None:
        return None
    if random.random() < 0.5:  # else somebody is very quick, and workers are still alive
        dying.result()
    for _ in range(_MOST_RESUMES):
        finished = scene.run("resume", "last")
        if finished.code == 0:
            break
    dying.result()
    result = scene.compare()
    note_exit(result, finished)
    final, wanted = _final(scene), undisturbed.result()
    if final != wanted:
        result.problems.append(
            f"the resumed sweep lacks {sorted(wanted - final)} and has {sorted(final - wanted)}"
        )
    return result


def _kill_at_random(scene: Scene, started: Started, early: bool) -> Future[None] | None:
    """Kill the driver between the first record of the sweep and its end, or before a trial runs."""
    with scene.deployment.client() as client:
        sweep = {"omniboard.tags": "sweep"}
        runs = client[scene.name].runs
        scene.wait_for(started, lambda: runs.find_one(sweep), "it is recorded")
    if early:
        time.sleep(random.uniform(0, _RAY_STARTS_S))
    else:
        scene.wait_for(started, scene.executions, "a trial begins")
        time.sleep(random.uniform(0, _TRIALS_S))
    return scene.kill_the_driver(started)
