"""Hypothesis strategies that make samplers."""

from hypothesis import strategies as st

from sacred_ray_ingredient.samplers import Sampler

finite = st.floats(-1e6, 1e6)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
values = st.lists(
    st.recursive(leaves, lambda v: st.lists(v) | st.tuples(v) | st.dictionaries(st.integers(), v)),
    min_size=1,
)
positive_pair = st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)).filter(lambda p: p[0] < p[1])
pair = st.tuples(finite, finite).filter(lambda p: p[0] < p[1])
int_pair = st.tuples(st.integers(-1000, 1000), st.integers(1, 1000)).map(
    lambda p: (p[0], p[0] + p[1])
)
positive_int_pair = st.tuples(st.integers(1, 1000), st.integers(1, 1000)).map(
    lambda p: (p[0], p[0] + p[1])
)
steps = st.tuples(st.integers(1, 50), st.integers(1, 50), st.sampled_from([1, 2, 5, 0.5, 0.25]))


def ranged(name, pairs):
    return pairs.map(lambda p: Sampler(name, {"lower": p[0], "upper": p[1]}))


def stepped(name, whole):
    def make(drawn):
        start, length, q = drawn
        q = max(1, int(q)) if whole else q
        given_q = {} if name == "qrandint" and q == 1 else {"q": q}
        return Sampler(name, {"lower": start * q, "upper": (start + length) * q, **given_q})

    return steps.map(make)


def weighted(categories):
    numbers = st.one_of(st.integers(0, 9), st.floats(0, 9))
    size = len(categories)
    weights = st.lists(numbers, min_size=size, max_size=size).filter(any)
    return st.tuples(st.just(categories), weights)


all_samplers = {
    "grid_search": values.map(lambda v: Sampler("grid_search", {"values": v})),
    "choice": values.map(lambda v: Sampler("choice", {"categories": v}))
    | values.flatmap(weighted).map(
        lambda p: Sampler("choice", {"categories": p[0], "weights": p[1]})
    ),
    "uniform": ranged("uniform", pair),
    "loguniform": ranged("loguniform", positive_pair)
    | positive_pair.map(lambda p: Sampler("loguniform", {"lower": p[0], "upper": p[1], "base": 2})),
    "randint": ranged("randint", int_pair),
    "lograndint": ranged("lograndint", positive_int_pair),
    "quniform": stepped("quniform", whole=False),
    "qloguniform": stepped("qloguniform", whole=False),
    "qrandint": stepped("qrandint", whole=True),
    "qlograndint": stepped("qlograndint", whole=True),
    "randn": st.tuples(finite.filter(bool), st.floats(1.5, 9)).map(
        lambda p: Sampler("randn", {"mean": p[0], "sd": p[1]})
    ),
    "qrandn": st.tuples(finite, st.floats(1, 9), st.sampled_from([1, 0.5])).map(
        lambda p: Sampler("qrandn", {"mean": p[0], "sd": p[1], "q": p[2]})
    ),
}
any_sampler = st.one_of(*all_samplers.values())
