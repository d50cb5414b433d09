"""Sacred's facts about the machine, found out once in a process."""

import pytest
from sacred import host_info as sacreds

from sacred_ray_ingredient import host_info
from sacred_ray_ingredient.host_info import remember_host_info


@pytest.fixture
def gatherers(monkeypatch):
    """Sacred's list, with ours in it alone."""
    asked = []

    def gatherer(name, find_out):
        def ask():
            asked.append(name)
            return find_out()

        return sacreds.HostInfoGetter(ask, name)

    def nothing():
        raise sacreds.IgnoreHostInfo

    listed = [
        gatherer("cpu", lambda: "a processor"),
        gatherer("gpus", nothing),
        gatherer("ENV", lambda: {"asked": len(asked)}),
        gatherer("load", lambda: len(asked)),
    ]
    monkeypatch.setattr(sacreds, "_host_info_gatherers_list", listed)
    monkeypatch.setattr(host_info, "_remembered", set())
    return listed, asked


def ask_all(listed):
    found = {}
    for getter in listed:
        try:
            found[getter.name] = getter.getter_function()
        except sacreds.IgnoreHostInfo:
            continue
    return found


def test_what_cannot_change_is_asked_for_once(gatherers):
    listed, asked = gatherers
    for _ in range(3):
        remember_host_info()
        found = ask_all(listed)
        assert found["cpu"] == "a processor"
    assert asked.count("cpu") == 1


def test_that_there_is_nothing_is_remembered_too(gatherers):
    listed, asked = gatherers
    remember_host_info()
    for _ in range(3):
        assert "gpus" not in ask_all(listed)
    assert asked.count("gpus") == 1


def test_what_can_change_is_asked_for_each_time(gatherers):
    listed, asked = gatherers
    remember_host_info()
    first, second = ask_all(listed), ask_all(listed)
    assert first["ENV"] != second["ENV"]
    assert first["load"] != second["load"]
    assert (asked.count("ENV"), asked.count("load")) == (2, 2)


def test_is_wrapped_once_however_often_it_is_called(gatherers):
    listed, _ = gatherers
    remember_host_info()
    first = [getter.getter_function for getter in listed]
    remember_host_info()
    assert [getter.getter_function for getter in listed] == first


def test_sacred_has_all_that_is_remembered():
    names = {getter.name for getter in sacreds._host_info_gatherers_list}
    assert set(host_info._FIXED) <= names
    assert {"hostname", "os", "python_version"} <= set(sacreds.get_host_info())
