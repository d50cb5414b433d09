"""The best configuration, run again on fresh seeds."""

import dataclasses

import pytest
from unit_inner import unit_ex

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.engines.base import EngineJob
from sacred_ray_ingredient.evaluation import evaluation_job, evaluation_statistics
from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.progress import SweepProgress
from sacred_ray_ingredient.record.earlier import RecordedAttempt
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.restart import RecordedTrial, Restart, outcome_of
from sacred_ray_ingredient.seeds import derive_seed
from sacred_ray_ingredient.stop_rules import parse_stop
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import SweepTask, TrialOutcome

outer_ex = make_outer("outer_ex", unit_ex)


class Quiet:
    """A run whose metrics nobody reads."""

    def log_scalar(self, name, value, step):
        pass


def sweep_task():
    target = RecordTarget(None, tags=("own",))
    reference = InnerReference("unit_ex", module="unit_inner")
    return SweepTask("sweep-1", "name", "tune", reference, {}, target, "/tmp")


def make_job(**ray):
    ray = {"metric": "loss", "mode": "min", "evaluate_best": 3, **ray}
    plan = make_plan(outer_ex, unit_ex, OuterRequest({"ray": ray, "seed": 42}, {}, []))
    return EngineJob(
        **{"sweep": sweep_task(), "sampling": plan.sampling, "resolver": plan.trial_resolver},
        **{"settings": plan.settings, "storage": Storage("/tmp"), "scheduler": Choice("asha")},
        **{"searcher": Choice("optuna"), "stop_rules": parse_stop({"loss": 1})[0]},
    )


def run_search(job, losses):
    """Return the progress of a search whose trials had these values."""
    progress = SweepProgress(Quiet(), None, "loss", "min", 9, str)
    for index, (sample, loss) in enumerate(zip(job.sampling.samples(), losses, strict=True)):
        task = job.resolver.complete(index, sample)
        progress.trial_finished(
            TrialOutcome(
                **{"index": index, "attempt": 0, "status": "COMPLETED", "seed": task.seed},
                **{"parameters": task.shown(), "metrics": {} if loss is None else {"loss": loss}},
                **{"configuration": task.configuration, "sampled": task.sampled},
                named_configs=task.named_configs,
            )
        )
    return progress


@pytest.fixture
def job():
    space = {"base_lr": [1.0, 2.0], "optimizer.name": ["a", "b"]}
    return make_job(search_space=space, dependent={"lr": "base_lr * 3"})


@pytest.fixture
def progress(job):
    return run_search(job, [4.0, 3.0, 1.0, 2.0])


def tasks(job):
    samples = enumerate(job.samples(), job.first_index)
    return [job.resolver.complete(index, sample) for index, sample in samples]


class TestTrials:
    def test_have_a_tag_of_their_own(self, job, progress):
        assert evaluation_job(job, progress).sweep.target.tags == ("own", "evaluate-best")

    def test_are_those_of_the_best_configuration(self, job, progress):
        evaluation = evaluation_job(job, progress)
        assert evaluation.total == 3
        found = tasks(evaluation)
        best = {"base_lr": 2.0, "optimizer": {"name": "a"}}
        for task in found:
            assert {**task.sampled, "seed": 0} == {**best, "seed": 0}
            assert task.resolved == {"lr": 6.0}

    def test_go_on_counting(self, job, progress):
        evaluation = evaluation_job(job, progress)
        assert evaluation.first_index == 4
        assert evaluation.first_configuration == 2

    def test_of_a_sweep_that_goes_on_run_only_where_they_are_not_done(self, job, progress):
        def recorded(index, status, configuration=2):
            tags = ("evaluate-best",)
            attempt = RecordedAttempt(index, 0, 0, status, 50, configuration, tags=tags)
            return RecordedTrial((attempt,), is_done=status == "COMPLETED")

        before = {4: recorded(4, "COMPLETED"), 5: recorded(5, "RUNNING")}
        before[6] = recorded(6, "COMPLETED", configuration=1)  # was the best one then
        outcomes = [outcome_of(trial.last) for trial in before.values()]
        progress.take_over(outcomes, 4, set(before))
        goes_on = dataclasses.replace(job, restart=Restart((1,), evaluations=before))
        evaluation = evaluation_job(goes_on, progress)
        planned = list(evaluation.trials())
        assert [(trial.index, trial.attempt) for trial in planned] == [(5, 1), (7, 0)]
        fresh = [derive_seed(42, index) for index in (5, 7)]
        assert [trial.sample.sampled["seed"] for trial in planned] == fresh
        assert {trial.sample.configuration for trial in planned} == {2}
        assert not evaluation.is_done
        assert [each.index for each in progress.evaluated] == [4, 5]

    def test_have_seeds_that_no_trial_of_the_search_had(self, job, progress):
        seeds = [task.seed for task in tasks(evaluation_job(job, progress))]
        assert len({*seeds, *(trial.seed for trial in progress.searched)}) == 7

    def test_have_the_same_seeds_again(self, job):
        first, second = (
            [t.seed for t in tasks(evaluation_job(job, run_search(job, [4.0, 3.0, 1.0, 2.0])))]
            for _ in range(2)
        )
        assert first == second

    def test_are_neither_searched_nor_ended_early(self, job, progress):
        evaluation = evaluation_job(job, progress)
        assert (evaluation.searcher, evaluation.scheduler, evaluation.stop_rules) == (
            None,
            None,
            (),
        )

    def test_keep_the_named_configs_of_the_best(self):
        job = make_job(named_configs=["fast", []])
        (first, *_) = tasks(evaluation_job(job, run_search(job, [1.0, 2.0])))
        assert first.named_configs == ("fast",)

    def test_do_not_keep_a_seed_that_was_searched(self):
        job = make_job(search_space={"base_lr": [1.0, 2.0]}, seeds=[5, 6])
        evaluation = evaluation_job(job, run_search(job, [4.0, 3.0, 1.0, 2.0]))
        assert not {5, 6} & {task.seed for task in tasks(evaluation)}
        assert evaluation.total == 3

    def test_draw_what_the_best_configuration_drew(self):
        space = {"base_lr": [1.0, 2.0]}
        job = make_job(search_space=space, dependent={"lr": "uniform(0, 1)"})
        found = tasks(evaluation_job(job, run_search(job, [2.0, 1.0])))
        (_, best) = job.sampling.samples()
        drawn = job.resolver.complete(1, best).resolved
        assert [task.resolved for task in found] == [drawn] * len(found)

    def test_follow_the_mean_over_repetitions(self):
        job = make_job(search_space={"base_lr": [1.0, 2.0]}, repeat=2)
        (first, *_) = tasks(evaluation_job(job, run_search(job, [0.0, 9.0, 3.0, 3.0])))
        assert first.sampled["base_lr"] == 2.0


class TestNothingToEvaluate:
    def test_where_it_is_not_asked_for(self):
        job = make_job(search_space={"base_lr": [1.0, 2.0]}, evaluate_best=0)
        assert evaluation_job(job, run_search(job, [1.0, 2.0])) is None

    def test_where_nothing_was_found(self):
        job = make_job(search_space={"base_lr": [1.0, 2.0]})
        assert evaluation_job(job, run_search(job, [None, None])) is None

    def test_ends_the_search_all_the_same(self):
        job = make_job(search_space={"base_lr": [1.0, 2.0]}, evaluate_best=0)
        progress = run_search(job, [1.0, 2.0])
        evaluation_job(job, progress)
        progress.trial_finished(TrialOutcome(2, 0, "COMPLETED", {}, 1, metrics={"loss": 0.0}))
        assert [trial.index for trial in progress.searched] == [0, 1]


def test_statistics_are_those_of_the_trials_on_fresh_seeds(job, progress):
    assert evaluation_job(job, progress) is not None
    assert evaluation_statistics(progress, "loss") is None
    for index, loss in enumerate([1.0, 2.0], 4):
        metrics = {"loss": loss}
        progress.trial_finished(TrialOutcome(index, 0, "COMPLETED", {}, 1, metrics=metrics))
    found = evaluation_statistics(progress, "loss")
    assert (found.n, found.mean, found.group) == (2, 1.5, "fresh seeds")
