"""Workers of the direct engine without Ray: what they do is drawn, in an order that is drawn."""

import types
import uuid
from collections import Counter

from ray.exceptions import RayActorError

from sacred_ray_ingredient.engines import direct, direct_crew
from sacred_ray_ingredient.engines.direct_worker import BatchReport, TrialReport
from sacred_ray_ingredient.restart import PlannedTrial
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import TrialTask

NODE_DIED = "The actor died because its node has died. Node Id: 52c94a48"


class Reference:
    """An answer that comes once, or an error."""

    def __init__(self):
        self.is_done = False
        self.value = None
        self.error = None

    def answer(self, value=None, error=None):
        assert not self.is_done
        self.is_done, self.value, self.error = True, value, error


class Actor:
    """A worker process: does one call after the other."""

    def __init__(self, world):
        self.world = world
        self._actor_id = types.SimpleNamespace(hex=lambda: uuid.uuid4().hex)
        self.calls = []
        self.is_dead = False
        self.is_ready = False
        for name in ("ready", "run", "close"):
            setattr(self, name, types.SimpleNamespace(remote=self._called(name)))

    def _called(self, name):
        def remote(*arguments):
            reference = Reference()
            if name == "run":
                assert self.is_ready, "a batch for a worker that is not ready"
                self.world.given.append(list(arguments[0]))
            if self.is_dead:
                reference.answer(error=RayActorError())
            elif name == "close":
                self.world.closed.append(self)
                reference.answer()
            else:
                self.calls.append((name, reference, arguments))
            return reference

        return remote

    def die(self, why=""):
        self.is_dead = True
        for _, reference, _ in self.calls:
            reference.answer(error=RayActorError(error_msg=why) if why else RayActorError())
        self.calls.clear()

    def step(self):
        """Do the next call."""
        name, reference, arguments = self.calls[0]
        if name == "ready":
            answer = self.world.start(self)
            if self.is_dead:
                return
            self.is_ready = answer is None
        else:
            answer = self.world.run_batch(self, arguments[0])
            if self.is_dead:
                return
        self.calls.pop(0)
        reference.answer(answer)


class World:
    """Stands in for Ray, its clock, the workers and the record.

    ``fate(task)`` tells what becomes of an attempt: ``completed``, ``failed``, ``timeout``,
    ``dies`` (while it runs), ``loses node``, ``dies unbegun`` or ``dies done`` (after its end was
    recorded).
    """

    def __init__(self, rng, fate=lambda task: "completed", cpus=2, shortens=0.0, seconds=0.01):
        self.rng = rng
        self.fate = fate
        self.cpus = cpus
        self.shortens = shortens
        self.seconds = seconds
        self.now = 0.0
        self.actors = []
        self.given = []
        self.closed = []
        self.killed = []
        self.runs = []
        self.begun = set()
        self.taken = set()
        self.statuses = {}
        self.announced = []
        self.cleared = 0
        self.most_alive = 0
        self.mistake = None
        self.more_nodes = {}
        self.left_out = []
        self.start = lambda actor: None
        self.before_wait = lambda: None
        self.is_held = lambda actor: False

    # Ray

    def wait(self, references, num_returns, timeout):
        assert references
        done = [each for each in references if each.is_done]
        if timeout and not done:
            self.before_wait()
            self.now += 0.01
            able = [actor for actor in self.actors if self._is_able(actor)]
            if able:
                self.rng.choice(able).step()
            else:
                self.now += timeout
            done = [each for each in references if each.is_done]
        self.rng.shuffle(done)
        return done[:num_returns], []

    def _is_able(self, actor):
        return bool(actor.calls) and not actor.is_dead and not self.is_held(actor)

    def get(self, reference, timeout):
        assert reference.is_done
        if reference.error is not None:
            raise reference.error
        return reference.value

    def put(self, value):
        return value

    def kill(self, actor):
        self.killed.append(actor)
        actor.is_dead = True

    def nodes_there(self, left_out=()):
        nodes = [("node1", self.cpus), *self.more_nodes.items()]
        return [{"CPU": float(cpus), "memory": 1e9} for node, cpus in nodes if node not in left_out]

    # Workers

    def start_worker(self):
        self.actors.append(Actor(self))
        alive = sum(not actor.is_dead for actor in self.actors)
        self.most_alive = max(self.most_alive, alive)
        return self.actors[-1]

    def run_batch(self, actor, tasks):
        reports = []
        for task in tasks:
            if self.announced:
                break
            fate = self.fate(task)
            key = task.index, task.attempt
            if fate == "dies unbegun":
                self.taken.add((task.index, task.attempt))
                actor.die()
                return None
            assert key not in self.begun, f"{key} runs twice"
            self.begun.add(key)
            self.runs.append(task)
            if fate in ("dies", "loses node"):
                actor.die(NODE_DIED if fate == "loses node" else "")
                return None
            status = {"failed": "FAILED", "timeout": "TIMEOUT"}.get(fate, "COMPLETED")
            self.statuses[key] = status
            if fate == "dies done":
                actor.die()
                return None
            error = "ValueError: broken" if fate == "failed" else None
            report = TrialReport(
                status, task.run_id, {"loss": 0.5}, error, has_raised=fate == "failed"
            )
            reports.append(report)
            if status != "COMPLETED" or self.mistake or self.rng.random() < self.shortens:
                break
        return BatchReport(reports, self.seconds * len(reports), self.mistake)

    # Clock

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    # Reasons of ends

    def announce_to_all(self, reason):
        self.announced.append(reason)

    def clear(self):
        self.cleared += 1
        if self.cleared > 1 or self.announced:
            self.announced_at_clear = list(self.announced)


class Listener:
    """What the sweep would keep; the record is that of the world."""

    def __init__(self, world, is_recorded=True):
        self.world = world
        self.is_recorded = is_recorded
        self.told = []
        self.notes = []
        self.final = {}
        self.asked = []

    def note(self, sentence):
        self.notes.append(sentence)

    def trial_started(self, outcome):
        self.told.append(("started", outcome))

    def trial_failed(self, outcome, will_retry):
        self.told.append(("retried" if will_retry else "failed", outcome))
        if not will_retry:
            self._end(outcome)

    def has_begun(self, outcome):
        self.asked.append((outcome.index, outcome.attempt))
        return self.is_recorded and (outcome.index, outcome.attempt) in self.world.begun

    def trial_died(self, outcome, will_retry):
        known = self.world.statuses.get((outcome.index, outcome.attempt))
        if self.is_recorded and known is not None:
            outcome.status = known
        self.told.append(("died", outcome))
        if outcome.status == "COMPLETED":
            if not will_retry:
                self.trial_finished(outcome)
            return
        self.trial_failed(outcome, will_retry)

    def trial_finished(self, outcome):
        self.told.append(("finished", outcome))
        self._end(outcome)

    def _end(self, outcome):
        assert outcome.index not in self.final, f"trial {outcome.index} ends twice"
        self.final[outcome.index] = outcome

    def kinds(self):
        return Counter(kind for kind, _ in self.told)


class Resolver:
    """Completes any sample; of some trials it cannot."""

    def __init__(self, wrong=None):
        self.wrong = wrong

    def complete(self, index, sample):
        if index == self.wrong:
            from sacred_ray_ingredient.errors import ResolverError

            raise ResolverError(f"trial {index} cannot be computed")
        return TrialTask(index=index, sampled={"x": index}, resolved={}, seed=index)


def make_job(
    folder, total, is_recorded=True, planned=None, wrong=None, autoscaler=None, **settings
):
    """Make what the engine needs of a job."""
    ids = iter(range(1000, 10**6))

    def reserve_ids(count):
        return [next(ids) for _ in range(count)] if is_recorded else None

    target = types.SimpleNamespace(reserve_ids=reserve_ids)
    return types.SimpleNamespace(
        sweep=types.SimpleNamespace(sweep_id="sweep-1", target=target),
        settings=SweepSettings(**settings),
        storage=Storage.at(folder),
        name="sweep-1-0",
        total=total,
        restart=None,
        is_recorded=is_recorded,
        autoscaler=autoscaler,
        stop_rules=(),
        resolver=Resolver(wrong),
        trials=lambda: iter(
            [PlannedTrial(index, None) for index in range(total)] if planned is None else planned
        ),
    )


def install(world, monkeypatch):
    """Let the engine run in a world."""
    monkeypatch.setattr(direct_crew, "ray", world)
    monkeypatch.setattr(direct_crew, "time", world)
    monkeypatch.setattr(direct, "time", world)
    monkeypatch.setattr(direct, "Endings", lambda sweep_id: world)
    monkeypatch.setattr(
        direct, "was_taken", lambda _, worker, task: (task.index, task.attempt) in world.taken
    )
    monkeypatch.setattr(direct_crew, "nodes_there", world.nodes_there)

    def start_worker(left_out):
        world.left_out.append(frozenset(left_out))
        return world.start_worker(), None

    monkeypatch.setattr(direct, "starter", lambda *arguments: start_worker)
