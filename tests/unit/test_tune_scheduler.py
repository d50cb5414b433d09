"""What schedulers that change parameters may make of them."""

import pytest

from sacred_ray_ingredient.engines.tune_scheduler import _within
from sacred_ray_ingredient.samplers import read_sampler


@pytest.mark.parametrize(
    ("text", "explored", "value"),
    [
        ("quniform(0, 1, 0.1)", 0.36, 0.4),
        ("quniform(0, 0.3, 0.1)", 0.36, 0.3),
        ("qloguniform(0.1, 1, 0.1)", 0.01, 0.1),
        ("qrandint(10, 50, 10)", 24, 20),
        ("qrandint(10, 50, 10)", 60, 50),
        ("qlograndint(2, 16, 2)", 13, 12),
        ("qrandint(2, 8)", 9.6, 7),
        ("qrandn(0, 1, 0.5)", 0.6, 0.5),
        ("randint(1, 9)", 9.6, 8),
        ("randint(1, 9)", 4.4, 4),
        ("lograndint(1, 9)", 0.2, 1),
        ("uniform(0, 1)", 1.2, 1.0),
        ("uniform(0, 1)", 0.36, 0.36),
        ("uniform(0, 2)", 1, 1.0),
        ("randn(0, 1)", -0.6, -0.6),
        ("choice([1, 2])", 2, 2),
        ("choice(['a', 'b'])", "b", "b"),
        ("choice([[1, 2]])", [1, 2], [1, 2]),
        ("[1, 5]", 5, 5),
    ],
)
def test_an_explored_value_becomes_the_nearest_that_can_be_drawn(text, explored, value):
    sampler = read_sampler([1, 5] if text == "[1, 5]" else text, "x")
    found = _within(explored, sampler)
    assert found == pytest.approx(value) if isinstance(value, float) else found == value
    assert type(found) is type(value)
    assert sampler.is_grid or sampler.position(found) is not None
