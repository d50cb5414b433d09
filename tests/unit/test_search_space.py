"""The search space: its notations, conditions, parameters that move together, and mistakes."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacred_ray_ingredient.nested import flat_entries, flatten
from sacred_ray_ingredient.search_space import Case, Entry, SearchSpace, parse_search_space
from tests.unit.samplers_strategies import any_sampler


def parse(raw):
    space, mistakes = parse_search_space(raw)
    assert mistakes == []
    return space


def cases(value):
    return parse({"lr": value}).entries["lr"].cases


def read(value):
    (case,) = cases(value)
    assert case.condition is None
    return case.sampler


def told(value):
    """Return cases as their texts, each value apart from its condition."""
    return [
        (
            case.sampler.text() if case.sampler else case.constant,
            case.condition.text if case.condition else None,
        )
        for case in cases(value)
    ]


def mistake(value, key="lr"):
    _, mistakes = parse_search_space({key: value})
    assert len(mistakes) == 1
    return mistakes[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("loguniform(1e-5, 1e-1)", "loguniform(1e-05, 0.1)"),
        (" tune.uniform(lower=-1, upper=+2) ", "uniform(-1, 2)"),
        ("ray.tune.randint(1, 9)", "randint(1, 9)"),
        ("randn(sd=2)", "randn(sd=2)"),
        ("randn(0, 1)", "randn()"),
        ("qrandint(2, 8, 1)", "qrandint(2, 8)"),
        ("choice(range(1, 4))", "choice([1, 2, 3])"),
        ("2 ** range(1, 4)", "grid_search([2, 4, 8])"),
        ("grid_search(values=('a', None, True))", "grid_search(['a', None, True])"),
        ({"loguniform": [1e-5, 1e-1]}, "loguniform(1e-05, 0.1)"),
        ({"uniform": {"lower": 0, "upper": 1}}, "uniform(0, 1)"),
        ({"grid_search": [1, 2]}, "grid_search([1, 2])"),
        ({"choice": {"categories": [[1, 2], [3]]}}, "choice([[1, 2], [3]])"),
        ({"randn": None}, "randn()"),
        ([2, 4, 8], "grid_search([2, 4, 8])"),
        ([{"eval": "1"}], "grid_search([{'eval': '1'}])"),
        ((2, 4), "grid_search([2, 4])"),
        (np.array([0.5, 1.0]), "grid_search([0.5, 1.0])"),
        ([np.int64(3)], "grid_search([3])"),
    ],
)
def test_every_notation_of_a_sampler(value, text):
    assert read(value).text() == text
    assert parse({"lr": value}).text() == {"lr": text}


@pytest.mark.parametrize(
    "constant",
    [
        *("adam", "mean(x)", "(", 3, 0.5, True, float("inf")),
        *("run if possible", "mean(x) if possible", "if", "don't run if it's late", "or else"),
        *("uniform if possible", "[1, 2]", "5", "a\nif b", "2 ** exponent if x"),
    ],
)
def test_other_plain_values_are_constants(constant):
    space = parse({"opt": {"name": constant}})
    assert space == SearchSpace({"opt.name": Entry(("opt.name",), (Case(None, constant),))})
    assert space.text() == {"opt": {"name": constant}}
    assert space.dimensions() == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("logunifrom(1e-5, 1e-1)", "'logunifrom' is no sampler .did you mean 'loguniform'"),
        ("Uniform(0, 1)", "'Uniform' is no sampler .did you mean 'uniform'"),
        ("normal(0, 1)", "did you mean 'randn'"),
        ("tune.foo(1)", "'foo' is no sampler"),
        ("sample_from(f)", "a function of other parameters goes under ray.dependent"),
        ("uniform(0, )", "missing a required argument: 'upper'.; write uniform.lower, upper."),
        ("uniform(1, 2, 3)", "too many positional arguments"),
        ("uniform(0, 1, q=2)", "unexpected keyword argument 'q'"),
        ("uniform(lower=0, lower=1, upper=2)", "an argument twice"),
        ("uniform(0", "cannot be read"),
        ("uniform(0, 1) + 1", "more than one sampler call"),
        ("uniform(0, x)", "not all literals"),
        ("uniform(0, 10**9)", "not all literals"),
        ("uniform(*[0, 1])", "not all literals"),
        ("choice(open('f'))", "not all literals"),
        ("uniform(2, 1)", "lower is 2 and must be below upper, which is 1"),
        ("randint(3, 3)", "must be below upper"),
        ("loguniform(0, 1)", "lower is 0 and must be above 0"),
        ("lograndint(0, 9)", "lower is 0 and must be above 0"),
        ("uniform(0, 1e999)", "upper is inf and must be finite"),
        ("uniform(-1e308, 1e308)", "too wide"),
        ("quniform(0, 1, 0)", "q is 0 and must be above 0"),
        ("quniform(0, 1, 0.3)", "1 is no multiple of q=0.3"),
        ("qrandint(1, 3, 5)", "no multiple of q=5 from 1 to 3"),
        ("randn(sd=0)", "sd is 0 and must be above 0"),
        ("randint(1, 2.5)", "upper is 2.5 and must be an integer"),
        ("randint(0, True)", "upper is True and must be a number"),
        (f"randint(0, {2**63})", "must fit into 64 bits"),
        ("grid_search([])", "the list of values is empty"),
        ([], "the list of values is empty"),
        ("choice('abc')", "categories is 'abc' and not a list"),
        ("choice([{1}])", "no plain, finite data"),
        ("choice([1e999])", "no plain, finite data"),
        ("choice(range(10000000000000))", "more than 100,000 values"),
        ({"uniform": ["1e-5", 1]}, "lower is '1e-5' and must be a number, not text .YAML"),
        ("-2 ** range(3)", "needs brackets"),
        ("  ", "lr is empty"),
        (len, "no plain data.*functions into ray.dependent"),
        (object(), "no plain data"),
    ],
)
def test_mistakes_say_what_would_be_right(value, expected):
    sentence = mistake(value)
    assert sentence.startswith("ray.search_space.lr is ")
    assert re.search(expected, sentence)


def test_nested_and_dotted_paths_and_none():
    space = parse(
        {"opt": {"lr": "uniform(0, 1)", "wd": None}, "opt.mom": [1, 2], "k": None, "empty": {}}
    )
    assert space.paths() == ["opt.lr", "opt.mom"]
    assert space.text() == {"opt": {"lr": "uniform(0, 1)", "mom": "grid_search([1, 2])"}}


def test_all_mistakes_are_told_at_once():
    raw = {
        "a": "uniform(1, 0)",
        "b": {"c": 1},
        "b.c": 2,
        "d": 1,
        "d.e": 2,
        3: 4,
        "f..g": 1,
        "ok": [1],
    }
    space, mistakes = parse_search_space(raw, "ray.x")
    sentences = "\n".join(mistakes)
    assert len(mistakes) == 5
    for part in (
        "ray.x.a is",
        "ray.x.b.c is given twice",
        "both 'd' and 'd.e'",
        "entry '.3'",
        "'f..g'",
    ):
        assert part in sentences
    assert "ok" in space.entries


def test_a_space_that_is_no_mapping_is_a_mistake():
    assert "must be a mapping" in parse_search_space("uniform(0, 1)")[1][0]
    assert parse_search_space(None) == (SearchSpace(), [])


def test_functions_of_sample_from_are_kept_apart():
    from ray import tune

    def double(config):
        return config["a"] * 2

    space = parse({"b": tune.sample_from(double), "a": tune.uniform(0, 1)})
    assert space.functions == {"b": double}
    assert list(space.entries) == ["a"]
    assert space.paths() == ["b", "a"]
    assert space.text()["b"].startswith("sample_from(test_functions_of_sample_from")


def test_an_entry_may_be_called_eval():
    """Tune would run it as code; it is not given the space, only values."""
    assert parse({"opt": {"eval": "1 + 1"}}).text() == {"opt": {"eval": "1 + 1"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("uniform(0, 1) if opt == 'sgd'", [("uniform(0, 1)", "opt == 'sgd'")]),
        ("[1, 2] if x.y > 3", [("grid_search([1, 2])", "x.y > 3")]),
        ("('a', 'b') if x", [("grid_search(['a', 'b'])", "x")]),
        ("2 ** range(2) if x else 3", [("grid_search([1, 2])", "x"), (3, None)]),
        ("0.5 if x", [(0.5, "x")]),
        ("'a if b' if x == 'else'", [("a if b", "x == 'else'")]),
        ("'it''s' if x else \"'\"", [("its", "x"), ("'", None)]),
        ("-1e999 if x", [(float("-inf"), "x")]),
        ("None if x else -2", [(None, "x"), (-2, None)]),
        ("{'k': [1]} if x else 1e999", [({"k": [1]}, "x"), (float("inf"), None)]),
        (
            "randint(1, 3) if a else choice([1, 2]) if b or (1 if c else 2) else 'd'",
            [
                ("randint(1, 3)", "a"),
                ("choice([1, 2])", "b or (1 if c else 2)"),
                ("d", None),
            ],
        ),
        ("choice(['a if b else c', 'd']) if x", [("choice(['a if b else c', 'd'])", "x")]),
        (" uniform(0,\n 1)\n if x in (1,\n 2)", [("uniform(0, 1)", "x in (1, 2)")]),
        (
            "tune.choice(['\u00e4', '\U0001f600']) if x == '\u00fc' else 1",
            [("choice(['\u00e4', '\U0001f600'])", "x == '\u00fc'"), (1, None)],
        ),
        (
            {"if": " opt == 'sgd' ", "then": {"uniform": [0, 1]}},
            [("uniform(0, 1)", "opt == 'sgd'")],
        ),
        ({"if": "x", "then": [1, 2], "else": None}, [("grid_search([1, 2])", "x"), (None, None)]),
        ({"if": "x", "then": "adam", "else": {"a": 1}}, [("adam", "x"), ({"a": 1}, None)]),
        ({"if": "x", "then": True, "else": "2 if y"}, [(True, "x"), (2, "y")]),
        (
            {"if": "x", "then": 1, "else": {"if": "y", "then": "run if you can", "else": 2}},
            [(1, "x"), ("run if you can", "y"), (2, None)],
        ),
        ({"if": "1 if x else y", "then": 1}, [(1, "(1 if x else y)")]),
        ({"if": "x  # why", "then": 1, "else": 2}, [(1, "x"), (2, None)]),
        ({"if": "(x\n or y)", "then": np.float64(0.5)}, [(0.5, "x or y")]),
    ],
)
def test_conditions_as_text_and_as_data(value, expected):
    assert told(value) == expected
    space = parse({"lr": value})
    assert parse_search_space(space.text()) == (space, [])


def test_tunes_own_objects_can_be_under_a_condition():
    from ray import tune

    value = {"if": "x", "then": tune.uniform(0, 1), "else": tune.grid_search([1, 2])}
    assert told(value) == [("uniform(0, 1)", "x"), ("grid_search([1, 2])", None)]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("uniform(0, 1) if", "the condition of ray.search_space.lr is ''; write an expression"),
        ("uniform(0, 1) if else 3", "the condition of ray.search_space.lr is ''"),
        ("uniform(0, 1) else 3", "no sampler with a condition; write 'SAMPLER if CONDITION'"),
        ("[1] if x if y", "no sampler with a condition"),
        ("[1] if x else 2 else 3", "no sampler with a condition"),
        ("[1] if x else", "no sampler with a condition"),
        ("[1] if x else adam", "'adam' is neither a sampler nor a list nor a literal value; "),
        ("[1] if x else adam", "text is written in quotes: 'adam'"),
        ("[1] if x else a + b", "'a + b' is neither a sampler nor a list nor a literal value."),
        ("[] if x", "the list of values is empty"),
        ("uniform(1, 0) if x", "lower is 1 and must be below upper"),
        ("unifrom(0, 1) if x", "'unifrom' is no sampler (did you mean 'uniform'"),
        ("uniform(0, 1) if x else unifrom(0, 1)", "'unifrom' is no sampler"),
        ("uniform(0, 1) if (x", "cannot be read"),
        ("{1, 2} if x", "{1, 2} under a condition, which is no plain data"),
        ("{1: 2} if x", "{1: 2} under a condition, which is no plain data"),
        ("uniform(0, 1) if x ==", "'x ==', which is no expression"),
        ("uniform(0, 1) if open('f')", "there is no function 'open'"),
        ("uniform(0, 1) if x.__class__", "starts with an underscore"),
        ({"if": True, "then": 1}, "the condition of ray.search_space.lr is True; write"),
        ({"if": "x"}, "a condition is written as 'if' and 'then'"),
        ({"if": "x", "else": 1}, "a condition is written as 'if' and 'then'"),
        ({"if": "x", "then": 1, "elif": 1}, "a condition is written as 'if' and 'then'"),
        ({"if": "x", "then": "1 if y"}, "a condition under 'then'; write one condition with 'and'"),
        ({"if": "x", "then": {"if": "y", "then": 1}}, "a condition under 'then'"),
        ({"if": "x", "then": float("nan")}, "nan under a condition, which is no plain data"),
        ({"if": "x", "then": {"uniform": [1, 0]}}, "lower is 1 and must be below upper"),
        ({"if": "x", "then": len}, "which is no plain data"),
        ("1 if lr > 2", "reads the parameter itself (lr); it can only read others"),
        ("1 if lr.x > 2", "reads the parameter itself (lr.x)"),
    ],
)
def test_mistakes_in_conditions_say_what_would_be_right(value, sentence):
    assert sentence in mistake(value)


def test_conditions_that_need_each_other_are_a_mistake():
    raw = {
        "a": "1 if b > 1",
        "b": "2 if c.d > 1",
        "c.d": "3 if a > 1",
        "e": "4 if a > 1",
        "f": "5 if g.h > 2",
        "g": "6 if f",
    }
    space, mistakes = parse_search_space(raw)
    assert len(mistakes) == 2
    assert "conditions that need each other: a -> b -> c.d -> a; one of them" in mistakes[0] or (
        re.search("b -> c.d -> a -> b|c.d -> a -> b -> c.d", mistakes[0])
    )
    assert re.search("f -> g -> f|g -> f -> g", mistakes[1])
    assert list(space.entries) == ["e"]


def test_conditions_cannot_read_what_functions_compute():
    from ray import tune

    raw = {"a": "1 if b.c > 1", "b": tune.sample_from(lambda config: {})}
    _, mistakes = parse_search_space(raw)
    assert mistakes == [
        "the condition of ray.search_space.a reads 'b.c', which tune.sample_from computes only "
        "after everything is drawn; it can read what is drawn or constant."
    ]


def test_entries_are_sorted_so_that_conditions_find_what_they_read():
    raw = {
        "a": "1 if b + c.d > 1",
        "b": "2 if e == 'x' else [1, 2]",
        "e": "choice(['x', 'y'])",
        "c": {"d": "uniform(0, 1)"},
    }
    space = parse(raw)
    assert list(space.entries) == ["e", "c.d", "b", "a"] or list(space.entries) == [
        *("e", "b", "c.d", "a"),
    ]
    assert space.paths() == ["a", "b", "e", "c.d"]
    assert list(space.text()) == ["a", "b", "e", "c"]
    assert space.reads() == {"a": {"b", "c.d"}, "b": {"e"}, "c.d": set(), "e": set()}


def test_dimensions_are_the_samplers_that_are_no_grids_of_all_cases():
    raw = {
        "z": "uniform(0, 1) if a == 1 else randint(1, 3) if a == 2 else 5",
        "a": [1, 2, 3],
        "b": "3 if a == 1 else choice([1, 2]) if a == 2 else [4, 5]",
        "c+d": "choice([(1, 2)])",
        "e": 3,
    }
    dimensions = parse(raw).dimensions()
    assert {name: sampler.text() for name, sampler in dimensions.items()} == {
        "z": "uniform(0, 1)",
        "z [2]": "randint(1, 3)",
        "b [2]": "choice([1, 2])",
        "c+d": "choice([(1, 2)])",
    }
    assert list(dimensions) == ["z", "z [2]", "b [2]", "c+d"]


@pytest.mark.parametrize(
    "value",
    [
        [["A", 1], ["B", 2]],
        "choice([('A', 1), ('B', 2)])",
        "choice([('A', 1), ('B', 2)], weights=[1, 2])",
        "[('A', 1)] if x else [('B', 2)]",
        {"grid_search": [["A", 1]]},
        np.array([[1, 2], [3, 4]]),
    ],
)
def test_parameters_that_move_together(value):
    space = parse({" env_name + opt.lr": value})
    assert space.entries["env_name+opt.lr"].paths == ("env_name", "opt.lr")
    assert space.paths() == ["env_name", "opt.lr"]
    assert parse_search_space(space.text()) == (space, [])


def test_coupled_keys_with_dots_come_out_as_levels_that_are_read_back():
    space = parse({"opt.lr+opt.mom": [(1, 2)], "opt": {"a+opt.b": [(1, 2)], "c": 1}})
    stored = space.text()
    assert stored == {
        "opt": {
            "lr+opt": {"mom": "grid_search([(1, 2)])"},
            "a+opt": {"b": "grid_search([(1, 2)])"},
            "c": 1,
        }
    }
    assert list(flatten(stored)) == ["opt.lr+opt.mom", "opt.a+opt.b", "opt.c"]
    assert list(flat_entries(stored, "x")[0]) == list(space.entries)
    assert parse_search_space(stored) == (space, [])


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            [["A", 1], ["B"]],
            "has the value ['B']; it must be a list of 2 values, one for each of a",
        ),
        ([["A", 1], "BC"], "has the value 'BC'; it must be a list of 2 values"),
        ("choice([('A', 1, 2)])", "has the value ('A', 1, 2); it must be a list of 2 values"),
        ("[('A', 1)] if x else ['B']", "has the value 'B'; it must be a list of 2 values"),
        ("uniform(0, 1)", "is 'uniform(0, 1)', but parameters move together only along a list"),
        ("[(1, 2)] if x else 3", "is a constant, but parameters move together only along a list"),
        (3, "is a constant, but"),
        ("[(1, 2)] if a.x > 1", "reads the parameter itself (a.x)"),
    ],
)
def test_mistakes_in_coupled_values(value, sentence):
    assert sentence in mistake(value, key="a+b")


def test_a_function_moves_no_parameters_together():
    from ray import tune

    value = tune.sample_from(lambda config: (1, 2))
    assert "a+b is a function, but parameters move together only" in mistake(value, key="a+b")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["a+b", "b"], "x.b gives the parameter 'b', but 'b' is given too; keep one of them."),
        (["b", "a+b"], "x.a+b gives the parameter 'b', but 'b' is given too"),
        (["opt", "a+opt.lr"], "x.a+opt.lr gives the parameter 'opt.lr', but 'opt' is given too"),
        (["opt.lr.x", "a+opt.lr"], "parameter 'opt.lr', but 'opt.lr.x' is given too"),
        (["a+b", "b+c"], "x.b+c gives the parameter 'b', but 'b' is given too"),
        (["a+b", "a +b"], "gives the parameter 'a', but 'a' is given too"),
        (["a+a"], "x.a+a gives the parameter 'a', but 'a' is given too"),
        (["a+a.b"], "x.a+a.b gives the parameter 'a.b', but 'a' is given too"),
        (["a+"], "x.a+ has a parameter without a name; write such as 'env_name+opponent'."),
        (["a.+b"], "x.a.+b has a parameter without a name"),
    ],
)
def test_no_parameter_is_given_twice(keys, sentence):
    raw = {key: [(1, 2)] if "+" in key else 1 for key in keys}
    _, mistakes = parse_search_space(raw, "x")
    assert len(mistakes) == 1
    assert sentence in mistakes[0]


names = st.sampled_from(["a", "b", "ab", "lr", "opt"])
paths = st.lists(names, min_size=1, max_size=3).map(".".join)
literals = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.dictionaries(st.text(), st.integers(), max_size=2),
)
texts = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=8)
conditions = st.one_of(
    st.tuples(st.sampled_from(["zz", "zz.k"]), texts).map(lambda p: f"{p[0]} == {p[1]!r}"),
    st.sampled_from(["zz > 1 and yy in [1, 2]", "1 if zz else yy", "not (zz if yy else zz)"]),
)
branches = st.one_of(any_sampler.map(lambda sampler: {sampler.name: sampler.arguments}), literals)
conditionals = st.recursive(
    branches,
    lambda below: st.builds(
        lambda condition, then, otherwise: {"if": condition, "then": then, **otherwise},
        conditions,
        branches,
        st.one_of(st.just({}), below.map(lambda value: {"else": value})),
    ),
    max_leaves=4,
).filter(lambda value: isinstance(value, dict) and "if" in value)
whole_constants = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
singles = st.one_of(any_sampler.map(lambda sampler: sampler.text()), conditionals, whole_constants)
pairs = st.lists(st.tuples(st.integers(), st.text()), min_size=1, max_size=3)
coupled = st.one_of(
    pairs,
    pairs.map(lambda values: {"choice": values}),
    st.tuples(conditions, pairs, pairs).map(
        lambda drawn: {"if": drawn[0], "then": drawn[1], "else": drawn[2]}
    ),
)
spaces = st.tuples(
    st.dictionaries(paths, singles, max_size=4),
    st.dictionaries(st.tuples(paths, paths).map("+".join), coupled, max_size=2),
).map(lambda drawn: {**drawn[0], **drawn[1]})


@given(spaces)
@settings(max_examples=200, deadline=None)
def test_a_space_is_read_back_from_its_text(raw):
    space, mistakes = parse_search_space(raw)
    clashing = ("part of it", "given too", "is empty", "no sampler", "no plain", "neither")
    if any(all(word not in sentence for word in clashing) for sentence in mistakes):
        raise AssertionError(mistakes)
    if mistakes:
        return
    again, wrong = parse_search_space(space.text())
    assert wrong == []
    assert again == space
    assert sorted(again.paths()) == sorted(space.paths())
    assert again.text() == space.text()
    assert all("." not in key for key in _keys(space.text()))


def _keys(level):
    for key, value in level.items():
        yield key
        if isinstance(value, dict):
            yield from _keys(value)


@given(any_sampler, st.text())
@settings(max_examples=100, deadline=None)
def test_a_sampler_keeps_its_meaning_under_a_condition(sampler, text):
    # What Python's tokenizer takes for the end of a line is escaped in the literal.
    assert told(f"{sampler.text()} if zz == {text!r} else {text!r}") == [
        (sampler.text(), f"zz == {text!r}"),
        (text, None),
    ]
