"""Early Tune's experiment files as config files of an outer experiment."""

import json
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_inner import unit_ex

from sacred_ray_ingredient.draws import TrialDraws
from sacred_ray_ingredient.early_expressions import rewrite
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.expressions import Expression
from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.tune_files import is_early_tune_file, translate, with_tune_files

outer_ex = make_outer("outer_ex", unit_ex)
CONFIG = {"lr": 0.5, "layers": [2, 1], "optimizer": {"lr": 0.25, "my-key": 3}}


def translated(config, **top):
    return translate({"config": config, **top}, "inner", "old.yaml")


def mistakes_of(content):
    with pytest.raises(ConfigMistakes, match=r"old\.yaml") as told:
        translate(content, "inner", "old.yaml")
    return list(told.value.mistakes)


def test_a_whole_file():
    config = {
        "lr": {"eval": "random.uniform(1e-4, 1e-3)"},
        "units": {"eval": "2 ** np.random.randint(5, 9)"},
        "double": {"eval": "lambda spec: spec.config.lr * 2"},
        "model": {"layers": {"grid_search": [[8], [8, 8]]}, "activation": "relu"},
        "clip": None,
        "sizes": [1, 2],
        "extra": {},
    }
    level = {
        "run": "inner",
        "env": {"grid_search": ["A", "B"]},
        "stop": {"training_iteration": 5},
        "num_samples": 4,
        "trial_resources": {"cpu": 1, "gpu": 0.5},
        "config": config,
    }
    expected = {
        "ray": {
            "search_space": {
                "env": {"grid_search": ["A", "B"]},
                "lr": "uniform(0.0001, 0.001)",
                "model": {"layers": {"grid_search": [[8], [8, 8]]}},
            },
            "dependent": {"units": "2 ** randint(5, 9)", "double": "lr * 2"},
            "num_samples": 4,
            "resources_per_trial": {"cpu": 1, "gpu": 0.5},
            "stop": {"training_iteration": 5},
        },
        "inner": {"model": {"activation": "relu"}, "clip": None, "sizes": [1, 2], "extra": {}},
    }
    assert translate(level, "inner", "old.yaml") == expected
    expected["ray"]["exp_name"] = "my-search"
    assert translate({"my-search": level}, "inner", "old.yaml") == expected


@pytest.mark.parametrize("name", ["num_samples", "num_trials", "repeat"])
def test_names_of_the_number_of_samples(name):
    assert translated({"a": 1}, **{name: 7}) == {"ray": {"num_samples": 7}, "inner": {"a": 1}}


@pytest.mark.parametrize("name", ["resources", "trial_resources", "resources_per_trial"])
def test_names_of_the_resources(name):
    assert translated({}, **{name: {"cpu": 2}})["ray"]["resources_per_trial"] == {"cpu": 2}


def test_without_a_number_one_sample_is_taken_as_early_tune_did():
    assert translated({"a": {"eval": "random.random()"}}) == {
        "ray": {"search_space": {"a": "uniform(0, 1)"}, "num_samples": 1}
    }


@pytest.mark.parametrize(
    ("text", "expected", "is_draw"),
    [
        ("random.uniform(1e-4, 1e-3)", "uniform(0.0001, 0.001)", True),
        ("random.randint(1, 3)", "randint(1, 4)", True),
        ("random.randint(-3, -1)", "randint(-3, 0)", True),
        ("random.randint(1, spec.config.n)", "randint(1, n + 1)", False),
        ("random.randrange(5)", "randint(0, 5)", True),
        ("random.randrange(2, 5)", "randint(2, 5)", True),
        ("random.choice(['a', None])", "choice(['a', None])", True),
        ("random.choice([1e-3])", "choice([0.001])", True),
        ("random.random()", "uniform(0, 1)", True),
        ("random.gauss(0, 2)", "randn(0, 2)", True),
        ("random.normalvariate(mu=1, sigma=2)", "randn(1, 2)", True),
        ("np.random.uniform()", "uniform(0, 1)", True),
        ("np.random.uniform(high=3, low=1)", "uniform(1, 3)", True),
        ("numpy.random.randint(4)", "randint(0, 4)", True),
        ("np.random.randint(low=2, high=4)", "randint(2, 4)", True),
        ("np.random.choice([1, 2])", "choice([1, 2])", True),
        ("np.random.choice(3)", "randint(0, 3)", True),
        ("np.random.normal(scale=2)", "randn(0, 2)", True),
        ("np.random.randn()", "randn()", True),
        ("np.random.rand()", "uniform(0, 1)", True),
        ("  random.random()  ", "uniform(0, 1)", True),
        ("2 ** np.random.randint(5, 9)", "2 ** randint(5, 9)", False),
        ("10 ** random.uniform(-4, -1)", "10 ** uniform(-4, -1)", False),
        ("random.uniform(0, math.log(2))", "uniform(0, log(2))", False),
        ("np.exp(np.random.uniform(np.log(1), 0))", "exp(uniform(log(1), 0))", False),
        ("np.power(2, np.random.randint(1, 3))", "2 ** randint(1, 3)", False),
        ("math.log(8, 2) + np.sqrt(4)", "log(8, 2) + sqrt(4)", False),
        ("int(np.floor(3.5)) + math.floor(2.5)", "int(float(floor(3.5))) + floor(2.5)", False),
        ("lambda spec: spec.config.lr * 2", "lr * 2", False),
        ("lambda s: s.config.optimizer.lr", "optimizer.lr", False),
        ("spec.config['optimizer']['lr']", "optimizer.lr", False),
        ("spec['config'].optimizer['my-key']", "optimizer['my-key']", False),
        (
            "spec.config.layers[0] if spec.config.lr > 1 else [1]",
            "layers[0] if lr > 1 else [1]",
            False,
        ),
        ("{'a': 1}['a']", "{'a': 1}['a']", False),
        ("max(1, spec.config.lr)", "max(1, lr)", False),
        ("max(1, 2)", "max(1, 2)", False),
        ("2 * numpy.pi", "2 * 3.141592653589793", False),
    ],
)
def test_how_expressions_are_rewritten(text, expected, is_draw):
    assert rewrite(text, "old.yaml: config.x") == (expected, is_draw)


@pytest.mark.parametrize(
    "text",
    [
        *("3 * random.uniform(2, 5)", "random.randint(1, 3)", "np.random.randint(4)"),
        *("np.random.choice(3)", "random.randrange(2, 4)", "2 ** np.random.randint(5, 9)"),
        *("np.random.uniform()", "random.choice([4, 5])", "np.maximum(3.0, random.random())"),
    ],
)
def test_what_is_drawn_is_what_python_draws(text):
    random.seed(1)
    np.random.seed(1)
    theirs = [eval(text, {"np": np, "random": random}) for _ in range(300)]
    expression = Expression.parse(rewrite(text, "s")[0], "s", draws=True)
    ours = [expression.evaluate(CONFIG, TrialDraws(seed, "x")) for seed in range(300)]
    points = sorted({*ours, *(float(value) for value in theirs)})
    shares = [np.searchsorted(sorted(each), points, "right") / 300 for each in (ours, theirs)]
    assert np.abs(shares[0] - shares[1]).max() < 0.15
    assert type(ours[0]) is type(np.asarray(theirs[0]).item())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__import__('os').system('x')", "no counterpart of"),
        ("os.getcwd()", "no counterpart of 'os.getcwd'"),
        ("open('/etc/passwd')", "no counterpart of 'open'"),
        ("random.unifrm(0, 1)", "of 'random.unifrm' .did you mean 'random.uniform'"),
        ("uniform(0, 1)", "no counterpart of 'uniform'"),
        ("np.random.uniform(0, 1, 3)", r"is understood as np.random.uniform\(low=0, high=1\) only"),
        ("np.random.uniform(0, low=1, low=2)", "is understood as"),
        ("np.random.uniform(*[0, 1])", "Starred is not allowed|is not understood"),
        ("random.uniform(**{'a': 0})", "is understood as"),
        ("np.random.randint(1, 5, 2)", r"randint\(low\) or np.random.randint\(low, high\) only"),
        ("lr * 2", "'lr' is no entry: those are spec.config.NAME"),
        ("spec.trial.id", "'spec.trial.id' is no entry"),
        ("spec.config", "'spec.config' is no entry"),
        ("trial.config.lr", "'trial.config.lr' is no entry"),
        ("lambda s: spec.config.lr", "'spec.config.lr' is no entry: those are s.config.NAME"),
        ("random.gauss(mu=1, mu=2)", "is understood as"),
        ("spec.config.__class__", "starts with an underscore"),
        ("spec.config.lr.items()", "no counterpart of 'spec.config.lr.items'"),
        ("lambda: 1", "only a lambda of one argument"),
        ("lambda spec, x=1: 1", "only a lambda of one argument"),
        ("lambda *spec: 1", "only a lambda of one argument"),
        ("lambda spec=1: 1", "only a lambda of one argument"),
        ("[i for i in (1, 2)]", "not allowed|is no entry"),
        ("random.choice([1, 2])[0].real", "is not understood"),
        ("random.random", "'random.random' is no entry"),
        ("lr *", "no expression"),
        ("1" * 1001, "1,001 characters long"),
        ("-" * 900 + "1", "too large"),
        ("np" + ".a" * 400 + "()", "too large"),
    ],
)
def test_what_has_no_counterpart_is_refused(text, expected):
    (told,) = mistakes_of({"config": {"x": {"eval": text}}})
    assert told.startswith("old.yaml: config.x is ")
    assert re.search(expected, told)


@given(st.text(alphabet="spec.config random.uniform(np,)[]{}'+-*/:=0123456789_lambda", max_size=60))
@settings(max_examples=300, deadline=1000)
def test_any_text_is_rewritten_or_refused(text):
    try:
        made, _ = rewrite(text, "old.yaml: config.x")
    except ConfigMistakes:
        return
    Expression.parse(made, "s", draws=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"config": {}, "checkpoint_freq": 3}, "has the entry 'checkpoint_freq', which is not"),
        ({"config": {}, "num_sample": 3}, "'num_sample' .did you mean 'num_samples'"),
        (
            {"config": {}, "run": "PPO"},
            "is to run 'PPO', and here 'inner' is run; take the entry out",
        ),
        ({"config": {}, "stop": 3}, "stop is 3; it must be a mapping"),
        (
            {"config": {}, "repeat": 2, "num_samples": 2},
            "num_samples and repeat, which mean the same",
        ),
        ({"config": {}, "resources": {}, "trial_resources": {}}, "trial_resources and resources"),
        ({"config": {"env": "A"}, "env": "B"}, "env twice"),
        ({"config": 3}, "config is 3; it must be a mapping"),
        ({"config": {"a": {"grid_search": 3}}}, "config.a is .*grid_search needs a list"),
        ({"config": {"a": {"grid_search": []}}}, "grid_search needs a list"),
        ({"config": {"a": {"grid_search": [{"eval": "1"}]}}}, "inside a list"),
        ({"config": {"a": [1, {"grid_search": [1]}]}}, "inside a list"),
        ({"config": {"a": {"eval": 3}}}, "eval needs an expression as text"),
        ({"config": {"a.b": 1, "a": {"b": 2}}}, "config.a.b is given twice"),
        (
            {"one": {"config": {}}, "two": {"config": {}}},
            "several experiments .one, two.; keep one",
        ),
    ],
)
def test_mistakes_in_the_file(content, expected):
    (told,) = mistakes_of(content)
    assert re.search(expected, told)


def test_all_mistakes_are_told_at_once():
    told = mistakes_of({"config": {"a": {"eval": "x"}, "b": {"eval": "1 +"}}, "run": 1, "x": 1})
    assert len(told) == 4


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        ({"config": {"lr": 1}}, True),
        ({"my-search": {"config": {"lr": 1}, "stop": {}}}, True),
        ({"a": {"config": {}}, "b": {"config": {}}}, True),
        ({"config": 3}, True),
        ({"ray": {"num_samples": 3}}, False),
        ({"ray": {"config": {}}}, False),
        ({"config": {"lr": 1}, "ray": {}}, False),
        ({"config": {"lr": 1}, "seed": 3}, False),
        ({"inner": {"config": {"lr": 1}}}, False),
        ({"rya": {"num_samples": 3, "stop": {}}}, False),
        ({"num_samples": 3, "stop": {}}, False),
        ({}, False),
        ([{"config": {}}], False),
        (None, False),
    ],
)
def test_which_files_are_early_tunes(content, is_one):
    assert is_early_tune_file(content, ("ray", "seed", "inner")) == is_one


class TestWithTuneFiles:
    """What Sacred gets instead of the files."""

    @pytest.fixture
    def file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

        def write(content, name="old.json"):
            (tmp_path / name).write_text(json.dumps(content))
            return name

        return write

    def test_an_early_file_becomes_a_named_config(self, file, tmp_path):
        name = file({"config": {"base_lr": 2, "lr": {"grid_search": [1, 2]}}})
        names, files = with_tune_files(outer_ex, ["multi_env_eval", name])
        assert names == ["multi_env_eval", "tune_file:old_json"]
        assert files == {"tune_file:old_json": str(tmp_path / "old.json")}
        assert outer_ex.named_configs["tune_file:old_json"]() == {
            "ray": {"search_space": {"lr": {"grid_search": [1, 2]}}, "num_samples": 1},
            "unit_ex": {"base_lr": 2},
        }

    def test_a_file_that_has_changed_is_read_again(self, file):
        for value in (1, 2):
            (name,), _ = with_tune_files(outer_ex, [file({"config": {"base_lr": value}})])
            assert outer_ex.named_configs[name]()["unit_ex"] == {"base_lr": value}

    @pytest.mark.parametrize("content", [{"ray": {"exp_name": "a"}}, {"unit_ex": {"config": {}}}])
    def test_sacreds_own_files_stay(self, file, content):
        assert with_tune_files(outer_ex, [file(content)]) == (["old.json"], {})

    def test_what_cannot_be_read_stays_and_is_told_later(self, file, tmp_path):
        (tmp_path / "broken.yaml").write_text("a: [")
        (tmp_path / "code.pickle").write_text("{}")
        given = ["broken.yaml", "code.pickle", "missing.json"]
        assert with_tune_files(outer_ex, given) == (given, {})

    def test_what_could_run_code_stays_and_is_told_later(self, file, tmp_path):
        call = {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["touch ran"]}]}
        name = file({"config": {"base_lr": call}})
        assert with_tune_files(outer_ex, [name]) == ([name], {})
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_mistakes_of_all_files_are_told(self, file):
        files = [file({"config": {}, "run": name}, f"{name}.json") for name in "ab"]
        with pytest.raises(ConfigMistakes, match=r"(?s)a\.json is to run 'a'.*b\.json is to run"):
            with_tune_files(outer_ex, files)

    def run(self, *argv, outer=outer_ex):
        return outer.run_commandline(["outer.py", "-u", "-l", "ERROR", *argv])

    def test_the_command_line_wins_over_the_file_and_the_record_names_it(self, file, tmp_path):
        outer = make_outer("outer_with_command", unit_ex)

        @outer.command(unobserved=True)
        def show(_config):
            return _config

        name = file({"config": {"base_lr": 2, "lr": {"eval": "random.random()"}}, "repeat": 3})
        run = self.run("show", "with", name, "ray.num_samples=5", outer=outer)
        assert run.result["unit_ex"]["base_lr"] == 2
        assert run.result["ray"]["search_space"] == {"lr": "uniform(0, 1)"}
        assert run.result["ray"]["num_samples"] == 5
        assert run.meta_info["tune_files"] == {"tune_file:old_json": str(tmp_path / "old.json")}
        assert run.meta_info["named_configs"] == ["tune_file:old_json"]

    def test_entries_of_an_ingredient_of_the_inner_get_there(self, file):
        from sacred import Experiment, Ingredient

        data = Ingredient("data")
        data.add_config(size=1)
        inner = Experiment("inner_with_data", ingredients=[data])
        outer = make_outer("outer_of_that", inner)
        (name,), _ = with_tune_files(outer, [file({"config": {"data": {"size": 2}}})])
        assert outer.named_configs[name]() == {"ray": {"num_samples": 1}, "data": {"size": 2}}

    def test_a_mistake_is_a_sentence_and_exit_code_2(self, file, capsys):
        with pytest.raises(SystemExit, match="2"):
            self.run("print_config", "with", file({"config": {}, "run": "PPO"}))
        told = capsys.readouterr().err
        assert told.startswith("old.json is to run 'PPO', and here 'unit_ex' is run")
