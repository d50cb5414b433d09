"""Cases that were wrong once: each is a promise of one of the other test files, at its edge."""

import sys
import time
import types

import bson
import numpy as np
import pytest
from sacred import Experiment, Ingredient
from unit_inner import unit_ex

from sacred_ray_ingredient.command_line import _check_updates
from sacred_ray_ingredient.errors import ConfigMistakes, InnerImportError, ResolverError
from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.inner import InnerReference, evaluate_config, is_open, reference_to
from sacred_ray_ingredient.metrics import report_name, reported_metrics
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.record.documents import storable
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.resolvers import parse_dependent
from sacred_ray_ingredient.sampling import Sample

outer_ex = make_outer("outer_ex", unit_ex)


def _complete(dependent, sampled, functions=None, configuration=0):
    resolvers, mistakes = parse_dependent(dependent, functions)
    assert mistakes == []
    resolver = TrialResolver(
        lambda parameters, named_configs: {},
        resolvers,
        1,
        lambda updates: evaluate_config(unit_ex, updates),
    )
    return resolver.complete(0, Sample(sampled, configuration))


def _mistakes(ray):
    with pytest.raises(ConfigMistakes) as caught:
        make_plan(outer_ex, unit_ex, OuterRequest({"ray": ray, "seed": 1}, {}, []))
    return caught.value.mistakes


def test_an_expression_sees_all_of_a_dictionary_of_which_a_part_is_sampled():
    task = _complete({"env_name": "len(optimizer)"}, {"optimizer": {"name": "adam"}})
    assert task.resolved["env_name"] == 2


def test_an_expression_follows_an_entry_that_derives_from_a_parameter_resolved_later():
    task = _complete({"extra.x": "lr", "base_lr": "k * 10"}, {"k": 1.0})
    config = evaluate_config(unit_ex, task.parameters())
    assert config["extra"]["x"] == config["lr"]


def test_a_circle_through_a_derived_entry_is_refused():
    with pytest.raises(ResolverError, match=r"\(base_lr\) depend on each other in a circle"):
        _complete({"base_lr": "lr * 3"}, {})


def test_functions_draw_alike_in_a_configuration_and_leave_the_random_state_alone():
    functions = {"base_lr": lambda config: np.random.uniform()}
    state = np.random.get_state()[1].copy()
    first, second = (_complete({}, {"seed": 5 + n}, functions).resolved for n in range(2))
    other = _complete({}, {"seed": 5}, functions, configuration=1).resolved
    assert first == second != other
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, [{"a": ("\udcff",)}]])
def test_text_with_halves_of_characters_can_be_stored(value):
    bson.encode({"a": storable(value)})


def test_not_a_time_can_be_stored():
    pandas = pytest.importorskip("pandas")
    assert bson.decode(bson.encode({"a": storable(pandas.NaT)})) == {"a": None}


def test_nesting_without_end_can_be_stored():
    deep = []
    deep.append({"again": deep})
    begun = time.monotonic()
    bson.encode({"a": storable(deep)})
    assert time.monotonic() - begun < 1


def test_a_metric_with_the_prefix_of_reserved_ones_keeps_its_name():
    assert reported_metrics({report_name("metric_done"): 1.0}) == {"metric_done": 1.0}


def test_an_experiment_made_at_a_prompt_is_refused(monkeypatch):
    prompt = types.ModuleType("__main__")
    prompt.ex = Experiment("prompt", save_git_info=False)
    monkeypatch.setitem(sys.modules, "__main__", prompt)
    with pytest.raises(InnerImportError, match="at a prompt or in a notebook"):
        reference_to(prompt.ex)


def test_two_scripts_in_one_process_are_two_experiments(tmp_path):
    for name in "ab":
        code = f"from sacred import Experiment\nex = Experiment('{name}', save_git_info=False)\n"
        (tmp_path / f"{name}.py").write_text(code)
    loaded = [InnerReference("ex", script=str(tmp_path / f"{name}.py")).load() for name in "ab"]
    assert [experiment.path for experiment in loaded] == ["a", "b"]


def test_a_wrong_env_key_is_called_by_its_own_name():
    (sentence,) = _mistakes({"envs": [1, 2], "env_key": "nope"})
    assert sentence.startswith("ray.env_key='nope' is not a parameter")


def test_a_wrong_value_is_not_also_called_missing():
    assert len(_mistakes({"seeds": 0})) == 1


def test_an_ingredient_cannot_be_replaced_as_a_whole():
    (sentence,) = _mistakes({"search_space": {"unit_data": [1, 2]}})
    assert "ray.search_space.unit_data is not a parameter" in sentence


def test_an_inner_with_an_ingredient_called_ray_is_refused():
    rays = Ingredient("ray", save_git_info=False)
    inner = Experiment("has_rays", ingredients=[rays], save_git_info=False)
    with pytest.raises(ConfigMistakes, match="is called 'ray'"):
        make_outer("outer_of_rays", inner)


def test_an_array_in_the_config_is_no_open_dictionary():
    assert not is_open("weights.x", {"weights": np.zeros(3)})


@pytest.mark.parametrize(
    ("update", "sentence"),
    [
        ("seed=-1", "seed is -1; it must be a whole number from 0."),
        ("seed=x", "seed is 'x'; it must be a whole number from 0."),
        ("unit_ex=3", "unit_ex is 3; its entries can be set"),
        ("unit_ex.seed=-2", "unit_ex.seed is -2; it must be a whole number from 0."),
        ("broken.yaml", "The config file 'broken.yaml' cannot be read: ParserError"),
        ("list.json", "The config file 'list.json' holds [1]; it must hold a mapping"),
        ("config.pickle", "which can run code when it is read; write YAML or JSON."),
    ],
)
def test_what_sacred_answers_with_a_stack_trace_is_a_sentence(
    update, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "config.pickle").write_bytes(b"cos\nsystem\n(S'touch run'\ntR.")
    words = ["outer", "-u", "with", update, "ray.search_space.lr=[1,2]"]
    with pytest.raises(SystemExit, match="2"):
        outer_ex.run_commandline(words)
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_an_entry_and_a_part_of_it_are_not_both_given(capsys):
    with pytest.raises(SystemExit, match="2"):
        _check_updates(["outer", "with", "ray.search_space.a=[1]", "ray.search_space.a.b=[2]"])
    assert "ray.search_space.a and ray.search_space.a.b" in capsys.readouterr().err


def test_an_entry_that_only_sacred_refuses_is_refused_in_its_words(capsys):
    inner = Experiment("closed_ex", save_git_info=False)
    inner.add_config(extra={}, size=1)
    inner.main(lambda size: size)
    outer = make_outer("outer_of_closed", inner)
    with pytest.raises(SystemExit, match="2"):
        outer.run_commandline(["outer", "-u", "with", "closed_ex.extra.x=1"])
    assert "closed_ex.extra.x" in capsys.readouterr().err


def test_a_named_config_of_the_inner_together_with_one_of_the_outer():
    outer = make_outer("outer_of_both", unit_ex)

    @outer.named_config
    def cheap():
        unit_ex = {"env_name": "c"}
        ray = {"mode": "min"}

    inner_names = [name for name, _ in outer.gather_named_configs() if name.startswith("unit_ex.")]
    config = {"ray": {"search_space": {"base_lr": [1.0, 2.0]}}, "seed": 1}
    plan = make_plan(outer, unit_ex, OuterRequest(config, {}, ["cheap", inner_names[0]]))
    for parameters in ({}, {"base_lr": 1.0}, {"unit_data": {"size": 2}}):
        assert plan.updates_of(parameters, ())["env_name"]
    task = plan.trial_resolver.complete(0, Sample({"base_lr": 3.0}, 0))
    assert task.parameters()["base_lr"] == 3.0


@pytest.mark.parametrize(
    ("update", "sentence"),
    [
        ("unit_ex.base_lr=None", "unit_ex.base_lr=None: TypeError: unsupported operand"),
        ("unit_ex.unit_data.size=4", "unit_ex.unit_data.size is an entry of the ingredient"),
        ("ray.search_space.lr=", "ray.search_space.lr is empty"),
    ],
)
def test_more_values_that_cannot_be_used_are_a_sentence(update, sentence, capsys):
    with pytest.raises(SystemExit, match="2"):
        outer_ex.run_commandline(["outer", "-u", "with", "ray.search_space.steps=[1]", update])
    assert sentence in capsys.readouterr().err
