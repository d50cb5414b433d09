"""When a trial has gone on for long enough."""

import inspect
import sys
import types

import pytest

from sacred_ray_ingredient.errors import SacredRayError
from sacred_ray_ingredient.stop_rules import parse_stop


def rule(raw):
    rules, mistakes = parse_stop(raw)
    assert mistakes == []
    (rule,) = rules
    return rule


def mistake(raw):
    rules, mistakes = parse_stop(raw)
    assert rules == []
    (sentence,) = mistakes
    return sentence


@pytest.mark.parametrize("raw", [None, {}, {"loss": None}, {"plateau": None, "function": None}])
def test_what_is_not_given_or_was_taken_back_is_no_rule(raw):
    assert parse_stop(raw) == ([], [])


class TestThresholds:
    @pytest.mark.parametrize(
        ("bound", "text", "ends", "goes_on"),
        [
            (0.9, "accuracy >= 0.9", [0.9, 0.95], [0.89, -1.0]),
            (3, "accuracy >= 3", [3, 4.0], [2]),
            ("0.9", "accuracy >= 0.9", [0.9], [0.8]),
            (">= 0.9", "accuracy >= 0.9", [0.9], [0.8]),
            (">0.9", "accuracy > 0.9", [0.95], [0.9]),
            (" <= 1e-1 ", "accuracy <= 0.1", [0.1, -5.0], [0.11]),
            ("< 0.1", "accuracy < 0.1", [0.09], [0.1]),
            ("<= -2", "accuracy <= -2", [-2.0], [-1.0]),
        ],
    )
    def test_are_reached_from_below_unless_text_says_otherwise(self, bound, text, ends, goes_on):
        found = rule({"accuracy": bound})
        assert found.text == text
        assert [found.check("id", {"accuracy": value}) for value in ends] == [True] * len(ends)
        assert [found.check("id", {"accuracy": v}) for v in goes_on] == [False] * len(goes_on)

    def test_wait_for_a_value(self):
        found = rule({"accuracy": 0.0})
        assert not found.check("id", {"loss": 1.0})
        assert not found.check("id", {"accuracy": "high"})
        assert not found.check("id", {"accuracy": float("nan")})

    def test_can_count_what_tune_counts(self):
        assert rule({"training_iteration": 5}).check("id", {"training_iteration": 5})
        assert rule({"time_total_s": 60}).check("id", {"time_total_s": 60.5})

    def test_find_a_metric_that_is_reported_under_another_name(self):
        assert rule({"metric_loss": 1}).check("id", {"metric_metric_loss": 2.0})

    @pytest.mark.parametrize("name", ["error", "date", "status", "pid", "done", "timestamp"])
    def test_look_at_the_metric_where_tune_has_a_value_of_the_same_name(self, name):
        found = rule({name: 0.5})
        assert found.text == f"{name} >= 0.5"
        assert found.check("id", {name: 0, f"metric_{name}": 1.0})
        assert not found.check("id", {name: 1000, f"metric_{name}": 0.25})

    def test_of_the_result_could_never_end_a_trial(self):
        assert mistake({"result": 0.5}) == (
            "ray.stop.result is 0.5, but the result of a trial is known when it has ended and can "
            "end none; name a metric that the experiment logs."
        )

    def test_each_is_a_rule(self):
        rules, mistakes = parse_stop({"accuracy": 0.9, "loss": "<= 0.1", "step": None})
        assert ([each.text for each in rules], mistakes) == (["accuracy >= 0.9", "loss <= 0.1"], [])

    @pytest.mark.parametrize("value", ["low", True, "== 3", "<= low", [1], float("nan"), {"a": 1}])
    def test_that_are_no_numbers_are_a_mistake(self, value):
        assert mistake({"loss": value}) == (
            f"ray.stop.loss is {value!r}; it must be the number at which a trial ends, or text "
            "such as '<= 0.1'."
        )

    def test_that_are_right_are_kept_beside_wrong_ones(self):
        rules, mistakes = parse_stop({"loss": "low", "accuracy": 1, "gain": "x"})
        assert [each.text for each in rules] == ["accuracy >= 1"]
        assert len(mistakes) == 2


class TestPlateau:
    ARGUMENTS = {"metric": "loss", "std": 0.01, "num_results": 3, "grace_period": 3}  # noqa: RUF012

    def test_ends_a_trial_whose_metric_stays(self):
        found = rule({"plateau": self.ARGUMENTS})
        ends = [found.check("a", {"loss": value}) for value in (9.0, 5.0, 1.0, 1.0, 1.0, 1.0)]
        assert ends == [False] * 4 + [True] * 2

    def test_looks_at_each_trial_alone(self):
        found = rule({"plateau": self.ARGUMENTS})
        for _ in range(2):
            assert not found.check("a", {"loss": 1.0})
        assert not found.check("b", {"loss": 1.0})
        assert found.check("a", {"loss": 1.0})

    def test_waits_for_the_metric(self):
        found = rule({"plateau": self.ARGUMENTS})
        assert not any(found.check("a", {"step": step}) for step in range(9))

    def test_looks_at_the_metric_where_tune_has_a_value_of_the_same_name(self):
        found = rule({"plateau": {**self.ARGUMENTS, "metric": "error"}})
        varies = [{"error": 0, "metric_error": value} for value in (1.0, 5.0, 9.0, 13.0)]
        assert not any([found.check("a", result) for result in varies])
        stays = [{"error": number, "metric_error": 1.0} for number in range(0, 40, 10)]
        assert any([found.check("b", result) for result in stays])

    def test_can_look_at_what_tune_counts(self):
        found = rule({"plateau": {**self.ARGUMENTS, "metric": "time_total_s"}})
        assert any([found.check("a", {"time_total_s": 1.0}) for _ in range(4)])

    def test_does_not_count_reports_without_the_metric(self):
        found = rule({"plateau": self.ARGUMENTS})
        results = [{"loss": 1.0}, {"gain": 1.0}, {"loss": 1.0}, {"gain": 1.0}, {"loss": 1.0}]
        assert [found.check("a", result) for result in results] == [False] * 4 + [True]

    def test_can_be_the_metric_alone(self):
        found = rule({"plateau": "loss"})
        ends = [found.check("a", {"loss": 1.0}) for _ in range(4)]
        assert ends == [False, False, False, True]

    def test_can_wait_for_a_value(self):
        found = rule({"plateau": {**self.ARGUMENTS, "metric_threshold": 0.5, "mode": "min"}})
        assert not any([found.check("a", {"loss": 1.0}) for _ in range(9)])
        assert any([found.check("a", {"loss": 0.25}) for _ in range(9)])

    def test_says_what_it_looks_at(self):
        text = rule({"plateau": self.ARGUMENTS}).text
        assert all(part in text for part in ("loss", "std=0.01", "num_results=3"))

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            (3, "ray.stop.plateau is 3; it must be the name of a metric, or a mapping such as "),
            ({"std": 1}, "ray.stop.plateau is {'std': 1}; it must be the name of a metric, or a "),
            (
                {"metric": "loss", "stdd": 1},
                "ray.stop.plateau.stdd is no argument of a plateau (did you mean 'std'?).",
            ),
            (
                {"metric": "loss", "colour": 1},
                "ray.stop.plateau.colour is no argument of a plateau; it has grace_period, metric, "
                "metric_threshold, mode, num_results, std.",
            ),
            (
                {"metric": "loss", "num_results": "4"},
                "ray.stop.plateau.num_results is '4'; it must be a number.",
            ),
            *(
                (
                    {"metric": "loss", name: number},
                    f"ray.stop.plateau.{name} is {number}; it must be a whole number from {least}.",
                )
                for name, number, least in (
                    ("num_results", 2.5, 1),
                    ("num_results", 0, 1),
                    ("grace_period", 2.5, 0),
                    ("grace_period", -1, 0),
                )
            ),
            *(
                (
                    {"metric": metric},
                    f"ray.stop.plateau.metric is {metric!r}; it must be the name of a metric.",
                )
                for metric in (None, "", " ", 3, ["loss"])
            ),
            (
                {"metric": "result"},
                "ray.stop.plateau.metric is 'result', but the result of a trial is known when it ",
            ),
            *(
                (
                    {"metric": "loss", "std": std},
                    f"ray.stop.plateau.std is {std}; it must be a number from 0.",
                )
                for std in (-0.01, float("nan"))
            ),
            (
                {"metric": "loss", "std": True},
                "ray.stop.plateau.std is True; it must be a number.",
            ),
            *(
                (
                    {"metric": "loss", **given},
                    "ray.stop.plateau must give metric_threshold and mode, 'min' or 'max', "
                    "together or not.",
                )
                for given in (
                    {"metric_threshold": 1},
                    {"mode": "min"},
                    {"metric_threshold": 1, "mode": "best"},
                )
            ),
        ],
    )
    def test_that_is_wrong_is_a_mistake(self, value, sentence):
        assert mistake({"plateau": value}).startswith(sentence)


def over(trial_id, result):
    """Is what the tests name as a function."""
    return result["loss"] < 0.5


class Within:
    over = staticmethod(over)


class Always:
    def __call__(self, trial_id, result):
        return True


class TestFunctions:
    @pytest.mark.parametrize(
        "raw",
        [over, f"{__name__}:over", {"function": over}, {"function": f" {__name__}:over "}],
    )
    def test_are_given_as_they_are_or_by_name(self, raw):
        found = rule(raw)
        assert [found.check("a", {"loss": value}) for value in (1.0, 0.25)] == [False, True]

    def test_see_metrics_under_their_own_names_and_the_time(self):
        seen = []
        result = {"metric_done": 1.0, "loss": 2.0, "pid": 3, "done": False, "time_total_s": 4.5}
        rule(lambda trial_id, values: seen.append((trial_id, values))).check("abc", result)
        times = {"step": None, "training_iteration": None, "time_total_s": 4.5}
        assert seen == [("abc", {"done": 1.0, "loss": 2.0, **times})]

    def test_are_told_by_their_name(self):
        assert rule(over).text == f"<{__name__}.over>"
        assert rule(f"{__name__}:over").text == f"{__name__}:over"

    def test_that_raise_end_the_sweep_with_a_sentence(self):
        match = (
            r"^ray\.stop\.function is .*:over, which raised KeyError: 'loss'; the sweep was ended\."
        )
        with pytest.raises(SacredRayError, match=match):
            rule({"function": f"{__name__}:over"}).check("a", {"gain": 1.0})

    @pytest.mark.parametrize("raw", ["over", "a:b:c", "no function", 3, [over]])
    def test_that_are_none_are_a_mistake(self, raw):
        assert mistake(raw).startswith("ray.stop is ")

    def test_that_cannot_be_imported_are_a_mistake(self):
        assert mistake("no_such_module:f") == (
            "ray.stop is 'no_such_module:f', but there is no module 'no_such_module'; it must be "
            "importable from the folder of the project."
        )

    def test_that_their_module_does_not_have_are_a_mistake(self):
        assert mistake({"function": f"{__name__}:ovver"}) == (
            f"ray.stop.function is '{__name__}:ovver', but there is no 'ovver' "
            f"(did you mean 'over'?) in '{__name__}'."
        )

    def test_can_be_within_a_class(self):
        assert rule(f"{__name__}:Within.over").check("a", {"loss": 0.25})

    def test_of_a_script_that_ends_the_process_are_a_mistake(self, monkeypatch, tmp_path):
        (tmp_path / "ends_at_import.py").write_text("raise SystemExit(3)")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert "raised SystemExit: 3; " in mistake("ends_at_import:f")

    @pytest.mark.parametrize(
        "function", [lambda: True, lambda values: True, lambda a, b, c: True, lambda *, a, b: True]
    )
    def test_take_two_arguments(self, function):
        assert mistake(function).endswith(
            "; it must take two arguments, the trial id and the reported values."
        )
        assert f", which takes {inspect.signature(function)}; " in mistake(function)

    @pytest.mark.parametrize("function", [lambda a, b=1, c=2: True, lambda *a: True, Always(), min])
    def test_that_can_take_two_arguments_are_taken(self, function):
        rule(function)

    def test_of_a_module_that_raises_are_a_mistake(self, monkeypatch, tmp_path):
        (tmp_path / "raises_at_import.py").write_text("1 / 0")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert "raised ZeroDivisionError: division by zero; " in mistake("raises_at_import:f")

    def test_that_are_values_of_a_module_are_a_mistake(self, monkeypatch):
        module = types.ModuleType("with_a_value")
        module.value = 3
        monkeypatch.setitem(sys.modules, "with_a_value", module)
        assert "which is no function" in mistake("with_a_value:value")
