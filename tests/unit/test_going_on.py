"""A searcher that goes on with a sweep."""

import pytest

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.engines.make_searcher import SearchJob, make_searcher
from sacred_ray_ingredient.engines.tune_search import _is_same, going_on
from sacred_ray_ingredient.restart import RecordedSuggestion, Restart
from sacred_ray_ingredient.search_space import parse_search_space
from sacred_ray_ingredient.searcher_checks import missing_library

RESTART = Restart(
    suggestions=(RecordedSuggestion({"x": 2.0}, (), (), 1),),
    asked=2,
    earlier=(({"x": 1.0}, [3.0]),),
)


def job(**further):
    given = {"dimensions": {}, "seed": 1, "num_samples": 9, **further}
    return SearchJob(metrics=["loss"], modes=["min"], **given)


def test_begins_with_what_runs_again_and_then_the_points_that_were_not_reached():
    points = [{"x": 7.0}, {"x": 8.0}, {"x": 9.0}]
    _, search = going_on(Choice("optuna"), job(points_to_evaluate=points), RESTART)
    assert search.begun == [{"x": 2.0}]
    assert search.points_to_evaluate == [{"x": 9.0}]


SPACE = {
    "lr": "loguniform(1e-4, 1) if k == 'a' else uniform(0, 2)",
    "k": "choice(['a', 'b'])",
    "shape": "choice([{'w': 1}, {'w': 2}, {'w': 3}])",
}


def test_is_told_of_other_sweeps_and_of_this_one():
    _, search = going_on(Choice("optuna"), job(earlier=[({"x": 5.0}, [6.0])]), RESTART)
    assert search.earlier == [({"x": 5.0}, [6.0]), ({"x": 1.0}, [3.0])]


def test_draws_other_numbers_than_at_the_beginning_wherever_its_seed_comes_from():
    sampler = {"name": "tpe", "seed": 3}
    for arguments in ({}, {"seed": 3}, {"sampler": sampler}):
        choice, search = going_on(Choice("optuna", arguments), job(), RESTART)
        assert search.seed != 1
        assert choice.arguments.get("seed") != 3
        assert choice.arguments.get("sampler") != sampler


@pytest.mark.parametrize("name", ["optuna", "hyperopt", "nevergrad", "bayesopt", "bohb", "zoopt"])
def test_each_searcher_chooses_again_what_it_had_begun(name):
    if name not in ("optuna", "hyperopt", "nevergrad"):
        space = {"x": "uniform(0, 10)", "y": "uniform(1, 2)"}
    else:
        space = SPACE
    read, mistakes = parse_search_space(space)
    assert mistakes == []
    choice = Choice(name)
    if missing_library(choice):
        pytest.skip(f"{name} is not installed")
    dimensions = read.dimensions()
    begun = [{n: s.quantile(place) for n, s in dimensions.items()} for place in (0.3, 0.8)]
    restart = Restart(
        suggestions=tuple(RecordedSuggestion(values, (), (), 1) for values in begun),
        asked=3,
        earlier=(({n: s.quantile(0.5) for n, s in dimensions.items()}, [3.0]),),
    )
    searcher, encodings = make_searcher(
        *going_on(choice, job(dimensions=dimensions, max_concurrent=4), restart)
    )
    for values in begun:
        suggested = searcher.suggest(f"trial {values}")
        decoded = {e.name: e.decode(suggested[i]) for i, e in encodings.items()}
        assert any(_is_same(each, decoded) for each in restart.suggestions)
