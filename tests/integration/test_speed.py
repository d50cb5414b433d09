"""The price of a trial: with reused workers it is a small part of a process per trial."""

import pytest

from benchmarks.trials import measure, temporary_place

TRIALS = 40

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


def test_trials_cost_under_a_tenth_of_an_actor_each():
    with temporary_place() as place:
        ours = measure(place, "ours", TRIALS, "once")
        recipe = measure(place, "recipe", TRIALS, "once")
    assert ours.search < recipe.search / 10, (ours, recipe)
