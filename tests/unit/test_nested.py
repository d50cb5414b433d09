"""Nested dictionaries addressed by dotted paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacred_ray_ingredient.nested import (
    flat_entries,
    flatten,
    get_path,
    has_path,
    merge,
    set_path,
    unflatten,
)

NAMES = st.text("abc", min_size=1, max_size=3)
CONFIGS = st.dictionaries(
    NAMES,
    st.recursive(
        st.integers() | st.none() | st.text(max_size=3),
        lambda below: st.dictionaries(NAMES, below, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def test_flatten_joins_names_with_dots():
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {"a.b": 1, "a.c.d": 2, "e": [3]}


def test_an_empty_dictionary_is_a_leaf():
    assert flatten({"a": {}, "b": {"c": {}}}) == {"a": {}, "b.c": {}}


def test_flatten_can_start_below_a_prefix():
    assert flatten({"a": {"b": 1}}, "ray") == {"ray.a.b": 1}


def test_names_that_are_no_text_become_text():
    assert flatten({1: {2: "x"}}) == {"1.2": "x"}


@given(CONFIGS)
def test_unflatten_undoes_flatten(config):
    assert unflatten(flatten(config)) == config


def test_set_path_keeps_siblings_and_replaces_what_is_in_the_way():
    config = {"a": {"b": 1}, "c": 5}
    set_path(config, "a.d", 2)
    set_path(config, "c.e", 3)
    assert config == {"a": {"b": 1, "d": 2}, "c": {"e": 3}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a", {"b": None}), ("a.b", None), ("a.c", "default"), ("a.b.c", "default"), ("x", "default")],
)
def test_get_path_gives_the_entry_or_the_default(path, expected):
    assert get_path({"a": {"b": None}}, path, "default") == expected


def test_an_entry_that_is_none_is_there():
    assert has_path({"a": {"b": None}}, "a.b")
    assert not has_path({"a": {"b": None}}, "a.c")
    assert not has_path({"a": 1}, "a.b")


def test_merge_is_deep_and_the_later_layer_wins():
    layers = ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}, {"d": {"e": 5}})
    assert merge(*layers) == {"a": {"b": 4, "c": 2}, "d": {"e": 5}}


def test_a_plain_value_replaces_a_dictionary():
    assert merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}


@given(CONFIGS, CONFIGS)
def test_merge_leaves_its_arguments_alone(one, other):
    before = repr((one, other))
    for value in merge(one, other).values():
        if isinstance(value, dict):
            value["added"] = 1
    assert repr((one, other)) == before


@given(CONFIGS)
def test_merging_twice_is_the_same_as_once(config):
    assert merge(config, config) == config


class TestFlatEntries:
    def test_nested_dotted_and_mixed_mean_the_same(self):
        expected = ({"a.b": 1, "a.c.d": 2}, [])
        assert flat_entries({"a": {"b": 1, "c": {"d": 2}}}, "s") == expected
        assert flat_entries({"a.b": 1, "a": {"c.d": 2}}, "s") == expected

    def test_none_takes_an_entry_out(self):
        assert flat_entries({"a": None, "b": 1}, "s") == ({"b": 1}, [])
        assert flat_entries(None, "s") == ({}, [])

    def test_some_mappings_are_values(self):
        raw = {"a": {"grid": [1]}}
        assert flat_entries(raw, "s", lambda v: "grid" in v) == ({"a": {"grid": [1]}}, [])

    @pytest.mark.parametrize(
        ("raw", "sentence"),
        [
            ("lr", "s is 'lr'; it must be a mapping from parameters to values."),
            ({"": 1}, "s has the entry ''; names must be text and not empty."),
            ({"a": {3: 1}}, "s has the entry 'a..3'; names must be text and not empty."),
            ({"a..b": 1}, "s has the entry 'a..b'; names must be text and not empty."),
            (
                {"a.b": 1, "a": {"b": 2}},
                "s.a.b is given twice, dotted and nested; keep one of them.",
            ),
            (
                {"a": 1, "a.b": 2},
                "s has both 'a' and 'a.b', which is a part of it; keep one of them.",
            ),
        ],
    )
    def test_what_contradicts_itself_is_a_sentence(self, raw, sentence):
        assert flat_entries(raw, "s")[1] == [sentence]
