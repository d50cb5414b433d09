"""A sweep of one try: started as a user does, watched through what its trials note."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.ground_truth import Comparison, Execution, Kills, compare, read_notes
from tests.faults.servers import Deployment
from tests.integration.harness import Command, Finished, end_marked, is_marked, marked_processes

# Names the engine of the sweeps.
ENGINE_VARIABLE = "SACRED_RAY_FAULT_ENGINE"
_START_PATIENCE_S = 90.0
_SWEEP_PATIENCE_S = 400.0
_WORKERS_PATIENCE_S = 60.0


@dataclass
class Started:
    """A command that runs."""

    pid: int
    mark: str
    ending: Future[Finished]

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return not self.ending.done()


@dataclass
class Plan:
    """How large a sweep is.

    Attributes
    ----------
    trials : int
        How many points it has.
    steps : int
        How often each logs its two metrics.
    pause_s : float
        How long it pauses after each of them.
    """

    trials: int = 6
    steps: int = 15
    pause_s: float = 0.1

    def words(self, notes: Path) -> list[str]:
        """Return the words of the command line."""
        points = ", ".join(str(point) for point in range(self.trials))
        return [
            f"ray.search_space.point=[{points}]",
            f"fault_ex.steps={self.steps}",
            f"fault_ex.pause_s={self.pause_s}",
            f"fault_ex.notes={notes}",
            "ray.init_kwargs.num_cpus=2",
            f"ray.engine={os.environ.get(ENGINE_VARIABLE, 'auto')}",
        ]


@dataclass
class Scene:
    """The project folder, notes and database of one try; nothing is left of it afterwards."""

    deployment: Deployment
    plan: Plan = field(default_factory=Plan)
    name: str = "try"
    environment: dict[str, str] = field(default_factory=dict)
    kills: Kills = field(default_factory=Kills)

    def __enter__(self) -> Scene:
        self.folder = Path(tempfile.mkdtemp(prefix="sri-fault-"))
        # Short: the names of Ray's sockets have a limit.
        self.ray_folder = Path(tempfile.mkdtemp(prefix="sri-r-", dir="/tmp"))
        self.notes = self.folder / "notes"
        self.home = self.folder / "home"
        self.notes.mkdir()
        self.home.mkdir()
        url = self.deployment.url(self.name)
        self.command = Command(
            self.home, self.ray_folder, {"SACRED_MONGO_URL": url, **self.environment}
        )
        self._pool = ThreadPoolExecutor()
        self._started: list[Started] = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._started:
            deadline = time.monotonic() + 10
            while end_marked(one.mark) and time.monotonic() < deadline:
                time.sleep(0.1)
        self._pool.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.ray_folder, ignore_errors=True)

    def start(self, *words: str, module: str = "fault_outer") -> Started:
        """Start ``python -m MODULE WORDS...``."""
        process, mark = self.command.start(module, *words, cwd=self.folder)
        future = self._pool.submit(self.command.finish, process, mark, _SWEEP_PATIENCE_S)
        started = Started(process.pid, mark, future)
        self._started.append(started)
        return started

    def start_sweep(self, *words: str) -> Started:
        """Start a sweep of the plan's size."""
        return self.start("with", *self.plan.words(self.notes), *words)

    def run(self, *words: str, module: str = "fault_outer") -> Finished:
        """Run a command to its end."""
        return self.start(*words, module=module).ending.result()

    def executions(self) -> list[Execution]:
        """Read what has been noted so far."""
        return read_notes(self.notes)

    def running(self) -> list[Execution]:
        """Return the executions that have logged something and have not ended."""
        return [
            one
            for one in self.executions()
            if one.ending is None and one.scalars and one.pid not in self.kills.dead
        ]

    def wait_for(self, started: Started, reached: Callable[[], Any], what: str) -> Any:
        """Wait until something is there while a command runs, and return it."""
        deadline = time.monotonic() + _START_PATIENCE_S
        while not (found := reached()):
            if not started.runs:
                finished = started.ending.result()
                raise AssertionError(
                    f"the sweep ended (exit code {finished.code}) before {what}: "
                    f"{finished.text[-1500:]}"
                )
            if time.monotonic() > deadline:
                raise AssertionError(f"the sweep takes too long until {what}")
            time.sleep(0.05)
        return found

    def wait_until_logging(self, started: Started) -> None:
        """Wait until two trials are running and have logged something."""
        self.wait_for(started, lambda: len(self.running()) >= 2, "two trials log")

    def kill_a_worker(self, started: Started) -> None:
        """Kill the process of a trial that runs, at a moment that nobody chose."""
        time.sleep(random.uniform(0, 0.6))
        victims = self.wait_for(started, self.running, "a trial logs")
        victim = random.choice(victims)
        if not is_marked(victim.pid, started.mark):
            raise AssertionError(f"process {victim.pid} is none of this sweep")
        os.kill(victim.pid, signal.SIGKILL)
        self.kills.died(victim.pid, "FAILED")

    def kill_the_driver(self, started: Started) -> Future[None] | None:
        """Kill the process that a user started.

        Returns
        -------
        Future or None
            Done when the workers, which go on for a moment, are dead too, and the moments of their
            deaths are noted; None if the sweep had ended already.
        """
        if not started.runs:
            return None
        os.kill(started.pid, signal.SIGKILL)
        self.kills.drivers += 1
        return self._pool.submit(self._watch_workers, started.mark)

    def _watch_workers(self, mark: str) -> None:
        """Note when the processes of a killed driver die, until only Ray's agents are left."""
        deadline = time.monotonic() + _WORKERS_PATIENCE_S
        alive: set[int] = set()
        while time.monotonic() < deadline:
            found = marked_processes(mark)
            for pid in alive - set(found):
                self.kills.died(pid, "INTERRUPTED")
            alive = set(found)
            if not any(_may_be_a_worker(line) for line in found.values()):
                return
            time.sleep(0.05)
        raise AssertionError(f"the workers of a killed driver do not die: {found}")

    def compare(self) -> Comparison:
        """Compare the notes with the database."""
        with self.deployment.client() as client:
            result = compare(client[self.name], self.executions(), self.kills)
        done = {one.trial for one in self.executions() if one.ending == "end"}
        sweeps = {trial[0] for trial in done}
        for sweep in sweeps or {None}:
            count = sum(1 for trial in done if trial[0] == sweep)
            if count != self.plan.trials:
                result.problems.append(
                    f"sweep {sweep}: {count} of {self.plan.trials} trials came to their end"
                )
        return result


def _may_be_a_worker(line: str) -> bool:
    """Tell whether a process is or becomes one that runs trials, by its command line."""
    # Ray's agents notice up to a minute late that their driver was killed. They run no trials.
    return ("ray::" in line and "Agent" not in line) or "default_worker" in line


def note_exit(result: Comparison, finished: Finished, wanted: tuple[int, ...] = (0,)) -> None:
    """Note as a problem that a command has another exit code than it should have."""
    if finished.code not in wanted:
        result.problems.append(
            f"exit code {finished.code} instead of {' or '.join(map(str, wanted))}: "
            f"{finished.text.strip()[-600:]}"
        )
