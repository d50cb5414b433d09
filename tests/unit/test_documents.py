"""What goes into a document is never refused by the server."""

import collections
import datetime
import math

import bson
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacred_ray_ingredient.record.documents import Notes, is_finite_number, storable

WHATEVER = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.dates()
    | st.builds(object)
    | st.floats(width=32).map(np.float32)
    | st.integers(-(2**31), 2**31 - 1).map(np.int32)
    | st.lists(st.floats(), max_size=3).map(np.array),
    lambda below: (
        st.lists(below, max_size=3)
        | st.tuples(below, below)
        | st.frozensets(st.text() | st.integers(), max_size=3)
        | st.dictionaries(st.text() | st.integers() | st.none(), below, max_size=3)
    ),
    max_leaves=15,
)


class Unknown:
    def __repr__(self):
        return "<unknown>"


class Tensor:
    shape = ()

    def item(self):
        return 0.5

    def tolist(self):
        return 0.5


@given(st.dictionaries(st.text(), WHATEVER, max_size=3))
def test_bson_takes_anything_that_was_made_storable(document):
    bson.encode(storable(document))


@given(WHATEVER)
def test_storable_twice_is_storable_once(value):
    once = storable(value)
    assert repr(storable(once)) == repr(once)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array(7), 7),
        (Tensor(), 0.5),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (2**63 - 1, 2**63 - 1),
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9223372036854775809"),
        (Unknown(), "<unknown>"),
        (datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 1)),
        (b"\0", b"\0"),
        (True, True),
        (None, None),
    ],
)
def test_values_become_the_nearest_that_bson_has(value, expected):
    converted = storable(value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("a.b", "a,b"), ("$set", "@set"), ("a$", "a$"), ("a\0b", "ab"), (3, "3"), (None, "None")],
)
def test_keys_that_mongodb_refuses_are_replaced(key, expected):
    assert storable({"below": {key: 1}}) == {"below": {expected: 1}}


def test_nesting_that_is_too_deep_ends_as_text():
    deep = "bottom"
    for _ in range(60):
        deep = {"a": [deep]}
    bson.encode(storable({"deep": deep}))


def test_a_list_that_contains_itself_ends_too():
    endless = [1]
    endless.append(endless)
    bson.encode(storable({"endless": endless}))


class Broken(collections.UserDict):
    """A mapping that cannot be read."""

    def items(self):
        raise RuntimeError("changed size")


class BrokenSet(frozenset):
    def __iter__(self):
        raise RuntimeError("changed size")


class BrokenList(list):
    def __iter__(self):
        raise KeyError("gone")


class BrokenKey:
    def __str__(self):
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("value", "kind", "error"),
    [
        (Broken(), "Broken", "RuntimeError"),
        (BrokenSet([1]), "BrokenSet", "RuntimeError"),
        (BrokenList([1]), "BrokenList", "KeyError"),
        ({BrokenKey(): 1}, "dict", "ValueError"),
    ],
)
def test_a_container_that_raises_costs_itself_and_a_note(value, kind, error):
    notes = Notes()
    stored = storable({"a": 1, "odd": value, "b": [2]}, notes=notes, where="info")
    assert stored == {"a": 1, "odd": f"({kind}, which raised {error})", "b": [2]}
    assert notes.as_list() == [f"info.odd: {kind} cannot be read ({error})"]


def test_a_container_that_another_thread_adds_to_is_read_all_the_same():
    class Adds:
        def __repr__(self):
            values.append(3)
            entries["c"] = 3
            return "adds"

    entries, values = {"adds": Adds(), "a": 1}, [Adds(), 1]
    assert storable(entries) == {"adds": "adds", "a": 1}
    assert storable(values) == ["adds", 1, 3]


class TestNotes:
    @pytest.mark.parametrize("sentence", ["half \ud800", "\udcff", "\0"])
    def test_can_be_stored_whatever_they_say(self, sentence):
        notes = Notes()
        notes.add(sentence)
        bson.encode({"left_out": notes.as_list()})

    def test_with_half_of_a_character_are_told_once(self):
        notes = Notes()
        for _ in range(2):
            notes.add("half \ud800")
        assert notes.as_list() == ["half \\ud800"]


def test_the_argument_stays_as_it_is():
    given_value = {"a.b": [np.float64(1.0), (1,)]}
    storable(given_value)
    assert repr(given_value) == repr({"a.b": [np.float64(1.0), (1,)]})


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (0.5, True), (math.nan, False), (-math.inf, False), (True, False), ("1", False)],
)
def test_only_finite_numbers_can_be_drawn(value, expected):
    assert is_finite_number(value) is expected
