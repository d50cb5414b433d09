"""The comparison of searches: what is searched, and what is said about the results."""

import dataclasses
import math

import pytest

from benchmarks import quality
from benchmarks.figures import Size
from benchmarks.quality_problems import BRANCHES, PROBLEMS, branches, branin, hartmann
from sacred_ray_ingredient.nested import flatten

pytest.importorskip("optuna")

HARTMANN_BEST = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)
FUNCTIONS = ("branin", "hartmann", "branches")


class TestProblems:
    @pytest.mark.parametrize("point", [(-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475)])
    def test_branin_has_its_three_minima(self, point):
        x, y = point
        assert branin({"x": x, "y": y}) == pytest.approx(0.397887, abs=1e-5)
        assert branin({"x": x + 0.2, "y": y}) > 0.42

    def test_hartmann_has_its_minimum(self):
        point = {f"x{number}": value for number, value in enumerate(HARTMANN_BEST)}
        assert hartmann(point) == pytest.approx(-3.32237, abs=1e-4)
        assert hartmann({**point, "x3": 0.5}) > -3

    def test_the_branches_have_minima_of_their_own(self):
        assert branches({"branch": "linear", "rate": 1e-3}) == pytest.approx(0.4)
        assert branches({"branch": "kernel", "width": 10.0, "cost": 10.0}) == pytest.approx(0.2)
        best = {"branch": "tree", "depth": 7, "leaf": 20, "share": 0.3}
        assert branches(best) == pytest.approx(0)

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_both_spaces_of_a_problem_are_the_same(self, name):
        """Random points of each way have the same names, and much the same ranges."""
        problem = PROBLEMS[name]
        found = [search(problem, 0, 10).points for search in quality.WAYS.values()]
        names = [{frozenset(point) for point in points} for points in found]
        assert names[0] == names[1]
        if name == "branches":
            assert {frozenset(BRANCHES)} != names[0]
        numbers = [{p: type(v) for point in points for p, v in point.items()} for points in found]
        assert numbers[0] == numbers[1]

    @pytest.mark.parametrize("name", ["branin", "hartmann", "digits"])
    def test_without_conditions_each_trial_is_the_same_as_optunas_own(self, name):
        """As the prior, the seed, the startup and what the sampler hears are the same."""
        problem = PROBLEMS[name]
        if name == "digits":  # without the training
            problem = dataclasses.replace(
                problem, value=lambda point: float(flatten(point)["optimizer.lr"])
            )
        here, alone = (search(problem, 3, 25) for search in quality.WAYS.values())
        assert len(here.points) == 25
        for ours, theirs in zip(here.points, alone.points, strict=True):
            assert flatten(ours) == pytest.approx(flatten(theirs), rel=1e-9)
        assert here.values == pytest.approx(alone.values)


class TestComparison:
    def test_the_median_and_quartiles_of_both_are_told(self):
        found = {quality.OURS: [1.0, 2.0, 3.0, 4.0, 5.0], quality.ALONE: [2.0, 3.0, 4.0, 5.0, 6.0]}
        ours, alone, compared = quality.rows_of(PROBLEMS["branin"], found, 60)
        assert (ours.value, alone.value, ours.better) == (3.0, 4.0, "lower")
        assert ours.note == "5 seeds of 60 trials; quartiles 2 to 4"
        assert compared.note == "no worse"
        assert compared.goal is None

    @pytest.mark.parametrize(("name", "worse"), [("branin", 20.0), ("digits", -20.0)])
    def test_clearly_worse_values_miss_the_goal(self, name, worse):
        alone = [float(number) for number in range(20)]
        found = {quality.OURS: [value + worse for value in alone], quality.ALONE: alone}
        *_, compared = quality.rows_of(PROBLEMS[name], found, 60)
        assert compared.reached is False
        assert compared.note == "worse by 20 in the median"

    def test_slightly_worse_values_are_within_noise(self):
        alone = [float(number) for number in range(20)]
        found = {quality.OURS: [value + 0.1 for value in alone], quality.ALONE: alone}
        *_, compared = quality.rows_of(PROBLEMS["branin"], found, 60)
        assert compared.reached is True

    def test_equal_values_are_no_difference(self):
        assert quality.p_value([1.0, 1.0], [1.0, 1.0]) == 1.0

    def test_a_point_is_evaluated_once(self):
        asked = []
        problem = PROBLEMS["branin"]
        counted = quality.Problem(
            "counted", problem.space, problem.suggest, lambda p: asked.append(p) or 1.0, "min", 5
        )
        once = quality.remembering(counted)
        assert [once.value({"x": 1, "y": 2}), once.value({"y": 2, "x": 1})] == [1.0, 1.0]
        assert asked == [{"x": 1, "y": 2}]

    def test_another_round_takes_other_seeds(self, monkeypatch):
        seeds = []
        monkeypatch.setattr(
            quality,
            "compare",
            lambda problem, given, trials: (
                seeds.append((*given, trials)) or {quality.OURS: [1.0], quality.ALONE: [1.0]}
            ),
        )
        monkeypatch.setattr(quality, "PROBLEMS", {"branin": PROBLEMS["branin"]})
        for number in (0, 1):
            quality.figures(Size(quick=True, round=number))
        assert seeds == [(0, 1, 12), (2, 3, 12)]
