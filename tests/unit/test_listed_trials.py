"""Named configs as alternatives, and trials that are given one by one."""

import pytest
from sacred import Experiment
from unit_inner import unit_ex

from sacred_ray_ingredient.listed_trials import (
    as_outer_names,
    known_named_configs,
    parse_named_configs,
    parse_trials,
)

bare_ex = Experiment("bare_ex", save_git_info=False)


def alternatives(raw):
    sampler, mistakes = parse_named_configs(raw, unit_ex)
    assert mistakes == []
    return sampler


def mistake(raw):
    _, mistakes = parse_named_configs(raw, unit_ex)
    (sentence,) = mistakes
    return sentence


class TestNamedConfigs:
    @pytest.mark.parametrize("raw", [None, (), [], {}])
    def test_need_not_be_searched(self, raw):
        assert parse_named_configs(raw, unit_ex) == (None, [])

    def test_of_a_list_are_a_grid_of_lists_of_names(self):
        sampler = alternatives(["fast", ["fast", "unit_data.big"], []])
        assert sampler.is_grid
        assert sampler.values() == [("fast",), ("fast", "unit_data.big"), ()]

    @pytest.mark.parametrize(
        "raw",
        [
            "choice(['fast', []])",
            {"choice": ["fast", []]},
            "choice([['fast'], []])",
            "choice(['unit_ex.fast', []])",
        ],
    )
    def test_can_be_drawn(self, raw):
        sampler = alternatives(raw)
        assert sampler.name == "choice"
        assert sampler.values() == [("fast",), ()]

    def test_can_be_drawn_with_weights(self):
        sampler = alternatives("choice(['fast', []], weights=[3, 1])")
        assert sampler.values() == [("fast",), ()]
        assert sampler.arguments["weights"] == [3, 1]

    @pytest.mark.parametrize(
        "raw", ["fast", "uniform(0, 1)", "['fast'] if lr > 1", {"fast": {"big": 1}}]
    )
    def test_are_alternatives_and_nothing_else(self, raw):
        assert "ray.named_configs" in mistake(raw)

    def test_that_are_no_names_are_a_mistake(self):
        assert mistake(["fast", 3]) == (
            "ray.named_configs has 3; it must be a name or a list of names."
        )
        assert mistake([["fast", 3]]) == (
            "ray.named_configs has ['fast', 3]; it must be a name or a list of names."
        )

    def test_that_are_misspelt_are_named_with_the_nearest(self):
        assert mistake(["fasst"]) == (
            "ray.named_configs has 'fasst', which is not a named config of the inner experiment "
            "'unit_ex' (did you mean 'fast'?)."
        )

    def test_that_are_not_known_are_named_with_what_there_is(self):
        assert mistake(["xyz"]).endswith("'unit_ex'; it has fast, unit_data.big.")
        _, (sentence,) = parse_named_configs(["xyz"], bare_ex)
        assert sentence.endswith("of the inner experiment 'bare_ex', which has none.")

    def test_all_mistakes_come_at_once(self):
        _, mistakes = parse_named_configs(["x", "y", ["z", "fast"], 3], unit_ex)
        assert len(mistakes) == 4

    def test_are_those_of_the_experiment_and_of_its_ingredients(self):
        assert known_named_configs(unit_ex) == ["fast", "unit_data.big"]

    def test_of_the_inner_have_its_name_for_the_outer(self):
        names = as_outer_names(unit_ex, ["fast", "unit_data.big"])
        assert names == ["unit_ex.fast", "unit_data.big"]


class TestTrials:
    def test_have_names_and_updates(self):
        raw = [
            {"named_configs": ["unit_ex.fast"], "config_updates": {"optimizer.name": "adam"}},
            {"config_updates": {"optimizer": {"name": "sgd"}, "lr": 1}},
            {"named_configs": "fast"},
            {"named_configs": None, "config_updates": None},
            {},
        ]
        trials, mistakes = parse_trials(raw, unit_ex)
        assert mistakes == []
        assert [trial["named_configs"] for trial in trials] == [("fast",), (), ("fast",), (), ()]
        assert [trial["config_updates"] for trial in trials] == [
            {"optimizer": {"name": "adam"}},
            {"optimizer": {"name": "sgd"}, "lr": 1},
            *({}, {}, {}),
        ]

    def test_none_are_no_trials(self):
        assert parse_trials([], unit_ex) == ((), [])

    @pytest.mark.parametrize(
        ("trial", "sentence"),
        [
            (
                {"config_update": {}},
                "ray.trials[1] has 'config_update', which is no part of a trial "
                "(did you mean 'config_updates'?).",
            ),
            (
                {"lr": 1},
                "ray.trials[1] has 'lr', which is no part of a trial; it has named_configs, "
                "config_updates.",
            ),
            (
                {"config_updates": [1]},
                "ray.trials[1].config_updates is [1]; it must be a mapping.",
            ),
            (
                {"named_configs": 3},
                "ray.trials[1] has 3; it must be a name or a list of names.",
            ),
            (
                {"named_configs": ["fasst"]},
                "ray.trials[1] has 'fasst', which is not a named config of the inner experiment "
                "'unit_ex' (did you mean 'fast'?).",
            ),
        ],
    )
    def test_that_are_wrong_are_named_by_their_number(self, trial, sentence):
        _, mistakes = parse_trials([{}, trial], unit_ex)
        assert mistakes == [sentence]

    def test_with_an_entry_and_a_part_of_it_are_a_mistake(self):
        trial = {"config_updates": {"optimizer": {"name": "sgd"}, "optimizer.name": "adam"}}
        _, mistakes = parse_trials([trial], unit_ex)
        assert all(sentence.startswith("ray.trials[0].config_updates") for sentence in mistakes)
        assert len(mistakes) == 1

    @pytest.mark.parametrize(
        "updates",
        [
            {"env_name": None, "optimizer": {"name": None, "lr": 1}},
            {"env_name": None, "optimizer.name": None, "optimizer.lr": 1},
        ],
    )
    def test_can_set_none(self, updates):
        (trial,), mistakes = parse_trials([{"config_updates": updates}], unit_ex)
        assert mistakes == []
        assert trial["config_updates"] == {"env_name": None, "optimizer": {"name": None, "lr": 1}}

    @pytest.mark.parametrize(
        "value",
        [
            "uniform(0, 1)",
            "tune.uniform(0, 1)",
            "uniform(0",
            "unifrom(0, 1)",
            "2 ** range(1, 6)",
            {"grid_search": [1, 2]},
            {"choice": [1, 2]},
            {"uniform": {"lower": 0, "upper": 1}},
        ],
    )
    def test_have_values_and_no_samplers(self, value):
        trials = [{"config_updates": {"optimizer": {"lr": value}}}]
        _, mistakes = parse_trials(trials, unit_ex)
        (sentence,) = mistakes
        assert sentence.startswith("ray.trials[0].config_updates.optimizer.lr is ")
        assert (
            ", which reads as a sampler; ray.trials lists values, and samplers belong in "
            "ray.search_space." in sentence
        )

    def test_can_have_no_samplers_of_tune(self):
        from ray import tune

        for value in (tune.uniform(0, 1), tune.sample_from(lambda spec: 1)):
            _, mistakes = parse_trials([{"config_updates": {"lr": value}}], unit_ex)
            assert len(mistakes) == 1

    @pytest.mark.parametrize("value", ["adam", "mean(x)", [1, 2], "a if b else c", True])
    def test_can_have_any_value(self, value):
        (trial,), mistakes = parse_trials([{"config_updates": {"lr": value}}], unit_ex)
        assert (trial["config_updates"], mistakes) == ({"lr": value}, [])

    def test_have_a_seed_only_where_nothing_else_gives_it(self):
        trials = [{"config_updates": {"lr": 1}}, {"config_updates": {"seed": 3}}]
        read, mistakes = parse_trials(trials, unit_ex)
        assert mistakes == []
        assert read[1]["config_updates"] == {"seed": 3}
        _, mistakes = parse_trials(trials, unit_ex, seeds_are_chosen=True)
        assert mistakes == [
            "ray.trials[1].config_updates.seed is 3, but ray.seeds or ray.repeat chooses the "
            "seeds; give one of them."
        ]

    def test_with_none_for_the_seed_get_one_as_others_do(self):
        trials = [{"config_updates": {"seed": None, "lr": 1}}]
        (trial,), mistakes = parse_trials(trials, unit_ex, seeds_are_chosen=True)
        assert (trial["config_updates"], mistakes) == ({"lr": 1}, [])
