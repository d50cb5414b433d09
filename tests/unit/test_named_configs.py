"""Named configs of the ingredient on an outer experiment."""

# Local variables of config scopes are entries.
# ruff: noqa: F841

import pytest
from sacred import Experiment, Ingredient

from sacred_ray_ingredient.named_configs import LayeredNamedConfig, complete_named_configs


@pytest.fixture
def ingredient():
    ingredient = Ingredient("tool", save_git_info=False)
    ingredient.add_config(size=1, colour="red", half=None, name=None)

    @ingredient.named_config
    def large():
        """Make it large."""
        size = 10
        name = "large"
        half = size / 2

    return ingredient


@pytest.fixture
def outer(ingredient):
    outer = Experiment("outer", ingredients=[ingredient], save_git_info=False)

    @outer.command(unobserved=True)
    def get(_config):
        return _config["tool"]

    return outer


def config_of(outer, *names, **updates):
    return outer.run("get", updates, names, options={"--loglevel": "ERROR"}).result


def test_the_bare_name_means_that_of_the_ingredient(outer, ingredient):
    complete_named_configs(outer, ingredient)
    expected = {"size": 10, "colour": "red", "half": 5.0, "name": "large"}
    assert config_of(outer, "large") == expected
    # By its own path Sacred looks it up itself, with its docstring.
    assert config_of(outer, "tool.large") == {**expected, "__doc__": "Make it large."}


def test_the_docstring_is_no_entry_but_is_listed(outer, ingredient):
    complete_named_configs(outer, ingredient)
    assert "__doc__" not in config_of(outer, "large")
    assert dict(outer.gather_named_configs())["large"].__doc__ == "Make it large."


def test_the_own_content_of_the_outer_lies_over_that_of_the_ingredient(outer, ingredient):
    @outer.named_config
    def large():
        tool = {"size": 20, "colour": "blue"}

    complete_named_configs(outer, ingredient)
    config = config_of(outer, "large")
    assert config == {"size": 20, "colour": "blue", "half": 5.0, "name": "large"}


def test_the_command_line_wins_and_derived_entries_follow_it(outer, ingredient):
    complete_named_configs(outer, ingredient)
    config = config_of(outer, "large", **{"tool.size": 4})
    assert config == {"size": 4, "colour": "red", "half": 2.0, "name": "large"}


def test_a_dictionary_is_a_layer_too(outer, ingredient):
    outer.add_named_config("large", {"tool": {"colour": "blue"}})
    complete_named_configs(outer, ingredient)
    assert config_of(outer, "large")["colour"] == "blue"
    assert config_of(outer, "large")["size"] == 10


def test_other_named_configs_of_the_outer_stay(outer, ingredient):
    @outer.named_config
    def blue():
        """Make it blue."""
        tool = {"colour": "blue"}

    complete_named_configs(outer, ingredient)
    assert config_of(outer, "blue", "large")["colour"] == "blue"
    assert config_of(outer, "blue")["size"] == 1


def test_completing_twice_changes_nothing(outer, ingredient):
    complete_named_configs(outer, ingredient)
    before = dict(outer.named_configs)
    complete_named_configs(outer, ingredient)
    assert outer.named_configs == before


def test_later_layers_win_below_the_same_path():
    layers = LayeredNamedConfig(
        ("a", lambda **_: {"x": 1, "y": {"z": 1}, "__doc__": "no entry"}),
        ("", lambda **_: {"a": {"y": {"w": 2}, "x": 3}}),
    )
    assert layers() == {"a": {"x": 3, "y": {"z": 1, "w": 2}}}


def test_each_layer_is_given_what_is_below_its_path():
    seen = {}

    def layer(fixed, preset, fallback):
        seen.update(fixed=fixed, preset=preset, fallback=fallback)
        return {}

    LayeredNamedConfig(("a", layer))(fixed={"a": {"x": 1}}, preset={"b": 2}, fallback={"c": 3})
    assert seen == {"fixed": {"x": 1}, "preset": {}, "fallback": {"c": 3}}
