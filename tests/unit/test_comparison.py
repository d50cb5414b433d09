"""Two outcomes, compared to the last bit."""

import math

import pytest

from sacred_ray_ingredient.comparison import Outcome, compare, same_value

NAN = float("nan")
POINTS = [(0, 0.5), (1, 0.25), (2, 0.125)]


def done(result=1.5, metrics=None, **more):
    return Outcome("COMPLETED", result, {"loss": POINTS} if metrics is None else metrics, **more)


def test_the_same_outcome_is_told_with_the_numbers_of_metrics_and_values():
    comparison = compare(done(), done())
    assert comparison.is_same
    assert comparison.sentences == [
        "result 1.5 again, to the last bit; 1 metric, 3 values: all the same."
    ]
    assert comparison.compared == 4


def test_without_a_result_that_is_said():
    assert compare(done(None), done(None)).sentences[0].startswith("no result again; 1 metric")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.1 + 0.2, 0.3, False),
        (1, 1.0, True),
        (NAN, NAN, True),
        (NAN, 1.0, False),
        (True, 1, False),
        ("a", "a", True),
        (None, 0, False),
        (math.inf, math.inf, True),
    ],
)
def test_values_are_the_same_to_the_last_bit_or_not_at_all(one, other, same):
    assert same_value(one, other) is same
    assert compare(done(one), done(other)).is_same is same
    assert compare(done([{"x": one}]), done([{"x": other}])).is_same is same


def test_the_last_bit_of_the_result_counts_and_the_difference_is_told():
    comparison = compare(done(0.3), done(0.1 + 0.2))
    assert not comparison.is_same
    assert comparison.sentences[0] == (
        "result: 0.3 was recorded, 0.30000000000000004 came now (difference 5.551115123125783e-17)."
    )
    assert comparison.sentences[1] == "1 metric of 1: all the same."


def test_entries_of_a_nested_result_are_named():
    before = {"a": [1, {"b": 2}], "gone": 1, "same": 0}
    now = {"a": [1, {"b": 3}], "new": 4, "same": 0}
    assert compare(done(before), done(now)).sentences[:3] == [
        "result.a[1].b: 2 was recorded, 3 came now (difference 1.0).",
        "result.gone: 1 was recorded, nothing came now.",
        "result.new: nothing was recorded, 4 came now.",
    ]


def test_of_many_entries_that_differ_some_are_named_and_the_rest_counted():
    sentences = compare(done(list(range(9))), done([x + 1 for x in range(9)])).sentences
    assert [line.split(":")[0] for line in sentences[:3]] == ["result[0]", "result[1]", "result[2]"]
    assert sentences[3] == "6 further entries of the result differ."


def test_lists_of_other_lengths_differ():
    assert not compare(done([1, 2]), done([1])).is_same


def test_a_metric_that_differs_is_told_with_its_first_and_its_largest_difference():
    now = [(0, 0.5), (1, 0.5), (2, 1.125)]
    comparison = compare(done(metrics={"loss": POINTS}), done(metrics={"loss": now}))
    assert not comparison.is_same
    assert comparison.sentences == [
        "loss: 2 of 3 values differ, by at most 1.0; the first: at step 1, 0.25 recorded, 0.5 now."
    ]


def test_a_value_at_another_step_differs():
    now = [(0, 0.5), (3, 0.25), (2, 0.125)]
    (sentence,) = compare(done(), done(metrics={"loss": now})).sentences
    assert "step 1 recorded, step 3 now" in sentence


@pytest.mark.parametrize("now", [POINTS[:2], [*POINTS, (3, 0.0)]])
def test_missing_and_further_values_differ(now):
    (sentence,) = compare(done(), done(metrics={"loss": now})).sentences
    assert sentence.endswith(f"3 values were recorded, {len(now)} came now.")
    assert f"1 of {max(3, len(now))} values differ;" in sentence


@pytest.mark.parametrize("swap", [False, True])
def test_a_metric_that_only_one_of_them_has_differs(swap):
    pair = [done(), done(metrics={})]
    assert not compare(*(reversed(pair) if swap else pair)).is_same


def test_counts_of_values_that_are_no_numbers_are_compared():
    before, now = done(nonfinite={"loss": 2}), done(nonfinite={"loss": 1})
    assert compare(before, before).is_same
    assert compare(before, now).sentences[0] == (
        "loss: 2 values that are NaN or infinite were recorded, 1 came now."
    )


def test_a_failure_is_compared_by_its_error():
    before = Outcome("FAILED", error="ValueError: x")
    assert compare(before, before).sentences[0].startswith("failed again with ValueError: x; ")
    other = compare(before, Outcome("FAILED", error="ValueError: y"))
    assert other.sentences == ["error: ValueError: x was recorded, ValueError: y came now."]
    completed = compare(before, Outcome("COMPLETED"))
    assert completed.sentences == [
        "status: FAILED (ValueError: x) was recorded, COMPLETED came now."
    ]


class TestEndedEarly:
    def test_only_the_values_that_there_were_are_compared(self):
        before = Outcome("COMPLETED", None, {"loss": POINTS[:2]})
        now = Outcome("COMPLETED", 9.0, {"loss": POINTS, "later": POINTS}, {"later": 1})
        comparison = compare(before, now, ended_early=True)
        assert comparison.is_same
        assert comparison.sentences == [
            "the result is not compared; 1 metric, 2 values: all the same."
        ]
        assert not compare(before, now).is_same

    def test_a_value_among_them_that_differs_is_found(self):
        before = Outcome("INTERRUPTED", None, {"loss": [(0, 0.5), (1, 7.0)]})
        assert not compare(before, done(), ended_early=True).is_same

    def test_fewer_values_than_there_were_differ(self):
        now = done(metrics={"loss": POINTS[:1]})
        assert not compare(done(), now, ended_early=True).is_same

    def test_a_new_run_that_fails_differs(self):
        now = Outcome("FAILED", None, {"loss": POINTS}, error="ValueError: x")
        assert not compare(done(), now, ended_early=True).is_same


def test_a_run_that_went_on_from_a_state_is_compared_from_its_first_step_on():
    before = done(metrics={"loss": POINTS[1:]})
    assert compare(before, done(), continued=True).is_same
    assert not compare(before, done()).is_same
    other = done(metrics={"loss": [(0, 0.5), (1, 0.25), (2, 9.0)]})
    assert not compare(before, other, continued=True).is_same
    assert not compare(before, done(metrics={"loss": POINTS[:1]}), continued=True).is_same
