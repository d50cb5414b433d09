"""``resume SWEEP_ID`` in a command line of Sacred's."""

import pytest

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.verbs import verb_of

OPTIONS = ["-m", "--mongo_db", "-n", "--name"]


def split(line):
    words, wanted = verb_of(line.split(), OPTIONS)
    return " ".join(words), wanted


@pytest.mark.parametrize(
    ("line", "words", "wanted"),
    [
        ("p resume last", "p", "last"),
        ("p resume sweep-0a1b", "p", "sweep-0a1b"),
        ("p resume last with a=1 b", "p with a=1 b", "last"),
        ("p -m host:1:db -d resume last -u with a=1", "p -m host:1:db -d -u with a=1", "last"),
        ("p --mongo_db=x resume last", "p --mongo_db=x", "last"),
        ("p with resume", "p with resume", None),
        ("p -n resume with a=1", "p -n resume with a=1", None),
        ("p print_config with resume=1", "p print_config with resume=1", None),
        ("p help resume", "p help resume", None),
    ],
)
def test_the_verb_is_taken_out(line, words, wanted):
    assert split(line) == (words, wanted)


@pytest.mark.parametrize(
    "line", ["p resume", "p resume 17", "p resume last sweep-1", "p resume with a"]
)
def test_what_is_no_id_is_told(line):
    with pytest.raises(ConfigMistakes, match="it must be the id of a sweep"):
        split(line)
