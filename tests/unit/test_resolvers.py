import functools
import math
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacred_ray_ingredient.errors import ConfigMistakes, ResolverError
from sacred_ray_ingredient.nested import set_path
from sacred_ray_ingredient.resolvers import (
    ConfigView,
    import_reference,
    is_reference,
    parse_dependent,
    resolver,
)

CONFIG = {"lr": 0.5, "layers": [2, 1], "optimizer": {"lr": 0.25, "wd": 0.1}}


def read(raw, **given_too):
    resolvers, mistakes = parse_dependent(raw, **given_too)
    assert mistakes == []
    return resolvers


def resolve(value, config=CONFIG):
    (found,) = read({"x": value})
    return found.resolve(config)


def mistakes_of(raw, **given_too):
    return "\n".join(parse_dependent(raw, **given_too)[1])


def order(raw, **given_too):
    return [found.path for found in read(raw, **given_too)]


def double_lr(config):
    return config["lr"] * 2


def assign(config):
    config["lr"] = 2


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    (tmp_path / "my_helpers.py").write_text(
        "constant = 3\n"
        "def scaled(config):\n    return config.optimizer.lr * 4\n"
        "def nothing():\n    return 7\n"
        "def two(a, b):\n    return 1\n"
        "class Tables:\n    @staticmethod\n    def pick(config):\n        return config['lr']\n"
    )
    (tmp_path / "my_broken.py").write_text("raise RuntimeError('no GPU')\n")
    (tmp_path / "my_script.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_helpers", "my_broken", "my_script"):
        sys.modules.pop(name, None)


def test_an_expression_is_kept_as_text_with_what_it_reads():
    (found,) = read({"optimizer": {"wd": "optimizer.lr * lr"}})
    assert found.path == "optimizer.wd"
    assert found.text == "optimizer.lr * lr"
    assert found.reads == {"optimizer.lr", "lr"}
    assert found.source_code is None
    assert found.resolve(CONFIG) == 0.125


def test_a_function_by_name(helpers):
    (found,) = read({"x": "my_helpers:scaled"})
    assert found.text == "my_helpers:scaled"
    assert found.reads is None
    assert found.source_code == "def scaled(config):\n    return config.optimizer.lr * 4\n"
    assert found.resolve(CONFIG) == 1.0
    assert resolve("my_helpers:nothing") == 7
    assert resolve("my_helpers:Tables.pick") == 0.5


def test_a_reference_is_imported_for_others_too(helpers):
    assert import_reference(" my_helpers:Tables.pick ", "here")({"lr": 3}) == 3
    with pytest.raises(ConfigMistakes, match=r"^here is 'my_helpers:scald', but .* mean 'scaled'"):
        import_reference("my_helpers:scald", "here")
    texts = ["my_helpers:scaled", " a.b:C.d ", "a", "a:b:c", "lr * 2", "x[1:2]"]
    assert [is_reference(text) for text in texts] == [True, True, False, False, False, False]


def test_a_function_as_python_object_is_kept_by_name_and_source():
    (found,) = read({"x": double_lr})
    assert found.text == f"<{__name__}.double_lr>"
    assert "return config[" in found.source_code
    assert found.resolve(CONFIG) == 1.0


def test_functions_without_source_or_signature_work_too():
    assert resolve(functools.partial(lambda scale, config: config.lr * scale, 4)) == 2.0
    (found,) = read({"x": dict})
    assert found.source_code is None
    assert found.resolve({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda config: config["optimizer"]["lr"], 0.25),
        (lambda config: config.optimizer.lr, 0.25),
        (lambda spec: spec.config.lr, 0.5),
        (lambda config: config.get("missing", 3), 3),
        (lambda config: "lr" in config and "nope" not in config, True),
        (lambda config: {**config.optimizer}, {"lr": 0.25, "wd": 0.1}),
        (lambda config: config.optimizer, {"lr": 0.25, "wd": 0.1}),
        (lambda: 3, 3),
        (lambda config=None: config.lr, 0.5),
    ],
)
def test_how_a_function_reaches_the_config(function, expected):
    assert resolve(function) == expected


def test_an_entry_called_config_is_that_entry():
    assert resolve(lambda c: c.config.depth, {"config": {"depth": 2}}) == 2


def test_a_function_cannot_change_the_config():
    config = {"layers": [2, 1], "optimizer": {"lr": 1}}
    assert resolve(lambda c: sorted(c.layers) + c.layers.__iadd__([9]), config) == [1, 2, 2, 1, 9]
    assert config["layers"] == [2, 1]
    with pytest.raises(ResolverError, match=r"raised TypeError.*does not support item assignment"):
        resolve(assign, config)
    with pytest.raises(AttributeError, match="lr"):
        ConfigView(config).lr = 3


@pytest.mark.parametrize(
    ("value", "kind"), [(np.float64(0.5), float), (np.int64(2), int), (np.bool_(True), bool)]
)
def test_numpy_scalars_become_pythons(value, kind):
    assert type(resolve(lambda: value)) is kind
    assert type(resolve(lambda: {"a": [value]})["a"][0]) is kind


def test_what_a_function_raises_is_the_cause():
    def broken(config):
        return config.optimizer.lrr

    with pytest.raises(
        ResolverError, match=r"ray\.dependent\.x is .*broken.*no config entry 'lrr' \(did you"
    ) as told:
        resolve(broken)
    assert isinstance(told.value.__cause__, AttributeError)
    with pytest.raises(ResolverError, match=r"raised KeyError.*no config entry 'nope'"):
        resolve(lambda config: config["nope"])


def test_a_failing_expression_names_parameter_and_text():
    with pytest.raises(ResolverError, match=r"ray\.dependent\.x is 'lr / 0', .*division by zero"):
        resolve("lr / 0")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("lr *", r"ray.dependent.x is 'lr \*', which is no expression"),
        ("[i for i in lr]", "ListComp is not allowed"),
        (3, "ray.dependent.x is 3, which computes nothing; .* as an update of the inner"),
        ([1], "computes nothing"),
        ("x * 2", r"reads itself \(x\)"),
        ("x['y'] * 2", r"reads itself \(x.y\)"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("my_helpers:scald", r"no 'scald' \(did you mean 'scaled'\?\) in 'my_helpers'"),
        ("my_helpers:Tables.pik", "no 'pik' .did you mean 'pick'"),
        ("my_helpers:constant", "is 3 and no function"),
        ("my_helpers:two", r"takes \(a, b\); it must take the config as its only argument"),
        ("my_broken:f", "importing 'my_broken' raised RuntimeError: no GPU"),
        ("my_script:f", "importing 'my_script' raised SystemExit: 3"),
        (lambda a, b: 1, "takes .a, b.; it must take"),
    ],
)
def test_mistakes_say_what_would_be_right(helpers, value, expected):
    resolvers, mistakes = parse_dependent({"x": value, "fine": "lr"})
    assert len(mistakes) == 1
    assert mistakes[0].startswith("ray.dependent.x is ")
    assert re.search(expected, mistakes[0])
    assert [resolver.path for resolver in resolvers] == ["fine"]


def test_a_cycle_is_named_whole_and_every_cycle_is_told():
    raw = {"a": "b + 1", "b": "c.d", "c": {"d": "a"}, "p": "q", "q": "p", "fine": "a + lr"}
    resolvers, mistakes = parse_dependent(raw)
    told = "\n".join(mistakes)
    assert len(mistakes) == 2
    assert any(
        cycle in told
        for cycle in ("a -> b -> c.d -> a", "b -> c.d -> a -> b", "c.d -> a -> b -> c.d")
    )
    assert "p -> q -> p" in told or "q -> p -> q" in told
    assert [resolver.path for resolver in resolvers] == ["fine"]


def test_a_parameter_given_twice_is_a_mistake():
    assert "given twice" in mistakes_of({"a.b": "lr", "a": {"b": "lr"}})
    assert "both 'a' and 'a.b'" in mistakes_of({"a": "lr", "a.b": "lr"})
    assert "in the search space too (a)" in mistakes_of(
        {"a": {"b": "lr"}}, functions={"a": double_lr}
    )
    assert "must be a mapping" in mistakes_of("lr * 2")


def test_none_leaves_a_parameter_out():
    assert read({"a": None, "b": {"c": None}}) == ()


def test_each_comes_after_what_it_reads():
    assert order({"a": "b", "b": "c.d * 2", "c": {"d": "lr"}}) == ["c.d", "b", "a"]


def test_a_level_and_its_entries_depend_on_each_other():
    assert order({"n": "len(opt)", "opt": {"lr": "lr"}}) == ["opt.lr", "n"]
    assert order({"m": "table.size", "table": "{'size': 3}"}) == ["table", "m"]


def test_functions_come_as_late_as_they_can():
    raw = {"f": double_lr, "needs_f": "f + 1", "g": lambda: 1, "a": "lr"}
    assert order(raw) == ["a", "f", "needs_f", "g"]
    assert order({"f": double_lr, "g": lambda: 1, "uses_g": "g"}) == ["g", "uses_g", "f"]


def test_functions_of_the_search_space_are_resolved_too():
    resolvers = read({"b": "a + 1"}, functions={"a": double_lr})
    assert [(r.path, r.text) for r in resolvers] == [
        ("a", f"<{__name__}.double_lr>"),
        ("b", "a + 1"),
    ]


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 8))
    reads = {i: draw(st.sets(st.integers(0, i - 1))) if i else set() for i in range(size)}
    return {f"p{i}.v": sorted(reads[i]) for i in draw(st.permutations(range(size)))}


@given(graphs())
@settings(max_examples=200, deadline=None)
def test_any_graph_without_a_cycle_is_resolved_in_order(graph):
    raw = {path: " + ".join(["1", *(f"p{i}.v" for i in reads)]) for path, reads in graph.items()}
    resolvers = read(raw)
    config = {}
    for found in resolvers:
        set_path(config, found.path, found.resolve(config))
    assert len(resolvers) == len(graph)
    for path, reads in graph.items():
        assert config[path.split(".")[0]]["v"] == 1 + sum(config[f"p{i}"]["v"] for i in reads)


def scaled(env_name, lr):
    return lr * (10 if env_name == "Ant" else 1)


def read_of(function, *names):
    (found,) = read({"x": resolver(*names)(function)})
    return found


def test_a_decorated_function_gets_the_entries_that_it_declares():
    found = read_of(lambda a, b: [a, b.wd], "lr", "optimizer")
    assert found.reads == {"lr", "optimizer"}
    assert found.resolve(CONFIG) == [0.5, 0.1]
    assert read_of(lambda lr: lr * 2, "optimizer.lr").resolve(CONFIG) == 0.5
    assert read_of(lambda: 3).reads == frozenset()


def test_a_bare_decorator_takes_the_names_of_the_arguments():
    @resolver
    def both(lr, layers):
        return [lr, *layers]

    (found,) = read({"x": both})
    assert found.reads == {"lr", "layers"}
    assert found.resolve(CONFIG) == [0.5, 2, 1]
    assert "return [lr, *layers]" in found.source_code
    assert both(1, [2]) == [1, 2]


def test_a_decorated_function_by_name(helpers, tmp_path):
    (tmp_path / "my_helpers.py").write_text(
        "from sacred_ray_ingredient.resolvers import resolver\n"
        "@resolver('optimizer.lr')\n"
        "def half(value):\n    return value / 2\n"
    )
    (found,) = read({"x": "my_helpers:half"})
    assert (found.text, found.reads) == ("my_helpers:half", {"optimizer.lr"})
    assert found.resolve(CONFIG) == 0.125


def test_expressions_can_be_computed_again_and_functions_cannot():
    raw = {"a": "lr * uniform(0, 1)", "b": double_lr, "c": resolver("lr")(lambda lr: lr)}
    assert {found.path: found.is_repeatable for found in read(raw)} == {
        "a": True,
        "b": False,
        "c": False,
    }


def test_functions_written_in_c_can_be_declared_too():
    assert read_of(math.sqrt, "optimizer.lr").resolve(CONFIG) == 0.5
    assert not hasattr(math.sqrt, "_sacred_ray_reads")
    assert read_of(max, "lr", "optimizer.lr").resolve(CONFIG) == 0.5


def test_a_decorated_function_cannot_change_the_config():
    config = {"layers": [2, 1]}
    assert read_of(lambda layers: sorted(layers.__iadd__([9])), "layers").resolve(config) == [
        1,
        2,
        9,
    ]
    assert config == {"layers": [2, 1]}


def test_decorated_functions_come_after_what_they_read():
    use_b = resolver("b.c")(lambda value: value)
    assert order({"a": use_b, "b": {"c": resolver("d")(lambda d: d)}, "d": "lr"}) == [
        "d",
        "b.c",
        "a",
    ]
    assert order({"a": resolver("f")(lambda f: f), "f": double_lr, "e": "a"}) == ["f", "a", "e"]
    assert order({"f": double_lr, "a": resolver("lr")(lambda lr: lr), "e": "lr"}) == ["e", "a", "f"]


def test_functions_come_after_all_expressions_that_they_do_not_read():
    raw = {"a": resolver("lr")(lambda lr: lr), "b": "a + 1", "e": "lr"}
    assert order(raw) == ["e", "a", "b"]


def test_cycles_through_decorated_functions_are_found():
    told = mistakes_of({"a": "b + 1", "b": resolver("a")(lambda a: a)})
    assert re.search("parameters that need each other: (a -> b -> a|b -> a -> b)", told)


@pytest.mark.parametrize(
    ("function", "names", "expected"),
    [
        (lambda a, b: 1, ("lr",), r"takes \(a, b\) but @resolver\('lr'\) gives it 1; there must"),
        (lambda: 1, ("lr", "layers"), r"gives it 2"),
        (lambda a: 1, ("x",), r"reads itself \(x\)"),
        (lambda a: 1, ("x.y",), r"reads itself \(x.y\)"),
        (lambda a: 1, (3,), r"lets read 3; give names of entries as text"),
        (lambda a: 1, ("a..b",), r"lets read 'a..b'; give names"),
    ],
)
def test_wrong_declarations_are_told_when_the_config_is_read(function, names, expected):
    told = mistakes_of({"x": resolver(*names)(function)})
    assert told.startswith("ray.dependent.x is ")
    assert re.search(expected, told)


@pytest.mark.parametrize("function", [lambda *lr: 1, lambda **lr: 1, lambda *, lr: 1])
def test_arguments_that_are_no_names_of_entries(function):
    assert "cannot be the names of entries; name them" in mistakes_of({"x": resolver(function)})


def test_an_entry_that_a_decorated_function_misses_is_told():
    with pytest.raises(ResolverError, match=r"no config entry 'optimizer.lrr' \(did you mean 'lr'"):
        read_of(lambda a: a, "optimizer.lrr").resolve(CONFIG)
    with pytest.raises(ResolverError, match=r"no config entry 'lr\.x'\."):
        read_of(lambda a: a, "lr.x").resolve(CONFIG)
    with pytest.raises(ResolverError, match=r"which raised ZeroDivisionError"):
        read_of(lambda a: a / 0, "lr").resolve(CONFIG)


def test_expressions_draw_with_the_seed_of_the_trial():
    def drawn(seed, path="x", **others):
        found = {r.path: r for r in read({path: "lr * uniform(0, 1)", **others})}
        return found[path].resolve({**CONFIG, "seed": seed})

    assert drawn(3) == drawn(3) == drawn(3, others="uniform(0, 1)")
    assert 0 <= drawn(3) < 0.5
    assert len({drawn(3), drawn(4), drawn(3, "y")}) == 3
    with pytest.raises(ResolverError, match="seed of the trial is None"):
        drawn(None)


def test_a_draw_reads_the_seed_and_comes_after_it():
    resolvers = read({"x": "uniform(0, lr)", "seed": "len(layers)"})
    assert [(r.path, r.reads) for r in resolvers] == [
        ("seed", {"layers"}),
        ("x", {"lr", "seed"}),
    ]
    told = mistakes_of({"seed": "randint(1, 9)"})
    assert told.startswith("ray.dependent.seed is 'randint(1, 9)', but what is drawn depends on")
