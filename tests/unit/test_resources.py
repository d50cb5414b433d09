"""What trials ask for, and how much of that nodes can hold."""

import pytest

from sacred_ray_ingredient.cluster.resources import (
    TrialResources,
    is_resources,
    mistakes_in,
    read_resources,
    room_for,
)

TWO = [{"CPU": 1}, {"CPU": 1}]


class TestReading:
    def test_a_plain_entry_is_of_the_trials_own_process(self):
        assert read_resources({"cpu": 1, "gpu": 0.5, "licence": 2}) == TrialResources(
            {"CPU": 1, "GPU": 0.5, "licence": 2}
        )

    def test_bundles_are_of_what_it_starts(self):
        entry = {"cpu": 1, "bundles": [{"cpu": 2}, {"GPU": 1}], "strategy": "SPREAD"}
        resources = read_resources(entry)
        assert resources == TrialResources({"CPU": 1}, ({"CPU": 2}, {"GPU": 1}), "SPREAD")
        assert resources.group == [{"CPU": 1}, {"CPU": 2}, {"GPU": 1}]

    def test_what_is_0_is_not_asked_for(self):
        assert read_resources({"cpu": 0, "gpu": 0}) == TrialResources({})

    @pytest.mark.parametrize(
        "entry",
        [
            {},
            {"cpu": 0.5, "gpu": 0.25, "memory": 5e8},
            {"gpu": 4},
            {"cpu": 1.5},
            {"bundles": None, "strategy": None},
            {"cpu": 1, "bundles": ({"cpu": 1},), "strategy": "STRICT_SPREAD"},
        ],
    )
    def test_takes_what_ray_takes(self, entry):
        assert is_resources(entry)

    @pytest.mark.parametrize(
        "entry",
        [
            [{"cpu": 1}],
            {"cpu": "1"},
            {"cpu": True},
            {"cpu": -1},
            {"cpu": float("nan")},
            {"cpu": float("inf")},
            {"cpu": 0.00001},
            {"gpu": 1.5},
            {"": 1},
            {1: 1},
            {"cpu": 1, "bundles": {"cpu": 1}},
            {"cpu": 1, "bundles": "cpu"},
            {"cpu": 1, "bundles": [{"cpu": -1}]},
            {"cpu": 1, "bundles": [{"gpu": 2.5}]},
            {"cpu": 1, "strategy": "pack"},
        ],
    )
    def test_refuses_what_ray_refuses(self, entry):
        assert not is_resources(entry)


class TestRoom:
    @pytest.mark.parametrize(
        ("entry", "nodes", "room"),
        [
            ({"cpu": 1}, [{"CPU": 16.0}], 16),
            ({"cpu": 3}, [{"CPU": 16.0}], 5),
            ({"CPU": 0.5}, [{"CPU": 2.0}], 4),
            ({"cpu": 0.1}, [{"CPU": 0.3}], 3),
            ({"cpu": 1, "gpu": 0.25}, [{"CPU": 16.0, "GPU": 1.0}], 4),
            ({"cpu": 1, "memory": 4e9}, [{"CPU": 16.0, "memory": 9e9}], 2),
            ({"cpu": 0, "licence": 2}, [{"CPU": 1.0, "licence": 6.0}], 3),
            ({"cpu": 1, "gpu": 0}, [{"CPU": 2.0}], 2),
            ({}, [{"CPU": 8.0}], 8),
            ({"cpu": 0}, [{"CPU": 8.0}, {"CPU": 2.0}], 10),
            # A trial runs on one node: what is left on several is no room.
            ({"cpu": 3}, [{"CPU": 4.0}, {"CPU": 4.0}, {"CPU": 2.0}], 2),
            ({"cpu": 4}, [{"CPU": 2.0}], 1),
            ({"licence": 1}, [{"CPU": 2.0}], 1),
            ({}, [], 1),
        ],
    )
    def test_is_what_the_scarcest_allows_and_at_least_one(self, entry, nodes, room):
        assert room_for(read_resources(entry), nodes) == room

    @pytest.mark.parametrize(
        ("strategy", "nodes", "room"),
        [
            ("PACK", [{"CPU": 3}, {"CPU": 3}], 2),
            ("PACK", [{"CPU": 2}, {"CPU": 2}, {"CPU": 2}], 2),
            ("STRICT_PACK", [{"CPU": 2}, {"CPU": 2}, {"CPU": 4}], 1),
            ("STRICT_PACK", [{"CPU": 3}, {"CPU": 6}], 3),
            ("SPREAD", [{"CPU": 3}], 1),
            ("STRICT_SPREAD", [{"CPU": 9}, {"CPU": 2}, {"CPU": 1}], 1),
            ("STRICT_SPREAD", [{"CPU": 2}, {"CPU": 2}, {"CPU": 2}], 2),
        ],
    )
    def test_is_for_all_bundles_of_a_trial(self, strategy, nodes, room):
        resources = TrialResources({"CPU": 1}, ({"CPU": 1}, {"CPU": 1}), strategy)
        assert room_for(resources, nodes) == room


class TestMistakes:
    def test_are_none_where_a_node_has_it(self):
        assert mistakes_in(read_resources({"cpu": 2, "gpu": 1}), [{"CPU": 2, "GPU": 1}]) == []

    def test_name_what_no_node_has_and_the_most_there_is(self):
        found = mistakes_in(read_resources({"cpu": 2, "gpu": 1}), TWO)
        assert found == [
            "ray.resources_per_trial asks for cpu=2 in one process; no node of the cluster has as "
            "much (the most is 1).",
            "ray.resources_per_trial asks for gpu=1 in one process; no node of the cluster has as "
            "much (the most is 0).",
        ]

    def test_are_told_where_each_is_on_another_node(self):
        found = mistakes_in(read_resources({"cpu": 4, "gpu": 1}), [{"CPU": 4}, {"GPU": 1}])
        assert found == [
            "ray.resources_per_trial asks for CPU=4, GPU=1 in one process; no node of the cluster "
            "has all."
        ]

    def test_of_bundles_that_fit_one_by_one_only(self):
        resources = read_resources({"cpu": 1, "bundles": [{"cpu": 1}, {"cpu": 1}]})
        assert mistakes_in(resources, TWO) == [
            "ray.resources_per_trial asks for 3 bundles at once with the strategy PACK; each fits "
            "on a node, but all nodes together do not hold them."
        ]

    def test_of_strategies_that_need_one_node_or_many(self):
        packed = read_resources({"cpu": 1, "bundles": [{"cpu": 1}], "strategy": "STRICT_PACK"})
        assert mistakes_in(packed, [{"CPU": 2}]) == []
        assert "cpu=2 in one process" in mistakes_in(packed, TWO)[0]
        spread = read_resources({"cpu": 1, "bundles": [{"cpu": 1}], "strategy": "STRICT_SPREAD"})
        assert mistakes_in(spread, TWO) == []
        assert "STRICT_SPREAD" in mistakes_in(spread, [{"CPU": 8}])[0]

    def test_are_none_where_a_node_can_be_started_that_has_it(self):
        resources = read_resources({"gpu": 1})
        assert mistakes_in(resources, TWO, [{"GPU": 4}]) == []
        assert "no node that it has or can start" in mistakes_in(resources, TWO, [{"CPU": 9}])[0]
