"""What schedulers may make of parameters, and how trials that wait for each other go on."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import TrialScheduler

from sacred_ray_ingredient.engines import endings
from sacred_ray_ingredient.engines.tune_scheduler import _within, make_scheduler
from sacred_ray_ingredient.engines.tune_trials import TrialMaker
from sacred_ray_ingredient.restart import PlannedTrial
from sacred_ray_ingredient.samplers import read_sampler
from sacred_ray_ingredient.sampling import Sample
from sacred_ray_ingredient.schedulers import parse_scheduler
from sacred_ray_ingredient.search_space import parse_search_space
from sacred_ray_ingredient.tasks import TrialTask


@pytest.mark.parametrize(
    ("text", "explored", "value"),
    [
        ("quniform(0, 1, 0.1)", 0.36, 0.4),
        ("quniform(0, 0.3, 0.1)", 0.36, 0.3),
        ("qloguniform(0.1, 1, 0.1)", 0.01, 0.1),
        ("qrandint(10, 50, 10)", 24, 20),
        ("qrandint(10, 50, 10)", 60, 50),
        ("qlograndint(2, 16, 2)", 13, 12),
        ("qrandint(2, 8)", 9.6, 7),
        ("qrandn(0, 1, 0.5)", 0.6, 0.5),
        ("randint(1, 9)", 9.6, 8),
        ("randint(1, 9)", 4.4, 4),
        ("lograndint(1, 9)", 0.2, 1),
        ("uniform(0, 1)", 1.2, 1.0),
        ("uniform(0, 1)", 0.36, 0.36),
        ("uniform(0, 2)", 1, 1.0),
        ("randn(0, 1)", -0.6, -0.6),
        ("choice([1, 2])", 2, 2),
        ("choice(['a', 'b'])", "b", "b"),
        ("choice([[1, 2]])", [1, 2], [1, 2]),
        ("[1, 5]", 5, 5),
    ],
)
def test_an_explored_value_becomes_the_nearest_that_can_be_drawn(text, explored, value):
    sampler = read_sampler([1, 5] if text == "[1, 5]" else text, "x")
    found = _within(explored, sampler)
    assert found == pytest.approx(value) if isinstance(value, float) else found == value
    assert type(found) is type(value)
    assert sampler.is_grid or sampler.position(found) is not None


class Resolver:
    """Completes samples without a configuration."""

    def complete(self, index, sample):
        return TrialTask(index, sample.sampled, {}, seed=index)


class Controller:
    """As much of Tune's event loop as schedulers look at."""

    search_alg = None

    def __init__(self, scheduler, trials):
        self.scheduler, self.trials = scheduler, trials
        for trial in trials:
            scheduler.on_trial_add(self, trial)
            trial.set_status(Trial.RUNNING)

    def get_trials(self):
        return self.trials

    def get_live_trials(self):
        return {trial for trial in self.trials if not trial.is_finished()}

    def stop_trial(self, trial):
        self.scheduler.on_trial_remove(self, trial)
        trial.set_status(Trial.TERMINATED)

    def _schedule_trial_save(self, trial, result):
        return trial.trial_id

    def report(self, trial, step, height):
        """Let a trial report, and pause it where the scheduler says so; return what it says."""
        result = {"step": step, "height": height, "trial_id": trial.trial_id}
        trial.update_last_result(result)
        decision = self.scheduler.on_trial_result(self, trial, result)
        if decision == TrialScheduler.PAUSE:
            trial.set_status(Trial.PAUSED)
            state = getattr(self.scheduler, "_trial_state", {}).get(trial)
            if state is not None:
                kept = SimpleNamespace(checkpoint=trial.trial_id, metrics=result)
                trial.run_metadata.checkpoint_manager._latest_checkpoint_result = kept
        return decision

    def complete(self, trial):
        self.scheduler.on_trial_complete(self, trial, trial.last_result)
        trial.set_status(Trial.TERMINATED)

    def chosen(self):
        return self.scheduler.choose_trial_to_run(self)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Make a scheduler, as an engine does it, and trials for it."""
    monkeypatch.setattr(endings, "internal_kv", SimpleNamespace(_internal_kv_put=lambda *a: None))

    def make(text, count):
        choice, mistakes = parse_scheduler(text)
        space, _ = parse_search_space({"quality": "uniform(0, 10)"})
        assert not mistakes
        job = SimpleNamespace(
            scheduler=choice,
            sampling=SimpleNamespace(space=space),
            metric="height",
            mode="max",
            resolver=Resolver(),
        )
        experiment = Experiment("e", lambda config: None, storage_path=str(tmp_path))
        maker = TrialMaker(experiment, Resolver())
        samples = [Sample({"quality": float(index)}, index) for index in range(count)]
        trials = [
            maker.make(f"t{index}", PlannedTrial(index, sample))
            for index, sample in enumerate(samples)
        ]
        return Controller(make_scheduler(job, endings.Endings("sweep-1")), trials)

    return make


SYNCHRONOUS = "(perturbation_interval=2, quantile_fraction=0.5, synch=True, log_config=False)"


class TestSynchronousPbtGoesOn:
    """Trials that wait for each other do not wait for one that has ended."""

    @pytest.fixture(params=["pbt", "pb2"])
    def waiting(self, sweep, request):
        """Two trials that are paused at step 2, and a third that has reported step 1."""
        controller = sweep(request.param + SYNCHRONOUS, 3)
        low, high, other = controller.trials
        assert controller.report(other, 1, 0.5) == TrialScheduler.CONTINUE
        assert controller.report(low, 2, 1.0) == TrialScheduler.PAUSE
        assert controller.report(high, 2, 2.0) == TrialScheduler.PAUSE
        assert controller.chosen() is None
        return controller

    @pytest.mark.parametrize("status", [Trial.TERMINATED, Trial.ERROR])
    def test_as_if_the_last_one_had_reported(self, waiting, status):
        low, high, other = waiting.trials
        other.set_status(status)
        assert waiting.chosen() is None
        waiting.scheduler.wake(waiting)
        assert waiting.chosen() in (low, high)
        taken_over = TrialTask.from_config(low.config)
        assert taken_over.taken_over.startswith("takes over trial 1, decided by ")
        assert (low.checkpoint, high.checkpoint) == ("t1", "t1")
        assert TrialTask.from_config(high.config).taken_over is None

    def test_it_is_done_once(self, waiting):
        low, high, other = waiting.trials
        waiting.complete(other)
        waiting.scheduler.wake(waiting)
        for trial in (low, high):
            trial.set_status(Trial.RUNNING)
            assert waiting.report(trial, 3, 3.0) == TrialScheduler.CONTINUE
        assert waiting.report(low, 4, 3.0) == TrialScheduler.PAUSE
        assert waiting.scheduler._trial_state[low].last_train_time == 4

    def test_nothing_is_counted_twice(self, waiting):
        rows = len(getattr(waiting.scheduler, "data", ()))
        waiting.complete(waiting.trials[2])
        waiting.scheduler._hyperparam_mutations = {}
        waiting.scheduler._quantile_fraction = 0
        waiting.scheduler.wake(waiting)
        assert len(getattr(waiting.scheduler, "data", ())) == rows

    def test_one_alone_goes_on(self, waiting):
        low, high, other = waiting.trials
        for trial in (high, other):
            waiting.complete(trial)
        waiting.scheduler.wake(waiting)
        assert waiting.chosen() is low
        assert TrialTask.from_config(low.config).taken_over is None

    def test_those_that_it_is_too_early_to_compare_go_on(self, sweep):
        controller = sweep("pbt" + SYNCHRONOUS, 2)
        ahead, other = controller.trials
        assert controller.report(ahead, 10, 1.0) == TrialScheduler.PAUSE
        controller.scheduler._quantile_fraction = 0
        controller.report(other, 9, 2.0)
        assert controller.chosen() is other
        other.set_status(Trial.RUNNING)
        controller.complete(other)
        assert controller.chosen() is None
        controller.scheduler.wake(controller)
        assert controller.chosen() is ahead

    def test_without_synch_there_is_nothing_to_do(self, sweep):
        controller = sweep("pbt(perturbation_interval=2, log_config=False)", 3)
        *waiting, other = controller.trials
        other.set_status(Trial.PENDING)
        for height, trial in enumerate(waiting):
            assert controller.report(trial, 2, float(height)) == TrialScheduler.PAUSE
        controller.scheduler._trial_state[waiting[0]].last_perturbation_time = 0
        other.set_status(Trial.TERMINATED)
        controller.scheduler.wake(controller)
        assert controller.chosen() in waiting
        assert all(TrialTask.from_config(each.config).taken_over is None for each in waiting)


@pytest.mark.parametrize("name", ["hyperband", "bohb"])
def test_halving_goes_on_where_the_last_of_a_later_round_ends_before_it(sweep, name):
    controller = sweep(f"{name}(max_t=8, reduction_factor=2)", 14)
    controller.search_alg = SimpleNamespace(searcher=MagicMock())
    (band,) = controller.scheduler._hyperbands
    bracket = next(bracket for bracket in band if bracket._halves == 2)
    trials, first = bracket.current_trials(), bracket._cumul_r
    for height, trial in enumerate(trials):
        controller.report(trial, first, float(height))
    left = bracket.current_trials()
    assert 2 <= len(left) < len(trials)
    for trial in left:
        trial.set_status(Trial.RUNNING)
    *waiting, last = left
    for height, trial in enumerate(waiting):
        assert controller.report(trial, bracket._cumul_r, float(height)) == TrialScheduler.PAUSE
    controller.complete(last)
    others = [trial for trial in controller.trials if trial not in left]
    for trial in others:
        trial.set_status(Trial.TERMINATED)
    if name == "hyperband":  # the other one looks itself
        assert controller.chosen() is None
        controller.scheduler.wake(controller)
    assert controller.chosen() in waiting
