"""From a sample to a trial."""

import random

import pytest

from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.nested import merge
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.resolvers import parse_dependent
from sacred_ray_ingredient.sampling import Sample
from sacred_ray_ingredient.seeds import derive_seed


def inner_config(updates):
    """Has a derived entry, as a config scope computes it."""
    config = merge({"base_lr": 0.5, "optimizer": {"decay": 2.0}}, updates)
    return {"lr": config["base_lr"] * 2, **config}


def complete(dependent, sampled, updates=(), index=0, config_of=inner_config, **sample):
    resolvers, mistakes = parse_dependent(dependent)
    assert mistakes == []
    resolver = TrialResolver(lambda parameters, names: dict(updates), resolvers, 42, config_of)
    return resolver.complete(index, Sample(sampled, configuration=index, **sample))


class TestSeed:
    """Sampled, then that of the user, then one derived from the outer seed and the index."""

    def test_is_derived_by_default(self):
        assert complete({}, {"a": 1}, index=3).seed == derive_seed(42, 3)

    def test_of_the_user_holds_for_all_trials(self):
        assert complete({}, {"a": 1}, {"seed": 0}, index=3).seed == 0

    def test_that_is_sampled_wins(self):
        assert complete({}, {"seed": 7}, {"seed": 5}).seed == 7

    def test_can_be_computed(self):
        trial = complete({"seed": "a + 1"}, {"a": 1}, {"seed": 5})
        assert trial.seed == trial.parameters()["seed"] == 2

    def test_of_a_repetition_is_its_own_whatever_the_user_gave(self):
        seeds = [complete({}, {}, {"seed": 5}, index, repetition=index).seed for index in range(3)]
        assert seeds == [5, derive_seed(42, 1), derive_seed(42, 2)]

    def test_can_be_read(self):
        assert complete({"x": "seed * 2"}, {}, index=1).resolved == {"x": 2 * derive_seed(42, 1)}


def test_what_was_sampled_and_what_was_resolved_are_kept_apart():
    trial = complete({"optimizer.x": "a * 2"}, {"a": 1}, index=4)
    assert (trial.index, trial.attempt) == (4, 0)
    assert trial.sampled == {"a": 1}
    assert trial.resolved == {"optimizer": {"x": 2}}


def test_an_expression_reads_samples_then_updates_then_the_inner_config():
    dependent = {"x": "a", "y": "b", "z": "optimizer.decay"}
    trial = complete(dependent, {"a": 1}, {"a": 9, "b": 2})
    assert trial.resolved == {"x": 1, "y": 2, "z": 2.0}


def test_a_derived_entry_of_the_inner_experiment_follows_the_sample():
    assert complete({"x": "lr + 1"}, {"base_lr": 5.0}).resolved == {"x": 11.0}


def test_a_resolver_reads_what_another_has_computed():
    dependent = {"last": "middle + 1", "middle": "first + 1", "first": "a + 1"}
    assert complete(dependent, {"a": 1}).resolved == {"first": 2, "middle": 3, "last": 4}


def test_a_derived_entry_follows_a_computed_one():
    dependent = {"base_lr": "a * 10", "x": "lr"}
    assert complete(dependent, {"a": 1}).resolved == {"base_lr": 10, "x": 20}


def test_a_function_sees_the_whole_config():
    def compute(config):
        return [config.lr, config.optimizer.decay, config.a]

    assert complete({"x": compute}, {"a": 1}).resolved == {"x": [1.0, 2.0, 1]}


def test_given_values_need_no_evaluation_of_the_inner_config():
    def refuse(updates):
        raise AssertionError("evaluated")

    assert complete({"x": "a"}, {"a": 1}, config_of=refuse).resolved == {"x": 1}


def test_a_config_that_cannot_be_computed_is_a_sentence():
    def broken(updates):
        raise ZeroDivisionError("by zero")

    with pytest.raises(
        ResolverError,
        match=r"ray\.dependent\.x cannot be computed: the configuration of the inner experiment "
        r"raised ZeroDivisionError: by zero\.",
    ):
        complete({"x": "lr"}, {}, config_of=broken)


def test_a_trial_knows_its_point_its_repetition_and_its_named_configs():
    trial = complete({}, {"a": 1}, index=4, repetition=2, named_configs=("fast",))
    assert (trial.configuration, trial.repetition, trial.named_configs) == (4, 2, ("fast",))


def test_named_configs_of_a_trial_reach_what_is_computed():
    resolvers, _ = parse_dependent({"x": "lr"})

    def updates_of(parameters, named_configs):
        return {"base_lr": 4.0} if "fast" in named_configs else {}

    resolver = TrialResolver(updates_of, resolvers, 42, inner_config)
    trials = [resolver.complete(0, Sample({}, 0, 0, names)) for names in ((), ("fast",))]
    assert [trial.resolved["x"] for trial in trials] == [1.0, 8.0]
    assert [trial.updates for trial in trials] == [{}, {"base_lr": 4.0}]


def test_functions_that_draw_have_a_seed_of_the_configuration_and_leave_the_state_alone():
    resolvers, _ = parse_dependent({}, {"x": lambda config: random.random()})
    resolver = TrialResolver(lambda parameters, names: {}, resolvers, 42, inner_config)
    state = random.getstate()
    drawn = [resolver.complete(index, Sample({}, index)).resolved["x"] for index in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert random.getstate() == state
