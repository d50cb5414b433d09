"""How searchers see the dimensions of a search space."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacred_ray_ingredient.engines.encoding import NATIVE, Encoding, make_encodings
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.searchers import SEARCHERS

ANYTHING = [1, True, 1.0, "1", None, [1, 2], (1, 2), {"a": 1}, "x", "x", 0.1]


def choice(values):
    return Sampler("choice", {"categories": values})


def ranged(name, lower, upper, **further):
    return Sampler(name, {"lower": lower, "upper": upper, **further})


RANGES = [
    ranged("uniform", -1.0, 2.0),
    ranged("quniform", 0.1, 1.0, q=0.1),
    ranged("loguniform", 1e-5, 0.1),
    ranged("qloguniform", 0.5, 10.0, q=0.5),
    Sampler("randn", {"mean": 1.0, "sd": 2.0}),
    Sampler("qrandn", {"mean": 3.0, "sd": 2.0, "q": 0.5}),
    ranged("randint", 0, 5),
    ranged("qrandint", 7, 23, q=5),
    ranged("lograndint", 1, 100),
    ranged("qlograndint", 4, 64, q=4),
]


def is_same(left, right):
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("value", ANYTHING, ids=repr)
def test_every_kind_of_category_survives(value, native):
    encoding = Encoding("c", choice(ANYTHING), native)
    seen = encoding.encode(value)
    assert isinstance(seen, str if native else float)
    assert is_same(encoding.decode(seen), value)


def test_categories_are_different_readable_texts():
    labels = Encoding("c", choice(ANYTHING), True).domain().categories
    assert len(set(labels)) == len(ANYTHING)
    assert labels[:4] == ["1", "True", "1.0", "'1'"]
    assert labels[8:10] == ["'x'", "'x' #9"]


def test_categories_come_back_from_the_strings_of_numpy():
    encoding = Encoding("c", choice(["a", "b"]), True)
    assert encoding.decode(np.str_("'b'")) == "b"


def test_a_list_from_a_database_is_the_tuple_of_the_space():
    encoding = Encoding("c", choice([("A", 1), ("B", 2)]), True)
    assert encoding.decode(encoding.encode(["B", 2])) == ("B", 2)


@pytest.mark.parametrize("sampler", RANGES, ids=lambda sampler: sampler.name)
@given(u=st.floats(0, 1))
def test_every_position_is_a_value_of_the_sampler(sampler, u):
    encoding = Encoding("x", sampler, False)
    value = encoding.decode(np.float64(u))
    assert type(value) is (int if "randint" in sampler.name else float)
    assert sampler.position(value) is not None


def test_the_very_ends_of_a_normal_distribution_are_left_out():
    encoding = Encoding("x", Sampler("randn", {}), False)
    assert encoding.decode(1.0) == pytest.approx(3.719, abs=0.001)
    assert encoding.decode(0.0) == pytest.approx(-3.719, abs=0.001)


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("sampler", RANGES, ids=lambda sampler: sampler.name)
@given(u=st.floats(0.001, 0.999))
def test_values_come_back_from_what_a_searcher_sees(searcher, sampler, u):
    (encoding,) = make_encodings(searcher, {"x": sampler}).values()
    value = sampler.quantile(u)
    assert encoding.decode(encoding.encode(value)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    ("sampler", "value"),
    [
        (choice(["a"]), "b"),
        (choice([True, 2]), 1),
        (ranged("uniform", 0.0, 1.0), 1.5),
        (ranged("uniform", 0.0, 1.0), "0.5"),
        (ranged("randint", 0, 5), 5),
        (ranged("randint", 0, 5), 2.5),
        (ranged("quniform", 0.0, 1.0, q=0.5), 0.3),
    ],
)
def test_what_cannot_be_drawn_is_not_shown(sampler, value, native):
    assert Encoding("x", sampler, native).encode(value) is None


@pytest.mark.parametrize(
    ("sampler", "seen", "value"),
    [
        (ranged("randint", 0, 5), 2.9999999, 3),
        (ranged("randint", 0, 5), 5.2, 4),
        (ranged("lograndint", 1, 100), np.int64(7), 7),
        (ranged("qrandint", 10, 30, q=5), 14.0, 15),
        (ranged("quniform", 0.0, 1.0, q=0.25), 0.7, 0.75),
        (ranged("loguniform", 1e-5, 0.1), 0.10000000000000003, 0.1),
        (ranged("uniform", 0.0, 1.0), np.float64(-1e-17), 0.0),
    ],
)
def test_native_values_are_mended_to_plain_ones_in_the_range(sampler, seen, value):
    assert is_same(Encoding("x", sampler, True).decode(seen), value)


def test_what_is_given_comes_back_as_it_was():
    """And not as what the way through the distribution makes of it."""
    encoding = Encoding("x", Sampler("randn", {}), False)
    values = [0.1 * k for k in range(-40, 40)]
    assert [encoding.decode(encoding.encode(value)) for value in values] == values


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize(
    "single", [choice(["only"]), ranged("randint", 3, 4), ranged("qrandint", 7, 13, q=5)]
)
def test_where_there_is_nothing_to_choose_no_library_sees_it(searcher, single):
    (encoding,) = make_encodings(searcher, {"x": single}).values()
    assert not encoding.native
    assert encoding.decode(0.99) == single.quantile(0.5)


def test_names_for_libraries_are_simple_and_the_own_ones_are_kept():
    encodings = make_encodings("optuna", dict.fromkeys(["a.b", "a+c", "d [2]"], RANGES[0]))
    assert list(encodings) == ["p0", "p1", "p2"]
    assert [encoding.name for encoding in encodings.values()] == ["a.b", "a+c", "d [2]"]


def test_bayesopt_sees_positions_only():
    space = {"x": RANGES[0], "c": choice(["a", "b"])}
    assert not any(e.native for e in make_encodings("bayesopt", space).values())
    assert all(e.native for e in make_encodings("optuna", space).values())
    assert set(NATIVE) == set(SEARCHERS)


def test_steps_of_integers_begin_at_a_multiple():
    domain = Encoding("x", ranged("qrandint", 7, 23, q=5), True).domain()
    assert (domain.lower, domain.upper) == (10, 20)
