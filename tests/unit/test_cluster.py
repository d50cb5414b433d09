"""What is started along with a Ray of our own."""

import pytest
from ray._private import parameter

from sacred_ray_ingredient.cluster.connection import _only_what_is_needed


def started_with(**arguments):
    with _only_what_is_needed(arguments):
        made = parameter.RayParams(num_cpus=1)
    return made.no_monitor, made.include_log_monitor


def test_a_local_ray_has_no_autoscaler_and_no_log_monitor():
    assert started_with(address="local", log_to_driver=False) == (True, False)


@pytest.mark.parametrize(
    "arguments",
    [{"address": "local", "log_to_driver": True}, {"address": "auto"}, {}],
)
def test_any_other_ray_is_as_it_is(arguments):
    assert started_with(**arguments) == (False, None)


def test_rays_own_class_is_in_its_place_afterwards():
    whole = parameter.RayParams
    with pytest.raises(ValueError, match="refused"), _only_what_is_needed({"address": "local"}):
        raise ValueError("refused")
    assert parameter.RayParams is whole


def test_a_release_without_these_arguments_starts_everything(monkeypatch):
    class Older:
        def __init__(self, num_cpus):
            self.num_cpus = num_cpus

    monkeypatch.setattr(parameter, "RayParams", Older)
    with _only_what_is_needed({"address": "local"}):
        assert parameter.RayParams(num_cpus=3).num_cpus == 3
