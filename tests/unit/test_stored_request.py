"""What was asked of an outer experiment, through its document and back."""

import json

import pytest
from unit_inner import unit_ex

from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.stored_request import StoredRequest, request_to_store

outer_ex = make_outer("stored_outer", unit_ex)


def through_the_document(updates, names=(), **further):
    stored = request_to_store(outer_ex, updates, names, 7, **further)
    return StoredRequest.from_text(stored.text())


def again(stored, updates=(), names=()):
    return stored.asked_again(outer_ex, dict(updates), list(names))


def test_updates_and_names_come_back_and_later_ones_win():
    updates = {"ray": {"num_samples": 3, "metric": "loss"}, "unit_ex": {"base_lr": 0.1}}
    stored = through_the_document(updates, ["multi_env_eval"])
    assert stored.seed == 7
    updates, names = again(stored, {"ray": {"num_samples": 5}}, ["other"])
    assert updates == {"ray": {"num_samples": 5, "metric": "loss"}, "unit_ex": {"base_lr": 0.1}}
    assert names == ["multi_env_eval", "other"]


def test_dotted_updates_are_understood():
    stored = through_the_document({"ray.num_samples": 3})
    assert again(stored)[0] == {"ray": {"num_samples": 3}}


@pytest.mark.parametrize("entry", ["resume", "retry_failed", "accept_changes", "mongo"])
def test_what_is_asked_anew_each_time_is_not_kept(entry):
    stored = through_the_document({"ray": {entry: "anything", "mode": "min"}})
    assert again(stored)[0] == {"ray": {"mode": "min"}}


def test_the_content_of_a_file_goes_along(tmp_path):
    file = tmp_path / "my.search.json"
    file.write_text(json.dumps({"ray": {"mode": "min", "mongo": {"url": "x"}}, "seed": 2}))
    stored = through_the_document({}, [str(file)])
    file.unlink()
    _, (name,) = again(stored)
    assert "." not in name
    assert outer_ex.named_configs[name]() == {"ray": {"mode": "min"}, "seed": 2}
    twice = StoredRequest.from_text(request_to_store(outer_ex, {}, [name], 7).text())
    assert twice == stored


@pytest.mark.parametrize(
    ("updates", "told"),
    [
        ({"ray": {"stop": print}}, "ray.stop is an object of the type builtin_function_or_method"),
        ({"unit_ex": {"list": [{1: 2}]}}, "unit_ex.list has the key 1"),
        ({"a": [1, {2}]}, "a is an object of the type set"),
    ],
)
def test_what_is_no_plain_data_is_named(updates, told):
    stored = through_the_document(updates)
    assert stored.reason == f"{told}, which cannot be stored as text"
    assert stored.seed == 7


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "{}", 5])
def test_a_document_without_a_request_is_no_mistake(text):
    assert StoredRequest.from_text(text).reason == "the sweep was recorded without its command"


def test_numbers_keep_their_value_and_kind():
    values = {"a": 0.1 + 0.2, "b": 10**30, "c": 1.0, "d": float("inf"), "e": None, "f": True}
    assert repr(again(through_the_document(values))[0]) == repr(values)


def test_unknown_entries_stay_accepted():
    assert through_the_document({}, force=True).force is True
