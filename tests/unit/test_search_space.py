import ast
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacred_ray_ingredient.search_space import (
    SAMPLER_NAMES,
    Sampler,
    SearchSpace,
    parse_search_space,
)

finite = st.floats(-1e6, 1e6)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
values = st.lists(
    st.recursive(leaves, lambda v: st.lists(v) | st.tuples(v) | st.dictionaries(st.integers(), v)),
    min_size=1,
)
positive_pair = st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)).filter(lambda p: p[0] < p[1])
pair = st.tuples(finite, finite).filter(lambda p: p[0] < p[1])
int_pair = st.tuples(st.integers(-1000, 1000), st.integers(1, 1000)).map(
    lambda p: (p[0], p[0] + p[1])
)
positive_int_pair = st.tuples(st.integers(1, 1000), st.integers(1, 1000)).map(
    lambda p: (p[0], p[0] + p[1])
)
steps = st.tuples(st.integers(1, 50), st.integers(1, 50), st.sampled_from([1, 2, 5, 0.5, 0.25]))


def ranged(name, pairs):
    return pairs.map(lambda p: Sampler(name, {"lower": p[0], "upper": p[1]}))


def stepped(name, whole):
    def make(drawn):
        start, length, q = drawn
        q = max(1, int(q)) if whole else q
        given_q = {} if name == "qrandint" and q == 1 else {"q": q}
        return Sampler(name, {"lower": start * q, "upper": (start + length) * q, **given_q})

    return steps.map(make)


all_samplers = {
    "grid_search": values.map(lambda v: Sampler("grid_search", {"values": v})),
    "choice": values.map(lambda v: Sampler("choice", {"categories": v})),
    "uniform": ranged("uniform", pair),
    "loguniform": ranged("loguniform", positive_pair)
    | positive_pair.map(lambda p: Sampler("loguniform", {"lower": p[0], "upper": p[1], "base": 2})),
    "randint": ranged("randint", int_pair),
    "lograndint": ranged("lograndint", positive_int_pair),
    "quniform": stepped("quniform", whole=False),
    "qloguniform": stepped("qloguniform", whole=False),
    "qrandint": stepped("qrandint", whole=True),
    "qlograndint": stepped("qlograndint", whole=True),
    "randn": st.tuples(finite.filter(bool), st.floats(1.5, 9)).map(
        lambda p: Sampler("randn", {"mean": p[0], "sd": p[1]})
    ),
    "qrandn": st.tuples(finite, st.floats(1, 9), st.sampled_from([1, 0.5])).map(
        lambda p: Sampler("qrandn", {"mean": p[0], "sd": p[1], "q": p[2]})
    ),
}
any_sampler = st.one_of(*all_samplers.values())
bounded = st.one_of(
    *(
        sampler
        for name, sampler in all_samplers.items()
        if name not in {"grid_search", "choice", "randn", "qrandn"}
    )
)


def read(value):
    space, mistakes = parse_search_space({"lr": value})
    assert mistakes == []
    return space.samplers["lr"]


def mistake(value):
    _, mistakes = parse_search_space({"lr": value})
    assert len(mistakes) == 1
    assert mistakes[0].startswith("ray.search_space.lr is ")
    return mistakes[0]


def test_every_sampler_has_a_strategy_here():
    assert set(all_samplers) == SAMPLER_NAMES


@given(any_sampler)
@settings(max_examples=300, deadline=None)
def test_text_is_read_back_to_the_same_sampler(sampler):
    assert read(sampler.text()) == sampler
    assert read(sampler.text()).text() == sampler.text()


@given(any_sampler)
@settings(max_examples=300, deadline=None)
def test_data_means_the_same_as_text(sampler):
    assert read({sampler.name: sampler.arguments}) == sampler


@given(any_sampler)
@settings(max_examples=300, deadline=None)
def test_tunes_own_object_means_the_same_as_text(sampler):
    again = read(sampler.to_tune())
    without_base = {k: v for k, v in sampler.arguments.items() if k != "base"}
    assert again.name == sampler.name
    assert again.arguments == without_base or again.text() == sampler.text()


@given(bounded, st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_tune_samples_within_the_bounds(sampler, seed):
    lower, upper = sampler.arguments["lower"], sampler.arguments["upper"]
    domain = sampler.to_tune()
    rng = np.random.default_rng(seed)
    for value in (domain.sample(random_state=rng) for _ in range(20)):
        assert lower - 1e-9 * abs(lower) <= value <= upper + 1e-9 * abs(upper)
        if sampler.name in {"randint", "lograndint"}:
            assert value < upper
        if "q" in sampler.arguments:
            assert value / sampler.arguments["q"] == pytest.approx(
                round(value / sampler.arguments["q"])
            )


@given(st.sampled_from(["randn", "qrandn"]).flatmap(all_samplers.get), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_tune_samples_normally_around_the_mean(sampler, seed):
    drawn = sampler.to_tune().sample(size=50, random_state=np.random.default_rng(seed))
    assert abs(np.mean(drawn) - sampler.arguments["mean"]) < 2 * sampler.arguments["sd"]


@given(values)
@settings(deadline=None)
def test_choice_draws_from_its_categories(categories):
    assert Sampler("choice", {"categories": categories}).to_tune().sample() in categories


def test_grid_is_tunes_grid():
    assert Sampler("grid_search", {"values": [1, 2]}).to_tune() == {"grid_search": [1, 2]}


def test_base_is_kept_in_text_but_not_given_to_tune(recwarn):
    sampler = read("loguniform(1, 8, base=2)")
    assert sampler.text() == "loguniform(1, 8, base=2)"
    sampler.to_tune()
    assert not [warning for warning in recwarn if "base" in str(warning.message)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("loguniform(1e-5, 1e-1)", "loguniform(1e-05, 0.1)"),
        (" tune.uniform(lower=-1, upper=+2) ", "uniform(-1, 2)"),
        ("ray.tune.randint(1, 9)", "randint(1, 9)"),
        ("randn(sd=2)", "randn(sd=2)"),
        ("randn(0, 1)", "randn()"),
        ("qrandint(2, 8, 1)", "qrandint(2, 8)"),
        ("choice(range(1, 4))", "choice([1, 2, 3])"),
        ("grid_search(values=('a', None, True))", "grid_search(['a', None, True])"),
        ({"loguniform": [1e-5, 1e-1]}, "loguniform(1e-05, 0.1)"),
        ({"uniform": {"lower": 0, "upper": 1}}, "uniform(0, 1)"),
        ({"grid_search": [1, 2]}, "grid_search([1, 2])"),
        ({"choice": {"categories": [[1, 2], [3]]}}, "choice([[1, 2], [3]])"),
        ({"randn": None}, "randn()"),
        ([2, 4, 8], "grid_search([2, 4, 8])"),
        ((2, 4), "grid_search([2, 4])"),
        (np.array([0.5, 1.0]), "grid_search([0.5, 1.0])"),
        ([np.int64(3)], "grid_search([3])"),
    ],
)
def test_every_notation_of_a_sampler(value, text):
    assert read(value).text() == text


@pytest.mark.parametrize("constant", ["adam", "mean(x)", "(", 3, 0.5, True, float("inf")])
def test_other_plain_values_are_constants(constant):
    space, mistakes = parse_search_space({"opt": {"name": constant}})
    assert mistakes == []
    assert space == SearchSpace(constants={"opt.name": constant})
    assert space.param_space() == {"opt": {"name": constant}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("logunifrom(1e-5, 1e-1)", "'logunifrom' is no sampler .did you mean 'loguniform'"),
        ("Uniform(0, 1)", "'Uniform' is no sampler .did you mean 'uniform'"),
        ("normal(0, 1)", "did you mean 'randn'"),
        ("tune.foo(1)", "'foo' is no sampler"),
        ("sample_from(f)", "a function of other parameters goes under ray.dependent"),
        ("uniform(0, )", "missing a required argument: 'upper'.; write uniform.lower, upper."),
        ("uniform(1, 2, 3)", "too many positional arguments"),
        ("uniform(0, 1, q=2)", "unexpected keyword argument 'q'"),
        ("uniform(lower=0, lower=1, upper=2)", "an argument twice"),
        ("uniform(0", "cannot be read"),
        ("uniform(0, 1) + 1", "more than one sampler call"),
        ("uniform(0, x)", "not all literals"),
        ("uniform(0, 10**9)", "not all literals"),
        ("uniform(*[0, 1])", "not all literals"),
        ("choice(open('f'))", "not all literals"),
        ("uniform(2, 1)", "lower is 2 and must be below upper, which is 1"),
        ("randint(3, 3)", "must be below upper"),
        ("loguniform(0, 1)", "lower is 0 and must be above 0"),
        ("lograndint(0, 9)", "lower is 0 and must be above 0"),
        ("uniform(0, 1e999)", "upper is inf and must be finite"),
        ("uniform(-1e308, 1e308)", "too wide"),
        ("quniform(0, 1, 0)", "q is 0 and must be above 0"),
        ("quniform(0, 1, 0.3)", "1 is no multiple of q=0.3"),
        ("qrandint(1, 3, 5)", "no multiple of q=5 from 1 to 3"),
        ("randn(sd=0)", "sd is 0 and must be above 0"),
        ("randint(1, 2.5)", "upper is 2.5 and must be an integer"),
        ("randint(0, True)", "upper is True and must be a number"),
        (f"randint(0, {2**63})", "must fit into 64 bits"),
        ("grid_search([])", "the list of values is empty"),
        ([], "the list of values is empty"),
        ("choice('abc')", "categories is 'abc' and not a list"),
        ("choice([{1}])", "no plain, finite data"),
        ("choice([1e999])", "no plain, finite data"),
        ("choice(range(10000000000000))", "more than 100,000 values"),
        ({"uniform": ["1e-5", 1]}, "lower is '1e-5' and must be a number, not text .YAML"),
        ([{"eval": "1"}], "no plain, finite data"),
        (len, "no plain data.*functions into ray.dependent"),
        (object(), "no plain data"),
    ],
)
def test_mistakes_say_what_would_be_right(value, expected):
    assert re.search(expected, mistake(value))


def test_nested_and_dotted_paths_and_none():
    space, mistakes = parse_search_space(
        {"opt": {"lr": "uniform(0, 1)", "wd": None}, "opt.mom": [1, 2], "k": None, "empty": {}}
    )
    assert mistakes == []
    assert space.paths() == ["opt.lr", "opt.mom"]
    assert space.text() == {"opt": {"lr": "uniform(0, 1)", "mom": "grid_search([1, 2])"}}


def test_all_mistakes_are_told_at_once():
    raw = {
        "a": "uniform(1, 0)",
        "b": {"c": 1},
        "b.c": 2,
        "d": 1,
        "d.e": 2,
        3: 4,
        "f..g": 1,
        "ok": [1],
    }
    space, mistakes = parse_search_space(raw, "ray.x")
    told = "\n".join(mistakes)
    assert len(mistakes) == 5
    for part in (
        "ray.x.a is",
        "ray.x.b.c is given twice",
        "both 'd' and 'd.e'",
        "entry '.3'",
        "'f..g'",
    ):
        assert part in told
    assert "ok" in space.samplers


def test_a_space_that_is_no_mapping_is_a_mistake():
    assert "must be a mapping" in parse_search_space("uniform(0, 1)")[1][0]
    assert parse_search_space(None) == (SearchSpace(), [])


def test_grid_size_counts_grids_only():
    raw = {"a": [1, 2, 3], "b": {"c": "grid_search([1, 2])"}, "d": "choice([1, 2])"}
    assert parse_search_space(raw)[0].grid_size() == 6
    assert parse_search_space({"d": "uniform(0, 1)"})[0].grid_size() == 1
    assert read([1, 2]).values() == [1, 2]
    assert read("uniform(0, 1)").values() is None


def test_functions_of_sample_from_are_kept_apart():
    from ray import tune

    def double(config):
        return config["a"] * 2

    space, mistakes = parse_search_space({"a": tune.uniform(0, 1), "b": tune.sample_from(double)})
    assert mistakes == []
    assert space.functions == {"b": double}
    assert space.param_space().keys() == {"a"}
    assert space.text()["b"].startswith("sample_from(test_functions_of_sample_from")


@pytest.mark.parametrize("raw", [{"opt": {"eval": "1 + 1"}}, {"eval": "1 + 1"}])
def test_tune_is_never_given_what_it_would_run_as_code(raw):
    space, mistakes = parse_search_space(raw)
    assert "takes for code" in mistakes[0]
    assert space.param_space() == {}
    assert parse_search_space({"opt": {"eval": "x", "lr": 1}})[1] == []


def test_tune_takes_the_whole_space():
    from ray.tune.search.variant_generator import generate_variants

    raw = {"opt": {"lr": "loguniform(1e-5, 1e-1)", "name": "adam"}, "units": [8, 16]}
    space, _ = parse_search_space(raw)
    configs = [config for _, config in generate_variants(space.param_space())]
    assert [config["units"] for config in configs] == [8, 16]
    assert all(1e-5 <= config["opt"]["lr"] <= 1e-1 for config in configs)
    assert configs[0]["opt"]["name"] == "adam"


def test_importing_does_not_import_ray():
    code = "import sys, sacred_ray_ingredient.search_space; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_module_evaluates_nothing():
    import sacred_ray_ingredient.search_space as module

    with open(module.__file__) as source:
        tree = ast.parse(source.read())
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile"}
