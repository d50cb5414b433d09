"""The inner experiment: where it is, what was changed of it, what can be set in it."""

# Local variables of config scopes are entries.
# ruff: noqa: F841

import json
import sys
import types

import pytest
from sacred import Experiment, Ingredient
from unit_inner import unit_data, unit_ex

from sacred_ray_ingredient.errors import InnerImportError
from sacred_ray_ingredient.inner import (
    InnerReference,
    collect_updates,
    evaluate_config,
    ingredients_of,
    is_open,
    reference_to,
    settable_names,
    unknown_entries,
)

DEFAULTS = {
    "base_lr": 0.5,
    "lr": 1.0,
    "optimizer": {"name": "sgd", "momentum": 0.9},
    "extra": {},
    "env_name": "a",
    "unit_data": {"size": 3, "doubled": 6},
}
# Of its command save_config, which every experiment has.
ARGUMENTS_OF_SACRED = {"config_filename"}
SCRIPT = """
import sys
from sacred import Experiment
import helper_beside_the_script
script_ex = Experiment("script_ex", save_git_info=False)
if __name__ == "__main__":
    raise SystemExit("the script's command line started")
"""


@pytest.fixture
def outer():
    outer = Experiment("outer", ingredients=[unit_data, unit_ex], save_git_info=False)
    outer.add_named_config("from_outer", {"unit_ex": {"base_lr": 7.0}, "unit_data": {"size": 8}})
    return outer


@pytest.fixture
def main_module(monkeypatch):
    """Return a function that lets a module with an experiment be ``__main__``."""

    def become(experiment, **attributes):
        module = types.ModuleType("__main__")
        vars(module).update({"main_ex": experiment, "__spec__": None, **attributes})
        monkeypatch.setitem(sys.modules, "__main__", module)

    return become


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "__sacred_ray_script__", raising=False)
    (tmp_path / "helper_beside_the_script.py").touch()
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    yield path
    sys.modules.pop("__sacred_ray_script__", None)
    sys.modules.pop("helper_beside_the_script", None)


def new_experiment():
    return Experiment("new_ex", save_git_info=False)


class TestReference:
    def test_of_an_imported_experiment_is_its_own_module(self):
        # This test module holds it in a variable too.
        reference = reference_to(unit_ex)
        assert reference == InnerReference("unit_ex", module="unit_inner")
        assert str(reference) == "unit_inner:unit_ex"
        assert reference.load() is unit_ex

    def test_of_an_experiment_in_a_script_is_its_file(self, main_module, tmp_path):
        experiment = new_experiment()
        main_module(experiment, __file__=str(tmp_path / "x" / ".." / "train.py"))
        script = str(tmp_path / "train.py")
        assert reference_to(experiment) == InnerReference("main_ex", script=script)

    def test_of_an_experiment_run_with_minus_m_is_its_module(self, main_module):
        experiment = new_experiment()
        main_module(experiment, __spec__=types.SimpleNamespace(name="package.train"))
        assert reference_to(experiment) == InnerReference("main_ex", module="package.train")

    def test_of_an_experiment_within_a_function_does_not_exist(self):
        with pytest.raises(InnerImportError, match="'new_ex' is not the value of any module-level"):
            reference_to(new_experiment())


class TestLoad:
    def test_of_a_script_does_not_start_its_command_line(self, script):
        reference = InnerReference("script_ex", script=str(script))
        experiment = reference.load()
        assert experiment.path == "script_ex"
        assert reference.load() is experiment

    def test_of_a_script_that_breaks_leaves_nothing_behind(self, script):
        script.write_text("raise ValueError('broken')")
        with pytest.raises(
            InnerImportError, match=r"script\.py:ex cannot be .* ValueError: broken"
        ):
            InnerReference("ex", script=str(script)).load()
        assert "__sacred_ray_script__" not in sys.modules

    def test_of_a_missing_module_is_a_sentence(self):
        with pytest.raises(
            InnerImportError, match=r"no_such:ex cannot be imported: ModuleNotFoundError: No module"
        ):
            InnerReference("ex", module="no_such").load()

    def test_of_a_missing_attribute_is_a_sentence(self):
        with pytest.raises(InnerImportError, match="'nothing' there is None, not a Sacred experi"):
            InnerReference("nothing", module="unit_inner").load()

    def test_of_something_else_is_a_sentence(self):
        with pytest.raises(InnerImportError, match="unit_inner:unit_data cannot be used"):
            InnerReference("unit_data", module="unit_inner").load()

    def test_of_something_that_is_no_python_file_is_a_sentence(self, tmp_path):
        with pytest.raises(InnerImportError, match=r"train.txt is not a Python file"):
            InnerReference("ex", script=str(tmp_path / "train.txt")).load()


class TestIngredients:
    def test_are_listed_innermost_first_and_once(self):
        shared = Ingredient("shared", save_git_info=False)
        one = Ingredient("one", ingredients=[shared], save_git_info=False)
        two = Ingredient("two", ingredients=[shared, one], save_git_info=False)
        experiment = Experiment("ex", ingredients=[one, two], save_git_info=False)
        listed = ingredients_of(experiment)
        assert len(listed) == 3
        assert listed.index(shared) < listed.index(one)
        assert set(listed) == {shared, one, two}

    def test_of_an_experiment_without_any_are_none(self):
        assert ingredients_of(new_experiment()) == []


class TestUpdates:
    """What the user changed, and nothing that was derived from it."""

    def test_of_nothing_are_empty(self, outer):
        assert collect_updates(outer, unit_ex, {}, []) == {}

    def test_of_the_command_line(self, outer):
        updates = {"unit_ex.optimizer.name": "adam", "unit_data": {"size": 5}, "seed": 3}
        assert collect_updates(outer, unit_ex, updates, []) == {
            "optimizer": {"name": "adam"},
            "unit_data": {"size": 5},
        }

    def test_equal_to_the_default_are_kept(self, outer):
        assert collect_updates(outer, unit_ex, {"unit_ex.lr": 1.0}, []) == {"lr": 1.0}

    def test_of_a_named_config_of_the_inner(self, outer):
        assert collect_updates(outer, unit_ex, {}, ["unit_ex.fast"]) == {"base_lr": 4.0}

    def test_of_a_named_config_of_the_inners_ingredient(self, outer):
        updates = collect_updates(outer, unit_ex, {}, ["unit_data.big"])
        assert updates == {"unit_data": {"size": 100}}

    def test_of_the_command_line_win_over_named_configs(self, outer):
        given = {"unit_ex.base_lr": 1.5, "unit_data.size": 6}
        updates = collect_updates(outer, unit_ex, given, ["from_outer", "unit_ex.fast"])
        assert updates == {"base_lr": 1.5, "unit_data": {"size": 6}}

    def test_of_a_later_named_config_win_over_an_earlier(self, outer):
        names = ["from_outer", "unit_ex.fast"]
        assert collect_updates(outer, unit_ex, {}, names)["base_lr"] == 4.0
        assert collect_updates(outer, unit_ex, {}, names[::-1])["base_lr"] == 7.0

    def test_of_a_config_file(self, outer, tmp_path):
        file = tmp_path / "sweep.json"
        file.write_text(json.dumps({"unit_ex": {"extra": {"a": 1}}, "unit_data": {"size": 2}}))
        updates = collect_updates(outer, unit_ex, {}, [str(file)])
        assert updates == {"extra": {"a": 1}, "unit_data": {"size": 2}}

    def test_have_no_docstring_in_them(self, outer):
        @unit_ex.named_config
        def documented():
            """Say what it is."""
            base_lr = 2.0

        assert collect_updates(outer, unit_ex, {}, ["unit_ex.documented"]) == {"base_lr": 2.0}
        del unit_ex.named_configs["documented"]

    def test_leave_what_was_given_as_it_is(self, outer):
        given = {"unit_ex": {"extra": {"a": 1}}}
        collect_updates(outer, unit_ex, given, [])["extra"]["b"] = 2
        assert given == {"unit_ex": {"extra": {"a": 1}}}


class TestConfig:
    def test_is_complete(self):
        assert evaluate_config(unit_ex, {}) == DEFAULTS

    def test_has_derived_entries_that_follow_the_updates(self):
        config = evaluate_config(unit_ex, {"base_lr": 3.0, "unit_data": {"size": 4}})
        assert config["lr"] == 6.0
        assert config["unit_data"]["doubled"] == 8

    def test_has_what_named_configs_add(self):
        assert evaluate_config(unit_ex, {}, ["fast", "unit_data.big"])["lr"] == 8.0

    def test_has_what_hooks_add(self):
        experiment = new_experiment()
        experiment.add_config(a=1)
        experiment.main(lambda: None)

        @experiment.config_hook
        def hook(config, command_name, logger):
            return {"b": config["a"] + 1, "command": command_name}

        assert evaluate_config(experiment, {"a": 4}) == {"a": 4, "b": 5, "command": "<lambda>"}

    def test_does_not_change_the_experiment(self):
        evaluate_config(unit_ex, {"optimizer": {"name": "adam"}})["optimizer"]["x"] = 1
        assert evaluate_config(unit_ex, {}) == DEFAULTS


class TestUnknownEntries:
    @pytest.mark.parametrize(
        "updates",
        [
            {},
            {"base_lr": 1.0, "optimizer": {"momentum": 0.5}},
            {"seed": 3, "unit_data": {"size": 1, "seed": 4}},
            {"extra": {"anything": {"below": 1}}},
            {"steps": 5},
        ],
    )
    def test_known_ones_and_open_ones_are_right(self, updates):
        assert unknown_entries(unit_ex, updates) == []

    @pytest.mark.parametrize(
        ("updates", "unknown"),
        [
            ({"bas_lr": 1.0}, ["bas_lr"]),
            ({"optimizer": {"momentun": 0.5, "name": "x"}}, ["optimizer.momentun"]),
            ({"unit_data": {"sise": 1}}, ["unit_data.sise"]),
            ({"a": 1, "unit_data": {"b": 1}}, ["unit_data.b", "a"]),
        ],
    )
    def test_misspelt_ones_are_found_at_every_level(self, updates, unknown):
        assert unknown_entries(unit_ex, updates) == unknown

    def test_those_of_named_configs_are_found_too(self, outer):
        outer.add_named_config("wrong", {"unit_ex": {"optimizer": {"nane": "x"}}})
        assert unknown_entries(outer, {}, ["wrong"]) == ["unit_ex.optimizer.nane"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("extra.a", True),
        ("extra.a.b", True),
        ("extra", False),
        ("optimizer.a", False),
        ("x.a", False),
    ],
)
def test_only_an_empty_dictionary_is_open(path, expected):
    assert is_open(path, DEFAULTS) is expected


def test_what_can_be_set():
    names = settable_names(unit_ex, evaluate_config(unit_ex, {}))
    assert names - ARGUMENTS_OF_SACRED == {
        *("seed", "base_lr", "lr", "env_name", "extra", "steps"),
        *("optimizer", "optimizer.name", "optimizer.momentum"),
        *("unit_data.size", "unit_data.doubled"),
    }


def test_arguments_of_a_function_with_a_prefix_are_below_it():
    experiment = new_experiment()
    experiment.add_config(model={"width": 1})

    @experiment.capture(prefix="model")
    def build(width, depth, _seed):
        return width, depth

    names = settable_names(experiment, evaluate_config(experiment, {}))
    assert names - ARGUMENTS_OF_SACRED == {"seed", "model", "model.width", "model.depth"}
