"""Tune's event loop without what a recorded sweep has no use for."""

import gc
import weakref

import pytest
import ray.tune.registry
from ray.air.execution import PlacementGroupResourceManager
from ray.air.execution._internal import TrackedActor
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import FIFOScheduler

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
        resources_per_trial={"cpu": 2},
        max_failures=3,
    )


@pytest.fixture
def make_trial(experiment):
    maker = TrialMaker(experiment, Resolver())
    return lambda index=0: maker.make(f"t{index}", PlannedTrial(index, Sample({"x": index}, index)))


class TestSweepTrial:
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
    def reused(self, monkeypatch):
        """The trials that were given the process of an ended one."""
        reused = []

        def reuse(self, trial):
            reused.append(trial)
            return True

        monkeypatch.setattr(tune_controller.TuneController, "_maybe_reuse_cached_actor", reuse)
        return reused

    def waiting(self, controller, make_trial, count):
        """Let trials wait, each with a process of its own asked for."""
        trials = [make_trial(index) for index in range(count)]
        for number, trial in enumerate(trials):
            controller.add_trial(trial)
            controller._staged_trials.add(trial)
            controller._trial_to_actor[trial] = TrackedActor(number)
        controller._pending_trials_list = list(trials)
        return trials

    def start(self, controller, trial):
        actor = controller._trial_to_actor[trial]
        controller._actor_manager._live_actors_to_ray_actors_resources[actor] = object()

    def test_a_process_that_starts_is_not_ended_for_one_that_is_free(
        self, make, make_trial, reused
    ):
        controller = make()
        first, second, third = self.waiting(controller, make_trial, 3)
        self.start(controller, first)
        self.start(controller, second)
        assert not controller._maybe_reuse_cached_actor(first)
        assert reused == [third]
        assert controller._maybe_reuse_cached_actor(third)
        assert reused == [third, third]

    def test_where_the_processes_of_all_start_the_free_one_waits(self, make, make_trial, reused):
        controller = make()
        (only,) = self.waiting(controller, make_trial, 1)
        self.start(controller, only)
        assert not controller._maybe_reuse_cached_actor(only)
        assert reused == []

    def test_a_trial_that_is_being_reset_keeps_the_process_that_it_was_given(
        self, make, make_trial, reused
    ):
        controller = make()
        first, second = self.waiting(controller, make_trial, 2)
        self.start(controller, first)
        controller._resetting_trials.add(first)
        assert controller._maybe_reuse_cached_actor(first)
        assert reused == [first]
        controller._resetting_trials.add(second)
        controller._resetting_trials.discard(first)
        assert not controller._maybe_reuse_cached_actor(first)
        assert reused == [first]

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
