"""From samples and suggestions to Tune's trials, driven by hand."""

import math
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Experiment
from ray.tune.search import Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator

from sacred_ray_ingredient.engines.encoding import make_encodings
from sacred_ray_ingredient.engines.tune_search import SearchingGenerator
from sacred_ray_ingredient.engines.tune_trials import ResolvingGenerator
from sacred_ray_ingredient.errors import SweepFailed
from sacred_ray_ingredient.restart import PlannedTrial, RecordedSuggestion, Restart
from sacred_ray_ingredient.sampling import Sample, Sampling
from sacred_ray_ingredient.search_space import parse_search_space
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import TASK_KEY, TrialTask


def trainable(config):
    """Never run."""


class Resolver:
    """Stands for the real one: doubles x and counts."""

    def complete(self, index, sample):
        return TrialTask(
            index,
            sample.sampled,
            {"double": 2 * sample.sampled.get("x", 0)},
            seed=100 + index,
            configuration=sample.configuration,
            repetition=sample.repetition,
        )


class Scripted(Searcher):
    """Suggests what it was told to; remembers what it hears."""

    def __init__(self, *script):
        super().__init__(metric="loss", mode="min")
        self.script = list(script)
        self.ids = []
        self.results = []
        self.ends = []

    def suggest(self, trial_id):
        suggested = self.script.pop(0) if self.script else {"p0": 0.5}
        if isinstance(suggested, Exception):
            raise suggested
        if isinstance(suggested, dict):
            self.ids.append(trial_id)
        return suggested

    def on_trial_result(self, trial_id, result):
        self.results.append((trial_id, result))

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.ends.append((trial_id, result and result["loss"], error))


@pytest.fixture
def experiment(tmp_path):
    return Experiment("by_hand", trainable, storage_path=str(tmp_path), num_samples=1)


def all_trials(generator):
    """Return the trials that a generator makes, each ended before the next."""
    trials = []
    while not generator.is_finished():
        trial = generator.next_trial()
        if trial is not None:
            trials.append(trial)
            generator.on_trial_complete(trial.trial_id, {"loss": 1.0})
    return trials


class TestResolvingGenerator:
    def make(self, experiment, count, total=None, first_index=0, **further):
        self.taken = 0

        def samples():
            for number in range(count):
                self.taken += 1
                yield PlannedTrial(first_index + number, Sample({"x": number}, number))

        total = count if total is None else total
        generator = ResolvingGenerator(samples(), total, Resolver(), **further)
        generator.add_configurations([experiment])
        return generator

    def test_tune_knows_it_as_its_own(self, experiment):
        assert isinstance(self.make(experiment, 1), BasicVariantGenerator)

    def test_each_sample_becomes_one_trial_with_all_its_parameters(self, experiment):
        trials = all_trials(self.make(experiment, 3))
        assert [trial.config["x"] for trial in trials] == [0, 1, 2]
        assert trials[2].config["double"] == 4
        assert trials[2].config["seed"] == 102
        assert trials[2].evaluated_params == {"x": 2, "double": 4, "seed": 102}
        assert TrialTask.from_config(trials[2].config).index == 2
        assert len({trial.trial_id for trial in trials}) == 3

    def test_samples_are_taken_when_tune_wants_a_trial(self, experiment):
        generator = self.make(experiment, 1_000)
        assert generator.total_samples == 1_000
        assert self.taken == 0
        generator.next_trial()
        assert self.taken == 1

    def test_it_ends_where_the_samples_do(self, experiment):
        generator = self.make(experiment, 2, total=5)
        assert len(all_trials(generator)) == 2
        assert generator.is_finished()

    def test_it_makes_no_more_than_the_total(self, experiment):
        assert len(all_trials(self.make(experiment, 5, total=2))) == 2
        assert self.taken == 2

    def test_the_limit_counts_what_runs(self, experiment):
        generator = self.make(experiment, 5, max_concurrent=2)
        first, _ = generator.next_trial(), generator.next_trial()
        assert generator.next_trial() is None
        assert not generator.is_finished()
        generator.on_trial_complete(first.trial_id)
        assert generator.next_trial().config["x"] == 2

    def test_indexes_can_begin_later(self, experiment):
        (trial,) = all_trials(self.make(experiment, 1, first_index=7))
        assert trial.config[TASK_KEY]["index"] == 7

    def test_tune_can_end_it(self, experiment):
        generator = self.make(experiment, 5)
        generator.set_finished()
        assert generator.is_finished()
        assert generator.next_trial() is None

    def test_nothing_is_written(self, experiment, tmp_path):
        generator = self.make(experiment, 2)
        assert generator.get_state() is False
        generator.save_to_dir(str(tmp_path / "state"), "now")
        assert not (tmp_path / "state").exists()


class TestSearchingGenerator:
    @pytest.fixture
    def make(self, experiment):
        def make(searcher, metrics=("loss",), space=None, most=0, restart=None, **sampling):
            raw = {"x": "uniform(0, 10)"} if space is None else space
            read, mistakes = parse_search_space(raw)
            assert mistakes == []
            made = Sampling(read, **{"num_samples": 3, "seed": 1, **sampling})
            encodings = make_encodings("bayesopt", made.dimensions())
            generator = SearchingGenerator(
                searcher, encodings, made, Resolver(), most, metrics, restart or Restart()
            )
            generator.add_configurations([experiment])
            return generator

        return make

    def test_a_suggestion_becomes_a_trial(self, make):
        searcher = Scripted({"p0": 0.1}, {"p0": 0.2}, {"p0": 0.3})
        trials = all_trials(make(searcher))
        assert [trial.config["x"] for trial in trials] == pytest.approx([1.0, 2.0, 3.0])
        assert [trial.config["seed"] for trial in trials] == [100, 101, 102]
        assert trials[1].evaluated_params["double"] == pytest.approx(4.0)
        assert [trial.trial_id for trial in trials] == searcher.ids

    def test_indexes_and_configurations_can_begin_later(self, make):
        restart = Restart(search={6: None}, next_configuration=5)
        trials = all_trials(make(Scripted(), restart=restart))
        tasks = [TrialTask.from_config(trial.config) for trial in trials]
        assert [(task.index, task.configuration) for task in tasks] == [(7, 5), (8, 6), (9, 7)]

    def test_what_is_run_again_comes_first_and_its_result_is_told(self, make):
        again = PlannedTrial(1, Sample({"x": 2.0}, 1), attempt=3, restore_from="/there")
        suggestion = RecordedSuggestion({"x": 2.0}, (again,), (), 1)
        restart = Restart(
            search={0: None, 1: None}, suggestions=(suggestion,), asked=2, next_configuration=2
        )
        searcher = Scripted({"p0": 0.2}, {"p0": 0.3})
        generator = make(searcher, restart=restart)
        first, second = all_trials(generator)
        task = TrialTask.from_config(first.config)
        assert (task.index, task.attempt, task.restore_from) == (1, 3, "/there")
        assert task.sampled == {"x": 2.0}
        assert TrialTask.from_config(second.config).index == 2
        assert searcher.ids == [first.trial_id, second.trial_id]
        assert [end[0] for end in searcher.ends] == searcher.ids
        assert generator.is_finished()

    def test_a_searcher_that_begins_with_something_else_is_not_told_of_what_it_did_not_choose(
        self, make
    ):
        again = PlannedTrial(0, Sample({"x": 2.0}, 0), attempt=1)
        suggestion = RecordedSuggestion({"x": 2.0}, (again,), (), 1)
        restart = Restart(
            search={0: None}, suggestions=(suggestion,), asked=1, next_configuration=1
        )
        searcher = Scripted({"p0": 0.7}, {"p0": 0.8})
        generator = make(searcher, restart=restart)
        trials = all_trials(generator)
        assert [trial.config["x"] for trial in trials] == pytest.approx([2.0, 7.0, 8.0])
        assert [end[0] for end in searcher.ends] == searcher.ids == [t.trial_id for t in trials[1:]]

    def test_of_a_suggestion_that_is_half_done_the_mean_of_all_is_told(self, make):
        again = PlannedTrial(1, Sample({"x": 2.0}, 0, 1), attempt=1)
        suggestion = RecordedSuggestion({"x": 2.0}, (again,), ([1.0],), 2)
        restart = Restart(search={1: None}, suggestions=(suggestion,), asked=3)
        searcher = Scripted({"p0": 0.2})
        generator = make(searcher, restart=restart)
        trial = generator.next_trial()
        generator.on_trial_complete(trial.trial_id, {"loss": 4.0})
        ((_, loss, _),) = searcher.ends
        assert loss == 2.5

    def test_grids_environments_and_repetitions_multiply(self, make):
        space = {"x": "uniform(0, 10)", "g": [1, 2]}
        generator = make(Scripted(), space=space, envs=("a", "b"), repeat=3, num_samples=2)
        assert generator.total_samples == 24
        trials = all_trials(generator)
        assert len(trials) == 24
        tasks = [TrialTask.from_config(trial.config) for trial in trials]
        points = {(t.sampled["g"], t.sampled["env_name"], t.configuration) for t in tasks}
        assert len(points) == 8
        assert {task.configuration for task in tasks} == set(range(8))
        assert [task.repetition for task in tasks[:4]] == [0, 1, 2, 0]
        assert len({trial.trial_id for trial in trials}) == 24

    def test_the_searcher_hears_the_mean_at_the_end_of_the_last(self, make):
        searcher = Scripted()
        generator = make(searcher, repeat=3)
        trials = [generator.next_trial() for _ in range(3)]
        generator.on_trial_complete(trials[2].trial_id, {"loss": 6.0})
        generator.on_trial_complete(trials[0].trial_id, {"loss": 1.0})
        assert searcher.ends == []
        generator.on_trial_complete(trials[1].trial_id, {"loss": 2.0})
        assert searcher.ends == [(searcher.ids[0], 3.0, False)]

    @pytest.mark.parametrize("value", [math.nan, math.inf, None, "much"])
    def test_trials_without_a_value_do_not_count(self, make, value):
        searcher = Scripted()
        generator = make(searcher, repeat=3)
        one, two, three = (generator.next_trial().trial_id for _ in range(3))
        generator.on_trial_complete(one, {"loss": value})
        generator.on_trial_complete(two, {"loss": 5.0}, error=True)
        generator.on_trial_complete(three, {"loss": 4.0})
        assert searcher.ends == [(searcher.ids[0], 4.0, False)]

    @pytest.mark.parametrize("result", [{"loss": math.nan}, {"other": 1.0}, {}, None])
    def test_where_no_trial_has_a_value_it_is_an_error(self, make, result):
        searcher = Scripted()
        generator = make(searcher)
        generator.on_trial_complete(generator.next_trial().trial_id, result)
        assert searcher.ends == [(searcher.ids[0], None, True)]

    @pytest.mark.parametrize("repeat", [1, 2])
    def test_a_trial_that_ends_while_it_is_paused_counts_with_its_last_value(self, make, repeat):
        searcher = Scripted()
        generator = make(searcher, repeat=repeat)
        for trial in [generator.next_trial() for _ in range(repeat)]:
            generator.on_trial_result(trial.trial_id, {"loss": 3.0})
            generator.on_trial_result(trial.trial_id, {"loss": 2.0})
            generator.on_trial_result(trial.trial_id, {"other": 1.0})
            generator.on_trial_complete(trial.trial_id)
        assert searcher.ends == [(searcher.ids[0], 2.0, False)]

    def test_a_trial_that_fails_has_no_last_value(self, make):
        searcher = Scripted()
        generator = make(searcher)
        trial = generator.next_trial()
        generator.on_trial_result(trial.trial_id, {"loss": 3.0})
        generator.on_trial_complete(trial.trial_id, error=True)
        assert searcher.ends == [(searcher.ids[0], None, True)]

    def test_a_trial_that_took_too_long_is_an_error(self, make):
        searcher = Scripted()
        generator = make(searcher)
        result = {"loss": 3.0, "status": "TIMEOUT"}
        generator.on_trial_complete(generator.next_trial().trial_id, result)
        assert searcher.ends == [(searcher.ids[0], None, True)]

    def test_metrics_are_read_under_the_names_that_they_are_reported_by(self, make):
        searcher = Scripted()
        searcher.on_trial_complete = lambda i, result, error: searcher.ends.append(result)
        generator = make(searcher, metrics=("loss", "step"), repeat=2)
        for _ in range(2):
            trial = generator.next_trial()
            result = {"loss": 1.0, "metric_step": 4.0, "step": 17}
            generator.on_trial_complete(trial.trial_id, result)
        (heard,) = searcher.ends
        assert (heard["loss"], heard["metric_step"]) == (1.0, 4.0)

    def test_results_on_the_way_are_passed_on_if_they_are_of_the_whole_suggestion(self, make):
        searcher = Scripted()
        generator = make(searcher)
        trial = generator.next_trial()
        generator.on_trial_result(trial.trial_id, {"loss": 3.0, "training_iteration": 1})
        generator.on_trial_result(trial.trial_id, {"other": 3.0})
        generator.on_trial_result("of another search", {"loss": 3.0})
        assert searcher.results == [(searcher.ids[0], {"loss": 3.0, "training_iteration": 1})]
        several = make(Scripted(), repeat=2)
        several.on_trial_result(several.next_trial().trial_id, {"loss": 3.0})
        assert several.searcher.results == []

    def test_the_limit_counts_trials_not_suggestions(self, make):
        generator = make(Scripted(), most=2, repeat=3)
        first, second = generator.next_trial(), generator.next_trial()
        assert generator.next_trial() is None
        generator.on_trial_complete(second.trial_id, {"loss": 1.0})
        third = generator.next_trial()
        assert third.config[TASK_KEY]["repetition"] == 2
        assert generator.next_trial() is None
        generator.on_trial_complete(first.trial_id, {"loss": 1.0})
        generator.on_trial_complete(third.trial_id, {"loss": 1.0})
        assert len(generator.searcher.ends) == 1

    def test_a_searcher_that_counts_for_itself_is_told_the_limit(self, make):
        searcher = Scripted()
        limits = []
        searcher.set_max_concurrency = lambda most: not limits.append(most)
        generator = make(searcher, most=2)
        assert all(generator.next_trial() for _ in range(3))
        assert limits == [2]

    def test_it_is_not_finished_while_trials_of_the_last_suggestion_wait(self, make):
        generator = make(Scripted(), num_samples=1, repeat=2)
        assert not generator.is_finished()
        assert generator.next_trial() is not None
        assert not generator.is_finished()
        assert generator.next_trial() is not None
        assert generator.is_finished()
        assert generator.next_trial() is None

    def test_a_searcher_with_nothing_left_ends_it(self, make):
        generator = make(Scripted({"p0": 0.1}, Searcher.FINISHED), repeat=2)
        assert len(all_trials(generator)) == 2

    def test_a_searcher_that_waits_is_asked_again_when_a_trial_has_ended(self, make):
        searcher = Scripted({"p0": 0.1}, None, {"p0": 0.2})
        generator = make(searcher)
        first = generator.next_trial()
        assert generator.next_trial() is None
        assert generator.next_trial() is None
        assert len(searcher.script) == 1
        assert not generator.is_finished()
        generator.on_trial_complete(first.trial_id, {"loss": 1.0})
        assert generator.next_trial().config["x"] == pytest.approx(2.0)

    def test_one_that_waits_for_nothing_is_asked_again_at_once(self, make):
        assert len(all_trials(make(Scripted(None, None, {"p0": 0.1})))) == 3

    def test_but_not_for_ever(self, make):
        generator = make(Scripted(*[None] * 1_000))
        assert generator.next_trial() is None
        assert generator.is_finished()

    def test_tune_can_end_it(self, make):
        generator = make(Scripted(), repeat=2)
        generator.next_trial()
        generator.set_finished()
        assert generator.is_finished()
        assert generator.next_trial() is None

    @pytest.mark.parametrize("suggested", [ValueError("no idea"), {"wrong": 0.5}])
    def test_a_searcher_that_fails_ends_the_sweep_with_a_sentence(self, make, suggested):
        said = "no idea" if isinstance(suggested, Exception) else "KeyError: 'p0'"
        with pytest.raises(SweepFailed, match=f"The searcher Scripted failed: .*{said}"):
            make(Scripted(suggested)).next_trial()

    @pytest.mark.parametrize("method", ["on_trial_complete", "on_trial_result"])
    def test_one_that_fails_when_it_hears_a_result_fails_before_the_next_trial(self, make, method):
        def fail(*arguments, **further):
            raise ValueError("cannot hear")

        searcher = Scripted()
        setattr(searcher, method, fail)
        generator = make(searcher)
        trial = generator.next_trial()
        getattr(generator, method)(trial.trial_id, {"loss": 1.0})
        with pytest.raises(SweepFailed, match="ValueError: cannot hear"):
            generator.next_trial()

    def test_conditions_leave_parameters_out_and_couples_stay_together(self, make):
        space = {
            "x": "uniform(0, 10)",
            "m": "uniform(0, 1) if x < 5",
            "env+victim": "choice([('A', 1), ('B', 2)])",
        }
        low, high = (
            dict(zip(("p0", "p1", "p2"), v, strict=True))
            for v in ((0.1, 0.7, 0.2), (0.9, 0.7, 0.8))
        )
        first, second = all_trials(make(Scripted(low, high), space=space, num_samples=2))
        assert first.config[TASK_KEY]["sampled"] == pytest.approx(
            {"x": 1.0, "m": 0.7, "env": "A", "victim": 1}
        )
        assert second.config[TASK_KEY]["sampled"] == {"x": 9.0, "env": "B", "victim": 2}

    def test_nothing_is_written(self, make, tmp_path):
        generator = make(SimpleNamespaceSearcher())
        assert generator.get_state() == {}
        generator.save_to_dir(str(tmp_path / "state"), "now")
        assert not (tmp_path / "state").exists()
        assert generator.has_checkpoint(str(tmp_path)) is False
        assert generator.set_search_properties("other", "max", {}) is True
        assert generator.searcher.metric == "loss"


class SimpleNamespaceSearcher(Scripted):
    """Cannot be put into a file."""

    def save(self, path):
        raise AssertionError("not wanted")


def test_of_a_job_without_a_searcher_all_is_sampled():
    from sacred_ray_ingredient.engines.base import EngineJob
    from sacred_ray_ingredient.engines.tune_search import make_generator

    space, _ = parse_search_space({"x": "uniform(0, 1)"})
    job = EngineJob(
        sweep=None,
        settings=SimpleNamespace(max_concurrent_trials=3),
        sampling=Sampling(space, 5, 1),
        resolver=Resolver(),
        storage=Storage("/tmp"),
        first_index=2,
    )
    generator = make_generator(job)
    assert isinstance(generator, ResolvingGenerator)
    assert (generator.total_samples, generator.max_concurrent) == (5, 3)
