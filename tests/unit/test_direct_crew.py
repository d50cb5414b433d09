"""What the workers of the direct engine take of a cluster."""

import pytest
import ray

from sacred_ray_ingredient.cluster.resources import TrialResources, read_resources
from sacred_ray_ingredient.engines import direct_crew
from sacred_ray_ingredient.engines.direct_crew import actor_options, starter
from sacred_ray_ingredient.errors import SweepFailed
from sacred_ray_ingredient.storage import Storage

NEVER_AGAIN = {"max_restarts": 0, "max_task_retries": 0}


class TestOptions:
    @pytest.mark.parametrize(
        ("resources", "options"),
        [
            ({}, {"num_cpus": 0}),
            ({"cpu": 1}, {"num_cpus": 1}),
            ({"CPU": 2, "GPU": 1}, {"num_cpus": 2, "num_gpus": 1}),
            ({"cpu": 0, "gpu": 0.5}, {"num_gpus": 0.5, "num_cpus": 0}),
            ({"cpu": 0.25, "memory": 1e6}, {"num_cpus": 0.25, "memory": 1e6}),
            (
                {"cpu": 1, "tpu_slice": 2, "licence": 0.1},
                {"num_cpus": 1, "resources": {"tpu_slice": 2, "licence": 0.1}},
            ),
        ],
    )
    def test_are_rays_and_no_actor_is_restarted(self, resources, options):
        own = read_resources(resources).own
        assert actor_options(own) == {**NEVER_AGAIN, **options}

    @pytest.mark.parametrize(
        "resources",
        [{}, {"cpu": 0.5, "gpu": 0.5}, {"cpu": 0, "memory": 1e6}, {"licence": 0.1, "x": 0}],
    )
    def test_are_accepted_by_ray(self, resources):
        class Nothing:
            pass

        assert (
            ray.remote(Nothing).options(**actor_options(read_resources(resources).own)) is not None
        )


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
            starter("sweep", ["rule"], Storage("/folder"), TrialResources({"CPU": 1}))
