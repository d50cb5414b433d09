"""A searcher or scheduler by name, with or without arguments."""

import pytest

from sacred_ray_ingredient.choices import Choice, read_choice
from sacred_ray_ingredient.errors import ConfigMistakes

KNOWN = ("asha", "pbt", "median_stopping")
ALIASES = {"async_hyperband": "asha"}


def read(raw):
    return read_choice(raw, "ray.scheduler", KNOWN, ALIASES)


@pytest.mark.parametrize(
    ("raw", "choice"),
    [
        ("asha", Choice("asha")),
        ("asha()", Choice("asha")),
        ("asha(max_t=20)", Choice("asha", {"max_t": 20})),
        (" asha ( max_t=20, mode='min', x=[1, {'a': None}] ) ", None),
        ({"name": "asha"}, Choice("asha")),
        ({"name": "pbt", "max_t": 20, "further": {"a": 1}}, None),
        ("Median-Stopping", Choice("median_stopping")),
        ("async_hyperband(max_t=3)", Choice("asha", {"max_t": 3})),
        ({"name": "ASYNC-hyperband", "max_t": 3}, Choice("asha", {"max_t": 3})),
    ],
)
def test_text_and_mappings_are_read(raw, choice):
    if isinstance(raw, str):
        choice = choice or Choice("asha", {"max_t": 20, "mode": "min", "x": [1, {"a": None}]})
    assert read(raw) == (choice or Choice("pbt", {"max_t": 20, "further": {"a": 1}}))


def test_the_mapping_of_the_user_stays_as_it_is():
    raw = {"name": "asha", "max_t": 20}
    read(raw)
    assert raw == {"name": "asha", "max_t": 20}


@pytest.mark.parametrize("text", ["asha", "asha(max_t=20, grace_period=2)", "pbt(x={'a': [1]})"])
def test_the_text_of_a_choice_is_read_back(text):
    assert read(text).text() == text


LIST = "there are: asha, median_stopping, pbt."


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (3, "3, which is neither a name nor a mapping"),
        (["asha"], "['asha'], which is neither a name nor a mapping"),
        ({"max_t": 3}, "{'max_t': 3}, which does not say what to use under 'name'"),
        ({"name": 3}, "{'name': 3}, which does not say what to use under 'name'"),
        ("", "'', but '' is none that is known"),
        ("xyz", "'xyz', but 'xyz' is none that is known"),
        ("asa", "'asa', but 'asa' is none that is known (did you mean 'asha'?)"),
        ("async_hyperban", None),
        ("asa(max_t=3)", "'asa(max_t=3)', but 'asa' is none that is known (did you mean 'asha'?)"),
        ("asha(max_t=", "'asha(max_t=', which cannot be read as name(argument=value, ...)"),
        ("asha(max_t=3) + 1", None),
        ("asha.x(max_t=3)", None),
        ("asha(20)", "'asha(20)', whose arguments need their names"),
        ("asha(**{'max_t': 3})", None),
        ("asha(max_t=f())", "'asha(max_t=f())', whose arguments are not all literals"),
        ("asha(max_t=x)", "'asha(max_t=x)', whose arguments are not all literals"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(raw, problem):
    with pytest.raises(ConfigMistakes, match=r"^ray\.scheduler is ") as caught:
        read(raw)
    (sentence,) = caught.value.mistakes
    assert sentence.endswith(LIST)
    if problem is not None:
        assert sentence == f"ray.scheduler is {problem}; {LIST}"


def test_an_alias_is_suggested_too():
    with pytest.raises(ConfigMistakes, match=r"did you mean 'async_hyperband'\?"):
        read("async_hyperban")
