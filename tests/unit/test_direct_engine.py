"""The direct engine over workers that do, fail and die as drawn."""

import random

import direct_fakes
import pytest
from direct_fakes import Listener, World, make_job

from sacred_ray_ingredient.cluster.capacity import Autoscaler
from sacred_ray_ingredient.engines.direct import DirectEngine
from sacred_ray_ingredient.engines.direct_worker import Refusal
from sacred_ray_ingredient.errors import (
    InnerImportError,
    ResolverError,
    SacredRayError,
    SweepFailed,
)
from sacred_ray_ingredient.restart import PlannedTrial

MOST_WAITS = 4_000


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs a job in a world and gives the listener."""

    def run(world, total, is_recorded=True, should_stop=lambda: None, **named):
        direct_fakes.install(world, monkeypatch)
        listener = named.pop("listener", None) or Listener(world, is_recorded)
        asked = 0

        def stop_or_give_up():
            nonlocal asked
            asked += 1
            assert asked < MOST_WAITS, "the engine does not come to an end"
            return should_stop()

        DirectEngine().run(
            make_job(tmp_path, total, is_recorded, **named), listener, stop_or_give_up
        )
        return listener

    return run


def drawn(rng, fates):
    """Draw once for each attempt what becomes of it."""
    kept = {}

    def fate(task):
        key = task.index, task.attempt
        if key not in kept:
            kept[key] = rng.choices(list(fates), weights=fates.values())[0]
        elif kept[key] == "dies unbegun":  # the next time it begins
            kept[key] = "completed"
        return kept[key]

    return fate


class TestEveryTrial:
    @pytest.mark.parametrize("seed", range(60))
    def test_comes_to_one_end_whatever_happens(self, run, seed):
        rng = random.Random(seed)
        fates = {"completed": 20, "failed": rng.choice([0, 3]), "timeout": rng.choice([0, 1])}
        fates |= {"dies": rng.choice([0, 2]), "dies done": rng.choice([0, 2])}
        fates["dies unbegun"] = rng.choice([0, 1])
        seconds = rng.choice([0.0, 0.001, 0.02, 0.2, 2.0])
        world = World(rng, drawn(rng, fates), rng.randint(1, 4), rng.choice([0.0, 0.1]), seconds)
        total, most = rng.randint(1, 150), rng.randint(0, 2)
        listener = run(world, total, max_failures=most)
        assert sorted(listener.final) == list(range(total))
        for index, outcome in listener.final.items():
            attempts = [key[1] for key in world.begun if key[0] == index]
            assert len(attempts) <= most + 1
            assert outcome.attempt <= most
            if outcome.status in ("COMPLETED", "TIMEOUT"):
                assert world.statuses[index, outcome.attempt] == outcome.status
            else:
                assert outcome.attempt == most
        ids = [task.run_id for task in world.runs if task.run_id is not None]
        assert len(ids) == len(set(ids))
        # A reserved id is for the first attempt, another one takes the next that is free.
        assert all((task.run_id is None) == (task.attempt > 0) for task in world.runs)

    @pytest.mark.parametrize("seed", range(20))
    def test_is_run_alone_where_there_is_no_record(self, run, seed):
        rng = random.Random(seed)
        world = World(rng, drawn(rng, {"completed": 20, "failed": 1, "dies": 1}), 3)
        listener = run(world, 60, is_recorded=False, max_failures=1)
        assert sorted(listener.final) == list(range(60))
        assert {len(tasks) for tasks in world.given} == {1}
        assert all(task.run_id is None for task in world.runs)

    def test_is_begun_in_order_by_one_worker(self, run):
        world = World(random.Random(1), cpus=1)
        run(world, 100)
        assert [task.index for task in world.runs] == list(range(100))
        assert [task.run_id for task in world.runs] == list(range(1000, 1100))

    def test_short_ones_go_out_in_batches(self, run):
        world = World(random.Random(1), seconds=0.001)
        run(world, 1000)
        assert len(world.given) < 150
        assert max(map(len, world.given)) > 50

    def test_without_any_no_worker_is_started(self, run):
        world = World(random.Random(1))
        run(world, 0)
        assert world.actors == []

    def test_outcome_tells_what_was_reported_and_what_was_asked_for(self, run):
        world = World(random.Random(1), lambda task: "failed" if task.index else "completed")
        listener = run(world, 2)
        first, second = listener.final[0], listener.final[1]
        assert (first.status, first.run_id, first.metrics) == ("COMPLETED", 1000, {"loss": 0.5})
        assert (first.parameters, first.seed, first.error) == ({"x": 0}, 0, None)
        assert (second.status, second.error) == ("FAILED", "ValueError: broken")


class TestAFailure:
    @pytest.mark.parametrize("fate", ["failed", "dies"])
    @pytest.mark.parametrize("most", [0, 1, 2])
    def test_is_tried_again_as_often_as_allowed(self, run, fate, most):
        world = World(random.Random(1), lambda task: fate if task.index == 2 else "completed")
        listener = run(world, 5, max_failures=most)
        attempts = [task.attempt for task in world.runs if task.index == 2]
        assert attempts == list(range(most + 1))
        assert (listener.final[2].status, listener.final[2].attempt) == ("FAILED", most)
        assert (listener.kinds()["retried"], listener.kinds()["failed"]) == (most, 1)
        assert all(listener.final[index].status == "COMPLETED" for index in (0, 1, 3, 4))

    @pytest.mark.parametrize("fate", ["failed", "dies"])
    def test_lets_the_rest_of_its_batch_be_run_once_each(self, run, fate):
        hit = {60, 75, 90}
        world = World(
            random.Random(1), lambda task: fate if task.index in hit else "completed", 1, 0, 0.001
        )
        listener = run(world, 120)
        assert any(hit & {task.index for task in tasks[:-1]} for tasks in world.given)
        assert [task.index for task in world.runs] == list(range(120))
        assert {i for i, one in listener.final.items() if one.status == "FAILED"} == hit

    def test_of_a_worker_says_so_in_plain_words(self, run):
        world = World(random.Random(1), lambda task: "dies")
        assert run(world, 1).final[0].error == "the worker process died"

    def test_goes_on_from_its_last_whole_checkpoint(self, run, tmp_path):
        kept = tmp_path / "sweep-1-0" / "trial-00001-0"
        (kept / "checkpoint_000000").mkdir(parents=True)
        (kept / "checkpoint_000001").mkdir()
        (kept / "checkpoint_000002.partial").mkdir()
        world = World(random.Random(1), lambda task: "dies" if task.index == 1 else "completed")
        run(world, 3, max_failures=2)
        restored = [task.restore_from for task in world.runs if task.index == 1]
        # The second attempt has kept none of its own: the third begins where it began.
        assert restored == [None, *[str(kept / "checkpoint_000001")] * 2]

    def test_of_a_worker_after_a_recorded_end_is_none(self, run):
        world = World(random.Random(1), lambda task: "dies done")
        listener = run(world, 6, max_failures=1)
        assert {outcome.status for outcome in listener.final.values()} == {"COMPLETED"}
        assert {task.attempt for task in world.runs} == {0}

    def test_counts_anew_for_each_trial(self, run):
        world = World(random.Random(1), lambda task: "completed" if task.attempt else "dies")
        listener = run(world, 8, max_failures=1)
        assert {outcome.status for outcome in listener.final.values()} == {"COMPLETED"}

    def test_goes_on_counting_attempts_of_a_sweep_before(self, run):
        planned = [PlannedTrial(3, None, 2, "/there")]
        world = World(random.Random(1), lambda task: "failed" if task.attempt == 2 else "completed")
        run(world, 1, planned=planned, max_failures=1)
        assert [(t.index, t.attempt, t.restore_from) for t in world.runs] == [
            *[(3, 2, "/there"), (3, 3, "/there")]
        ]


def refusal(node):
    return Refusal("There is no module 'mine'.", node, f"machine-of-{node}")


class TestALostNode:
    @pytest.mark.parametrize(
        ("losses", "most", "attempts", "status"),
        [
            *[(1, 0, 2, "COMPLETED"), (2, 0, 3, "COMPLETED"), (3, 0, 3, "FAILED")],
            *[(3, 1, 4, "COMPLETED"), (9, 2, 5, "FAILED")],
        ],
    )
    def test_is_no_failure_of_its_trial_unless_it_happens_again_and_again(
        self, run, losses, most, attempts, status
    ):
        def fate(task):
            return "loses node" if task.index == 1 and task.attempt < losses else "completed"

        world = World(random.Random(1), fate)
        listener = run(world, 4, max_failures=most)
        assert [t.attempt for t in world.runs if t.index == 1] == list(range(attempts))
        assert listener.final[1].status == status
        died = [outcome for kind, outcome in listener.told if kind == "died"]
        assert [outcome.node_lost for outcome in died] == [True] * len(died)
        assert {outcome.error for outcome in died} == {"its node was lost"}

    def test_leaves_the_failures_that_a_trial_may_have(self, run):
        fates = {0: "loses node", 1: "failed", 2: "loses node", 3: "failed"}
        world = World(random.Random(1), lambda task: fates.get(task.attempt, "completed"))
        listener = run(world, 1, max_failures=1)
        assert (listener.final[0].status, listener.final[0].attempt) == ("FAILED", 3)

    def test_may_have_begun_all_that_it_was_given(self, run):
        def fate(task):
            return "loses node" if (task.index, task.attempt) == (60, 0) else "completed"

        world = World(random.Random(1), fate, 1, 0, 0.001)
        listener = run(world, 120)
        (lost,) = [tasks for tasks in world.given if (60, 0) in _keys(tasks)]
        number = _keys(lost).index((60, 0))
        assert 0 < number < len(lost) - 1, "the trial is in the middle of a batch"
        again = [task for task in world.runs if task.attempt == 1]
        assert {task.index for task in lost[number:]} <= {task.index for task in again}
        assert not {task.index for task in lost[:number]} & {task.index for task in again}
        assert {task.run_id for task in again} == {None}
        assert {outcome.status for outcome in listener.final.values()} == {"COMPLETED"}


def _keys(tasks):
    return [(task.index, task.attempt) for task in tasks]


class TestWorkers:
    @pytest.mark.parametrize(("cpus", "most", "there"), [(4, None, 4), (4, 2, 2), (2, 8, 2)])
    def test_are_as_many_as_there_is_room_for_and_allowed(self, run, cpus, most, there):
        world = World(random.Random(1), drawn(random.Random(2), {"completed": 5, "dies": 1}), cpus)
        run(world, 60, max_concurrent_trials=most)
        assert world.most_alive == there

    def test_are_no_more_than_trials(self, run):
        world = World(random.Random(1), cpus=8)
        run(world, 3)
        assert len(world.actors) == 3

    def test_beyond_the_room_ask_an_autoscaler_for_nodes(self, run):
        world = World(random.Random(1), cpus=2)
        ready = []

        def start(actor):
            ready.append(actor)
            return None

        world.start = start
        world.is_held = lambda actor: actor not in world.actors[: world.cpus]

        def before_wait():
            world.now += 0.2
            world.cpus = 3 if len(world.runs) > 30 else 2

        world.before_wait = before_wait
        run(world, 200, autoscaler=Autoscaler())
        # Twice as many as there is room for; with the third node, six.
        assert len(world.actors) == 6
        assert len(ready) == 3

    def test_that_are_starting_find_trials_left_for_them(self, run):
        world = World(random.Random(1), cpus=2, seconds=0.001)

        def is_held(actor):
            is_first = actor is world.actors[0]
            # The second is slow to start; after a quick trial the others of the first are long.
            is_long = is_first and len(world.runs) >= 1 and len(world.given) < 4
            return is_long or (not is_first and len(world.given) < 3)

        world.is_held = is_held
        run(world, 4)
        assert [len(tasks) for tasks in world.given] == [1, 1, 1, 1]

    def test_beyond_the_room_are_none_without_an_autoscaler(self, run):
        world = World(random.Random(1), cpus=2)
        run(world, 200)
        assert len(world.actors) == 2

    def test_with_nothing_left_to_do_are_ended_before_the_last_trial(self, run):
        world = World(random.Random(1), cpus=3)
        killed_before_the_end = []

        def before_wait():
            if len(world.runs) == 30:
                killed_before_the_end.append(len(world.killed))

        world.before_wait = before_wait
        run(world, 31, autoscaler=Autoscaler(), is_recorded=False)
        assert max(killed_before_the_end) >= 2

    def test_that_die_are_replaced(self, run):
        fate = drawn(random.Random(3), {"completed": 4, "dies": 1})
        world = World(random.Random(1), fate)
        run(world, 50)
        deaths = sum(world.fate(task) == "dies" for task in world.runs)
        assert deaths > 3
        assert len(world.actors) >= deaths + 1

    def test_that_never_become_ready_hold_no_trial(self, run):
        world = World(random.Random(1), cpus=3)
        started = world.start_worker

        def start_worker():
            actor = started()
            if len(world.actors) > 1:
                actor.step = lambda: None
            return actor

        world.start_worker = start_worker
        assert sorted(run(world, 30).final) == list(range(30))
        assert len(world.actors) == 3

    def test_are_told_to_bring_home_the_record_and_then_ended(self, run):
        world = World(random.Random(1))
        run(world, 30)
        assert set(world.closed) == set(world.killed) == set(world.actors)
        assert len(world.closed) == 2
        assert world.cleared

    def test_that_are_born_dead_three_times_end_the_sweep(self, run):
        world = World(random.Random(1), cpus=1)
        world.start = lambda actor: actor.die()
        with pytest.raises(SweepFailed, match="No worker process can be started: "):
            run(world, 5)
        assert len(world.actors) == 3
        assert world.runs == []

    def test_may_be_born_dead_twice(self, run):
        world = World(random.Random(1), cpus=1)
        world.start = lambda actor: actor.die() if len(world.actors) < 3 else None
        assert sorted(run(world, 5).final) == list(range(5))

    def test_that_cannot_import_the_experiment_end_the_sweep(self, run):
        world = World(random.Random(1))
        world.start = lambda actor: refusal("node1")
        with pytest.raises(
            InnerImportError, match=r"^On a worker process: There is no module 'mine'\.$"
        ):
            run(world, 5)
        assert world.given == []
        assert set(world.killed) == set(world.actors)


class TestTheEnd:
    def test_for_a_reason_lets_nothing_more_begin_and_is_told_to_those_that_run(self, run):
        world = World(random.Random(1))
        listener = run(
            world, 500, should_stop=lambda: "the time is over" if len(world.runs) > 40 else None
        )
        assert world.announced == ["the time is over"]
        assert world.announced_at_clear == ["the time is over"]
        begun = {task.index for task in world.runs}
        assert set(listener.final) == begun
        assert 40 < len(begun) < 500
        given = sum(map(len, world.given))
        assert given < 500

    def test_before_the_first_trial_starts_nothing(self, run):
        world = World(random.Random(1))
        run(world, 5, should_stop=lambda: "interrupted")
        assert world.actors == []

    def test_is_heard_of_by_trials_that_do_not_end_in_time_only_if_they_begun(self, run):
        world = World(random.Random(1), cpus=2)
        began = []

        def hang():
            for actor in world.actors:
                for name, _, arguments in actor.calls:
                    if name == "run" and not began:
                        began.append(arguments[0][0])
                        world.begun.add((began[0].index, began[0].attempt))
                    if name == "run":
                        actor.step = lambda: None

        world.before_wait = hang
        listener = run(world, 5, should_stop=lambda: "the end" if len(world.given) == 2 else None)
        assert [(kind, one.index, one.status) for kind, one in listener.told] == [
            ("started", began[0].index, "RUNNING")
        ]
        assert world.now >= 12.0
        assert set(world.killed) == set(world.actors)

    def test_by_a_mistake_of_a_rule_comes_after_what_runs_was_ended(self, run):
        world = World(random.Random(1))
        listener = Listener(world)

        def make_mistake():
            if len(world.runs) > 20:
                world.mistake = "ray.stop is f, which raised KeyError; the sweep was ended."

        world.before_wait = make_mistake
        with pytest.raises(SacredRayError, match=r"^ray\.stop is f, which raised KeyError"):
            run(world, 300, listener=listener)
        assert world.announced == [world.mistake]
        assert set(listener.final) == {task.index for task in world.runs}
        assert len(world.runs) < 300

    def test_by_what_cannot_be_computed_comes_after_the_trials_before_it(self, run):
        world = World(random.Random(1))
        listener = Listener(world)
        with pytest.raises(ResolverError, match="trial 20 cannot be computed"):
            run(world, 30, listener=listener, wrong=20)
        assert {task.index for task in world.runs} <= set(range(20))
        assert set(listener.final) == {task.index for task in world.runs}
        assert set(world.killed) == set(world.actors)

    def test_by_any_error_leaves_no_worker(self, run):
        world = World(random.Random(1))

        def break_down():
            raise ZeroDivisionError("broken")

        world.before_wait = break_down
        with pytest.raises(ZeroDivisionError, match="broken"):
            run(world, 3)
        assert set(world.killed) == set(world.actors)
        assert len(world.actors) == 2
        assert world.cleared


class TestRareCourses:
    """What happens seldom, and must not cost a trial or the sweep."""

    def test_a_worker_that_died_is_replaced_though_others_are_busy(self, run):
        """The last two trials: one dies, and is not to wait for the other."""
        fates = {(0, 0): "dies"}
        world = World(
            random.Random(1), lambda task: fates.get((task.index, task.attempt), "completed")
        )

        def is_held(actor):
            has = [task.index for _, _, given in actor.calls for each in given for task in each]
            if 1 in has:  # until the other has been tried again
                return not any(task.attempt == 1 for task in world.runs)
            return 0 in has and len(world.given) < 2  # until both have one

        world.is_held = is_held
        listener = run(world, 2, max_failures=1)
        assert {outcome.status for outcome in listener.final.values()} == {"COMPLETED"}

    def test_a_reason_that_is_left_from_before_is_taken_away_first(self, run):
        """Of a driver that was killed, on a Ray that lives on; workers would do nothing."""
        world = World(random.Random(1))
        world.announced.append("an old reason")
        cleared = world.clear

        def clear():
            cleared()
            world.announced.clear()

        world.clear = clear
        assert sorted(run(world, 5).final) == list(range(5))

    def test_a_healthy_worker_goes_on_though_no_other_can_be_started(self, run):
        world = World(random.Random(1), cpus=2, seconds=1.0)
        world.start = lambda actor: None if actor is world.actors[0] else actor.die()
        assert sorted(run(world, 40).final) == list(range(40))

    @pytest.mark.parametrize("seed", range(4))
    def test_what_came_with_the_news_of_a_worker_that_cannot_start_is_not_lost(self, run, seed):
        world = World(random.Random(seed), cpus=2, seconds=1.0)
        world.is_held = lambda actor: actor is not world.actors[0]

        def start(actor):
            return None if actor is world.actors[0] else refusal("node1")

        def run_batch(actor, tasks):
            report = type(world).run_batch(world, actor, tasks)
            if len(world.runs) == 5:
                world.actors[1].step()
            return report

        world.start, world.run_batch = start, run_batch
        listener = Listener(world)
        with pytest.raises(InnerImportError, match="no module"):
            run(world, 40, listener=listener)
        assert set(listener.final) == {task.index for task in world.runs}

    def test_a_node_that_cannot_import_the_experiment_is_left_out_and_named(self, run):
        """It has joined the cluster after all nodes were asked."""
        world = World(random.Random(1), cpus=1, seconds=1.0)
        world.more_nodes = {"node2": 1}
        # The second to start is on the other node; those after it are not.
        world.start = lambda actor: refusal("node2") if actor is world.actors[1] else None
        listener = run(world, 20)
        assert sorted(listener.final) == list(range(20))
        assert listener.notes == [
            "Note: no trials run on the node machine-of-node2. There is no module 'mine'."
        ]
        assert world.left_out == [frozenset(), frozenset()]
        assert world.actors[1] in world.killed

    def test_no_other_worker_starts_on_a_node_that_was_left_out(self, run):
        world = World(random.Random(1), cpus=2, seconds=1.0)
        world.more_nodes = {"node2": 1}
        world.start = lambda actor: refusal("node2") if actor is world.actors[0] else None
        world.fate = lambda task: "dies" if task.index == 3 else "completed"
        assert sorted(run(world, 20).final) == list(range(20))
        assert world.left_out[:3] == [frozenset()] * 3
        assert set(world.left_out[3:]) == {frozenset({"node2"})}

    def test_if_no_other_node_is_left_the_sweep_ends(self, run):
        """The good node is lost while the other one has been left out."""
        world = World(random.Random(1), cpus=1, seconds=1.0)
        world.more_nodes = {"node2": 1}
        world.start = lambda actor: refusal("node2") if actor is world.actors[1] else None

        def fate(task):
            if task.index < 3:
                return "completed"
            world.cpus = 0
            return "dies"

        world.fate = fate
        with pytest.raises(InnerImportError, match="There is no module 'mine'"):
            run(world, 20)

    def test_workers_bring_home_the_record_also_when_the_sweep_is_ended(self, run):
        world = World(random.Random(1))
        run(world, 500, should_stop=lambda: "time" if len(world.runs) > 40 else None)
        assert len(world.closed) == 2

    def test_the_end_is_not_lost_to_workers_that_cannot_start(self, run):
        world = World(random.Random(1), cpus=4, seconds=1.0)
        world.start = lambda actor: None if actor is world.actors[0] else actor.die()
        # The first hangs and the others do not get ready before the end.
        world.is_held = lambda actor: (
            bool(world.given) if actor is world.actors[0] else not world.announced
        )
        run(world, 50, should_stop=lambda: "time" if world.given else None)
        assert world.announced == ["time"]

    def test_a_search_whose_count_is_wrong_still_comes_to_its_end(self, run):
        planned = [PlannedTrial(index, None) for index in range(3)]
        world = World(random.Random(1))
        assert sorted(run(world, 0, planned=planned).final) == [0, 1, 2]

    def test_an_idle_worker_that_died_costs_no_trial(self, run):
        world = World(random.Random(1), cpus=1)

        def should_stop():
            if len(world.runs) == 1 and not world.actors[0].calls:
                world.actors[0].is_dead = True
            return None

        listener = run(world, 5, should_stop=should_stop)
        assert {outcome.status for outcome in listener.final.values()} == {"COMPLETED"}
