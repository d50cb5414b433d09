"""Outer experiments: made by make_outer, or by hand and attached."""

import logging

import pytest
from sacred import Experiment, Ingredient
from unit_inner import unit_data, unit_ex

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.ingredient import _as_text, attach, make_outer, ray_ingredient

made_ex = make_outer("made_ex", unit_ex)


class TestMakeOuter:
    def test_takes_this_module_for_that_of_the_experiment(self):
        assert made_ex.path == "made_ex"
        assert made_ex.mainfile.filename == __file__
        assert made_ex.doc == __doc__

    def test_lists_the_inner_its_ingredients_and_ray(self):
        assert made_ex.ingredients == [unit_data, unit_ex, ray_ingredient]

    def test_takes_further_ingredients(self):
        further = Ingredient("further", save_git_info=False)
        assert make_outer("outer", unit_ex, [further]).ingredients[0] is further

    def test_has_a_main_that_runs_the_sweep(self):
        assert made_ex.default_command == "sweep"

    def test_leaves_the_inner_as_it_was(self):
        before = (list(unit_ex.ingredients), list(unit_ex.observers), dict(unit_ex.commands))
        make_outer("outer", unit_ex)
        assert (unit_ex.ingredients, unit_ex.observers, unit_ex.commands) == before


class TestAttach:
    def test_gives_an_experiment_what_it_does_not_have(self):
        outer = Experiment("by_hand", ingredients=[unit_ex, ray_ingredient], save_git_info=False)
        assert attach(outer, unit_ex) is outer
        assert outer.ingredients == [unit_ex, ray_ingredient, unit_data]
        assert outer.default_command == "sweep"

    def test_can_leave_the_main_alone(self):
        outer = Experiment("by_hand", save_git_info=False)
        outer.main(lambda: None)
        attach(outer, unit_ex, main=False)
        assert outer.default_command == "<lambda>"

    def test_refuses_an_inner_that_is_called_like_the_ingredient(self):
        inner = Experiment("ray", save_git_info=False)
        with pytest.raises(ConfigMistakes, match="is called 'ray'; that is the name"):
            make_outer("outer", inner)

    def test_refuses_the_outer_itself(self):
        with pytest.raises(ConfigMistakes, match="is called 'unit_ex'; that is the name"):
            attach(unit_ex, unit_ex)


def test_the_ingredient_has_three_named_configs_with_a_line_each():
    assert set(ray_ingredient.named_configs) == {
        *("hyperparameter_search", "multi_env_eval", "dependent_params")
    }
    assert all(config.__doc__ for config in ray_ingredient.named_configs.values())


def test_every_entry_of_the_ingredient_is_described():
    scope = ray_ingredient.configurations[0]
    assert {name for name in scope() if not scope._var_docs.get(name)} == set()


def test_filling_an_open_entry_is_no_warning(caplog):
    outer = make_outer("outer", unit_ex)
    updates = {"ray.search_space.lr": [1], "ray.init_kwargs.colour": 2, "unit_ex.optimizer.new": 3}
    with caplog.at_level(logging.WARNING):
        outer.run("print_config", updates)
    warnings = [record.getMessage() for record in caplog.records]
    assert [w for w in warnings if "search_space" in w or "colour" in w] == []
    assert [w for w in warnings if "optimizer.new" in w] != []


class TestPreview:
    """The command that shows the trials of a sweep."""

    def test_shows_them_without_running_any(self, capsys):
        updates = {"ray.search_space.base_lr": [1.0, 2.0], "ray.mongo.url": "mongodb://none.test"}
        made_ex.run("preview", updates, options={"--capture": "no"})
        shown = capsys.readouterr().out
        assert shown.startswith("2 trials of unit_ex\n")
        assert "  base_lr = 1.0\n" in shown

    def test_finds_what_is_wrong(self):
        with pytest.raises(ConfigMistakes, match=r"ray\.search_space\.bas_lr is not a parameter"):
            made_ex.run("preview", {"ray.search_space.bas_lr": [1.0]})

    def test_is_there_without_the_main_too(self):
        outer = Experiment("by_hand", save_git_info=False)
        assert "preview" in attach(outer, unit_ex, main=False).commands


class TestStoredEntries:
    """What the record has of entries that can hold Python objects."""

    @staticmethod
    def stop(trial_id, result):
        return False

    def stored(self, **entries):
        return _as_text(
            {"search_space": {}, "dependent": {}, "stop": None, "scheduler": None, **entries}
        )

    def test_are_text(self):
        assert self.stored(search_space={"lr": [1, 2], "x+y": [[1, 2]]})["search_space"] == {
            **{"lr": "grid_search([1, 2])", "x+y": "grid_search([[1, 2]])"}
        }

    def test_have_the_name_of_a_function(self):
        assert self.stored(stop=self.stop)["stop"].endswith("TestStoredEntries.stop>")

    def test_are_left_as_they_are_where_they_are_plain(self):
        assert "stop" not in self.stored(stop={"loss": 1})
        assert "stop" not in self.stored()
        assert self.stored(scheduler={"name": "asha"})["scheduler"] == {"name": "asha"}
