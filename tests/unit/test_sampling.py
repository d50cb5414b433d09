"""What is sampled: order, numbers and draws of trials, conditions and suggestions."""

import itertools
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.nested import flatten, get_path
from sacred_ray_ingredient.samplers import Sampler, read_sampler
from sacred_ray_ingredient.sampling import NAMED_CONFIGS, Sample, Sampling
from sacred_ray_ingredient.search_space import parse_search_space


def sampling(raw, num_samples=1, seed=7, **more):
    space, mistakes = parse_search_space(raw)
    assert mistakes == []
    return Sampling(space, num_samples, seed, **more)


def sampled(raw, num_samples=1, **more):
    return [flatten(s.sampled) for s in sampling(raw, num_samples, **more).samples()]


def numbers(samples):
    return [(sample.configuration, sample.repetition) for sample in samples]


def test_a_grid_is_walked_through_from_the_last_parameter_on():
    assert sampled({"a": [1, 2], "b": {"c": ["x", "y"]}, "d": 3}) == [
        {"a": 1, "b.c": "x", "d": 3},
        {"a": 1, "b.c": "y", "d": 3},
        {"a": 2, "b.c": "x", "d": 3},
        {"a": 2, "b.c": "y", "d": 3},
    ]


def test_the_order_is_samples_envs_named_configs_grid_seeds():
    made = sampling(
        {"g": [1, 2]},
        2,
        envs=("e1", "e2"),
        env_key="env.name",
        seeds=(5, 6),
        named_configs=Sampler("grid_search", {"values": [("n1",), []]}),
    )
    samples = list(made.samples())
    found = [
        (s.sampled["env"]["name"], s.named_configs, s.sampled["g"], s.sampled["seed"])
        for s in samples
    ]
    expected = list(itertools.product(("e1", "e2"), (("n1",), ()), (1, 2), (5, 6)))
    assert found == 2 * expected
    assert numbers(samples) == [(k, r) for k in range(16) for r in range(2)]
    assert made.total() == len(samples) == 32
    assert list(flatten(samples[0].sampled)) == ["env.name", "g", "seed"]


def test_repetitions_have_no_seed_of_the_sampling_and_the_same_draws():
    made = sampling({"lr": "uniform(0, 1)"}, 2, repeat=3)
    samples = list(made.samples())
    assert numbers(samples) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    draws = [sample.sampled["lr"] for sample in samples]
    assert draws[0] == draws[1] == draws[2] != draws[3]
    assert all(list(sample.sampled) == ["lr"] for sample in samples)
    assert made.total() == 6


def test_draws_are_the_same_over_environments_and_fresh_for_each_point_and_sample():
    found = sampled({"lr": "uniform(0, 1)", "g": [1, 2]}, 2, envs=("a", "b"))
    by_env = {env: [s["lr"] for s in found if s["env_name"] == env] for env in "ab"}
    assert by_env["a"] == by_env["b"]
    assert len(set(by_env["a"])) == 4


def test_draws_are_fresh_for_each_alternative_of_named_configs():
    grid = Sampler("grid_search", {"values": [("n1",), ("n2",)]})
    found = sampled({"lr": "uniform(0, 1)"}, 3, named_configs=grid)
    assert len({s["lr"] for s in found}) == 6


def test_draws_depend_on_the_seed_alone():
    raw = {"lr": "uniform(0, 1)", "n": "randint(0, 1000000)"}
    assert sampled(raw, 3) == sampled(raw, 3)
    assert sampled(raw, 3) == sampled(raw, 5)[:3]
    assert not {s["lr"] for s in sampled(raw, 3)} & {s["lr"] for s in sampled(raw, 3, seed=8)}
    # The very numbers, which must be the same on every machine and in every version.
    assert sampled({"lr": "uniform(0, 1)"}, 2) == [
        {"lr": pytest.approx(0.6054078801801731, rel=1e-12)},
        {"lr": pytest.approx(0.4346958166736353, rel=1e-12)},
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"a": "uniform(0, 1)"},
        {"a": "5 if lr > 0"},
        {"a": "uniform(0, 1) if lr > 0.5"},
        {"a": "choice([1, 2])", "b": "1 if a == 2"},
    ],
)
def test_a_further_parameter_changes_no_other(more):
    raw = {"lr": "uniform(0, 1)", "n": "uniform(0, 1) if lr > 0.3", "g": [1, 2]}
    before, after = sampled(raw, 9), sampled({**more, **raw}, 9)
    assert before == [{k: v for k, v in s.items() if k in raw} for s in after]


def test_a_further_grid_keeps_what_is_drawn_at_its_first_value():
    raw = {"lr": "uniform(0, 1)"}
    after = sampled({**raw, "g": ["x", "y"]}, 4)
    assert [s["lr"] for s in after if s["g"] == "x"] == [s["lr"] for s in sampled(raw, 4)]


def test_draws_are_uniform_and_independent():
    found = sampled({"a": "uniform(0, 1)", "b": "uniform(0, 1)"}, 5000)
    a, b = ([s[key] for s in found] for key in "ab")
    assert stats.kstest(a, "uniform").pvalue > 0.01
    assert stats.kstest(b, "uniform").pvalue > 0.01
    assert abs(stats.pearsonr(a, b).statistic) < 0.05
    assert abs(stats.pearsonr(a[1:], a[:-1]).statistic) < 0.05


def test_only_one_case_of_a_parameter_is_there():
    raw = {
        "opt": ["sgd", "adam", "lbfgs", "none"],
        "lr": "uniform(0, 1) if opt == 'sgd' else randint(5, 9) if opt == 'adam' else 'auto'",
        "momentum": "0.9 if opt == 'sgd' else None if opt == 'lbfgs'",
    }
    sgd, adam, lbfgs, none = sampled(raw)
    assert 0 <= sgd["lr"] < 1
    assert adam["lr"] in range(5, 9)
    assert lbfgs["lr"] == none["lr"] == "auto"
    assert (sgd["momentum"], lbfgs["momentum"]) == (0.9, None)
    assert "momentum" not in adam
    assert "momentum" not in none


def test_conditions_may_stand_before_what_they_read():
    assert sampled({"a": "1 if b == 2 else 3", "b": [2, 4]}) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_a_condition_that_reads_what_is_left_alone_is_false():
    raw = {
        "opt": ["sgd", "adam"],
        "nesterov": "[True, False] if opt == 'sgd'",
        "damping": "0 if nesterov else 1 if not nesterov",
        "other": "0 if nesterov or True else 7",
        "whole": "1 if nesterov == 'never'",
    }
    assert sampled(raw, fixed={"nesterov": True, "damping": 5}) == [
        {"opt": "sgd", "nesterov": True, "damping": 0, "other": 0},
        {"opt": "sgd", "nesterov": False, "damping": 1, "other": 0},
        {"opt": "adam", "other": 7},
    ]


def test_conditions_on_nested_parameters_and_on_parts_of_them():
    raw = {"m.a": [1, 2], "m.b": "5 if m.a == 1", "c": "6 if m.b == 5", "d": "7 if 'a' in m"}
    assert sampled(raw) == [{"m.a": 1, "m.b": 5, "c": 6, "d": 7}, {"m.a": 2}]


def test_a_grid_that_is_left_alone_multiplies_nothing():
    raw = {
        "opt": ["sgd", "adam"],
        "momentum": "[0.1, 0.2, 0.3] if opt == 'sgd'",
        "beta": "[1, 2] if opt == 'adam' and g > 0",
        "g": [0, 1],
    }
    made = sampling(raw, 2, repeat=2)
    samples = list(made.samples())
    points = {tuple(sorted(flatten(s.sampled).items())) for s in samples}
    # sgd: 3 * 2, adam: 1 with g = 0 and 2 with g = 1
    assert len(points) == 9
    assert len(samples) == made.total() == 9 * 2 * 2
    assert numbers(samples) == [(k, r) for k in range(18) for r in range(2)]


def test_a_grid_may_depend_on_what_is_drawn():
    raw = {
        "lr": "uniform(0, 1)",
        "opt": "choice(['sgd', 'adam'])",
        "units": "[1, 2, 3] if opt == 'sgd' else 5",
        "g": [0, 1],
    }
    made = sampling(raw, 50)
    samples = [s.sampled for s in made.samples()]
    assert {s["opt"] for s in samples} == {"sgd", "adam"}
    assert made.total() == len(samples)
    assert made.total(suggested=True) == 50 * 2 * 3
    # What the grid depends on is drawn once for all its values, what it does not, for each.
    of_sgd = [s for s in samples if s["opt"] == "sgd"]
    assert [s["units"] for s in of_sgd] == [1, 2, 3] * (len(of_sgd) // 3)
    assert len({s["lr"] for s in samples}) == len(samples)


def test_conditions_read_the_environment_and_the_fixed_configuration():
    raw = {"a": "[1, 2] if env_name == 'x' and layers.n > 2", "b": "3 if env_name == 'y'"}
    fixed = {"env_name": "z", "layers": {"n": 3, "m": 4}}
    found = sampled(raw, envs=("x", "y"), fixed=fixed)
    assert found == [
        {"env_name": "x", "a": 1},
        {"env_name": "x", "a": 2},
        {"env_name": "y", "b": 3},
    ]
    assert sampled(raw, fixed=fixed) == [{}]
    assert fixed == {"env_name": "z", "layers": {"n": 3, "m": 4}}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"a": "1 if optt == 2"}, "the condition of ray.search_space.a is 'optt == 2', which"),
        ({"a": "1 if optt == 2"}, "there is no config entry 'optt' .did you mean 'opt'"),
        ({"a": "[1, 2] if opt > 'x'"}, "cannot be computed"),
    ],
)
def test_a_condition_that_cannot_be_computed_is_told(raw, sentence):
    made = sampling(raw, fixed={"opt": 1})
    with pytest.raises(ResolverError, match=sentence):
        list(made.samples())
    with pytest.raises(ResolverError, match=sentence):
        made.of_suggestion({}, 0)


def test_parameters_that_move_together():
    raw = {"env+opt.lr": [["A", 1], ["B", 2]], "x+y": "choice([([1], {'k': 2})])"}
    assert sampled(raw) == [
        {"env": "A", "opt.lr": 1, "x": [1], "y.k": 2},
        {"env": "B", "opt.lr": 2, "x": [1], "y.k": 2},
    ]


def test_conditions_on_parameters_that_move_together():
    raw = {"a+b": "[(1, 2)] if c else [(3, 4), (5, 6)]", "c": [True, False], "d": "9 if b == 4"}
    assert sampled(raw) == [
        {"a": 1, "b": 2, "c": True},
        {"a": 3, "b": 4, "c": False, "d": 9},
        {"a": 5, "b": 6, "c": False},
    ]


def test_trials_do_not_share_lists():
    first, second = sampling({"a": [[1, 2]], "b": [{"k": [1]}]}, 2).samples()
    first.sampled["a"].append(3)
    first.sampled["b"]["k"].append(3)
    assert second.sampled == {"a": [1, 2], "b": {"k": [1]}}
    repeated = list(sampling({}, trials=({"config_updates": {"a": [1]}},), repeat=2).samples())
    repeated[0].sampled["a"].append(3)
    assert repeated[1].sampled == {"a": [1]}


def test_named_configs_that_are_drawn():
    choice = read_sampler("choice([['a', 'b'], ['c'], []], weights=[1, 1, 2])", "x")
    made = sampling({"g": [1, 2]}, 200, named_configs=choice)
    drawn = [s.named_configs for s in made.samples()]
    assert set(drawn) == {("a", "b"), ("c",), ()}
    assert 0.4 < drawn.count(()) / 400 < 0.6
    assert any(one != other for one, other in zip(drawn[::2], drawn[1::2], strict=True))
    assert made.dimensions() == {NAMED_CONFIGS: choice}
    assert made.total() == made.total(suggested=True) == 400


def test_dimensions_are_those_of_the_space_and_drawn_named_configs():
    grid = Sampler("grid_search", {"values": [["a"]]})
    assert sampling({"a": [1], "b": 2}, named_configs=grid).dimensions() == {}
    raw = {"lr": "randn() if x else uniform(0, 1)", "g": [1]}
    assert list(sampling(raw).dimensions()) == ["lr", "lr [2]"]


def test_listed_trials():
    trials = (
        {"named_configs": ["a", "b"], "config_updates": {"m.lr": 1, "m": {"k": 2}}},
        {"named_configs": (), "config_updates": {}},
        {},
    )
    made = sampling({}, trials=trials, seeds=(5, 6))
    samples = list(made.samples())
    assert numbers(samples) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert samples[1] == Sample({"m": {"lr": 1, "k": 2}, "seed": 6}, 0, 1, ("a", "b"))
    assert samples[2] == Sample({"seed": 5}, 1, 0, ())
    assert made.total() == 6
    repeated = sampling({}, trials=trials, repeat=3)
    assert numbers(repeated.samples()) == [(k, r) for k in range(3) for r in range(3)]
    assert repeated.total() == 9


def test_all_trials_of_a_suggestion():
    raw = {"lr": "uniform(0, 1) if opt == 'a' else randint(1, 3)", "opt": ["a", "b"], "c": 3}
    choice = Sampler("choice", {"categories": [["n"], []]})
    made = sampling(raw, 4, envs=("x", "y"), seeds=(5, 6), named_configs=choice)
    values = {"lr": 0.25, "lr [2]": 2, NAMED_CONFIGS: ["n"], "unused": 1}
    samples = made.of_suggestion(values, 10)
    assert [
        (s.sampled["env_name"], s.sampled["opt"], s.sampled["lr"], s.sampled["seed"])
        for s in samples
    ] == [
        (env, opt, lr, seed)
        for env in "xy"
        for opt, lr in (("a", 0.25), ("b", 2))
        for seed in (5, 6)
    ]
    assert numbers(samples) == [(10 + k, r) for k in range(4) for r in range(2)]
    assert all(s.named_configs == ("n",) and s.sampled["c"] == 3 for s in samples)
    assert made.total(suggested=True) == made.total() == 4 * len(samples)


def test_a_suggestion_is_kept_as_plain_data():
    import numpy as np

    made = sampling({"lr": "uniform(0, 1)", "a+b": "choice([(1, 2)])"})
    (sample,) = made.of_suggestion({"lr": np.float64(0.5), "a+b": np.array([3, 4])}, 0)
    assert sample.sampled == {"lr": 0.5, "a": 3, "b": 4}
    assert [type(value) for value in sample.sampled.values()] == [float, int, int]
    made = sampling({"f": "choice([True, False])", "a": "1 if f is True"})
    assert made.of_suggestion({"f": np.bool_(True)}, 0)[0].sampled == {"f": True, "a": 1}


def test_a_suggestion_leaves_out_what_is_not_active():
    made = sampling({"opt": "choice(['a', 'b'])", "m": "uniform(0, 1) if opt == 'a'"})
    assert made.of_suggestion({"opt": "b", "m": 0.5}, 0) == [Sample({"opt": "b"}, 0)]
    assert made.of_suggestion({"opt": "b"}, 3) == [Sample({"opt": "b"}, 3)]
    assert made.of_suggestion({"opt": "a", "m": 0.5}, 0) == [Sample({"opt": "a", "m": 0.5}, 0)]
    with pytest.raises(ResolverError, match="The searcher suggested no value for 'm'"):
        made.of_suggestion({"opt": "a"}, 0)


@pytest.mark.parametrize(
    ("raw", "more", "total"),
    [
        ({}, {}, 1),
        ({"a": [1, 2, 3], "b": {"c": "grid_search([1, 2])"}, "d": "choice([1, 2])"}, {}, 6),
        ({"d": "uniform(0, 1)"}, {"num_samples": 5, "envs": ("a", "b"), "repeat": 3}, 30),
        ({"a+b": [[1, 2], [3, 4]]}, {"num_samples": 2, "seeds": (1, 2, 3)}, 12),
        ({"a": "[1, 2, 3] if c else [1, 2]", "c": [0, 1]}, {}, 5),
        ({"a": "[1, 2, 3] if c else 5", "c": [0, 1]}, {"num_samples": 2}, 8),
    ],
)
def test_trials_are_counted_without_running_them(raw, more, total):
    made = sampling(raw, **more)
    assert made.total() == total
    assert len(list(made.samples())) == total


def test_the_most_trials_with_a_searcher_where_grids_are_under_conditions():
    made = sampling({"a": "[1, 2, 3] if c > 0 else [4, 5]", "c": "randn()"}, 4, repeat=2)
    assert made.total(suggested=True) == 4 * 3 * 2
    assert made.total() <= made.total(suggested=True)


simple_conditions = st.sampled_from(["{} == 1", "{} > 1 or {} == 0", "not {}"])


@st.composite
def conditional_spaces(draw):
    names = "abcde"
    raw = {}
    for index, name in enumerate(names):
        value = draw(st.sampled_from(["[0, 1, 2]", "choice([0, 1, 2])", "1", "[1, 3]"]))
        if index and draw(st.booleans()):
            read = draw(st.sampled_from(names[:index]))
            value += f" if {draw(simple_conditions).format(read, read)}"
            value += draw(st.sampled_from(["", " else 7", " else [5, 6]"]))
            raw[name] = value
        else:
            raw[name] = {"[0, 1, 2]": [0, 1, 2], "[1, 3]": [1, 3], "1": 1}.get(value, value)
    return dict(draw(st.permutations(list(raw.items()))))


@given(conditional_spaces(), st.integers(1, 2))
@settings(max_examples=150, deadline=None)
def test_each_point_of_a_conditional_space_is_right_and_there_once(raw, num_samples):
    made = sampling(raw, num_samples)
    found = [s.sampled for s in made.samples()]
    assert len(found) == made.total() <= made.total(suggested=True)
    if not made.dimensions():
        assert len({tuple(s.items()) for s in found}) == len(found) // num_samples
    for point in found:
        assert list(point) == [key for key in made.space.paths() if key in point]
        for key, entry in made.space.entries.items():
            assert (key in point) == any(holds(case.condition, point) for case in entry.cases)
            for case in entry.cases:
                if holds(case.condition, point):
                    allowed = case.sampler.values() if case.sampler else [case.constant]
                    assert point[key] in allowed
                    break


def holds(condition, point):
    if condition is None:
        return True
    return all(name in point for name in condition.names) and bool(condition.evaluate(point))


@pytest.mark.timeout(60)
def test_the_last_of_many_samples_is_reached_soon():
    raw = {
        "lr": "loguniform(1e-5, 0.1)",
        "m.a": "uniform(0, 1)",
        "m.b": "randn()",
        "opt": "choice(['a', 'b'], weights=[3, 1])",
        "n": "qrandint(2, 8, 2)",
    }
    made = sampling(raw, 20_000)
    start = time.perf_counter()
    *_, last = made.samples()
    assert time.perf_counter() - start < 10
    assert last.configuration == 19_999
    assert math.isfinite(get_path(last.sampled, "m.b"))
    start = time.perf_counter()
    assert sampling(raw, 10**9).total() == 10**9
    assert next(sampling(raw, 10**9).samples()).configuration == 0
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("raw", "more"),
    [
        ({"lr": "uniform(0, 1)"}, {}),
        ({"lr": "uniform(0, 1)", "g": [1, 2, 3], "h": [4, 5]}, {"envs": ("a", "b")}),
        ({"lr": "uniform(0, 1)", "g": [1, 2]}, {"seeds": (5, 6, 7)}),
        ({"lr": "uniform(0, 1)"}, {"repeat": 4}),
        ({"lr": "uniform(0, 1)", "g": "[1, 2, 3] if lr > 0.5"}, {"repeat": 2}),
        ({}, {"trials": ({"config_updates": {"a": 1}}, {"config_updates": {"a": 2}})}),
        (
            {"lr": "uniform(0, 1)"},
            {"named_configs": Sampler("grid_search", {"values": [("n",), ()]})},
        ),
    ],
)
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_the_last_trials_are_those_of_the_whole(raw, more, count):
    made = sampling(raw, 6, **more)
    expected = list(enumerate(made.samples()))
    assert made.total_within(1000) == made.total() == len(expected)
    assert made.last(count, made.total()) == expected[-count:]


def test_the_last_trials_of_a_large_sweep_take_no_time():
    made = sampling({"lr": "uniform(0, 1)"}, 10**9, repeat=10**9)
    total = made.total_within(10)
    start = time.perf_counter()
    (index, sample) = made.last(1, total)[0]
    assert time.perf_counter() - start < 1
    assert (index, sample.configuration, sample.repetition) == (10**18 - 1, *[10**9 - 1] * 2)
    assert next(made.samples()).repetition == 0


def test_what_takes_long_to_count_is_not_counted():
    made = sampling({"lr": "uniform(0, 1)", "g": "[1, 2] if lr > 0.5"}, 10**9)
    assert made.total_within(100) is None


class TestWhatConditionsRead:
    @pytest.mark.parametrize("name", ["seed", "width", "net.size", "net", "derived"])
    def test_that_is_computed_later_is_a_mistake(self, name):
        made = sampling({"a": f"1 if {name} else 2", "b": "uniform(0, 1)"})
        assert made.condition_mistakes(["width", "net.size", "derived.part"]) == [
            f"The condition {name!r} of ray.search_space.a reads {name!r}, which is computed after "
            "the space is sampled; a condition can read searched parameters and what is the same "
            "in all trials."
        ]

    @pytest.mark.parametrize("name", ["b", "layers", "env_name", "opt.lr"])
    def test_can_be_searched_or_the_same_in_all_trials(self, name):
        raw = {"a": f"1 if {name} else 2", "b": "uniform(0, 1)", "opt.lr": [1, 2]}
        assert sampling(raw, envs=("x",)).condition_mistakes(["env_name", "opt", "width"]) == []

    def test_can_be_a_seed_that_is_searched(self):
        assert sampling({"a": "1 if seed > 3", "seed": [1, 5]}).condition_mistakes() == []
