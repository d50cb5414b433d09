"""What has changed since a sweep was started."""

import pytest
from test_plan import plan

from sacred_ray_ingredient.fingerprint import changes, fingerprint, space_changed
from sacred_ray_ingredient.stored_request import from_text, to_text

SPACE = {"search_space": {"base_lr": "uniform(0, 1)"}, "num_samples": 3}


def recorded(ray=SPACE, **further):
    return from_text(to_text(fingerprint(plan(ray, **further))))


def test_the_same_request_has_not_changed():
    ray = {**SPACE, "dependent": {"lr": "base_lr * 3"}, "envs": ["a"], "seeds": [1, 2]}
    assert changes(recorded(ray), plan(ray)) == []


@pytest.mark.parametrize(
    ("ray", "sentence"),
    [
        (
            {"search_space": {"base_lr": "uniform(0, 2)"}},
            "ray.search_space.base_lr was 'uniform(0, 1)', is now 'uniform(0, 2)'.",
        ),
        ({"metric": "loss"}, "ray.metric was ['result'], is now ['loss']."),
        ({"mode": "min"}, "ray.mode was ['max'], is now ['min']."),
        ({"repeat": 2}, "ray.repeat was 1, is now 2."),
        ({"seeds": [1, 2]}, "ray.seeds was None, is now [1, 2]."),
        ({"search_alg": "optuna"}, "ray.search_alg was None, is now 'optuna'."),
        ({"dependent": {"lr": "base_lr * 3"}}, "ray.dependent.lr is new: 'base_lr * 3'."),
    ],
)
def test_each_entry_of_the_search_that_changed_is_named(ray, sentence):
    assert sentence in changes(recorded(), plan({**SPACE, **ray}))


@pytest.mark.parametrize(
    "ray",
    [
        {"num_samples": 30},
        {"max_concurrent_trials": 2},
        {"resources_per_trial": {"cpu": 2}},
        {"time_budget_s": 5},
        {"max_failures": 2},
        {"report_every": 3},
        {"trial_timeout_s": 9},
        {"storage_path": "/elsewhere"},
        {"address": "auto"},
        {"record": {"wait_s": 1.0}},
    ],
)
def test_what_makes_no_other_trials_may_change(ray):
    assert changes(recorded(), plan({**SPACE, **ray})) == []


def test_the_seed_and_the_configuration_of_the_inner_are_named_with_what_follows():
    before = recorded()
    assert changes(before, plan(SPACE, seed=43)) == ["seed was 42, is now 43."]
    sentences = changes(before, plan(SPACE, unit_ex={"env_name": "b"}))
    assert any(s.startswith("unit_ex.env_name was 'a'") for s in sentences)


def test_a_sweep_without_a_description_cannot_be_compared():
    (sentence,) = changes({}, plan(SPACE))
    assert "without a description of its search" in sentence


def test_only_what_is_sampled_makes_other_trials():
    before = recorded()
    assert not space_changed(before, plan({**SPACE, "metric": "loss"}))
    assert not space_changed(before, plan({**SPACE, "num_samples": 9}))
    assert space_changed(before, plan(SPACE, seed=1))
    assert space_changed(before, plan({"search_space": {"base_lr": "uniform(0, 2)"}}))
