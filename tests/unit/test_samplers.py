"""Samplers: their notations, their mistakes, and what they draw."""

import ast
import math
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import sacred_ray_ingredient
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.samplers import SAMPLER_NAMES, Sampler, bind, read_sampler
from tests.unit.samplers_strategies import all_samplers, any_sampler, values

bounded = st.one_of(
    *(
        sampler
        for name, sampler in all_samplers.items()
        if name not in {"grid_search", "choice", "randn", "qrandn"}
    )
)
drawn = st.one_of(*(sampler for name, sampler in all_samplers.items() if name != "grid_search"))
unit = st.floats(0, 1, exclude_max=True)


def read(value):
    sampler = read_sampler(value, "ray.x")
    assert isinstance(sampler, Sampler)
    return sampler


def test_every_sampler_has_a_strategy_here():
    assert set(all_samplers) == SAMPLER_NAMES


@given(any_sampler)
@settings(max_examples=150, deadline=None)
def test_text_is_read_back_to_the_same_sampler(sampler):
    assert read(sampler.text()) == sampler
    assert read(sampler.text()).text() == sampler.text()


@given(any_sampler)
@settings(max_examples=150, deadline=None)
def test_data_means_the_same_as_text(sampler):
    assert read({sampler.name: sampler.arguments}) == sampler


@given(any_sampler.filter(lambda sampler: "weights" not in sampler.arguments))
@settings(max_examples=150, deadline=None)
def test_tunes_own_object_means_the_same_as_text(sampler):
    again = read(sampler.to_tune())
    without_base = {k: v for k, v in sampler.arguments.items() if k != "base"}
    assert again.name == sampler.name
    assert again.arguments == without_base or again.text() == sampler.text()


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
        ("choice(['a', 'b'], weights=[3, 1])", "choice(['a', 'b'], weights=[3, 1])"),
        ("choice(['a', 'b'], (0, 0.5))", "choice(['a', 'b'], weights=[0, 0.5])"),
        ("choice(['a', 'b'], weights=None)", "choice(['a', 'b'])"),
        (
            {"choice": {"categories": ["a", "b"], "weights": [3, 1]}},
            "choice(['a', 'b'], weights=[3, 1])",
        ),
        ({"choice": {"categories": ["a", "b"], "weights": None}}, "choice(['a', 'b'])"),
        ("choice(2 ** range(4, 9))", "choice([16, 32, 64, 128, 256])"),
        ("choice(categories=2 ** range(2))", "choice([1, 2])"),
        ("grid_search(10.0 ** range(-2, 1))", "grid_search([0.01, 0.1, 1.0])"),
        ("2 ** range(1, 6)", "grid_search([2, 4, 8, 16, 32])"),
        (" 10.0 ** range(-5, 0, 2) ", "grid_search([1e-05, 0.001, 0.1])"),
        ("2 ** range(-1, 2)", "grid_search([0.5, 1, 2])"),
        ("(-2) ** range(3)", "grid_search([1, -2, 4])"),
        ("2 ** range(62, 63)", f"grid_search([{2**62}])"),
    ],
)
def test_weights_and_powers_are_read_and_written_out(value, text):
    assert read(value).text() == text


def test_a_sampler_knows_its_values():
    assert read([1, 2]).values() == [1, 2]
    assert read("choice(['a', 'b'], weights=[1, 2])").values() == ["a", "b"]
    assert read("uniform(0, 1)").values() is None
    assert read([1, 2]).is_grid
    assert not read("choice([1, 2])").is_grid


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("choice(['a'], weights=3)", "weights is 3 and not a list"),
        ("choice(['a', 'b'], weights=[1])", "there are 1 weights for 2 categories"),
        ("choice(['a', 'b'], weights=[2, -1])", "-1 is among the weights and must not be below 0"),
        ("choice(['a', 'b'], weights=[0, 0.0])", "all weights are 0"),
        ("choice(['a', 'b'], weights=['1', 2])", "'1' is among the weights and must be a number"),
        ("choice(['a', 'b'], weights=[True, 2])", "True is among the weights and must be a number"),
        ("choice(['a', 'b'], weights=[1e999, 2])", "inf is among the weights and must be finite"),
        ("choice(['a'], weights=[])", "the list of weights is empty"),
        ("grid_search([1, 2], weights=[1, 2])", "unexpected keyword argument 'weights'"),
        ("choice([1], weight=[2])", "write choice(categories, weights=None)."),
        ("2 ** range(100)", "2 ** 63 does not fit into 64 bits"),
        ("choice(2 ** range(60, 70))", "2 ** 63 does not fit into 64 bits"),
        ("2 ** range(10 ** 9)", "not made of literal numbers"),
        ("2 ** range(10000000000000)", "more than 100,000 values"),
        ("choice(1 ** range(200000))", "more than 100,000 values"),
        (f"2 ** range({10**30}, {10**30 + 2})", "does not fit into 64 bits"),
        (f"3.0 ** range({10**30}, {10**30 + 2})", "too large or not defined"),
        ("10.0 ** range(300, 400)", "10.0 ** 309 is too large"),
        ("10.0 ** range(-400, -300)", "10.0 ** -400 is too small"),
        ("0 ** range(-1, 1)", "0 ** -1 is too large or not defined"),
        ("'a' ** range(3)", "the base is 'a' and must be a number"),
        ("True ** range(3)", "the base is True and must be a number"),
        ("2 ** range('a')", "not made of literal numbers"),
        ("2 ** range(x)", "not made of literal numbers; write such as 2 ** range(1, 6)."),
        ("-2 ** range(3)", "needs brackets"),
        ("2 ** range(0)", "the list of values is empty"),
        ("choice(2 ** range(1, 2) ** 2)", "not all literals"),
        ("uniform(2 ** range(3), 9)", "not all literals"),
        ([{"grid_search": [1]}], "no plain, finite data"),
    ],
)
def test_mistakes_in_weights_and_powers_say_what_would_be_right(value, sentence):
    with pytest.raises(ConfigMistakes, match=re.escape(sentence)) as caught:
        read_sampler(value, "ray.x")
    assert str(caught.value).startswith("ray.x is ")


@pytest.mark.parametrize(
    "value", ["adam", "2 ** exponent", "x * range", "(", 3, None, {}, object()]
)
def test_what_is_no_sampler_is_left_to_the_caller(value):
    assert read_sampler(value, "ray.x") is None


def test_functions_of_sample_from_are_no_samplers():
    from ray import tune

    assert read_sampler(tune.sample_from(lambda config: 1), "ray.x") is None


def test_arguments_can_be_bound_directly():
    assert bind("uniform", [0], {"upper": 2}, "x").text() == "uniform(0, 2)"
    with pytest.raises(ConfigMistakes, match=r"^here, where lower is 3 and must be below upper"):
        bind("uniform", [3, 2], {}, "here")


def test_tune_has_no_weights():
    with pytest.raises(ValueError, match="has weights, which Tune's choice does not know"):
        read("choice([1, 2], weights=[1, 2])").to_tune()


@pytest.mark.parametrize("method", ["quantile", "position"])
def test_nothing_is_drawn_from_a_grid(method):
    with pytest.raises(ValueError, match="is a grid, from which nothing is drawn"):
        getattr(read([1, 2]), method)(0.5)


CONTINUOUS = [
    "uniform(-3, 7)",
    "uniform(1e6, 1000001)",
    "loguniform(1e-5, 0.1)",
    "loguniform(2, 3, base=2)",
    "randn()",
    "randn(-5, 0.25)",
]
DISCRETE = [
    *("randint(-3, 5)", "randint(0, 1)", "lograndint(1, 20)", "lograndint(5, 7)"),
    *("qrandint(2, 9)", "qrandint(3, 20, 5)", "qrandint(-7, 7, 2)", "qrandint(1, 3, 3)"),
    *("qlograndint(1, 9, 1)", "qlograndint(2, 40, 4)", "qlograndint(5, 11, 5)"),
    *("quniform(0, 2, 0.5)", "quniform(-0.3, 0.3, 0.1)", "quniform(0, 3, 3)"),
    *("qloguniform(0.5, 4, 0.5)", "qloguniform(1, 30, 1)"),
    *("qrandn(0, 2, 1)", "qrandn(10, 0.5, 0.25)"),
    *("choice(['a', 'b', 'c'])", "choice([1])", "choice(range(2, 9))"),
]


@pytest.mark.parametrize("text", CONTINUOUS)
def test_floats_are_distributed_as_tune_draws_them(text):
    sampler = read(text)
    rng = np.random.default_rng(4)
    ours = [sampler.quantile(u) for u in rng.random(20_000)]
    tunes = sampler.to_tune().sample(size=20_000, random_state=np.random.default_rng(3))
    assert all(type(value) is float for value in ours)
    assert stats.ks_2samp(ours, tunes).pvalue > 0.01


@pytest.mark.parametrize("text", DISCRETE)
def test_steps_and_categories_are_drawn_as_often_as_by_tune(text):
    sampler, size = read(text), 20_000
    rng = np.random.default_rng(5)

    def rounded(value):
        return round(value, 9) if isinstance(value, float) else value

    ours = Counter(rounded(sampler.quantile(u)) for u in rng.random(size))
    drawn = sampler.to_tune().sample(size=size, random_state=np.random.default_rng(3))
    tunes = Counter(rounded(value if isinstance(value, str) else float(value)) for value in drawn)
    # Values that are as rare as the tails of qrandn need not be in both.
    often = [value for value in ours | tunes if ours[value] + tunes[value] > 20]
    assert often
    if len(often) == 1:
        return
    table = [[ours[value] for value in often], [tunes[value] for value in often]]
    assert min(map(min, table)) > 0
    assert stats.chi2_contingency(table).pvalue > 0.01


@pytest.mark.parametrize("text", [text for text in DISCRETE if "rand" in text and "n(" not in text])
def test_integers_are_plain_integers(text):
    assert type(read(text).quantile(0.5)) is int


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("uniform(-3, 7)", -3.0, 7.0),
        ("loguniform(0.1, 0.3)", 0.1, 0.3),
        ("randint(2, 5)", 2, 4),
        ("lograndint(2, 5)", 2, 4),
        ("qrandint(2, 9)", 2, 8),
        ("qrandint(3, 20, 5)", 5, 20),
        ("qlograndint(2, 40, 4)", 4, 40),
        ("qlograndint(3, 9, 1)", 3, 8),
        ("quniform(-0.3, 0.3, 0.1)", -0.3, 0.3),
        ("qloguniform(0.1, 0.3, 0.1)", 0.1, 0.3),
        ("choice(['a', 'b', 'c'])", "a", "c"),
        ("choice(['a', 'b', 'c'], weights=[0, 1, 0])", "b", "b"),
        (f"randint(0, {2**62 + 1})", 0, 2**62),
    ],
)
def test_the_ends_of_a_distribution_are_its_bounds(text, first, last):
    sampler = read(text)
    assert sampler.quantile(0.0) == first
    assert sampler.quantile(1.0) == last
    assert sampler.quantile(-0.1) == first
    assert sampler.quantile(1.1) == last


def test_normal_values_are_finite_at_both_ends():
    sampler = read("randn(1, 2)")
    assert sampler.quantile(0.0) == pytest.approx(1 - 2 * 7.034, abs=0.01)
    assert sampler.quantile(1.0) == pytest.approx(1 + 2 * 7.034, abs=0.01)
    assert read("qrandn(0, 1, 1e-320)").quantile(0.9) == pytest.approx(1.2816, abs=1e-4)


def test_large_ranges_of_integers_are_not_rounded_to_floats():
    sampler = read(f"randint({2**62}, {2**62 + 8})")
    assert {sampler.quantile(k / 8) for k in range(8)} == {2**62 + k for k in range(8)}


def test_weights_give_the_shares():
    sampler = read("choice(['a', 'b', 'c', 'd'], weights=[3, 0, 1, 0])")
    drawn = Counter(sampler.quantile((k + 0.5) / 1000) for k in range(1000))
    assert drawn == {"a": 750, "c": 250}
    huge = read("choice(['a', 'b'], weights=[1e308, 1e308])")
    assert [huge.quantile(0.49), huge.quantile(0.51)] == ["a", "b"]


@given(bounded, unit)
@settings(max_examples=500, deadline=None)
def test_values_are_within_the_bounds_and_on_the_steps(sampler, u):
    lower, upper = sampler.arguments["lower"], sampler.arguments["upper"]
    value = sampler.quantile(u)
    assert lower <= value <= upper
    assert type(value) is (int if "randint" in sampler.name else float)
    if sampler.name in {"randint", "lograndint"}:
        assert value < upper
    if "q" in sampler.arguments:
        steps = value / sampler.arguments["q"]
        assert steps == pytest.approx(round(steps))


@given(drawn, unit, unit)
@settings(max_examples=500, deadline=None)
def test_values_grow_along_the_distribution(sampler, one, other):
    low, high = sampler.quantile(min(one, other)), sampler.quantile(max(one, other))
    if sampler.name != "choice":
        assert low <= high


@given(drawn, unit)
@settings(max_examples=500, deadline=None)
def test_a_position_leads_back_to_its_value(sampler, u):
    value = sampler.quantile(u)
    place = sampler.position(value)
    assert place is not None
    assert 0 <= place <= 1
    again = sampler.quantile(place)
    if isinstance(value, float) and sampler.name != "choice":
        width = sampler.arguments.get("sd", 1) * 1e-3
        bounds = [abs(sampler.arguments.get(name, 0)) for name in ("lower", "upper")]
        assert again == pytest.approx(value, rel=1e-9, abs=max(width, 1e-12 * max(bounds)))
    else:
        assert again == value


@pytest.mark.parametrize("text", DISCRETE)
def test_a_position_is_in_the_middle_of_the_places_of_its_value(text):
    sampler = read(text)
    places = [(k + 0.5) / 5000 for k in range(5000)]
    by_value = {}
    for place in places:
        by_value.setdefault(sampler.quantile(place), []).append(place)
    for value, own in by_value.items():
        if len(own) > 20:
            assert sampler.position(value) == pytest.approx((own[0] + own[-1]) / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("uniform(0, 1)", 1.5),
        ("uniform(0, 1)", -1e-9),
        ("uniform(0, 1)", "0.5"),
        ("uniform(0, 1)", True),
        ("uniform(0, 1)", None),
        ("uniform(0, 1)", math.nan),
        ("uniform(0, 1)", math.inf),
        ("uniform(0, 1)", 10**400),
        ("loguniform(0.1, 1)", 0),
        ("randn()", 9.0),
        ("qrandn(0, 1, 1)", 9.0),
        ("quniform(0, 1, 0.25)", 0.3),
        ("quniform(0, 1, 0.25)", 1.25),
        ("randint(2, 5)", 5),
        ("randint(2, 5)", 1),
        ("randint(2, 5)", 2.5),
        ("lograndint(2, 5)", 5),
        ("qrandint(2, 9)", 9),
        ("qrandint(0, 10, 5)", 6),
        ("qlograndint(2, 40, 4)", 2),
        ("choice([0, 1])", True),
        ("choice(['a', 'b'])", "c"),
        ("choice(['a', 'b'], weights=[1, 0])", "b"),
        ("choice(['a', 'b'], weights=[1, 1e-99])", "b"),
    ],
)
def test_what_cannot_be_drawn_has_no_position(text, value):
    assert read(text).position(value) is None


@pytest.mark.parametrize(
    ("text", "value", "place"),
    [
        ("uniform(0, 2)", 0, 0.0),
        ("uniform(0, 2)", np.float64(0.5), 0.25),
        ("loguniform(1, 100)", 10, 0.5),
        ("randint(2, 6)", 3.0, 0.375),
        ("qrandint(0, 10, 5)", 10, 2.5 / 3),
        ("quniform(0, 1, 0.1)", 0.3, 0.3),
        ("randn(3, 2)", 3, 0.5),
        ("choice([('a', 1), ('b', 2)])", ["b", 2], 0.75),
        ("choice([0, False])", False, 0.75),
        ("choice([{'k': (1,)}])", {"k": [1]}, 0.5),
        ("choice(['a', 'b'], weights=[3, 1])", "b", 0.875),
        ("choice([None, 1])", None, 0.25),
        ("choice([[1], (1,)])", (1,), 0.75),
        ("choice([(1,), [1]], weights=[3, 1])", [1], 0.875),
        ("choice(['a', 'b', 'a'], weights=[0, 1, 3])", "a", 0.625),
    ],
)
def test_positions_of_values_from_outside(text, value, place):
    assert read(text).position(value) == pytest.approx(place)


def test_shares_of_logarithmic_integers_are_exact():
    sampler = read("lograndint(1, 8)")
    places = [Fraction(k, 9000) for k in range(9000)]
    drawn = Counter(sampler.quantile(float(place)) for place in places)
    for value in range(1, 8):
        assert drawn[value] / 9000 == pytest.approx(math.log((value + 1) / value, 8), abs=1e-3)


def test_importing_does_not_import_ray():
    code = "import sys, sacred_ray_ingredient.sampling; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "name", ["samplers", "spelled_lists", "search_space", "search_space_text", "sampling"]
)
def test_the_modules_evaluate_nothing(name):
    folder = Path(sacred_ray_ingredient.__file__).parent
    tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile"}
