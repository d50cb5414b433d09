"""Whether a cluster has room for a trial, or can get it."""

import json

import pytest
from ray.experimental import internal_kv

from sacred_ray_ingredient.cluster import capacity
from sacred_ray_ingredient.cluster.capacity import Autoscaler, check_resources, most_at_once
from sacred_ray_ingredient.cluster.resources import read_resources
from sacred_ray_ingredient.errors import ConfigMistakes

HEAD = {"CPU": 1, "node:__internal_head__": 1.0}
CONFIG = {
    "max_workers": 3,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 1}, "max_workers": 0},
        "small": {"resources": {"CPU": 2}, "max_workers": 9},
        "large": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 1},
    },
}


@pytest.fixture(autouse=True)
def there(monkeypatch):
    nodes = [HEAD]
    monkeypatch.setattr(capacity, "nodes_there", lambda: nodes)
    return nodes


@pytest.fixture
def scaled(monkeypatch):
    """Give the cluster an autoscaler; return how patiently it was looked for."""
    asked = []

    def set_up(autoscaler):
        def find(patience_s):
            asked.append(patience_s)
            return autoscaler

        monkeypatch.setattr(capacity, "find_autoscaler", find)
        return asked

    return set_up


def test_what_fits_is_checked_without_a_word_and_without_a_wait(scaled):
    asked = scaled(Autoscaler())
    assert check_resources({"cpu": 1}, may_grow=True) == (Autoscaler(), None)
    assert asked == [0.0]


def test_a_local_ray_is_not_asked_for_an_autoscaler(scaled):
    asked = scaled(Autoscaler())
    assert check_resources({"cpu": 1}, may_grow=False) == (None, None)
    with pytest.raises(ConfigMistakes, match=r"asks for cpu=2 .*\(the most is 1\)"):
        check_resources({"cpu": 2}, may_grow=False)
    assert asked == []


@pytest.mark.parametrize("autoscaler", [None, Autoscaler(({"CPU": 1},))])
def test_what_can_never_be_is_a_mistake(scaled, autoscaler):
    asked = scaled(autoscaler)
    which = "the cluster" if autoscaler is None else "that it has or can start"
    with pytest.raises(ConfigMistakes, match=rf"asks for cpu=2 .* {which} .*\(the most is 1\)"):
        check_resources({"cpu": 2}, may_grow=True)
    assert asked == [10.0]


@pytest.mark.parametrize("could_be", [None, ({"CPU": 2},)])
def test_what_the_autoscaler_may_get_is_waited_for_with_a_word(scaled, could_be):
    scaled(Autoscaler(could_be))
    assert check_resources({"cpu": 2}, may_grow=True) == (
        Autoscaler(could_be),
        "No node has room for a trial yet (CPU=2): the cluster's autoscaler is asked for one, and "
        "trials wait for it.",
    )


def test_trials_at_once_count_the_nodes_that_can_be_started_once(there):
    resources = read_resources({"cpu": 1})
    scaler = Autoscaler(({"CPU": 2}, {"CPU": 2}))
    assert most_at_once(resources, None) == 1
    assert most_at_once(resources, Autoscaler()) == 1
    assert most_at_once(resources, scaler) == 5
    there.append({"CPU": 2})
    assert most_at_once(resources, scaler) == 5


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ({}, None),
        ({"status": {}}, None),
        ({"status": {"autoscaler_report": {"node_type_mapping": {"a": "node_a"}}}}, None),
        ({"status": {"autoscaler_report": {"node_type_mapping": {"a": "head"}}}}, Autoscaler()),
        ({"second": b"1"}, Autoscaler()),
    ],
)
def test_an_autoscaler_is_one_that_has_types_of_nodes(monkeypatch, stored, found):
    def get(key, namespace=None):
        if namespace is not None:
            return stored.get("second")
        return json.dumps(stored["status"]).encode() if "status" in stored else None

    monkeypatch.setattr(internal_kv, "_internal_kv_get", get)
    monkeypatch.setattr(capacity, "_startable", lambda: None)
    assert capacity.find_autoscaler() == found


def test_the_configuration_says_which_nodes_can_be_started():
    nodes = capacity._startable_in(CONFIG)
    assert sorted(nodes, key=str) == [{"CPU": 2}] * 3 + [{"CPU": 8, "GPU": 1}]


def test_types_whose_size_only_the_provider_knows_leave_it_open():
    types = {**CONFIG["available_node_types"], "any": {"node_config": {}}}
    assert capacity._startable_in({**CONFIG, "available_node_types": types}) is None
