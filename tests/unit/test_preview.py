"""What a sweep would do, without doing it."""

import time

import pytest
from unit_inner import unit_ex

from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.preview import preview
from sacred_ray_ingredient.seeds import derive_seed

outer_ex = make_outer("outer_ex", unit_ex)


def preview_of(ray, **updates):
    return preview(make_plan(outer_ex, unit_ex, OuterRequest({"ray": ray, "seed": 5}, updates, [])))


def rows(text):
    lines = [line for line in text.splitlines() if "│" in line]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


GRID = {"search_space": {"base_lr": [1.0, 2.0], "env_name": ["a", "b"]}}


def test_it_counts_the_trials_and_names_what_chooses_and_ends_them():
    assert preview_of(GRID).splitlines()[:3] == [
        "4 trials of unit_ex",
        "Searcher: random and grid search",
        "Scheduler: FIFO",
    ]


def test_it_names_scheduler_stop_rules_and_evaluation():
    ray = {**GRID, "scheduler": "asha(max_t=9)", "metric": "loss", "stop": {"loss": "<= 0.1"}}
    lines = preview_of({**ray, "evaluate_best": 3}).splitlines()
    assert "Scheduler: asha(max_t=9)" in lines
    assert "Stop rule: loss <= 0.1" in lines
    assert "Then the best configuration on 3 fresh seeds" in lines


def test_it_shows_each_trial_with_its_seed():
    assert rows(preview_of({**GRID, "dependent": {"lr": "base_lr * 3"}})) == [
        ["0", "1", "a", "3", str(derive_seed(5, 0))],
        ["1", "1", "b", "3", str(derive_seed(5, 1))],
        ["2", "2", "a", "6", str(derive_seed(5, 2))],
        ["3", "2", "b", "6", str(derive_seed(5, 3))],
    ]


def test_it_shows_a_seed_that_is_searched_once():
    assert rows(preview_of({"seeds": [7, 8]})) == [["0", "7"], ["1", "8"]]


def test_named_configs_have_a_column():
    found = rows(preview_of({"named_configs": ["fast", ["fast", "unit_data.big"]]}))
    assert [row[1] for row in found] == ["fast", "fast, unit_data.big"]


@pytest.mark.parametrize(
    ("n", "shown"),
    [
        (1, ["0"]),
        (10, [str(k) for k in range(10)]),
        (11, [str(k) for k in range(11)]),
        (20, [str(k) for k in range(20)]),
        (21, [*(str(k) for k in range(10)), "...", *(str(k) for k in range(11, 21))]),
        (5000, [*(str(k) for k in range(10)), "...", *(str(k) for k in range(4990, 5000))]),
    ],
)
def test_of_many_trials_the_first_and_the_last_ten_are_shown(n, shown):
    text = preview_of({"search_space": {"base_lr": "uniform(0, 1)"}, "num_samples": n})
    assert text.startswith(f"{n} trials of unit_ex\n")
    assert [row[0] for row in rows(text)] == shown


def test_it_shows_what_the_first_trial_changes():
    text = preview_of(GRID, unit_ex={"optimizer": {"name": "adam"}})
    _, changed = text.split("The first trial changes of the inner experiment's configuration:\n")
    assert changed.splitlines() == [
        "  base_lr = 1.0",
        "  env_name = 'a'",
        "  optimizer.name = 'adam'",
        f"  seed = {derive_seed(5, 0)}",
    ]


def test_of_a_searcher_random_points_are_shown():
    pytest.importorskip("optuna")
    ray = {"search_space": {"base_lr": "uniform(0, 1)"}, "search_alg": "optuna", "num_samples": 3}
    text = preview_of({**ray, "envs": ["a", "b"]})
    assert text.startswith("6 trials of unit_ex\nSearcher: optuna\n")
    assert "these are random points of its space:\n" in text
    assert len(rows(text)) == 6


def test_of_a_searcher_the_most_trials_are_counted_that_there_can_be():
    pytest.importorskip("optuna")
    space = {
        "optimizer.name": "choice(['sgd', 'adam'])",
        "base_lr": "[1.0, 2.0] if optimizer.name == 'sgd' else [3.0]",
    }
    text = preview_of({"search_space": space, "search_alg": "optuna", "num_samples": 6})
    assert text.startswith("12 trials of unit_ex\n")
    assert len(rows(text)) < 12


def test_random_points_are_those_that_the_sweep_has():
    ray = {"search_space": {"base_lr": "uniform(0, 1)"}, "num_samples": 3}
    assert preview_of(ray) == preview_of(ray)
    plan = make_plan(outer_ex, unit_ex, OuterRequest({"ray": ray, "seed": 5}, {}, []))
    values = [f"{sample.sampled['base_lr']:.6g}" for sample in plan.sampling.samples()]
    assert [row[1] for row in rows(preview_of(ray))] == values


def test_of_very_many_trials_the_last_are_shown_at_once():
    start = time.perf_counter()
    text = preview_of({"search_space": {"base_lr": "uniform(0, 1)"}, "num_samples": 10**9})
    assert time.perf_counter() - start < 2
    assert text.startswith("1000000000 trials of unit_ex\n")
    assert [row[0] for row in rows(text)][-10:] == [str(10**9 - 10 + k) for k in range(10)]


def test_of_trials_that_cannot_be_counted_the_first_are_shown(monkeypatch):
    monkeypatch.setattr("sacred_ray_ingredient.preview._MOST_COUNTED", 20)
    space = {"base_lr": "uniform(0, 1)", "env_name": "['a', 'b'] if base_lr > 0.5"}
    text = preview_of({"search_space": space, "num_samples": 50})
    assert text.startswith("At most 100 trials of unit_ex\n")
    assert "These are the first 10: as grids are under conditions" in text
    assert len(rows(text)) == 10
