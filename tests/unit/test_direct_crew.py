"""What the workers of the direct engine take of a cluster."""

import pytest
import ray

from sacred_ray_ingredient.cluster.resources import room_for
from sacred_ray_ingredient.engines import direct_crew
from sacred_ray_ingredient.engines.direct_crew import actor_options, starter
from sacred_ray_ingredient.errors import SweepFailed

NEVER_AGAIN = {"max_restarts": 0, "max_task_retries": 0}


class TestOptions:
    @pytest.mark.parametrize(
        ("resources", "options"),
        [
            ({}, {"num_cpus": 0}),
            ({"cpu": 1}, {"num_cpus": 1}),
            ({"CPU": 2, "GPU": 1}, {"num_cpus": 2, "num_gpus": 1}),
            ({"cpu": 0, "gpu": 0.5}, {"num_cpus": 0, "num_gpus": 0.5}),
            ({"cpu": 0.25, "memory": 1e6}, {"num_cpus": 0.25, "memory": 1e6}),
            (
                {"cpu": 1, "tpu_slice": 2, "licence": 0.1},
                {"num_cpus": 1, "resources": {"tpu_slice": 2, "licence": 0.1}},
            ),
        ],
    )
    def test_are_rays_and_no_actor_is_restarted(self, resources, options):
        assert actor_options(resources) == {**NEVER_AGAIN, **options}

    @pytest.mark.parametrize(
        "resources",
        [{}, {"cpu": 0.5, "gpu": 0.5}, {"cpu": 0, "memory": 1e6}, {"licence": 0.1, "x": 0}],
    )
    def test_are_accepted_by_ray(self, resources):
        class Nothing:
            pass

        assert ray.remote(Nothing).options(**actor_options(resources)) is not None


class TestRoom:
    @pytest.mark.parametrize(
        ("resources", "there", "room"),
        [
            ({"cpu": 1}, {"CPU": 16.0}, 16),
            ({"cpu": 3}, {"CPU": 16.0}, 5),
            ({"CPU": 0.5}, {"CPU": 2.0}, 4),
            ({"cpu": 0.1}, {"CPU": 0.3}, 3),
            ({"cpu": 1, "gpu": 0.25}, {"CPU": 16.0, "GPU": 1.0}, 4),
            ({"cpu": 1, "memory": 4e9}, {"CPU": 16.0, "memory": 9e9}, 2),
            ({"cpu": 0, "licence": 2}, {"CPU": 1.0, "licence": 6.0}, 3),
            ({"cpu": 1, "gpu": 0}, {"CPU": 2.0}, 2),
            ({}, {"CPU": 8.0}, 8),
            ({"cpu": 0}, {"CPU": 8.0}, 8),
            ({"cpu": 4}, {"CPU": 2.0}, 1),
            ({"licence": 1}, {"CPU": 2.0}, 1),
            ({}, {}, 1),
        ],
    )
    def test_is_what_the_scarcest_allows_and_at_least_one(self, resources, there, room):
        assert room_for(resources, there) == room


class TestStarter:
    def test_says_that_a_rule_cannot_be_sent(self, monkeypatch):
        def put(value):
            if isinstance(value, list):
                raise TypeError("cannot pickle '_thread.lock' object\nand a trace")

        monkeypatch.setattr(direct_crew.ray, "put", put)
        with pytest.raises(
            SweepFailed,
            match=r"^A function of ray\.stop cannot be sent .* \(cannot pickle '_thread\.lock' "
            r"object\); give it as 'module:function', or use ray\.engine=tune\.$",
        ):
            starter("sweep", ["rule"], "/folder", {"cpu": 1})
