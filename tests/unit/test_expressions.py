import contextlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.expressions import Expression
from sacred_ray_ingredient.values import plain

CONFIG = {
    "lr": 0.5,
    "env_name": "Ant",
    "layers": [64, 32],
    "max": 7,
    "optimizer": {"lr": 0.25, "keys": 3, "sgd": {"momentum": 0.9}},
}


def value_of(text):
    return Expression.parse(text, "ray.dependent.x").evaluate(CONFIG)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr * 2 + 1", 2.0),
        ("7 // 2 - 7 % 4 + 2 ** 10 / 4", 256.0),
        ("-lr if not lr > 1 else +lr", -0.5),
        ("0 < lr <= 1 and env_name != 'Walker' or False", True),
        ("env_name in ['Ant', 'Hopper'] and 3 not in (1, 2)", True),
        ("{'Ant': 1e-3, 'Hopper': 1e-4}[env_name]", 1e-3),
        ("optimizer.lr + optimizer['sgd'].momentum", 1.15),
        ("optimizer.keys", 3),
        ("layers[0] + sum(layers[1:])", 96),
        ("[2, (3, 'a'), {4}]", [2, (3, "a"), {4}]),
        ("layers + [1] * 2", [64, 32, 1, 1]),
        ("env_name + '-v4'", "Ant-v4"),
        ("max", 7),
        ("max(1, max)", 7),
        ("sorted(layers, reverse=True)", [64, 32]),
        ("round(exp(log(2)), 3) + sqrt(4) + floor(1.5) + ceil(1.5)", 7.0),
        ("int('3') + float('0.5') + len(str(10)) + abs(-1) + log2(8) + log10(100)", 11.5),
        ("lr is None or bool(0) is not True", True),
        (" lr ", 0.5),
    ],
)
def test_what_an_expression_can_do(text, expected):
    assert (
        value_of(text) == pytest.approx(expected)
        if isinstance(expected, float)
        else value_of(text) == expected
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("optimizer.lr * lr", {"optimizer.lr", "lr"}),
        ("optimizer['sgd'].momentum", {"optimizer.sgd.momentum"}),
        ("{'Ant': base}[env_name]", {"base", "env_name"}),
        ("layers[0] + max(a.b[c], 1)", {"layers", "a.b", "c"}),
        ("max", {"max"}),
        ("1 + 1", set()),
    ],
)
def test_names_are_what_it_reads(text, names):
    assert Expression.parse(text, "s").names == names


HOSTILE = {
    "9**9**9": "too large a number",
    "9**9**9**9**9": "too large a number",
    "2.0**5000": "too large a number",
    "10**300 * 10**300": "too large a number",
    "(-8) ** 0.5": "no real number",
    "'a' * 10**9": "too long",
    "10**9 * [0]": "too long",
    "[[0] * 9999] * 9999": "too long",
    "'a' * 9999 + 'a' * 9999": "too long",
    "round(1, -10**9)": "cannot round",
    "'%1000000000d' % 1": "cannot be formatted",
    "().__class__.__bases__[0]": "underscore",
    "lr.__class__": "underscore",
    "_private": "underscore",
    "lr.real": "has no entries",
    "env_name.format": "has no entries",
    "env_name.upper()": "cannot be called",
    "optimizer.get('lr')": "cannot be called",
    "(lambda: 1)()": "cannot be called",
    "layers[0](1)": "cannot be called",
    "lambda: 1": "Lambda is not allowed",
    "[i for i in layers]": "ListComp is not allowed",
    "{i: i for i in layers}": "DictComp is not allowed",
    "sum(i for i in layers)": "GeneratorExp is not allowed",
    "f'{lr}'": "JoinedStr is not allowed",
    "(x := 1)": "NamedExpr is not allowed",
    "[*layers]": "Starred is not allowed",
    "max(*layers)": "Starred is not allowed",
    "{**optimizer}": "cannot be used in a table",
    "sorted(layers, key=len)": "no argument 'key'",
    "max(**optimizer)": "no argument",
    "1 << 10": "LShift is not allowed",
    "~1": "Invert is not allowed",
    "b'x'": "neither a number nor text",
    "1j": "neither a number nor text",
    "...": "neither a number nor text",
    "open('/etc/passwd')": "no function 'open'",
    "__import__('os')": "no function '__import__'",
    "eval('1')": "no function 'eval'",
    "import os": "no expression",
    "lr = 2": "no expression",
    "lr; lr": "no expression",
    "lr *": "no expression",
    "": "no expression",
    "-" * 990 + "1": "too large",
    "(" * 400 + "1" + ")" * 400: "no expression",
    "[" * 150 + "]" * 150: "too large",
    ",".join(["1"] * 499): "too large",
    "1" * 1001: "1,001 characters long",
    "lr\0": "no expression",
}


@pytest.mark.parametrize(("text", "expected"), HOSTILE.items())
def test_hostile_text_is_refused_at_once(text, expected):
    start = time.perf_counter()
    with pytest.raises(ResolverError, match=expected):
        value_of(text)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lrr * 2", "ray.dependent.x is 'lrr . 2'.*no config entry 'lrr' .did you mean 'lr'"),
        ("optimizer.lrr", "no config entry 'optimizer.lrr' .did you mean 'lr'"),
        ("{'Hopper': 1}[env_name]", "the table has no entry for 'Ant'"),
        ("{'Ant-v4': 1}[env_name + 'v4']", "no entry for 'Antv4' .did you mean 'Ant-v4'"),
        ("layers[5]", "index out of range"),
        ("1 / 0", "division by zero"),
        ("log(0)", "cannot be computed"),
        ("lr + 'a'", "unsupported operand"),
        ("{layers: 1}", "unhashable"),
        ("squrt(4)", "no function 'squrt' .did you mean 'sqrt'"),
    ],
)
def test_errors_name_the_expression_and_what_is_wrong(text, expected):
    with pytest.raises(ResolverError, match=expected):
        value_of(text)


@given(st.text(alphabet="lr.max()[]{}'+-*/%<>=!,:0123456789 ifelsnotad_\n", max_size=60))
@settings(max_examples=500, deadline=1000)
def test_any_text_gives_a_value_or_a_resolver_error(text):
    with contextlib.suppress(ResolverError):
        value_of(text)


@given(st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.sampled_from(["+", "-", "*"]))
def test_arithmetic_is_pythons(one, other, sign):
    expected = {"+": one + other, "-": one - other, "*": one * other}[sign]
    assert (
        Expression.parse(f"a.b {sign} c", "s").evaluate({"a": {"b": one}, "c": other}) == expected
    )


def test_plain_makes_python_data():
    given_ = {
        "a": np.float64(0.5),
        "b": [np.int64(1)],
        "c": np.arange(2),
        "d": (range(2),),
        "e": np.array(3),
    }
    made = plain(given_)
    assert made == {"a": 0.5, "b": [1], "c": [0, 1], "d": ([0, 1],), "e": 3}
    assert type(made["a"]) is float
    assert type(made["b"][0]) is int
