"""What a new sweep takes over from earlier ones."""

import datetime

import pytest
from unit_inner import unit_ex

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.recording import with_earlier_results

outer_ex = make_outer("outer_ex", unit_ex)


@pytest.fixture
def record(database):
    """Two completed trials of an earlier sweep, which have their results as metrics."""
    for index, base_lr in enumerate([0.25, 5.0]):
        sweep = {"sweep_id": "sweep-a", "trial_index": index, "sampled": {"base_lr": base_lr}}
        database.runs.insert_one(
            {
                "_id": index,
                "status": "COMPLETED",
                "start_time": datetime.datetime(2026, 1, 1),
                "experiment": {"name": "unit_ex"},
                "config": {"base_lr": base_lr},
                "result": 1.0,
                "meta": {"sweep": sweep},
            }
        )


def plan_of(**ray):
    ray = {"search_space": {"base_lr": "uniform(0, 1)"}, **ray}
    return make_plan(outer_ex, unit_ex, OuterRequest({"ray": ray, "seed": 1}, {}, []))


@pytest.fixture
def plan():
    pytest.importorskip("optuna")
    return plan_of(search_alg="optuna", warm_start="sweep-a")


def test_nothing_is_read_unless_it_is_asked_for():
    plan = plan_of()
    assert with_earlier_results(plan, RecordTarget(None)) is plan


@pytest.mark.usefixtures("record")
def test_what_lies_in_the_space_is_added_and_told(plan, target):
    lines = []
    found = with_earlier_results(plan, target, lines.append)
    assert len(found.earlier) == 1
    assert lines == [
        "The searcher is told of 1 earlier configurations; 1 trials do not lie in the search space."
    ]


@pytest.mark.usefixtures("record")
def test_nothing_in_the_space_is_a_mistake(target):
    pytest.importorskip("optuna")
    space = {"base_lr": "uniform(50, 60)"}
    plan = plan_of(search_alg="optuna", warm_start="sweep-a", search_space=space)
    match = r"^ray\.warm_start is 'sweep-a', but none of its 2 completed trials with a value of "
    with pytest.raises(ConfigMistakes, match=match):
        with_earlier_results(plan, target)


def test_without_a_database_there_is_nothing_to_read(plan):
    with pytest.raises(ConfigMistakes, match=r"'sweep-a', but there is no database to read it "):
        with_earlier_results(plan, RecordTarget(None))
