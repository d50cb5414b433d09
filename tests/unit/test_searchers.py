"""The choice of a searcher, what does not go with it, and points that the user gives."""

import sys

import pytest

from sacred_ray_ingredient import searcher_checks, searchers
from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.points import point_values, points_mistakes
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.searcher_checks import missing_library, searcher_mistakes
from sacred_ray_ingredient.searchers import SEARCHERS, parse_search_alg

LR = Sampler("loguniform", {"lower": 1e-5, "upper": 0.1})
LAYERS = Sampler("randint", {"lower": 1, "upper": 5})
OPTIMIZER = Sampler("choice", {"categories": ["sgd", "adam", None]})
GAME = Sampler("choice", {"categories": [("A", 1), ("B", 2)]})
DIMENSIONS = {"lr": LR, "net.layers": LAYERS, "optimizer": OPTIMIZER, "env_name+victim": GAME}


def chosen(raw):
    choice, mistakes = parse_search_alg(raw)
    assert mistakes == []
    return choice


def mistake(raw):
    choice, mistakes = parse_search_alg(raw)
    assert choice is None
    (sentence,) = mistakes
    return sentence


class TestChoice:
    @pytest.mark.parametrize("name", SEARCHERS)
    def test_a_name_is_enough(self, name):
        assert chosen(name) == Choice(name)

    @pytest.mark.parametrize("raw", [None, "random", "grid", "variant_generator", "basic_variant"])
    def test_random_and_grid_search_are_no_searcher(self, raw):
        assert chosen(raw) is None

    def test_arguments_as_text_and_as_a_mapping_are_the_same(self):
        assert chosen("hyperopt(n_initial_points=10, seed=3)") == chosen(
            {"name": "hyperopt", "n_initial_points": 10, "seed": 3}
        )

    def test_the_text_of_a_choice_is_read_back(self):
        choice = chosen({"name": "optuna", "sampler": {"name": "tpe", "multivariate": True}})
        assert chosen(choice.text()) == choice

    def test_arguments_of_random_search_are_refused(self):
        assert "take no arguments; drop seed" in mistake("random(seed=1)")

    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            ("optna", "did you mean 'optuna'"),
            ("optna", "bayesopt, bohb, grid, hyperopt"),
            ("optuna('tpe')", "arguments need their names"),
            ("optuna(sampler=print)", "not all literals"),
            ("optuna(", "cannot be read"),
            ({"sampler": "tpe"}, "under 'name'"),
            (7, "neither a name nor a mapping"),
            ("cmaes", "\"optuna(sampler='cmaes')\""),
            ("ax", "wrapt 2, with which Sacred does not work; use 'bayesopt'"),
            ("HEBO(seed=1)", "no set of versions of HEBO"),
        ],
    )
    def test_what_cannot_be_chosen_is_said_with_what_can(self, raw, said):
        sentence = mistake(raw)
        assert said in sentence
        assert sentence.startswith("ray.search_alg is ")


class TestArguments:
    @pytest.mark.parametrize(
        ("raw", "entry"),
        [
            ("optuna(metric='loss')", "ray.metric"),
            ("optuna(mode='min')", "ray.mode"),
            ("hyperopt(space={})", "ray.search_space"),
            ("zoopt(dim_dict={})", "ray.search_space"),
            ("bayesopt(points_to_evaluate=[])", "ray.points_to_evaluate"),
            ("optuna(evaluated_rewards=[])", "ray.warm_start"),
            ("bohb(max_concurrent=2)", "ray.max_concurrent_trials"),
        ],
    )
    def test_what_the_sweep_sets_names_the_entry_to_use(self, raw, entry):
        assert f"which the sweep sets; use {entry}." in mistake(raw)

    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            ("hyperopt(n_inital_points=3)", "did you mean 'n_initial_points'"),
            ("hyperopt(n_inital_points=3)", "there are: gamma, n_initial_points,"),
            ("optuna(storage='sqlite://')", "has to be an object of Python"),
            ("zoopt(whatever=1)", "there are: algo, budget, parallel_num, seed."),
            ("optuna(seed=-1)", "ray.search_alg.seed is -1; it must be a whole number from 0"),
            ("optuna(seed=True)", "ray.search_alg.seed is True"),
        ],
    )
    def test_wrong_arguments(self, raw, said):
        assert said in mistake(raw)

    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            ("optuna(sampler='tpee')", "did you mean 'tpe'"),
            ("optuna(sampler={'name': 'grid'})", "there are: tpe, random, cmaes, gp"),
            ("optuna(sampler=['tpe'])", "no sampler ['tpe']"),
            ("optuna(sampler={'name': 'tpe', 'multivariat': True})", "did you mean 'multivariate'"),
            ("optuna(sampler={'name': 'tpe', 'gamma': 1})", "has to be an object of Python"),
        ],
    )
    def test_wrong_samplers_of_optuna(self, raw, said):
        pytest.importorskip("optuna")
        assert said in mistake(raw)

    def test_wrong_optimizers_of_nevergrad(self):
        pytest.importorskip("nevergrad")
        assert chosen("nevergrad(optimizer='TwoPointsDE')").arguments == {
            "optimizer": "TwoPointsDE"
        }
        assert "did you mean 'TwoPointsDE'" in mistake("nevergrad(optimizer='TwoPointDE')")

    def test_several_mistakes_are_told_at_once(self):
        _, mistakes = parse_search_alg("hyperopt(mode='min', seed='x')")
        assert len(mistakes) == 2


class TestMissingLibrary:
    @pytest.fixture
    def installed(self, monkeypatch):
        """Return the set of modules that are taken to be installed."""
        modules = {"optuna", "hyperopt", "bayes_opt", "ConfigSpace"}
        for module in (searchers, searcher_checks):
            monkeypatch.setattr(module, "can_import", modules.__contains__)
        return modules

    def test_the_sentence_says_what_to_install(self, installed):
        assert missing_library(Choice("hyperopt")) is None
        sentence = missing_library(Choice("bohb"))
        assert "needs hpbandster, and that is not installed" in sentence
        assert 'pip install "sacred_ray_ingredient[bohb]"' in sentence

    def test_samplers_of_optuna_that_need_more(self, installed):
        assert missing_library(Choice("optuna")) is None
        sentence = missing_library(Choice("optuna", {"sampler": {"name": "cmaes"}}))
        assert "run pip install cmaes." in sentence
        assert "run pip install torch." in missing_library(Choice("optuna", {"sampler": "gp"}))
        installed.add("cmaes")
        assert missing_library(Choice("optuna", {"sampler": "cmaes"})) is None

    @pytest.mark.parametrize(("version", "is_right"), [("1.4.3", True), ("3.4.0", False)])
    def test_a_library_that_is_too_new(self, installed, monkeypatch, version, is_right):
        monkeypatch.setattr("importlib.metadata.version", lambda name: version)
        sentence = missing_library(Choice("bayesopt"))
        assert (sentence is None) == is_right
        assert is_right or "bayesian-optimization 3.4.0 is installed, which is too new" in sentence

    def test_it_is_one_of_the_mistakes(self, installed):
        installed.clear()
        (sentence,) = searcher_mistakes(Choice("zoopt"), DIMENSIONS)
        assert "needs zoopt" in sentence

    def test_whether_a_module_is_there_is_asked_without_importing_it(self):
        assert searchers.can_import("this_module_is_not_there") is False
        assert searchers.can_import("this") is True
        assert "this" not in sys.modules


class TestTogether:
    @pytest.fixture(autouse=True)
    def _all_installed(self, monkeypatch):
        monkeypatch.setattr(searcher_checks, "missing_library", lambda choice: None)

    def only(self, *arguments, **further):
        (sentence,) = searcher_mistakes(*arguments, **further)
        return sentence

    @pytest.mark.parametrize("name", [name for name in SEARCHERS if name != "bohb"])
    def test_all_searchers_take_all_that_is_drawn(self, name):
        assert searcher_mistakes(Choice(name), DIMENSIONS, repeats_or_grid=True) == []

    def test_bohb_with_its_scheduler(self):
        assert searcher_mistakes(Choice("bohb"), DIMENSIONS, scheduler="bohb") == []

    def test_a_grid_needs_no_searcher(self):
        assert "a grid needs no searcher" in self.only(Choice("optuna"), {})

    def test_weights_are_learned(self):
        weighted = Sampler("choice", {"categories": [1, 2], "weights": [0.9, 0.1]})
        sentence = self.only(Choice("optuna"), {**DIMENSIONS, "batch": weighted})
        assert sentence.startswith("ray.search_space.batch is ")
        assert "drop the weights" in sentence

    def test_several_metrics(self):
        metrics = ("loss", "time")
        assert searcher_mistakes(Choice("optuna"), DIMENSIONS, metrics) == []
        assert "hyperopt can follow one metric only; use the searcher optuna" in self.only(
            Choice("hyperopt"), DIMENSIONS, metrics
        )
        assert "the sampler 'cmaes' of Optuna can follow one metric only" in self.only(
            Choice("optuna", {"sampler": "cmaes"}), DIMENSIONS, metrics
        )

    def test_brute_force_needs_values_that_can_be_counted(self):
        brute = Choice("optuna", {"sampler": "bruteforce"})
        assert searcher_mistakes(brute, {"layers": LAYERS, "optimizer": OPTIMIZER}) == []
        assert self.only(brute, {"lr": LR}).startswith("ray.search_space.lr is ")

    @pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
    def test_a_scheduler_that_changes_parameters_takes_no_searcher(self, scheduler):
        sentence = self.only(Choice("optuna"), DIMENSIONS, scheduler=scheduler)
        assert f"ray.scheduler is {scheduler!r}" in sentence
        assert "takes no searcher" in sentence

    def test_bohb_and_its_scheduler_need_each_other(self):
        assert "set ray.scheduler=bohb" in self.only(Choice("bohb"), DIMENSIONS)
        assert "set ray.search_alg=bohb" in self.only(
            Choice("optuna"), DIMENSIONS, scheduler="bohb"
        )
        assert "set ray.search_alg=bohb" in self.only(None, DIMENSIONS, scheduler="bohb")

    def test_a_choice_of_bohb_is_one_trial(self):
        sentence = self.only(Choice("bohb"), DIMENSIONS, scheduler="bohb", repeats_or_grid=True)
        assert "each choice is one trial" in sentence

    def test_what_cannot_learn_from_earlier_sweeps(self):
        assert searcher_mistakes(Choice("optuna"), DIMENSIONS, warm_start=True) == []
        assert "zoopt cannot be told" in self.only(Choice("zoopt"), DIMENSIONS, warm_start=True)
        assert "random and grid search learn nothing" in self.only(
            None, DIMENSIONS, warm_start=True
        )

    def test_random_search_takes_everything_else(self):
        assert searcher_mistakes(None, {}, ("a", "b"), True, "pbt") == []


class TestPoints:
    @pytest.mark.parametrize(
        ("point", "values"),
        [
            ({"lr": 0.01}, {"lr": 0.01}),
            ({"net.layers": 3}, {"net.layers": 3}),
            ({"net": {"layers": 3}, "optimizer": "adam"}, {"net.layers": 3, "optimizer": "adam"}),
            ({"optimizer": None}, {"optimizer": None}),
            ({"env_name": "B", "victim": 2}, {"env_name+victim": ("B", 2)}),
            ({"env_name+victim": ["A", 1]}, {"env_name+victim": ("A", 1)}),
        ],
    )
    def test_values_by_dimension(self, point, values):
        assert point_values(point, DIMENSIONS) == (values, [])

    @pytest.mark.parametrize(
        ("point", "said"),
        [
            ({"lr": 1.0}, "ray.points_to_evaluate[0].lr is 1.0, which loguniform("),
            ({"lr": "0.01"}, "lr is '0.01', which loguniform("),
            ({"net.layers": 2.5}, "net.layers is 2.5"),
            ({"net.layers": True}, "net.layers is True"),
            ({"optimizer": "adm"}, "optimizer is 'adm'"),
            ({"learning_rate": 1}, "'learning_rate', which ray.search_space does not draw"),
            ({"net.layer": 1}, "did you mean 'net.layers'"),
            ({"env_name": "A"}, "env_name without victim"),
            ({"env_name": "A", "victim": 2}, "env_name+victim is ['A', 2]"),
            ({"env_name+victim": "A"}, "must be a list of 2 values"),
            ({"batch": 8}, "'batch', which is a grid or a constant of ray.search_space"),
            ({"": 8}, "names must be text and not empty"),
        ],
    )
    def test_mistakes(self, point, said):
        sentences = points_mistakes([point], DIMENSIONS, ["batch"])
        assert any(said in sentence for sentence in sentences)
        assert all("ray.points_to_evaluate[0]" in sentence for sentence in sentences)

    def test_a_point_is_a_mapping(self):
        (sentence,) = points_mistakes([{"lr": 0.01}, 7], DIMENSIONS)
        assert sentence.startswith("ray.points_to_evaluate[1] is 7;")

    def test_of_a_parameter_with_conditions_every_case_that_can_draw_the_value_has_it(self):
        cases = {
            "m": Sampler("uniform", {"lower": 0.0, "upper": 0.5}),
            "m [2]": Sampler("uniform", {"lower": 0.3, "upper": 0.9}),
        }
        assert point_values({"m": 0.4}, cases)[0] == {"m": 0.4, "m [2]": 0.4}
        assert point_values({"m": 0.8}, cases) == ({"m [2]": 0.8}, [])
        assert (
            "which uniform(0.0, 0.5) or uniform(0.3, 0.9)"
            in points_mistakes([{"m": 1.5}], cases)[0]
        )

    def test_true_is_not_one(self):
        either = {"flag": Sampler("choice", {"categories": [1, True]})}
        assert point_values({"flag": True}, either)[0]["flag"] is True
        assert points_mistakes([{"flag": False}], either) != []
        number = {"k": Sampler("choice", {"categories": [1, 2]})}
        assert "k is True, which" in points_mistakes([{"k": True}], number)[0]
        assert (
            "is [True]"
            in points_mistakes(
                [{"k": [True]}], {"k": Sampler("choice", {"categories": [[1], [2]]})}
            )[0]
        )


class TestHyperband:
    @pytest.fixture(autouse=True)
    def _all_installed(self, monkeypatch):
        monkeypatch.setattr(searcher_checks, "missing_library", lambda choice: None)

    def test_needs_random_search(self):
        (sentence,) = searcher_mistakes(Choice("optuna"), DIMENSIONS, scheduler="hyperband")
        assert "use 'asha', or the scheduler 'bohb' with the searcher 'bohb'" in sentence
        assert searcher_mistakes(None, DIMENSIONS, scheduler="hyperband") == []

    def test_is_not_offered_to_searchers(self):
        (sentence,) = searcher_mistakes(Choice("optuna"), DIMENSIONS, scheduler="bohb")
        assert "hyperband" not in sentence


def test_an_empty_choice_is_none():
    assert parse_search_alg({}) == (None, [])


class TestRefusedByLibrary:
    @pytest.mark.parametrize(
        ("raw", "library"),
        [
            ("hyperopt(gamma='a')", "HyperOpt"),
            ("hyperopt(n_initial_points='a')", "HyperOpt"),
            ("nevergrad(optimizer_kwargs=5)", "Nevergrad"),
            ("optuna(sampler={'name': 'tpe', 'n_startup_trials': 'x'})", "Optuna"),
            ("optuna(sampler={'name': 'tpe', 'n_ei_candidates': 'x'})", "Optuna"),
            ("bayesopt(utility_kwargs={'kind': 'ucb', 'kappa': 'a', 'xi': 0})", "BayesOpt"),
            ("bohb(bohb_config=5)", "BOHB"),
            ("zoopt(budget=1)", "ZOOpt"),
        ],
    )
    def test_values_that_it_cannot_use(self, raw, library, capsys):
        from sacred_ray_ingredient.engines.make_searcher import refused_by_library

        pytest.importorskip(SEARCHERS[raw.partition("(")[0]].modules[-1])
        choice = chosen(raw)
        sentence = refused_by_library(choice, DIMENSIONS)
        assert sentence.startswith(
            f"ray.search_alg is {choice.text()!r}, which {library} refuses: "
        )
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        "raw",
        [
            *SEARCHERS,
            "hyperopt(gamma=0.3, n_initial_points=5)",
            "optuna(sampler={'name': 'tpe', 'multivariate': True, 'group': True})",
            "bayesopt(random_search_steps=3)",
        ],
    )
    def test_values_that_it_takes(self, raw):
        import random

        import numpy as np

        from sacred_ray_ingredient.engines.make_searcher import refused_by_library

        pytest.importorskip(SEARCHERS[raw.partition("(")[0]].modules[-1])
        before = random.getstate(), np.random.get_state()[1].tolist()
        assert refused_by_library(chosen(raw), DIMENSIONS) is None
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before
