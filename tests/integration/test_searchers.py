"""One contract for all searchers, with their real libraries, driven by hand without Ray's workers.

Trials are taken from the generator as Tune does it and evaluated here.
"""

import math
import random
import statistics
from collections import deque

import numpy as np
import pytest
from ray.tune.experiment import Experiment

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.engines.make_searcher import SearchJob, make_searcher
from sacred_ray_ingredient.engines.tune_search import SearchingGenerator
from sacred_ray_ingredient.errors import SweepFailed
from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.points import values_by_dimension
from sacred_ray_ingredient.sampling import Sampling
from sacred_ray_ingredient.search_space import parse_search_space
from sacred_ray_ingredient.searcher_checks import SUPPORTS_WARM_START
from sacred_ray_ingredient.searchers import SEARCHERS, parse_search_alg
from sacred_ray_ingredient.tasks import TASK_KEY, TrialTask

QUADRATIC = {"x": "uniform(-2, 2)", "y": "loguniform(1e-4, 1)"}
MIXED = {**QUADRATIC, "net.c": ["choice", ["a", "b", None]], "k": "randint(0, 9)"}
EVERY_SAMPLER = {
    "a.uniform": "uniform(-1, 2)",
    "quniform": "quniform(0.1, 1.0, 0.1)",
    "loguniform": "loguniform(1e-5, 0.1)",
    "qloguniform": "qloguniform(0.5, 10, 0.5)",
    "randn": "randn(1, 2)",
    "qrandn": "qrandn(3, 2, 0.5)",
    "randint": "randint(0, 5)",
    "qrandint": "qrandint(7, 23, 5)",
    "lograndint": "lograndint(1, 100)",
    "qlograndint": "qlograndint(4, 64, 4)",
    "choice": "choice([1, True, None, 'a', [1, 2], 0.5])",
    "one": "choice(['only'])",
    "env+victim": "choice([('A', 1), ('B', 2)])",
}


def trainable(config):
    """Never run."""


class Resolver:
    def complete(self, index, sample):
        return TrialTask(index, sample.sampled, {}, seed=index, configuration=sample.configuration)


def space_of(raw):
    raw = {
        key: f"choice({value[1]!r})" if isinstance(value, list) else value
        for key, value in raw.items()
    }
    space, mistakes = parse_search_space(raw)
    assert mistakes == []
    return space


def squared_distance(sampled):
    """0 at x=1, y=0.01; a little worse for each wrong category."""
    x, y = sampled.get("x", 1.0), sampled.get("y", 0.01)
    return (x - 1) ** 2 + (math.log10(y) + 2) ** 2


class Search:
    """A searcher on a problem, and what it has tried."""

    def __init__(self, folder, choice, raw, seed=7, **further):
        self.at_once = further.pop("at_once", 1)
        self.mode = further.pop("mode", "min")
        self.metrics = further.pop("metrics", ["loss"])
        job = {key: further.pop(key) for key in ("points_to_evaluate", "earlier") if key in further}
        sampling = Sampling(space_of(raw), further.pop("num_samples", 20), seed, **further)
        self.dimensions = sampling.dimensions()
        self.searcher, self.encodings = make_searcher(
            choice,
            SearchJob(
                dimensions=self.dimensions,
                metrics=self.metrics,
                modes=[self.mode] * len(self.metrics),
                seed=seed,
                num_samples=sampling.num_samples,
                max_concurrent=self.at_once,
                **job,
            ),
        )
        self.generator = SearchingGenerator(
            self.searcher, self.encodings, sampling, Resolver(), self.at_once, self.metrics
        )
        self.generator.add_configurations(
            Experiment("contract", trainable, storage_path=str(folder))
        )
        self.most_at_once = 0

    def run(self, loss=squared_distance, fails=lambda index: False):
        """Return what was sampled for each trial, in their order."""
        sampled, live, idle = [], deque(), 0
        while not self.generator.is_finished() and idle < 50:
            trial = self.generator.next_trial()
            if trial is not None:
                sampled.append(trial.config[TASK_KEY]["sampled"])
                live.append(trial)
                self.most_at_once = max(self.most_at_once, len(live))
            elif live:
                self.end(live.popleft(), loss, fails)
            else:
                idle += 1
        while live:
            self.end(live.popleft(), loss, fails)
        return sampled

    def end(self, trial, loss, fails):
        task = TrialTask.from_config(trial.config)
        if fails(task.index):
            self.generator.on_trial_complete(trial.trial_id, error=True)
            return
        value = loss(task.sampled) * (1 if self.mode == "min" else -1)
        # What BOHB's scheduler adds at the end of a rung.
        result = {"loss": value, "training_iteration": 1, "hyperband_info": {"budget": 1}}
        self.generator.on_trial_result(trial.trial_id, result)
        self.generator.on_trial_complete(trial.trial_id, result)


# The slowest by far; a few tests of its own are in the quick ones.
PARAMS = [
    pytest.param(name, marks=pytest.mark.long if name == "bayesopt" else ()) for name in SEARCHERS
]


@pytest.fixture(params=PARAMS)
def choice(request):
    for module in SEARCHERS[request.param].modules:
        pytest.importorskip(module)
    return Choice(request.param)


@pytest.fixture
def search(choice, tmp_path):
    def make(raw, arguments=None, **further):
        return Search(tmp_path, Choice(choice.name, arguments or {}), raw, **further)

    return make


class TestContract:
    def test_every_sampler_gives_plain_values_in_its_range(self, search):
        made = search(EVERY_SAMPLER, num_samples=12)
        trials = made.run(lambda sampled: sampled["randint"])
        assert len(trials) == 12
        for sampled in trials:
            assert set(values_by_dimension(sampled, made.dimensions)) == set(made.dimensions)
            for path, value in flatten(sampled).items():
                kind = int if "randint" in path or path == "victim" else float
                if path not in ("choice", "one", "env"):
                    assert type(value) is kind, path
            assert (sampled["env"], sampled["victim"]) in [("A", 1), ("B", 2)]
            assert type(sampled["choice"]) in (int, bool, type(None), str, list, float)

    @pytest.mark.parametrize("at_once", [1, 4])
    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_it_finds_better_values_than_random_search(self, search, choice, mode, at_once):
        space = space_of(QUADRATIC)
        of_random = [
            min(squared_distance(s.sampled) for s in Sampling(space, 30, seed).samples())
            for seed in range(20)
        ]
        # Its first 20 points are random otherwise.
        early = {"n_initial_points": 5} if choice.name == "hyperopt" else {}
        made = search(QUADRATIC, early, num_samples=30, mode=mode, at_once=at_once)
        found = made.run()
        assert len(found) == 30
        assert made.most_at_once == at_once
        assert min(map(squared_distance, found)) < statistics.median(of_random)

    def test_the_same_seed_chooses_the_same(self, search):
        first, again = search(MIXED).run(), search(MIXED).run()
        assert first == again
        assert search(MIXED, seed=8).run() != first
        assert search(MIXED, seed=8, arguments={"seed": 7}).run() == first

    def test_the_random_numbers_of_others_are_left_alone(self, search):
        random.seed(5)
        np.random.seed(5)
        expected = random.random(), np.random.random()
        random.seed(5)
        np.random.seed(5)
        made = search(MIXED, num_samples=3)
        made.run()
        assert (random.random(), np.random.random()) == expected
        np.random.seed(6)
        assert search(MIXED, num_samples=3).run() == search(MIXED, num_samples=3).run()

    @pytest.mark.parametrize("at_once", [1, 3])
    def test_the_points_of_the_user_come_first(self, search, at_once):
        points = [
            {"x": 0.5, "y": 0.01, "net": {"c": None}, "k": 3},
            {"x": -0.5, "net.c": "b"},
            {"k": 8},
            {"x": 1.5},
            {"x": 1.25},
        ]
        made = search(MIXED, points_to_evaluate=points, num_samples=8, at_once=at_once)
        first = made.run()
        assert len(first) == 8
        assert (first[0]["x"], first[0]["y"]) == pytest.approx((0.5, 0.01))
        assert (first[0]["net"], first[0]["k"]) == ({"c": None}, 3)
        assert (first[1]["x"], first[1]["net"]) == (pytest.approx(-0.5), {"c": "b"})
        assert first[2]["k"] == 8
        assert [s["x"] for s in first[3:5]] == pytest.approx([1.5, 1.25])
        # What a point does not say is drawn.
        assert len({s["y"] for s in first[:5]}) == 5

    @pytest.mark.parametrize("at_once", [1, 4])
    def test_it_goes_on_where_trials_fail(self, search, at_once):
        made = search(QUADRATIC, num_samples=30, at_once=at_once)
        found = made.run(fails=lambda index: index % 3 == 0)
        assert len(found) == 30
        assert len({(s["x"], s["y"]) for s in found}) > 25

    def test_it_goes_on_where_all_trials_fail(self, search):
        assert len(search(QUADRATIC, num_samples=15).run(fails=lambda index: True)) == 15

    def test_a_small_space_is_not_the_end(self, search):
        raw = {"c": "choice(['a', 'b'])", "k": "randint(0, 3)"}
        assert len(search(raw, num_samples=20).run(lambda s: s["k"])) == 20

    def test_only_active_parameters_are_in_a_trial(self, search):
        raw = {"opt": "choice(['sgd', 'adam'])", "m": "uniform(0, 1) if opt == 'sgd'"}
        found = search(raw, num_samples=15).run(lambda s: s.get("m", 0.5))
        assert {s["opt"] for s in found} == {"sgd", "adam"}
        assert all(("m" in s) == (s["opt"] == "sgd") for s in found)

    def test_wrong_values_of_arguments_are_said(self, search, choice):
        wrong = {
            "optuna": {"sampler": {"name": "tpe", "n_startup_trials": "x", "seed": "y"}},
            "hyperopt": {"random_state_seed": "x"},
            "nevergrad": {"optimizer_kwargs": {"what": 1}},
            "bohb": {"bohb_config": 3},
            "bayesopt": {"patience": 0},
            "zoopt": {"algo": "other"},
        }[choice.name]
        said = rf"The searcher .{choice.name}\(.* cannot be made: \w+Error: "
        with pytest.raises(SweepFailed, match=said):
            search(QUADRATIC, arguments=wrong)


class TestSeveralTrialsOfASuggestion:
    def test_grids_and_repetitions_are_told_as_their_mean(self, search, choice):
        if choice.name == "bohb":
            pytest.skip("a suggestion of BOHB is one trial")
        made = search({**QUADRATIC, "g": "grid_search([0, 1])"}, num_samples=6, repeat=2)
        heard = []
        ours = made.searcher.on_trial_complete
        made.searcher.on_trial_complete = lambda i, result, error: (
            heard.append(result["loss"]),
            ours(i, result, error),
        )
        found = made.run(lambda s: squared_distance(s) + s["g"])
        assert len(found) == 24
        for number, value in enumerate(heard):
            four = found[4 * number : 4 * number + 4]
            assert [s["g"] for s in four] == [0, 0, 1, 1]
            assert len({s["x"] for s in four}) == 1
            assert value == pytest.approx(squared_distance(four[0]) + 0.5)
        assert len(heard) == 6


class TestWarmStart:
    def earlier(self, sign):
        """Return results along a line through the space."""
        points = [
            {"x": -2 + 0.1 * i, "y": 10 ** (-4 + 0.1 * i), "net.c": "ab"[i % 2], "k": i % 9}
            for i in range(40)
        ]
        return [(values, [sign * squared_distance(values)]) for values in points]

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_the_library_knows_the_results(self, search, choice, mode):
        if choice.name not in SUPPORTS_WARM_START:
            pytest.skip("cannot be told")
        earlier = self.earlier(1 if mode == "min" else -1)
        made = search(MIXED, mode=mode, earlier=earlier)
        known = {
            "optuna": lambda s: [trial.value for trial in s._ot_study.trials],
            "hyperopt": lambda s: s._hpopt_trials.losses(),
            "nevergrad": lambda s: [point.mean for point in s._nevergrad_opt.archive.values()],
            "bohb": lambda s: s.bohber.losses[0],
            "bayesopt": lambda s: s.optimizer.space.target,
        }[choice.name](made.searcher)
        # Most libraries minimize and see the sign changed, BayesOpt maximizes.
        seen = {"optuna": "as it is", "bayesopt": "max"}.get(choice.name, "min")
        sign = 1 if seen in ("as it is", mode) else -1
        assert list(known) == pytest.approx([sign * value for _, (value,) in earlier])

    def test_it_changes_what_is_suggested(self, search, choice):
        if choice.name not in SUPPORTS_WARM_START:
            pytest.skip("cannot be told")
        told = search(MIXED, earlier=self.earlier(1), num_samples=10).run()
        assert told != search(MIXED, num_samples=10).run()

    def test_points_still_come_first(self, search, choice):
        if choice.name not in SUPPORTS_WARM_START:
            pytest.skip("cannot be told")
        points = [{"x": 0.5}, {"x": -0.5}]
        found = search(
            MIXED, earlier=self.earlier(1), points_to_evaluate=points, num_samples=5
        ).run()
        assert [s["x"] for s in found[:2]] == pytest.approx([0.5, -0.5])
        assert len(found) == 5

    def test_what_is_incomplete_is_not_told(self, search, choice):
        if choice.name not in SUPPORTS_WARM_START:
            pytest.skip("cannot be told")
        point = self.earlier(1)[0][0]
        useless = [({"x": 1.0}, [0.0]), ({**point, "x": 9.0}, [0.0])]
        nothing = [(point, [math.nan])]
        told = search(MIXED, earlier=[*useless, *nothing], num_samples=5).run()
        assert told == search(MIXED, num_samples=5).run()


class TestOptuna:
    @pytest.fixture(autouse=True)
    def _optuna(self):
        pytest.importorskip("optuna")

    @pytest.mark.parametrize(
        "sampler", ["tpe", "random", "cmaes", "gp", "nsgaii", "nsgaiii", "qmc"]
    )
    def test_its_samplers(self, tmp_path, sampler):
        for further, needed in {"cmaes": "cmaes", "gp": "torch"}.items():
            if sampler == further:
                pytest.importorskip(needed)
        choice, mistakes = parse_search_alg({"name": "optuna", "sampler": sampler})
        assert mistakes == []
        first = Search(tmp_path, choice, MIXED).run()
        assert len(first) == 20
        assert first == Search(tmp_path, choice, MIXED).run()

    def test_arguments_of_a_sampler(self, tmp_path):
        """Without random trials at first, the second is already near the first."""
        eager = {"name": "tpe", "n_startup_trials": 1}
        choices = [Choice("optuna", {"sampler": sampler}) for sampler in (eager, "tpe")]
        first, second = (Search(tmp_path, choice, MIXED).run() for choice in choices)
        assert first != second

    @pytest.mark.parametrize("at_once", [1, 4])
    def test_brute_force_tries_every_point_once_and_ends(self, tmp_path, at_once):
        raw = {"c": "choice(['a', 'b'])", "k": "randint(0, 3)", "q": "quniform(0, 1, 0.5)"}
        choice = Choice("optuna", {"sampler": "bruteforce"})
        found = Search(tmp_path, choice, raw, num_samples=50, at_once=at_once).run(lambda s: s["k"])
        assert len(found) == 18
        assert len({tuple(sorted(s.items())) for s in found}) == 18

    @pytest.mark.parametrize("sampler", ["tpe", "nsgaii"])
    def test_several_metrics(self, tmp_path, sampler):
        choice = Choice("optuna", {"sampler": sampler})
        earlier = [({"x": 0.5, "y": 0.01}, [1.0, 2.0])]
        made = Search(tmp_path, choice, QUADRATIC, metrics=["loss", "time"], earlier=earlier)
        for value in range(3):
            trial = made.generator.next_trial()
            result = {"loss": value, "time": 2 * value, "training_iteration": 1}
            made.generator.on_trial_complete(trial.trial_id, result)
        told = [trial.values for trial in made.searcher._ot_study.trials]
        assert told == [[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]


class TestBayesOpt:
    @pytest.fixture(autouse=True)
    def _bayesopt(self):
        pytest.importorskip("bayes_opt")

    def at_once(self, made, most):
        """Return how many points it suggests before it hears a result."""
        return sum(made.generator.next_trial() is not None for _ in range(most))

    def test_points_that_run_are_not_suggested_again(self, tmp_path):
        """Of the best point alone it would make one trial at a time."""
        choice = Choice("bayesopt", {"random_search_steps": 5})
        made = Search(tmp_path, choice, {"x": "uniform(-2, 2)"}, num_samples=20, at_once=4)
        for _ in range(8):
            trial = made.generator.next_trial()
            made.end(trial, squared_distance, lambda index: False)
        assert self.at_once(made, 4) == 4
        # What stood for their results is forgotten.
        assert len(made.searcher.optimizer.space) == 8

    @pytest.mark.long
    def test_what_is_known_takes_the_place_of_random_points(self, tmp_path):
        grid = [(x, y) for x in (-2.0, -0.5, 1.0, 2.0) for y in (1e-4, 1e-3, 1e-2, 1.0)]
        points = [{"x": x, "y": y} for x, y in grid]
        earlier = [(point, [squared_distance(point)]) for point in points]
        made = Search(tmp_path, Choice("bayesopt"), QUADRATIC, earlier=earlier, num_samples=14)
        assert len(made.run()) == 14
        assert len(made.searcher.optimizer.space) == 30


def test_zoopt_takes_any_number_of_samples(tmp_path):
    """Its library ends the process where there are fewer than four."""
    pytest.importorskip("zoopt")
    assert len(Search(tmp_path, Choice("zoopt"), QUADRATIC, num_samples=1).run()) == 1


def test_nevergrad_with_another_optimizer(tmp_path):
    pytest.importorskip("nevergrad")
    choice = Choice("nevergrad", {"optimizer": "TwoPointsDE", "optimizer_kwargs": {"budget": 50}})
    made = Search(tmp_path, choice, MIXED, num_samples=5)
    assert made.searcher._nevergrad_opt.budget == 50
    assert made.searcher._nevergrad_opt.name == "TwoPointsDE"
    assert len(made.run()) == 5
