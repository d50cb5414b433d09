"""Tune's event loop without what a recorded sweep has no use for."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import ray.tune.registry
from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal import RayActorManager, TrackedActor
from ray.exceptions import RayActorError
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sacred_ray_ingredient.engines import tune_controller
from sacred_ray_ingredient.engines.tune_controller import (
    PlacementGroupPool,
    SweepController,
    SweepTrial,
)
from sacred_ray_ingredient.engines.tune_trials import ResolvingGenerator, TrialMaker
from sacred_ray_ingredient.restart import PlannedTrial
from sacred_ray_ingredient.sampling import Sample
from sacred_ray_ingredient.tasks import TrialTask

CPU, GPU = PlacementGroupFactory([{"CPU": 1}]), PlacementGroupFactory([{"GPU": 1}])


def trainable(config):
    """Never run."""


class Resolver:
    def complete(self, index, sample):
        return TrialTask(index, sample.sampled, {}, seed=index)


@pytest.fixture
def experiment(tmp_path):
    return Experiment(
        "by_hand",
        trainable,
        storage_path=str(tmp_path),
        resources_per_trial=PlacementGroupFactory([{"CPU": 2}]),
        max_failures=3,
    )


@pytest.fixture
def make_trial(experiment):
    maker = TrialMaker(experiment, Resolver())
    return lambda index=0: maker.make(f"t{index}", PlannedTrial(index, Sample({"x": index}, index)))


class TestSweepTrial:
    @pytest.mark.parametrize("preempted", [False, True])
    def test_that_lost_its_node_has_not_failed_unless_again_and_again(
        self, make_trial, monkeypatch, preempted
    ):
        monkeypatch.setattr(Trial, "local_path", None)  # where Tune writes errors down
        trial = make_trial()
        lost = RayActorError(error_msg="its node has died", preempted=preempted)
        failures = []
        for _ in range(4):
            trial.handle_error(lost)
            failures.append(trial.num_failures)
            assert trial.node_lost
        assert failures == [0, 0, 1, 2]
        trial.handle_error(RayActorError(error_msg="its worker process has died"))
        assert trial.num_failures == 3
        assert not trial.node_lost

    def test_has_what_its_experiment_says(self, make_trial, tmp_path):
        trial = make_trial(7)
        trial.create_placement_group_factory()
        assert trial.placement_group_factory.bundles == [{"CPU": 2.0}]
        assert trial.max_failures == 3
        assert (trial.trial_id, trial.experiment_tag, trial.config["x"]) == ("t7", "7", 7)
        assert trial.storage.storage_fs_path == str(tmp_path)
        assert trial.get_trainable_cls().__name__ == "ImplicitFunc"

    def test_is_made_without_a_look_into_rays_store(self, make_trial, monkeypatch):
        def looked(*arguments):
            raise AssertionError("Ray's store was asked")

        registry = ray.tune.registry._global_registry
        monkeypatch.setattr(registry, "get", looked)
        monkeypatch.setattr(registry, "contains", looked)
        make_trial().create_placement_group_factory()

    def test_all_share_one_request_for_resources(self, make_trial):
        trials = [make_trial(0), make_trial(1)]
        for trial in trials:
            trial.create_placement_group_factory()
        assert trials[0].placement_group_factory is trials[1].placement_group_factory

    def test_keeps_the_last_result_and_no_means_of_all(self, make_trial):
        trial = make_trial()
        assert trial.last_result == {"trial_id": "t0"}
        trial.update_last_result({"loss": 1.0})
        trial.update_last_result({"loss": 0.5})
        assert trial.last_result == {"loss": 0.5, "trial_id": "t0"}
        assert trial.metric_analysis == {}

    def test_asks_its_actor_nothing(self, make_trial):
        trial, actor = make_trial(), object()
        trial.set_ray_actor(actor)
        assert trial.temporary_state.ray_actor is actor

    def test_makes_its_folder_once(self, make_trial, monkeypatch):
        made = []

        def make(trial):
            made.append(trial.trial_id)
            trial.relative_logdir = "folder"

        monkeypatch.setattr(Trial, "init_local_path", make)
        trial = make_trial()
        trial.init_local_path()
        trial.init_local_path()
        assert made == ["t0"]


class TestPlacementGroupPool:
    @pytest.fixture
    def asked(self, monkeypatch):
        """What reaches Ray."""
        asked = []
        for name, word in {"request_resources": "+", "cancel_resource_request": "-"}.items():
            monkeypatch.setattr(
                PlacementGroupResourceManager,
                name,
                lambda self, resource_request, word=word: asked.append((word, resource_request)),
            )
        monkeypatch.setattr(PlacementGroupResourceManager, "clear", lambda self: None)
        return asked

    def test_what_was_given_back_goes_to_the_next(self, asked):
        pool = PlacementGroupPool(2)
        for _ in range(10):
            pool.request_resources(CPU)
            pool.cancel_resource_request(CPU)
        assert asked == [("+", CPU)]

    def test_others_ask_for_their_own(self, asked):
        pool = PlacementGroupPool(2)
        pool.request_resources(CPU)
        pool.cancel_resource_request(CPU)
        pool.request_resources(GPU)
        assert asked == [("+", CPU), ("+", GPU)]

    def test_it_keeps_no_more_than_it_was_told(self, asked):
        pool = PlacementGroupPool(2)
        for _ in range(5):
            pool.request_resources(CPU)
        for _ in range(5):
            pool.cancel_resource_request(CPU)
        assert asked == [("+", CPU)] * 5 + [("-", CPU)] * 3

    def test_it_gives_all_back_at_the_end_and_keeps_nothing_more(self, asked):
        pool = PlacementGroupPool(2)
        for _ in range(2):
            pool.request_resources(CPU)
        for _ in range(2):
            pool.cancel_resource_request(CPU)
        pool.release()
        pool.release()
        assert asked[2:] == [("-", CPU)] * 2
        pool.request_resources(CPU)
        pool.cancel_resource_request(CPU)
        assert asked[4:] == [("+", CPU), ("-", CPU)]


class TestSweepController:
    @pytest.fixture
    def make(self, experiment, monkeypatch):
        monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "4")
        monkeypatch.setattr(PlacementGroupPool, "clear", lambda self: None)

        def make(**arguments):
            generator = ResolvingGenerator(iter(()), 10, Resolver())
            return SweepController(experiment, generator, FIFOScheduler(), [], **arguments)

        return make

    @pytest.fixture(autouse=True)
    def no_events(self, monkeypatch):
        """Let a step do nothing but what is ours."""
        monkeypatch.setattr(tune_controller.TuneController, "step", lambda self: None)

    def ended(self, controller, trial, status=Trial.TERMINATED):
        controller.add_trial(trial)
        controller._set_trial_status(trial, Trial.RUNNING)
        controller._set_trial_status(trial, status)

    def test_writes_nothing(self, make, make_trial, tmp_path):
        controller = make()
        controller.add_trial(make_trial())
        controller.checkpoint(force=True, wait=True)
        assert list(tmp_path.rglob("experiment_state*")) == []
        assert not controller._trials_to_cache

    @pytest.mark.parametrize("status", [Trial.TERMINATED, Trial.ERROR])
    def test_forgets_trials_that_have_ended(self, make, make_trial, status):
        controller, waiting = make(), make_trial(1)
        self.ended(controller, make_trial(0), status)
        controller.add_trial(waiting)
        controller.step()
        assert controller.get_trials() == [waiting]
        assert controller.get_live_trials() == {waiting}
        assert not controller._stopped_trials
        assert not controller._failed_trials

    def test_can_keep_them(self, make, make_trial):
        controller, trial = make(forgets=False), make_trial()
        self.ended(controller, trial)
        controller.step()
        assert controller.get_trials() == [trial]

    def test_holds_nothing_of_a_forgotten_trial(self, make, make_trial):
        controller, trial = make(), make_trial()
        self.ended(controller, trial)
        controller.step()
        controller._pending_trials_list.clear()
        forgotten = weakref.ref(trial)
        del trial
        gc.collect()
        assert forgotten() is None

    def test_gives_resources_back_when_no_more_trials_come(self, make, monkeypatch):
        released = []
        monkeypatch.setattr(PlacementGroupPool, "release", lambda self: released.append(True))
        controller = make()
        controller.step()
        assert released == []
        controller.search_alg.set_finished()
        controller.step()
        assert released == [True]

    def test_a_process_that_never_started_is_told_nothing(self, make, monkeypatch):
        controller = make()
        monkeypatch.setattr(
            PlacementGroupPool, "request_resources", lambda self, resource_request: None
        )
        monkeypatch.setattr(
            PlacementGroupPool, "cancel_resource_request", lambda self, resource_request: None
        )
        manager = controller._actor_manager
        controller._remove_actor(manager.add_actor(object, {}, CPU))
        assert manager.num_total_actors == 0
        assert not manager._pending_actors_to_enqueued_actor_tasks

    def test_keeps_as_many_processes_as_there_are_trials_at_once(self, make, make_trial):
        controller = make(at_once=3)
        trials = [make_trial(index) for index in range(2)]
        for trial in trials:
            controller.add_trial(trial)
        factory = trials[0].placement_group_factory
        kept = [controller._actor_cache.cache_object(factory, object()) for _ in range(4)]
        assert kept == [True, True, True, False]

    @pytest.fixture
    def resets(self, monkeypatch):
        """The trials that were given the process of another."""
        resets = []

        def reset(self, trial, config, tag):
            resets.append(trial)
            self._resetting_trials.add(trial)

        monkeypatch.setattr(SweepController, "_schedule_trial_reset", reset)
        return resets

    @pytest.fixture
    def removed(self, monkeypatch):
        """The processes that were ended."""
        removed = []

        def remove(self, tracked_actor, kill=False, stop_future=None):
            removed.append(tracked_actor)

        monkeypatch.setattr(RayActorManager, "remove_actor", remove)
        monkeypatch.setattr(RayActorManager, "schedule_actor_task", lambda *a, **options: None)
        return removed

    def process(self, controller, number, has_started=True):
        actor = TrackedActor(number)
        controller._actor_manager._live_actors_to_ray_actors_resources[actor] = (object(), None)
        if has_started:
            controller._started_actors.add(actor)
        return actor

    def with_process(self, controller, trial, actor):
        controller.add_trial(trial)
        controller._trial_to_actor[trial] = actor
        controller._actor_to_trial[actor] = trial
        return trial

    def running(self, controller, trial, number=1):
        self.with_process(controller, trial, self.process(controller, number))
        controller._set_trial_status(trial, Trial.RUNNING)
        return trial

    def test_a_free_process_is_taken_at_once_and_the_one_that_starts_is_for_the_next(
        self, make, make_trial, resets, removed
    ):
        controller, trial, next_trial = make(at_once=2), make_trial(0), make_trial(1)
        starting = self.process(controller, 1, has_started=False)
        free = self.process(controller, 2)
        self.with_process(controller, trial, starting)
        resources = trial.placement_group_factory
        controller._actor_cache.cache_object(resources, free)
        assert controller._maybe_reuse_cached_actor(trial)
        assert (resets, controller._trial_to_actor) == ([trial], {trial: free})
        controller.add_trial(next_trial)
        assert not controller._maybe_reuse_cached_actor(next_trial)
        controller._actor_started(starting)
        assert controller._maybe_reuse_cached_actor(next_trial)
        assert resets == [trial, next_trial]
        assert controller._trial_to_actor[next_trial] is starting
        assert removed == []

    def test_a_trial_that_is_being_reset_keeps_the_process_that_it_was_given(
        self, make, make_trial, resets
    ):
        controller, trial = make(), make_trial()
        given = self.process(controller, 1, has_started=False)
        self.with_process(controller, trial, given)
        controller._actor_cache.cache_object(
            trial.placement_group_factory, self.process(controller, 2)
        )
        controller._resetting_trials.add(trial)
        assert controller._maybe_reuse_cached_actor(trial)
        assert (resets, controller._trial_to_actor) == ([], {trial: given})

    def test_where_none_is_free_a_trial_waits_for_its_own(self, make, make_trial, resets):
        controller, trial = make(), make_trial()
        starting = self.process(controller, 1, has_started=False)
        self.with_process(controller, trial, starting)
        assert not controller._maybe_reuse_cached_actor(trial)
        assert (resets, controller._trial_to_actor) == ([], {trial: starting})

    def spare(self, controller, trial, resets):
        """Let a trial leave the process that starts for it."""
        starting = self.process(controller, 1, has_started=False)
        self.with_process(controller, trial, starting)
        free = self.process(controller, 2)
        controller._actor_cache.cache_object(trial.placement_group_factory, free)
        assert controller._maybe_reuse_cached_actor(trial)
        return starting

    def test_one_that_starts_for_nobody_and_is_too_much_is_ended(
        self, make, make_trial, resets, removed
    ):
        controller, trial = make(at_once=1), make_trial()
        starting = self.spare(controller, trial, resets)
        controller._actor_cache.cache_object(trial.placement_group_factory, object())
        controller._actor_started(starting)
        assert removed == [starting]
        assert controller._actor_cache.num_cached_objects == 1

    def test_one_that_fails_to_start_for_nobody_is_no_trials_failure(
        self, make, make_trial, resets
    ):
        controller, trial = make(), make_trial()
        starting = self.spare(controller, trial, resets)
        controller._actor_failed(starting, RuntimeError("no start"))
        assert trial.num_failures == 0
        assert not controller._spare

    @pytest.fixture
    def asked(self, monkeypatch):
        """The trials that a process was asked for."""
        asked = []
        monkeypatch.setattr(
            SweepTrial, "init_local_path", lambda trial: setattr(trial, "relative_logdir", "made")
        )
        monkeypatch.setattr(
            tune_controller.TuneController,
            "_schedule_trial_actor",
            lambda self, trial: asked.append(trial),
        )
        return asked

    def staged(self, controller, trial):
        controller.add_trial(trial)
        controller._staged_trials.add(trial)
        return trial

    def test_where_one_starts_for_nobody_the_next_trial_waits_for_it(
        self, make, make_trial, resets, asked
    ):
        controller = make()
        self.spare(controller, make_trial(0), resets)
        first, second = (self.staged(controller, make_trial(index)) for index in (1, 2))
        controller._staged_trials.remove(second)
        controller._schedule_trial_actor(first)
        assert asked == []
        assert first.relative_logdir == "made"
        controller._staged_trials.add(second)
        controller._schedule_trial_actor(second)
        assert asked == [second]

    def test_not_where_one_is_free(self, make, make_trial, resets, asked):
        controller = make()
        self.spare(controller, make_trial(0), resets)
        trial = self.staged(controller, make_trial(1))
        controller._actor_cache.cache_object(trial.placement_group_factory, TrackedActor(3))
        controller._schedule_trial_actor(trial)
        assert asked == [trial]

    def test_where_it_fails_one_is_asked_for(self, make, make_trial, resets, asked):
        controller = make()
        starting = self.spare(controller, make_trial(0), resets)
        trial = self.staged(controller, make_trial(1))
        controller._schedule_trial_actor(trial)
        controller._actor_failed(starting, RuntimeError("no start"))
        assert asked == [trial]

    def test_one_that_starts_for_nobody_is_ended_when_no_more_trials_come(
        self, make, make_trial, resets, removed
    ):
        controller, trial = make(), make_trial()
        starting = self.spare(controller, trial, resets)
        controller.search_alg.set_finished()
        controller.on_step_end()
        assert removed == []
        controller._set_trial_status(trial, Trial.RUNNING)
        controller.on_step_end()
        controller.on_step_end()
        assert removed == [starting]

    def test_the_process_of_a_paused_trial_is_kept_for_it(self, make, make_trial, removed):
        controller = make()
        trial = self.running(controller, make_trial())
        process = controller._trial_to_actor[trial]
        controller.search_alg.set_finished()
        controller.pause_trial(trial, should_checkpoint=False)
        controller.on_step_end()
        assert trial.status == Trial.PAUSED
        assert controller._actor_cache.pop_cached_object(trial.placement_group_factory) is process
        assert removed == []

    def test_the_process_of_a_trial_that_failed_is_not(self, make, make_trial, removed):
        controller = make()
        trial = self.running(controller, make_trial())
        process = controller._trial_to_actor[trial]
        controller._schedule_trial_stop(trial, exception=RuntimeError())
        assert controller._actor_cache.num_cached_objects == 0
        assert removed == [process]

    def test_one_that_has_not_started_is_not(self, make, make_trial, removed):
        controller, trial = make(), make_trial()
        starting = self.process(controller, 1, has_started=False)
        self.with_process(controller, trial, starting)
        controller._schedule_trial_stop(trial)
        assert removed == [starting]

    def test_a_trial_that_is_paused_while_it_is_saved_is_not_ended_by_its_next_save(
        self, make, make_trial
    ):
        controller = make()
        trial = self.running(controller, make_trial())
        trial.temporary_state.saving_to = object()
        controller.pause_trial(trial, should_checkpoint=False)
        controller._set_trial_status(trial, Trial.RUNNING)
        controller._on_saving_result(trial, SimpleNamespace(checkpoint=None))
        assert trial.status == Trial.RUNNING

    @pytest.mark.parametrize("has_ended", [True, False])
    def test_a_trial_that_nothing_has_ended_goes_on(self, make, make_trial, monkeypatch, has_ended):
        trained = []
        monkeypatch.setattr(
            SweepController, "_schedule_trial_train", lambda self, trial: trained.append(trial)
        )
        controller = make(has_ended=lambda trial: has_ended)
        trial = self.running(controller, make_trial())
        controller._execute_action(trial, TrialScheduler.STOP)
        expected = (Trial.TERMINATED, []) if has_ended else (Trial.RUNNING, [trial])
        assert (trial.status, trained) == expected

    def test_a_trial_that_failed_is_no_longer_live_where_ended_ones_are_kept(
        self, make, make_trial
    ):
        controller, waiting = make(forgets=False), make_trial(1)
        self.ended(controller, make_trial(0), Trial.ERROR)
        controller.add_trial(waiting)
        controller.step()
        assert controller.get_live_trials() == {waiting}

    def paused(self, controller, *trials):
        for trial in trials:
            controller.add_trial(trial)
            controller._set_trial_status(trial, Trial.PAUSED)

    def test_where_all_wait_the_scheduler_is_asked_to_go_on(self, make, make_trial, monkeypatch):
        woken = []
        monkeypatch.setattr(FIFOScheduler, "wake", woken.append, raising=False)
        controller, trial = make(), make_trial()
        self.paused(controller, trial)
        controller.step()
        assert woken == []
        controller.step()
        assert len(woken) == 1
        assert trial.status == Trial.PAUSED

    @pytest.mark.parametrize("status", [Trial.RUNNING, Trial.PENDING])
    def test_not_where_one_of_them_runs_or_is_about_to(self, make, make_trial, monkeypatch, status):
        woken = []
        monkeypatch.setattr(FIFOScheduler, "wake", woken.append, raising=False)
        controller, other = make(), make_trial(1)
        self.paused(controller, make_trial(0), other)
        controller.step()
        controller._set_trial_status(other, status)
        controller.step()
        controller._set_trial_status(other, Trial.PAUSED)
        controller.step()
        assert woken == []

    @pytest.mark.parametrize("can_wake", [True, False])
    def test_where_the_scheduler_does_not_know_how_all_go_on(
        self, make, make_trial, monkeypatch, can_wake
    ):
        if can_wake:
            monkeypatch.setattr(FIFOScheduler, "wake", lambda self, controller: None, raising=False)
        controller, trials = make(), [make_trial(0), make_trial(1)]
        self.paused(controller, *trials)
        for _ in range(4):
            assert {trial.status for trial in trials} == {Trial.PAUSED}
            controller.step()
        assert {trial.status for trial in trials} == {Trial.PENDING}

    @pytest.mark.parametrize("status", [Trial.PENDING, Trial.PAUSED])
    def test_keeps_no_process_when_no_more_trials_come(self, make, make_trial, monkeypatch, status):
        controller, trial, ended = make(at_once=3), make_trial(), []
        controller.add_trial(trial)
        monkeypatch.setattr(
            controller, "_remove_actor", lambda tracked_actor: ended.append(tracked_actor)
        )
        process = TrackedActor(1)
        controller._actor_cache.cache_object(trial.placement_group_factory, process)
        controller.on_step_end()
        assert ended == []
        controller.search_alg.set_finished()
        controller._set_trial_status(trial, status)
        controller.on_step_end()
        assert ended == []
        controller._set_trial_status(trial, Trial.RUNNING)
        controller.on_step_end()
        assert ended == [process]


def test_a_sweeps_trials_are_of_tunes_own_class(make_trial):
    assert isinstance(make_trial(), SweepTrial)
    assert isinstance(make_trial(), Trial)
