"""What a sweep is going to do, and every mistake in it."""

# Local variables of config scopes are entries.
# ruff: noqa: F841

import pytest
from sacred import Experiment
from unit_inner import unit_ex

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.ingredient import make_outer, ray_ingredient
from sacred_ray_ingredient.named_configs import complete_named_configs
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.sampling import Sample
from sacred_ray_ingredient.seeds import derive_seed

SPACE = {"search_space": {"base_lr": "uniform(0, 1)"}}
outer_ex = make_outer("outer_ex", unit_ex)
complete_named_configs(outer_ex, ray_ingredient)
mainless_ex = Experiment("mainless_ex", save_git_info=False)
broken_ex = Experiment("broken_ex", save_git_info=False)
broken_ex.main(lambda: None)


@broken_ex.config
def broken_config():
    a = 1 / 0


def plan(ray, named_configs=(), force=False, inner=unit_ex, seed=42, **updates):
    request = OuterRequest({"ray": ray, "seed": seed}, updates, named_configs, force)
    outer = outer_ex if inner is unit_ex else make_outer("other_outer", inner)
    return make_plan(outer, inner, request)


def mistakes(*arguments, **named):
    with pytest.raises(ConfigMistakes, match=r"\.$") as caught:
        plan(*arguments, **named)
    return list(caught.value.mistakes)


class TestPlan:
    def test_is_what_was_asked_for(self):
        made = plan({**SPACE, "num_samples": 7, "exp_name": "mine"}, unit_ex={"env_name": "b"})
        assert made.exp_name == "mine"
        assert made.updates_of({}, ()) == {"env_name": "b"}
        assert made.sampling.seed == 42
        assert made.total_trials == 7
        assert made.parameters == ["base_lr"]
        assert str(made.reference) == "unit_inner:unit_ex"

    def test_is_named_after_the_outer_experiment_by_default(self):
        assert plan(SPACE).exp_name == "outer_ex"

    def test_has_an_id_of_its_own(self):
        ids = {plan(SPACE).sweep_id for _ in range(5)}
        assert len(ids) == 5
        assert all(each.startswith("sweep-") and each[6:].isalnum() for each in ids)

    def test_lists_searched_parameters_before_computed_ones(self):
        ray = {**SPACE, "dependent": {"lr": "base_lr * 3"}, "envs": ["a", "b"], "seeds": 2}
        assert plan(ray).parameters == ["env_name", "seed", "base_lr", "lr"]

    def test_resolves_with_the_derived_entries_of_the_inner(self):
        made = plan({**SPACE, "dependent": {"optimizer.momentum": "lr / 4"}})
        trial = made.trial_resolver.complete(0, Sample({"base_lr": 2.0}, 0))
        assert trial.resolved == {"optimizer": {"momentum": 1.0}}


@pytest.mark.parametrize(
    ("ray", "trials"),
    [
        (SPACE, 10),
        ({**SPACE, "num_samples": 3}, 3),
        ({"search_space": {"base_lr": [1.0, 2.0], "env_name": "grid_search(['a', 'b', 'c'])"}}, 6),
        ({"search_space": {"base_lr": "uniform(0, 1)", "env_name": ["a", "b"]}}, 20),
        ({"search_space": {"base_lr": [1.0, 2.0]}, "num_samples": 3}, 6),
        ({"envs": ["a", "b", "c"], "seeds": 4}, 12),
        ({"envs": ["a", "b", "c"]}, 3),
        ({"seeds": [1, 2, 3]}, 3),
        ({"dependent": {"lr": "base_lr * 3"}}, 1),
    ],
)
def test_number_of_trials(ray, trials):
    assert plan(ray).total_trials == trials


class TestGrids:
    def test_environments_are_a_grid_by_which_results_are_grouped(self):
        made = plan({"envs": ["a", "b"]})
        assert made.sampling.envs == ("a", "b")
        assert made.parameters == ["env_name"]
        assert made.group_by == "env_name"

    def test_another_parameter_can_pick_the_environment(self):
        made = plan({"envs": ["sgd", "adam"], "env_key": "optimizer.name"})
        assert made.parameters == ["optimizer.name"]

    def test_without_environments_there_are_no_groups(self):
        assert plan(SPACE).group_by is None

    def test_a_number_of_seeds_is_derived_from_that_of_the_sweep(self):
        seeds = (derive_seed(5, 0), derive_seed(5, 1))
        assert plan({"seeds": 2}, seed=5).sampling.seeds == seeds

    def test_listed_seeds_are_taken(self):
        assert plan({"seeds": [3, 1]}).sampling.seeds == (3, 1)


NOTHING = (
    "There is nothing to search: choose a named config (dependent_params, hyperparameter_search, "
    "multi_env_eval), or give a search space over 'unit_ex' as in "
    "'with ray.search_space.NAME=\"uniform(0, 1)\"'."
)


class TestMistakes:
    """Each is one sentence that names the entry."""

    def test_nothing_to_search(self):
        assert mistakes({}) == [NOTHING]
        assert mistakes({}, ["hyperparameter_search"]) == [NOTHING]

    @pytest.mark.parametrize("name", ["multi_env_eval", "ray.multi_env_eval"])
    def test_no_environments(self, name):
        (sentence,) = mistakes({"seeds": 5}, [name])
        assert sentence.startswith("multi_env_eval needs the environments to evaluate, values of ")
        assert "give ray.envs=\"['a', 'b']\"" in sentence

    def test_no_dependent_parameters(self):
        (sentence,) = mistakes(SPACE, ["dependent_params"])
        assert sentence.startswith("dependent_params needs parameters that are computed from other")

    def test_unknown_parameter_in_the_space(self):
        assert mistakes({"search_space": {"bas_lr": [1, 2]}}) == [
            "ray.search_space.bas_lr is not a parameter of the inner experiment 'unit_ex' "
            "(did you mean 'base_lr'?)."
        ]

    def test_unknown_parameter_without_a_near_one(self):
        (sentence,) = mistakes({"search_space": {"qqqqqq": [1, 2]}})
        assert "'unit_ex'; it has base_lr, " in sentence

    def test_unknown_parameter_that_is_computed(self):
        assert mistakes({"dependent": {"optimizer.nane": "base_lr"}}) == [
            "ray.dependent.optimizer.nane is not a parameter of the inner experiment 'unit_ex' "
            "(did you mean 'optimizer.name' or 'optimizer' or 'optimizer.momentum'?)."
        ]

    def test_unknown_name_in_an_expression(self):
        assert mistakes({"dependent": {"lr": "bas_lr * 2"}}) == [
            "ray.dependent.lr='bas_lr * 2' reads 'bas_lr', which is not a parameter of the inner "
            "experiment 'unit_ex' (did you mean 'base_lr'?)."
        ]

    def test_unknown_entry_of_the_inner(self):
        assert mistakes(SPACE, unit_ex={"optimizer": {"momentun": 0.5}}) == [
            "unit_ex.optimizer.momentun is not a parameter of the inner experiment 'unit_ex' "
            "(did you mean 'optimizer.momentum' or 'optimizer.name' or 'optimizer'?)."
        ]

    def test_searched_and_computed(self):
        assert mistakes({**SPACE, "dependent": {"base_lr": "lr"}}) == [
            "ray.search_space.base_lr and ray.dependent.base_lr give the same parameter; "
            "give one of them."
        ]

    @pytest.mark.parametrize(
        ("name", "entry", "values"),
        [("seed", "seeds", [1, 2]), ("env_name", "envs", ["a", "b"]), ("seed", "repeat", 2)],
    )
    def test_given_twice(self, name, entry, values):
        listed = values if isinstance(values, list) else [1, 2]
        assert mistakes({"search_space": {name: listed}, entry: values}) == [
            f"'{name}' is given twice: by ray.{entry} and by ray.search_space.{name}; "
            "give one of them."
        ]

    def test_name_of_this_package(self):
        (sentence,) = mistakes({"search_space": {"extra": [1], "__sweep__": [1, 2]}})
        assert (
            sentence == "ray.search_space.__sweep__: the name '__sweep__' is taken by this package."
        )

    @pytest.mark.parametrize("seed", [-1, 0.5, "x"])
    def test_seed_of_the_sweep(self, seed):
        assert mistakes(SPACE, seed=seed) == [
            f"seed is {seed!r}; it must be a whole number from 0."
        ]

    def test_inner_without_a_main(self):
        assert mistakes(SPACE, inner=mainless_ex) == [
            "The inner experiment 'mainless_ex' has no main function to run."
        ]

    def test_inner_whose_config_raises(self):
        assert mistakes(SPACE, inner=broken_ex) == [
            "The configuration of the inner experiment 'broken_ex' cannot be computed: "
            "ZeroDivisionError: division by zero."
        ]

    def test_inner_that_no_worker_can_import(self, make_experiment):
        local = make_experiment(lambda base_lr: None, "local_ex", base_lr=1)
        (sentence,) = mistakes(SPACE, inner=local)
        assert "'local_ex' is not the value of any module-level variable" in sentence

    def test_database(self):
        (sentence,) = mistakes({**SPACE, "mongo": {"urll": "x"}})
        assert sentence.startswith("ray.mongo.urll is not a known entry")

    def test_come_all_at_once(self):
        ray = {
            **{"mode": "best", "colour": 1, "mongo": {"urll": "x"}, "envs": ["a"]},
            "search_space": {"bas_lr": [1, 2], "lr": "uniform(2, 1)"},
            "dependent": {"optimizer.name": "base_lr +"},
        }
        found = "\n".join(mistakes(ray, seed=-1, unit_ex={"nothing_like_it": 1}))
        for part in ("ray.mode", "ray.colour", "ray.mongo.urll", "seed is -1", "bas_lr"):
            assert part in found
        for part in ("ray.search_space.lr", "ray.dependent.optimizer.name", "nothing_like_it"):
            assert part in found


class TestTrial:
    """Points of the space are resolved before the first trial."""

    def test_an_expression_that_fails_somewhere_in_the_space_is_a_mistake(self):
        ray = {"search_space": {"base_lr": [2.0, 1.0, 0.0]}, "dependent": {"env_name": "1/base_lr"}}
        (sentence,) = mistakes(ray)
        assert "ray.dependent.env_name" in sentence
        assert "division by zero" in sentence

    def test_the_same_mistake_is_told_once(self):
        ray = {"search_space": {"base_lr": [1.0, 2.0]}, "dependent": {"lr": "optimizer.name + 1"}}
        assert len(mistakes(ray)) == 1

    def test_a_function_that_raises_is_a_mistake(self):
        def refuse(config):
            raise RuntimeError("no value")

        (sentence,) = mistakes({**SPACE, "dependent": {"lr": refuse}})
        assert sentence.endswith("which raised RuntimeError: no value.")


def test_open_dictionaries_can_be_searched_and_read():
    ray = {"search_space": {"extra.depth": [1, 2]}, "dependent": {"extra.width": "extra.depth * 2"}}
    assert plan(ray).parameters == ["extra.depth", "extra.width"]


def test_force_takes_entries_that_are_not_known():
    ray = {"search_space": {"unheard_of": [1, 2]}, "dependent": {"new": "unheard_of * 2"}}
    made = plan(ray, force=True, unit_ex={"optimizer": {"another": 1}})
    assert made.parameters == ["unheard_of", "new"]
    assert made.updates_of({}, ()) == {"optimizer": {"another": 1}}


def test_a_request_is_read_from_a_run_of_the_outer():
    outer = Experiment("outer", save_git_info=False)
    outer.add_config(a=1)
    outer.add_named_config("b", {"a": 2})
    outer.main(lambda: None)
    options = {"--force": True}
    run = outer._create_run(config_updates={"c": 1}, named_configs=["b"], options=options)
    request = OuterRequest.of_run(run)
    assert (request.config["a"], request.config_updates) == (2, {"c": 1})
    assert (request.named_configs, request.force) == (["b"], True)


class TestEngine:
    @pytest.mark.parametrize(
        ("ray", "engine"),
        [
            ({}, "direct"),
            ({"engine": "direct"}, "direct"),
            ({"engine": "tune"}, "tune"),
            ({"search_alg": "optuna", "num_samples": 3}, "tune"),
            ({"scheduler": "median", "metric": "loss"}, "tune"),
            ({"stop": {"loss": 0.1}, "metric": "loss"}, "direct"),
        ],
    )
    def test_is_chosen_by_what_is_asked_for(self, ray, engine):
        assert plan({**SPACE, **ray}).engine == engine

    def test_is_direct_for_listed_trials(self):
        listed = {"trials": [{"config_updates": {"base_lr": 0.5}, "named_configs": []}]}
        assert plan(listed).engine == "direct"

    @pytest.mark.parametrize(
        "asked", [{"search_alg": "optuna", "num_samples": 3}, {"scheduler": "median_stopping"}]
    )
    def test_without_tune_has_neither_searcher_nor_scheduler(self, asked):
        name, choice = next(iter(asked.items()))
        found = mistakes({**SPACE, "metric": "loss", "engine": "direct", **asked})
        assert found == [
            "ray.engine is 'direct', which runs trials that do not depend on each other, and "
            f"ray.{name} is {choice}; use ray.engine=auto."
        ]

    def test_without_tune_names_both(self):
        asked = {"search_alg": "optuna", "num_samples": 3, "scheduler": "median"}
        found = mistakes({**SPACE, "metric": "loss", "engine": "direct", **asked})
        assert [sentence.partition(" and ray.")[2].split()[0] for sentence in found] == [
            *["search_alg", "scheduler"]
        ]
