"""Values as plain Python and as words."""

import numpy as np
import pytest

from sacred_ray_ingredient.values import LONGEST_LIST, plain, show


class Tensor:
    """Has what a Torch tensor has."""

    def __init__(self, content, shape):
        self._content = content
        self.shape = shape

    def item(self):
        return self._content

    def tolist(self):
        return self._content


class Scalar:
    """A class that says of its objects what a tensor says of itself."""

    shape = ()
    tolist = None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(2.5), 2.5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (Tensor(0.25, ()), 0.25),
        (Tensor([1, 2], (2,)), [1, 2]),
        (range(3), [0, 1, 2]),
        ({"a": (np.int64(1), [np.float32(0.5)])}, {"a": (1, [0.5])}),
    ],
)
def test_numpy_and_torch_become_plain_python(value, expected):
    converted = plain(value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize("value", ["text", None, 1, 0.5, object(), Scalar, {1, 2}])
def test_anything_else_stays_what_it_is(value):
    assert plain(value) is value


def test_containers_are_copied():
    given = {"a": [1]}
    plain(given)["a"].append(2)
    assert given == {"a": [1]}


def test_a_huge_range_is_cut_just_above_what_is_allowed():
    assert len(plain(range(10**12))) == LONGEST_LIST + 1


def test_shown_values_are_short_and_plain():
    assert show(np.float64(0.5)) == "0.5"
    assert show("x" * 90) == repr("x" * 90)
    assert len(show("x" * 10_000)) <= 100
    assert len(show(list(range(10_000)))) < 100
