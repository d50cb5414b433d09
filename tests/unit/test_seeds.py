"""Seeds of trials."""

from hypothesis import given
from hypothesis import strategies as st

from sacred_ray_ingredient.seeds import derive_seed, seed_values


@given(st.integers(0, 2**80), st.integers(0, 10**6))
def test_a_seed_is_one_that_sacred_could_have_drawn(outer_seed, index):
    assert 1 <= derive_seed(outer_seed, index) <= 10**9


def test_seeds_are_the_same_on_every_machine():
    assert [derive_seed(42, index) for index in range(3)] == [
        463011512,
        3122357,
        969306525,
    ]


def test_trials_and_sweeps_differ_in_their_seeds():
    seeds = [derive_seed(outer, index) for outer in range(30) for index in range(30)]
    assert len(set(seeds)) == len(seeds)


def test_a_number_of_seeds_is_derived_and_a_list_is_taken():
    assert seed_values(2, outer_seed=7) == [derive_seed(7, 0), derive_seed(7, 1)]
    assert seed_values((3, 1), outer_seed=7) == [3, 1]
