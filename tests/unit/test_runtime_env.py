"""Ray's runtime environment: what the user gives in two places, and mistakes in it."""

import pytest

from sacred_ray_ingredient.cluster.runtime_env import runtime_env_mistakes, runtime_env_of
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.settings import SweepSettings


def settings(env, init=None):
    return SweepSettings(runtime_env=env, init_kwargs={} if init is None else {"runtime_env": init})


def mistakes(env, init=None):
    return runtime_env_mistakes(settings(env, init))


def test_both_places_are_put_together():
    given = settings({"env_vars": {"A": "1", "B": "2"}}, {"env_vars": {"B": "2", "C": "3"}})
    assert runtime_env_of(given) == {"env_vars": {"A": "1", "B": "2", "C": "3"}}
    assert runtime_env_of(settings({"excludes": ["x"]}, {"pip": ["a"]}))["excludes"] == ["x"]
    assert runtime_env_of(settings({})) == {}


def test_numbers_of_the_command_line_become_texts():
    given = settings({"env_vars": {"OMP_NUM_THREADS": 4, "RATE": 0.5}})
    assert runtime_env_of(given)["env_vars"] == {"OMP_NUM_THREADS": "4", "RATE": "0.5"}


def test_none_stands_for_what_is_set_here(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "hidden")
    given = settings({"env_vars": {"WANDB_API_KEY": None}})
    assert runtime_env_of(given)["env_vars"] == {"WANDB_API_KEY": "hidden"}
    monkeypatch.delenv("WANDB_API_KEY")
    assert mistakes({"env_vars": {"WANDB_API_KEY": None}}) == [
        "ray.runtime_env.env_vars.WANDB_API_KEY is None, which stands for its value here, but the "
        "environment has no WANDB_API_KEY."
    ]
    with pytest.raises(ConfigMistakes, match="environment has no WANDB_API_KEY"):
        runtime_env_of(given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "marker"),
        ("HF_TOKEN", "marker"),
        ("aws_secret_access_key", "marker"),
        ("WANDB_API_KEY", "marker"),
        ("DATABASE", "mongodb://ada:marker@host/db"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(name, value):
    (sentence,) = mistakes({"env_vars": {name: value}})
    assert sentence.startswith(f"ray.runtime_env.env_vars.{name} seems to be a secret, which")
    assert f"{name}=None" in sentence
    assert "marker" not in sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKENIZERS_PARALLELISM", "false"), ("MAX_TOKENS", 5), ("URL", "http://host:80/a@b")],
)
def test_what_only_looks_like_one_is_not(name, value):
    assert mistakes({"env_vars": {name: value}}) == []


@pytest.mark.parametrize(
    ("env", "init", "sentence"),
    [
        ({"pipp": []}, None, "ray.runtime_env.pipp is no entry of Ray's runtime environments (did"),
        (
            {"working_dir": "/"},
            {"working_dir": "/"},
            "ray.runtime_env.working_dir is given, and ray.init_kwargs.runtime_env.working_dir too",
        ),
        (
            {"env_vars": {"A": "1"}},
            {"env_vars": {"A": "2"}},
            "ray.runtime_env.env_vars is given, and ray.init_kwargs.runtime_env.env_vars too; give",
        ),
        ({"env_vars": {"A": True}}, None, "ray.runtime_env.env_vars.A is True, it has to be a"),
        ({"env_vars": [1]}, None, "ray.runtime_env.env_vars is list, it has to be texts by name."),
        ({"excludes": "x"}, None, "ray.runtime_env is refused by Ray: "),
        ({"pip": ["a"], "conda": "b"}, None, "ray.runtime_env is refused by Ray: The 'pip' field"),
        ({"working_dir": "/not/there"}, None, "ray.runtime_env"),
        ({}, ["pip"], "ray.init_kwargs.runtime_env is list, it has to be a mapping."),
    ],
)
def test_a_mistake_is_a_sentence(env, init, sentence):
    (found,) = mistakes(env, init)
    assert found.startswith(sentence)


def test_unknown_arguments_of_ray_init_are_said():
    (found,) = runtime_env_mistakes(SweepSettings(init_kwargs={"nun_cpus": 1, "_temp_dir": "/x"}))
    assert found.startswith(
        "ray.init_kwargs.nun_cpus is no argument of ray.init (did you mean 'num_cpus' or"
    )
    (found,) = runtime_env_mistakes(SweepSettings(init_kwargs={"address": "auto"}))
    assert found == "ray.init_kwargs has an address; give ray.address instead."
