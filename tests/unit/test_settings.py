"""The entries of ``ray``."""

import pytest

from sacred_ray_ingredient.ingredient import ray_ingredient
from sacred_ray_ingredient.settings import SweepSettings, read_settings


def test_the_defaults_of_the_ingredient_are_right_and_complete():
    defaults = dict(ray_ingredient.configurations[0]())
    settings, mistakes = read_settings(defaults)
    assert mistakes == []
    assert set(defaults) == set(vars(SweepSettings()))
    assert settings.resources_per_trial == {"cpu": 1}


def test_entries_of_sacred_are_left_out():
    assert read_settings({"seed": 3, "__doc__": "text"}) == (SweepSettings(), [])


@pytest.mark.parametrize(
    "entries",
    [
        {"mode": "min", "metric": "loss", "num_samples": 1},
        {"envs": ("a", 2), "env_key": "env", "seeds": 3},
        {"seeds": [0, 7]},
        {"resources_per_trial": {"cpu": 0.5, "gpu": 0}},
        {"report_every": 0, "max_failures": 0, "max_concurrent_trials": 2},
        {"address": "auto", "init_kwargs": {"num_cpus": 2}, "storage_path": "/tmp/x"},
        {"mongo": {"url": None}, "exp_name": "mine"},
    ],
)
def test_right_values_are_taken_as_they_are(entries):
    settings, mistakes = read_settings(entries)
    assert mistakes == []
    assert {name: getattr(settings, name) for name in entries} == entries


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("search_space", ["lr"], "a mapping of parameters to samplers"),
        ("dependent", "lr * 2", "a mapping of parameters to expressions"),
        ("metric", "", "the name of a logged metric or 'result'"),
        ("mode", "maximum", "'min' or 'max'"),
        ("num_samples", 0, "a whole number from 1, or None"),
        ("num_samples", True, "a whole number from 1, or None"),
        ("num_samples", 2.0, "a whole number from 1, or None"),
        ("envs", "uniform", "a list of names or numbers, such as ['uniform', 'normal']"),
        ("env_key", None, "the name of the parameter that picks the environment"),
        ("seeds", 0, "the number of seeds, from 1, or a list of whole numbers from 0"),
        ("seeds", [], "the number of seeds, from 1, or a list of whole numbers from 0"),
        ("seeds", [1, -1], "the number of seeds, from 1, or a list of whole numbers from 0"),
        ("seeds", "12", "the number of seeds, from 1, or a list of whole numbers from 0"),
        ("max_concurrent_trials", 0, "a whole number from 1, or None"),
        ("max_failures", -1, "a whole number from 0"),
        ("resources_per_trial", {"cpu": -1}, "amounts by name, such as {'cpu': 1, 'gpu': 0.5}"),
        ("resources_per_trial", {"cpu": "1"}, "amounts by name, such as {'cpu': 1, 'gpu': 0.5}"),
        ("address", 7, "'auto', the address of a Ray cluster, or None"),
        ("init_kwargs", [], "arguments of ray.init by name"),
        ("storage_path", "", "a folder, or None"),
        ("exp_name", 3, "a name, or None"),
        ("report_every", float("nan"), "seconds, from 0"),
        ("report_every", float("inf"), "seconds, from 0"),
        ("report_every", -0.1, "seconds, from 0"),
        ("mongo", "localhost", "a mapping such as {'url': 'mongodb://host:27017'}"),
    ],
)
def test_a_wrong_value_is_named_and_the_default_stands_in(name, value, wanted):
    settings, mistakes = read_settings({name: value})
    assert mistakes == [f"ray.{name} is {value!r}; it must be {wanted}."]
    assert settings == SweepSettings()


def test_an_unknown_entry_is_named_with_the_nearest():
    _, mistakes = read_settings({"num_sample": 3})
    assert mistakes == [
        "ray.num_sample is not an entry of the ray ingredient (did you mean 'num_samples'?)."
    ]


def test_all_mistakes_come_at_once():
    assert len(read_settings({"mode": 1, "metric": 1, "colour": "red"})[1]) == 3
