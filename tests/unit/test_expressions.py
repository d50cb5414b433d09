import contextlib
import re
import subprocess
import sys
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacred_ray_ingredient.draws import DRAWS, TrialDraws
from sacred_ray_ingredient.errors import ResolverError
from sacred_ray_ingredient.expressions import Expression
from sacred_ray_ingredient.sampler_arguments import SAMPLER_NAMES
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
        ("lr is None or lr is not None", True),
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
    "max(**optimizer)": "cannot be used in a call of max",
    "max(1, default=1, default=2)": "argument 'default' twice",
    "len(str([{'a' * 9999: 1}] * 3000))": "too long",
    "len(str([7**300] * 500))": "too long",
    "int('9' * 4000)": "too large a number",
    "int('f' * 9999, 16)": "too large a number",
    "int('1' * 9999 + 'f')": "cannot be computed",
    "len(str([1] * 5000 + ['a'] * 2000) * 2)": "too long",
    "len(str([env_name * 3000, 7**300, env_name * 999]))": "too long",
    "sum([[0] * 99] * 99, [])": "only numbers can be summed",
    "sum([[0]] * 3000, start=[])": "only numbers can be summed",
    "(0).__class__": "underscore",
    "a" + ".a" * 490 + "()": "too large",
    "f(a" + ".a" * 480 + ")": "too large",
    "uniform(0, 1)": "only expressions of ray.dependent can",
    "lr if choice([True, False]) else 0": "only expressions of ray.dependent can",
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


def drawn(text, seed=1, path="x", **config):
    expression = Expression.parse(text, f"ray.dependent.{path}", draws=True)
    return expression.evaluate({**CONFIG, **config}, TrialDraws(seed, path))


def test_every_sampler_but_the_grid_can_be_drawn_from():
    assert {*DRAWS, "grid_search"} == set(SAMPLER_NAMES)


@pytest.mark.parametrize(
    ("text", "is_possible"),
    [
        ("uniform(2, 3)", lambda x: 2 <= x < 3),
        ("quniform(0, 1, 0.25)", lambda x: x in (0, 0.25, 0.5, 0.75, 1)),
        ("loguniform(1e-4, 1e-2)", lambda x: 1e-4 <= x < 1e-2),
        ("qloguniform(1, 8, q=1)", lambda x: x == round(x) and 1 <= x <= 8),
        ("randn()", lambda x: abs(x) < 9),
        ("qrandn(0, 1, 0.5)", lambda x: x % 0.5 == 0),
        ("randint(4, 9)", lambda x: x in range(4, 9) and type(x) is int),
        ("qrandint(0, 8, 4)", lambda x: x in (0, 4, 8)),
        ("lograndint(1, 9)", lambda x: x in range(1, 9)),
        ("qlograndint(2, 8, 2)", lambda x: x in (2, 4, 6, 8)),
        ("choice(['a', ('b', 1)])", lambda x: x in ("a", ("b", 1))),
        ("uniform(upper=lr + 1, lower=lr)", lambda x: 0.5 <= x < 1.5),
        ("lr * loguniform(1e-4, 1e-2)", lambda x: 5e-5 <= x < 5e-3),
        ("choice([16, 32]) if lr < 1 else 64", lambda x: x in (16, 32)),
        ("choice([16, 32]) if lr > 1 else 64", lambda x: x == 64),
        ("2 ** randint(4, 9)", lambda x: x in (16, 32, 64, 128, 256)),
        ("uniform(0, uniform(1, 2))", lambda x: 0 <= x < 2),
        ("choice(layers)", lambda x: x in (64, 32)),
    ],
)
def test_what_can_be_drawn(text, is_possible):
    assert all(is_possible(drawn(text, seed)) for seed in range(20))


def test_a_draw_depends_on_seed_parameter_and_number_and_on_nothing_else():
    text = "[uniform(0, 1), uniform(0, 1)]"
    first = drawn(text)
    assert drawn(text) == first
    assert drawn(text, lr=7) == first
    assert drawn("[uniform(0, 2), 1]")[0] == 2 * first[0]
    assert len({*first, *drawn(text, seed=2), *drawn(text, path="y")}) == 6
    assert drawn("[uniform(0, 1) if False else 3, uniform(0, 1)]")[1] == first[0]


def test_draws_are_the_same_in_every_process():
    code = (
        "from sacred_ray_ingredient.draws import TrialDraws\n"
        "from sacred_ray_ingredient.expressions import Expression\n"
        "expression = Expression.parse('uniform(0, 1)', 's', draws=True)\n"
        "print(expression.evaluate({}, TrialDraws(5, 'optimizer.lr')))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(told.stdout) == drawn("uniform(0, 1)", 5, "optimizer.lr")


def test_draws_of_many_seeds_are_spread_evenly():
    values = [drawn("uniform(0, 1)", seed) for seed in range(500)]
    assert np.histogram(values, 5, (0, 1))[0].min() > 70
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.15


def test_draws_leave_the_global_random_states_alone():
    np.random.seed(0)
    expected = np.random.random(2)
    np.random.seed(0)
    drawn("uniform(0, 1)")
    assert list(np.random.random(2)) == list(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "uniform(2, 1)",
            "^ray.dependent.x is 'uniform.2, 1.', where lower is 2 and must be below",
        ),
        ("loguniform(0, lr)", "lower is 0 and must be above 0"),
        ("uniform(0, 1, 2)", "does not fit"),
        ("uniform(low=0, high=1)", "does not fit"),
        ("choice(3)", "not a list"),
        ("choice([])", "is empty"),
        ("randint(0, 0.5)", "must be an integer"),
        ("randint(0, 10**30)", "must fit into 64 bits"),
        ("uniform('a', 1)", "must be a number, not text"),
        ("uniform(0, float('nan'))", "must be finite"),
        ("uniform(0, 1, 1, **optimizer)", "cannot be used in a call of uniform"),
        ("uniform(0, upper=1, upper=2)", "argument 'upper' twice"),
        ("choice(*layers)", "Starred is not allowed"),
        ("choice([0] * 10**9)", "too long"),
        ("grid_search([1, 2])", "no function 'grid_search'"),
        ("unifrom(0, 1)", "did you mean 'uniform'.*sorted, sqrt, .*, uniform, .*, choice"),
    ],
)
def test_wrong_draws_are_told_in_the_words_of_the_sampler(text, expected):
    with pytest.raises(ResolverError, match=expected):
        drawn(text)


@pytest.mark.parametrize("seed", [None, -1, 0.5, "a"])
def test_without_a_usable_seed_nothing_is_drawn(seed):
    with pytest.raises(ResolverError, match=r"seed of the trial is .* whole number from 0"):
        drawn("uniform(0, 1)", seed)


def test_a_draw_needs_somebody_to_draw():
    with pytest.raises(ResolverError, match="no trial to draw 'uniform' for"):
        Expression.parse("uniform(0, 1)", "s", draws=True).evaluate({})


def test_entries_called_like_samplers_are_entries():
    assert drawn("choice + uniform(choice, choice + 1) * 0", choice=3) == 3
    assert Expression.parse("choice * 2", "s").evaluate({"choice": 2}) == 4


def test_whether_an_expression_draws_is_known():
    assert Expression.parse("lr + uniform(0, 1)", "s", draws=True).draws
    assert not Expression.parse("uniform + 1", "s", draws=True).draws


@pytest.mark.parametrize("value", [np.arange(3), np.array(3)])
def test_arrays_in_the_config_calculate(value):
    expected = value * 10**9 + value
    assert np.all(Expression.parse("a * 10**9 + a", "s").evaluate({"a": value}) == expected)


@pytest.mark.parametrize("value", [np.int64(10**7), bytearray(1000)])
def test_repeating_is_limited_for_values_of_any_kind(value):
    with pytest.raises(ResolverError, match="too long"):
        Expression.parse("len('a' * a if n else a * 100)", "s").evaluate(
            {"a": value, "n": isinstance(value, np.int64)}
        )


def test_what_an_object_in_the_config_raises_is_told():
    class Odd:
        def __add__(self, other):
            raise AssertionError("odd")

    with pytest.raises(ResolverError, match=r"a \+ 1.*cannot be computed: odd"):
        Expression.parse("a + 1", "s").evaluate({"a": Odd()})


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("name is 'sgd'", "'is' compares with None, True and False only; write == or !="),
        ("a = 1", "== compares"),
    ],
)
def test_comparisons_that_are_not_meant_are_refused(text, hint):
    with pytest.raises(ResolverError, match=re.escape(hint)):
        Expression.parse(text, "s")


def test_pythons_warnings_about_a_text_are_not_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Expression.parse("'\\d' if 1 == 1 else 2", "s").evaluate({}) == "\\d"


NUMBERS = st.sampled_from(
    ["0", "-1", "2", "9", "1e308", "10**30", "9**99", "9" * 900, "0x" + "f" * 900, "float('nan')"]
)
WORDS = st.sampled_from(["lr", "layers", "env_name", "optimizer", "optimizer.lr", "nope"])
TEXTS = st.sampled_from(["'a'", "'%1000000d'", "'{0.__class__}'", "'9' * 4000", "'a' * 9999"])
LISTS = st.sampled_from(["[]", "[0] * 9999", "[[0] * 99] * 99", "[[[[]]]]", "[{'a' * 9999: 1}]"])
CALLED = st.sampled_from(
    [*("min", "max", "sum", "sorted", "str", "int", "float", "round", "len", "abs", "bool"), *DRAWS]
)
# Where @ stands, something else that is hostile is put.
COMPUTED = st.sampled_from(
    [
        *("@ + @", "@ * @", "@ ** @", "@ ** @ ** @", "@ % @", "@ // @", "@ / @", "-@", "not @"),
        *("@[@]", "@[::@]", "@[@:@]", "@ in @", "@ is @", "@ < @ == @", "@ if @ else @"),
        *("[@, @, @]", "(@, @)", "{@, @}", "{@: @, @: @}", "[[@] * 99] * 99", "str(@) * 9"),
        *("sum(@, @)", "int(@, base=@)", "round(@, @)", "min(@, default=@)", "sorted([@, @])"),
        *("choice(@)", "choice([@, @])", "choice([0] * @)", "randint(0, @)", "uniform(@, @)"),
        *("quniform(0, @, @)", "qloguniform(@, @, @)", "randn(@, @)", "choice([@], weights=[@])"),
    ]
)
REFUSED = st.sampled_from(
    [
        *(
            "@.__class__",
            "@.__class__.__mro__[1]",
            "@['__class__']",
            "@.real",
            "@.format",
            "@.upper",
        ),
        *("[@ for i in @]", "sum(@ for i in @)", "{@: @ for i in @}", "(lambda: @)()"),
        *("(x := @)", "f'{@}'", "f'{@!r:>999999999}'", "[*@]", "max(*@)", "max(**@)", "{**@}"),
        *("@.format(@)", "@.join(@)", "@()", "@(@)", "f(@)", "__import__(@)", "choice(*@)"),
        *("sorted(@, key=@)", "uniform(lower=@)", "@ << @", "await @", "yield @"),
    ]
)
WRAPS = st.sampled_from(
    ["({})", "-{}", "not {}", "[{}]", "str({})", "[{}] * 9", "{}[0]", "len({})"]
)


@st.composite
def hostile(draw):
    forms = draw(st.sampled_from([COMPUTED, COMPUTED, COMPUTED | REFUSED]))
    text = draw(forms | CALLED.map("{}(@, @)".format) | CALLED.map("{}(@)".format))
    for _ in range(draw(st.integers(0, 4))):
        text = text.replace("@", f"({draw(forms)})", 1)
    leaves = draw(st.sampled_from([NUMBERS, LISTS, TEXTS, NUMBERS | WORDS | TEXTS | LISTS]))
    while "@" in text:
        text = text.replace("@", draw(leaves), 1)
    wrap = draw(WRAPS)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 5, 30, 120]))):
        text = wrap.replace("{}", text)
    return text


@given(hostile())
@settings(max_examples=800, deadline=None, derandomize=True)
def test_whatever_is_tried_is_refused_or_computed_in_no_time_and_little_memory(text):
    tracemalloc.start()
    start = time.process_time()
    try:
        with contextlib.suppress(ResolverError):
            drawn(text)
        took, most = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert took < 1
    assert most < 20_000_000


DEAREST = {
    "sums of lists": " + ".join(["[0] * 280"] * 35),
    "products of long lists": "[" + ", ".join(["[0] * 9999 * 1 * 1"] * 40) + "][0][0]",
    "long lists in lists": "[" * 30 + ", ".join(["[0]*9999"] * 65) + "]" * 30 + "[0]" * 3 + " == 0",
    "sorted text": "len(sorted(" + " + ".join(["'a' * 280"] * 35) + "))",
    "text of numbers": "[" + ", ".join(["len(str([7 ** 300] * 300))"] * 25) + "]",
    "comparisons": " == ".join(["[[0] * 99] * 99"] * 35),
    "draws": "[" + ", ".join(["choice([0] * 9999)"] * 45) + "]",
    "large numbers": "[" + ", ".join(["int('9' * 300) ** 1 // 3"] * 30) + "]",
}


@pytest.mark.parametrize("text", DEAREST.values(), ids=DEAREST)
def test_the_dearest_expressions_of_the_allowed_size_stay_cheap(text):
    start = time.process_time()
    drawn(text)
    assert time.process_time() - start < 1


def test_numbers_of_numpy_in_the_config_are_arguments_of_draws():
    assert drawn("randint(a, upper=b)", a=np.int64(3), b=np.int64(4)) == 3


def test_a_list_of_the_config_can_be_long_but_no_result_endlessly():
    long = [0] * 60_000
    assert drawn("long if sum(long) == 0 else 1", long=long) is long
    with pytest.raises(ResolverError, match="too long"):
        drawn("[long, long]", long=long)


def test_a_long_reason_is_cut():
    with pytest.raises(ResolverError, match="could not convert string to float") as told:
        drawn("float('x ' * 4000)")
    assert len(str(told.value)) < 700
