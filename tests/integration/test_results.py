"""Tables of a real sweep, with the numbers that its trials computed."""

import pytest

from sacred_ray_ingredient import results

pytestmark = pytest.mark.integration


def test_a_sweep_is_read_as_its_trials_computed_it(command, database, home, monkeypatch):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.quality=grid_search([1.5, 0.5])",
        "ray.search_space.steps=grid_search([2, 3])",
        "ray.metric=height",
        "curve.beta.one=0.25",
    )
    assert finished.code == 0, finished.text
    monkeypatch.setenv("SACRED_RAY_HOME", str(home))
    before = {name: database[name].count_documents({}) for name in database.list_collection_names()}
    sweep = results.sweep()
    assert (sweep.exp_name, sweep.status) == ("curve_outer", "COMPLETED")
    trials = sweep.trials.sort_values(["config.quality", "config.steps"])
    assert list(trials["config.quality"]) == [0.5, 0.5, 1.5, 1.5]
    assert list(trials["config.steps"]) == [2, 3, 2, 3]
    assert list(trials["metric.height"]) == [1.0, 1.5, 3.0, 4.5]
    assert list(trials["metric.summit"]) == [1.0, 1.5, 3.0, 4.5]
    assert set(trials["config.beta.one"]) == {0.25}
    assert set(trials["status"]) == {"COMPLETED"}
    assert sorted(trials["trial_index"]) == [0, 1, 2, 3]
    assert (trials["duration"] > 0).all()
    runs = {run["_id"]: run for run in database.runs.find({"omniboard.tags": sweep.sweep_id})}
    for trial in trials.itertuples():
        assert runs[trial.run_id]["start_time"] == trial.start_time
        assert runs[trial.run_id]["meta"]["sweep"]["trial_index"] == trial.trial_index
    points = sweep.metrics("height")
    assert len(points) == 2 * (2 + 3)
    best = points[points["run_id"] == trials["run_id"].iloc[-1]]
    assert list(best["step"]) == [1, 2, 3]
    assert list(best["value"]) == [1.5, 3.0, 4.5]
    assert best["time"].is_monotonic_increasing
    after = {name: database[name].count_documents({}) for name in database.list_collection_names()}
    assert after == before  # reading writes nothing
