"""What chooses and ends trials: searchers, schedulers, repetitions, points, listed trials."""

import pytest
from sacred import Experiment
from unit_inner import unit_ex

from sacred_ray_ingredient.checkpoints import Checkpoints
from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.sampling import Sample

SPACE = {"base_lr": "uniform(0, 1)"}
SEARCH = {"search_space": SPACE}
ASHA = {"scheduler": "asha(max_t=9)", "metric": "loss"}
outer_ex = make_outer("outer_ex", unit_ex)
saving_ex = Experiment("plan_saving_ex", save_git_info=False)
saving_ex.add_config(lr=0.5)
saving_ex.main(lambda lr: lr)
Checkpoints(saving_ex)
saving_outer_ex = make_outer("saving_outer_ex", saving_ex)


def plan(ray, named_configs=(), force=False, **updates):
    request = OuterRequest({"ray": ray, "seed": 42}, updates, named_configs, force)
    return make_plan(outer_ex, unit_ex, request)


def mistakes(*arguments, **named):
    with pytest.raises(ConfigMistakes, match=r"\S") as caught:
        plan(*arguments, **named)
    return list(caught.value.mistakes)


def samples(ray, **named):
    return list(plan(ray, **named).sampling.samples())


@pytest.mark.parametrize(
    ("ray", "trials"),
    [
        ({**SEARCH, "search_alg": "optuna"}, 10),
        ({"named_configs": ["fast", []]}, 2),
        ({"named_configs": "choice(['fast', []])"}, 10),
        ({"named_configs": "choice(['fast', []])", "num_samples": 3}, 3),
        ({"search_space": {"base_lr": [1.0, 2.0]}, "repeat": 3}, 6),
        ({"repeat": 4}, 4),
        ({"trials": [{"named_configs": ["fast"]}, {"config_updates": {"lr": 2.0}}]}, 2),
        ({"trials": [{"config_updates": {"lr": 2.0}}], "seeds": 3}, 3),
        ({"trials": [{"config_updates": {"lr": 2.0}}], "repeat": 2}, 2),
        ({**SEARCH, "search_alg": "optuna", "envs": ["a", "b"], "repeat": 2, "num_samples": 3}, 12),
    ],
)
def test_number_of_trials(ray, trials):
    pytest.importorskip("optuna")
    assert plan(ray).total_trials == trials


class TestSearcher:
    def test_is_none_for_random_and_grid_search(self):
        assert plan(SEARCH).searcher is None

    def test_is_read_with_its_arguments(self):
        pytest.importorskip("optuna")
        ray = {**SEARCH, "search_alg": {"name": "optuna", "sampler": "random"}}
        assert plan(ray).searcher == Choice("optuna", {"sampler": "random"})

    def test_that_is_not_known_is_a_mistake(self):
        (sentence,) = mistakes({**SEARCH, "search_alg": "optunna"})
        assert sentence.startswith("ray.search_alg is 'optunna', but 'optunna' is none that is ")

    def test_has_nothing_to_choose_in_a_grid(self):
        pytest.importorskip("optuna")
        ray = {"search_space": {"base_lr": [1.0, 2.0]}, "search_alg": "optuna"}
        (sentence,) = mistakes(ray)
        assert "a grid needs no searcher" in sentence

    def test_does_not_go_with_every_scheduler(self):
        (sentence,) = mistakes({**SEARCH, "scheduler": "bohb(max_t=9)", "metric": "loss"})[:1]
        assert "set ray.search_alg=bohb" in sentence

    def test_that_follows_one_metric_is_not_given_two(self):
        pytest.importorskip("hyperopt")
        ray = {**SEARCH, "search_alg": "hyperopt", "metric": ["loss", "result"]}
        (sentence,) = mistakes(ray)
        assert "can follow one metric only" in sentence


class TestScheduler:
    def test_is_none_for_first_in_first_out(self):
        assert plan({**SEARCH, "scheduler": "fifo"}).scheduler is None

    def test_is_read_with_its_arguments(self):
        assert plan({**SEARCH, **ASHA}).scheduler == Choice("asha", {"max_t": 9})

    def test_compares_by_the_first_metric_which_must_not_be_the_result(self):
        (sentence,) = mistakes({**SEARCH, **ASHA, "metric": ["result", "loss"]})
        assert "ray.metric is 'result', which is known at the end only" in sentence
        assert plan({**SEARCH, **ASHA, "metric": ["loss", "result"]}).scheduler is not None

    def test_that_pauses_needs_an_experiment_with_checkpoints(self):
        scheduler = {"scheduler": "hyperband(max_t=9)", "metric": "loss"}
        (sentence,) = mistakes({**SEARCH, **scheduler})
        assert "the experiment has to save checkpoints" in sentence
        ray = {"search_space": {"lr": "uniform(0, 1)"}, **scheduler}
        request = OuterRequest({"ray": ray, "seed": 1}, {}, [])
        assert make_plan(saving_outer_ex, saving_ex, request).scheduler.name == "hyperband"

    def test_that_is_not_known_is_a_mistake(self):
        (sentence,) = mistakes({**SEARCH, "scheduler": "asa"})
        assert "did you mean 'asha'" in sentence


class TestStopRules:
    def test_are_read(self):
        rules = plan({**SEARCH, "metric": "loss", "stop": {"loss": "<= 0.1", "step": 5}}).stop_rules
        assert [rule.text for rule in rules] == ["loss <= 0.1", "step >= 5"]

    def test_that_are_wrong_are_mistakes(self):
        (sentence,) = mistakes({**SEARCH, "stop": {"loss": "low"}})
        assert sentence.startswith("ray.stop.loss is 'low'; it must be the number at which")


class TestRepetitions:
    def test_share_their_point_and_have_seeds_of_their_own(self):
        made = plan({"search_space": {"base_lr": [1.0, 2.0]}, "repeat": 2})
        found = list(made.sampling.samples())
        tasks = [made.trial_resolver.complete(i, sample) for i, sample in enumerate(found)]
        assert [(t.configuration, t.repetition) for t in tasks] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert [t.sampled for t in tasks] == [{"base_lr": 1.0}] * 2 + [{"base_lr": 2.0}] * 2
        assert len({t.seed for t in tasks}) == 4

    def test_are_given_by_repeat_or_by_seeds(self):
        (sentence,) = mistakes({**SEARCH, "repeat": 2, "seeds": 3})
        assert sentence.startswith("ray.repeat=2 and ray.seeds=3 both say how often")


class TestPointsToEvaluate:
    def test_come_first(self):
        points = [{"base_lr": 0.25}, {"base_lr": 0.75}]
        found = samples({**SEARCH, "points_to_evaluate": points})
        assert [sample.sampled for sample in found[:2]] == points
        assert found[2].sampled["base_lr"] not in (0.25, 0.75)

    def test_outside_the_space_are_a_mistake(self):
        (sentence,) = mistakes({**SEARCH, "points_to_evaluate": [{"base_lr": 3.0}]})
        assert sentence.startswith("ray.points_to_evaluate[0].base_lr is 3.0, which uniform")

    def test_of_a_grid_are_a_mistake(self):
        space = {"base_lr": "uniform(0, 1)", "env_name": ["a", "b"]}
        points = [{"base_lr": 0.5, "env_name": "a"}]
        (sentence,) = mistakes({"search_space": space, "points_to_evaluate": points})
        assert "which is a grid or a constant" in sentence

    def test_are_no_more_than_the_samples(self):
        points = [{"base_lr": 0.25}, {"base_lr": 0.75}]
        assert mistakes({**SEARCH, "points_to_evaluate": points, "num_samples": 1}) == [
            "ray.points_to_evaluate has 2 points, but ray.num_samples is 1; "
            "give as many samples at least."
        ]


class TestKindsOfValues:
    @pytest.mark.parametrize(
        ("space", "sentence"),
        [
            (
                {"base_lr": ["0.1", 0.2]},
                "ray.search_space.base_lr gives '0.1', text, where the inner experiment has 0.5, "
                "a number; give values of its kind, or -f if it takes others.",
            ),
            (
                {"env_name": "uniform(0, 1)"},
                "ray.search_space.env_name gives 0.5, a number, where the inner experiment has "
                "'a', text; give values of its kind, or -f if it takes others.",
            ),
            (
                {"env_name": "choice([['a'], ['b']])"},
                "ray.search_space.env_name gives ['a'], a list, where the inner experiment has "
                "'a', text; give values of its kind, or -f if it takes others.",
            ),
            (
                {"base_lr+env_name": [[1.0, "a"], [2.0, 3]]},
                "ray.search_space.env_name gives 3, a number, where the inner experiment has 'a', "
                "text; give values of its kind, or -f if it takes others.",
            ),
            (
                {"optimizer.name": ["sgd", "adam"], "base_lr": "'x' if optimizer.name == 'sgd'"},
                "ray.search_space.base_lr gives 'x', text, where the inner experiment has 0.5, a "
                "number; give values of its kind, or -f if it takes others.",
            ),
        ],
    )
    def test_that_differ_from_the_own_ones_are_a_mistake(self, space, sentence):
        assert mistakes({"search_space": space}) == [sentence]

    def test_are_compared_in_environments_and_listed_trials_too(self):
        own = "a number, where the inner experiment has 'a', text; give values of its kind, or -f"
        assert mistakes({"envs": ["a", 3]}) == [f"ray.envs gives 3, {own} if it takes others."]
        listed = {"trials": [{"named_configs": ["fast"]}, {"config_updates": {"env_name": 3}}]}
        assert mistakes(listed) == [
            f"ray.trials[1].config_updates.env_name gives 3, {own} if it takes others."
        ]

    def test_are_not_compared_under_force(self):
        assert plan({"search_space": {"base_lr": ["0.1"]}}, force=True).total_trials == 1

    @pytest.mark.parametrize(
        "space", [{"base_lr": [1, True, None]}, {"extra.new": ["a", 1]}, {"env_name": ["b", None]}]
    )
    def test_that_are_near_enough_are_taken(self, space):
        assert plan({"search_space": space}).total_trials > 0


def test_dictionaries_as_values_are_checked_entry_by_entry():
    space = {"optimizer": [{"name": "sgd", "momentun": 0.1}, {"name": 3, "momentum": 0.1}]}
    unknown, kind = sorted(mistakes({"search_space": space}), key=lambda text: "gives" in text)
    assert "did you mean 'optimizer.momentum'" in unknown
    assert kind.startswith("ray.search_space.optimizer gives 3, a number, where")


def test_a_number_that_yaml_took_for_text_is_a_mistake():
    (sentence,) = mistakes(SEARCH, unit_ex={"lr": "1e-3"})
    assert sentence.startswith("unit_ex.lr is the text '1e-3', where a number belongs")


def test_text_in_a_list_needs_quotes():
    (sentence,) = mistakes({"search_space": {"env_name": "[adam,sgd]"}})
    assert "cannot be read as a list; text in it needs quotes" in sentence


def test_a_bare_bound_of_what_is_minimised_is_not_clear():
    ray = {**SEARCH, "metric": "loss", "mode": "min"}
    (sentence,) = mistakes({**ray, "stop": {"loss": 0.1}})
    assert "write '<= 0.1', or '>= 0.1'" in sentence
    assert plan({**ray, "stop": {"loss": "<= 0.1"}}).stop_rules


def test_a_stop_rule_needs_a_metric_that_is_logged():
    (sentence,) = mistakes({**SEARCH, "stop": {"loss": 1}})
    assert sentence.startswith("ray.stop ends trials before they return their result")
    assert plan({**SEARCH, "stop": {"loss": 1}, "metric": "loss"}).stop_rules[0].text == "loss >= 1"


def test_an_error_in_a_condition_is_found_first():
    space = {"base_lr": "choice([1, 2, 3])", "env_name": "'b' if 1 / (base_lr - 2) > 0"}
    (sentence,) = mistakes({"search_space": space})
    assert "1 / (base_lr - 2) > 0" in sentence


@pytest.mark.parametrize(
    ("condition", "dependent"),
    [("lr > 1", {}), ("unit_data.size > 5", {"unit_data.size": "int(base_lr)"}), ("seed > 3", {})],
)
def test_a_condition_cannot_read_what_follows_from_a_sample(condition, dependent):
    space = {"base_lr": [0.1, 9.0], "env_name": f"'b' if {condition}"}
    (sentence,) = mistakes({"search_space": space, "dependent": dependent})
    assert f"{condition.split()[0]!r}, which is computed after the space is sampled" in sentence


@pytest.mark.parametrize(
    "ray",
    [
        {"envs": ["a", "b"], "dependent": {"env_name": "str('c')"}},
        {
            "search_space": {"optimizer.momentum": [0.1]},
            "dependent": {"optimizer": "{'name': 'x'}"},
        },
        {"trials": [{"config_updates": {"base_lr": 1.0}}], "dependent": {"base_lr": "2.0"}},
    ],
)
def test_a_parameter_is_either_given_or_computed(ray):
    (sentence,) = mistakes(ray)
    assert "give the same parameter; give one of them" in sentence


def test_repetitions_share_what_dependent_parameters_draw():
    asked = {"search_space": {"env_name": ["a", "b"]}, "dependent": {"base_lr": "uniform(0, 1)"}}
    made = plan({**asked, "repeat": 2})
    tasks = [
        made.trial_resolver.complete(index, sample)
        for index, sample in enumerate(made.sampling.samples())
    ]
    drawn = [task.resolved["base_lr"] for task in tasks]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]
    assert len({task.seed for task in tasks}) == 4


def test_the_best_of_several_environments_is_not_evaluated_again():
    (sentence,) = mistakes({**SEARCH, "envs": ["a", "b"], "evaluate_best": 2})
    assert sentence.startswith("ray.evaluate_best=2 runs the best configuration again")


def test_repetitions_and_a_computed_seed_do_not_go_together():
    (sentence,) = mistakes({**SEARCH, "repeat": 2, "dependent": {"seed": "3"}})
    assert sentence.startswith("ray.dependent.seed computes the seed, which ray.repeat")


class TestConditions:
    def test_read_searched_parameters_and_entries_of_the_inner(self):
        space = {
            "optimizer.name": ["sgd", "adam"],
            "optimizer.momentum": "0.5 if optimizer.name == 'sgd' and unit_data.size == 3",
        }
        found = samples({"search_space": space})
        assert [sample.sampled["optimizer"] for sample in found] == [
            {"name": "sgd", "momentum": 0.5},
            {"name": "adam"},
        ]

    def test_read_what_the_user_changed_for_all_trials(self):
        space = {"base_lr": "[1.0, 2.0] if env_name == 'b' else [3.0]"}
        for env, values in (("a", [3.0]), ("b", [1.0, 2.0])):
            found = samples({"search_space": space}, unit_ex={"env_name": env})
            assert [sample.sampled["base_lr"] for sample in found] == values

    def test_with_unknown_names_are_a_mistake(self):
        space = {"base_lr": "uniform(0, 1) if optimizer.nam == 'sgd'"}
        (sentence,) = mistakes({"search_space": space})
        assert sentence.startswith(
            "The condition \"optimizer.nam == 'sgd'\" of ray.search_space.base_lr reads "
            "'optimizer.nam', which is not a parameter of the inner experiment 'unit_ex' "
            "(did you mean 'optimizer.name'"
        )


class TestListedTrials:
    TRIALS = (
        {"named_configs": ["fast"], "config_updates": {"optimizer.momentum": 0.5}},
        {"config_updates": {"lr": 3.0}},
    )

    def test_are_the_trials(self):
        made = plan({"trials": list(self.TRIALS)})
        assert list(made.sampling.samples()) == [
            Sample({"optimizer": {"momentum": 0.5}}, 0, 0, ("fast",)),
            Sample({"lr": 3.0}, 1, 0, ()),
        ]
        assert made.parameters == ["named_configs", "optimizer.momentum", "lr"]

    def test_take_what_their_named_configs_give(self):
        made = plan({"trials": list(self.TRIALS)}, unit_ex={"env_name": "b"})
        first = next(made.sampling.samples())
        updates = made.trial_resolver.complete(0, first).config_updates()
        assert (updates["base_lr"], updates["env_name"]) == (4.0, "b")

    def test_have_the_last_word_over_their_named_configs(self):
        made = plan({"trials": [{"named_configs": ["fast"], "config_updates": {"base_lr": 1.0}}]})
        first = next(made.sampling.samples())
        assert made.trial_resolver.complete(0, first).config_updates()["base_lr"] == 1.0

    def test_with_unknown_parameters_are_a_mistake(self):
        (sentence,) = mistakes({"trials": [{}, {"config_updates": {"optimizer.momentun": 1}}]})
        assert sentence.startswith(
            "ray.trials[1].config_updates.optimizer.momentun is not a parameter of the inner "
            "experiment 'unit_ex' (did you mean 'optimizer.momentum'"
        )

    def test_with_unknown_named_configs_are_a_mistake(self):
        (sentence,) = mistakes({"trials": [{"named_configs": ["fasst"]}]})
        assert sentence.startswith("ray.trials[0] has 'fasst', which is not a named config of the ")

    def test_beside_a_search_space_are_a_mistake(self):
        (sentence,) = mistakes({**SEARCH, "trials": list(self.TRIALS)})
        assert sentence.startswith("ray.trials lists the trials, so that ray.search_space has no")


class TestNamedConfigs:
    def test_are_searched_like_parameters(self):
        made = plan({"named_configs": ["fast", ["fast", "unit_data.big"], []], **SEARCH})
        assert made.parameters == ["named_configs", "base_lr"]
        names = [sample.named_configs for sample in made.sampling.samples()][:3]
        assert names == [("fast",), ("fast", "unit_data.big"), ()]

    def test_change_what_the_trial_has(self):
        made = plan({"named_configs": ["fast", []], "dependent": {"optimizer.momentum": "lr"}})
        first, second = (
            made.trial_resolver.complete(index, sample)
            for index, sample in enumerate(made.sampling.samples())
        )
        assert first.config_updates()["base_lr"] == 4.0
        assert "base_lr" not in second.config_updates()
        assert [task.resolved["optimizer"]["momentum"] for task in (first, second)] == [8.0, 1.0]

    def test_leave_the_last_word_to_the_command_line(self):
        made = plan({"named_configs": ["fast", []]}, unit_ex={"base_lr": 7.0})
        first = next(made.sampling.samples())
        assert made.trial_resolver.complete(0, first).config_updates()["base_lr"] == 7.0

    def test_leave_it_to_the_search_too(self):
        made = plan({"named_configs": ["fast"], "search_space": {"base_lr": [2.0]}})
        first = next(made.sampling.samples())
        assert made.trial_resolver.complete(0, first).config_updates()["base_lr"] == 2.0

    def test_of_an_ingredient_reach_it(self):
        made = plan({"named_configs": ["unit_data.big"]})
        first = next(made.sampling.samples())
        assert made.trial_resolver.complete(0, first).config_updates()["unit_data"]["size"] == 100

    def test_that_are_not_known_are_a_mistake(self):
        (sentence,) = mistakes({"named_configs": ["fast", "bigg"]})
        assert sentence.startswith("ray.named_configs has 'bigg', which is not a named config of")
