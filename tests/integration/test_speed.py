"""The price of a trial: with reused workers it is a small part of a process per trial."""

import pytest

from benchmarks.trials import measure, temporary_place

TRIALS = 40

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


def test_trials_cost_under_a_tenth_of_an_actor_each():
    with temporary_place() as place:
        # The shorter of two: it is over in seconds, in which another process may have all cores,
        # while the recipe runs long enough for such moments to average out.
        ours = min((measure(place, "ours", TRIALS, label) for label in "ab"), key=_search)
        recipe = measure(place, "recipe", TRIALS, "a")
    assert ours.search < recipe.search / 10, (ours, recipe)


def _search(times):
    return times.search
