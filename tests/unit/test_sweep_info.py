"""The summary of a sweep in its own document."""

import bson
import pytest
from unit_inner import unit_ex

from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.plan import OuterRequest, make_plan
from sacred_ray_ingredient.progress import Budget, SweepProgress
from sacred_ray_ingredient.sweep_info import sweep_info
from sacred_ray_ingredient.tasks import TrialOutcome

outer_ex = make_outer("outer_ex", unit_ex)
SPACE = {"search_space": {"base_lr": [1.0, 2.0, 3.0]}}


class Quiet:
    """A run whose metrics nobody reads."""

    def log_scalar(self, name, value, step):
        pass


def outcome(index, loss=None, status="COMPLETED", **named):
    named = {"configuration": index, "config": {"base_lr": index + 1.0}, **named}
    metrics = {} if loss is None else {"loss": loss}
    return TrialOutcome(index, 0, status, {}, 7, 100 + index, metrics, **named)


def info(trials=(), evaluated=(), budget=None, **ray):
    request = OuterRequest({"ray": {"metric": "loss", "mode": "min", **ray}, "seed": 5}, {}, [])
    plan = make_plan(outer_ex, unit_ex, request)
    progress = SweepProgress(Quiet(), None, "loss", "min", 9, str)
    for trial in trials:
        progress.trial_finished(trial)
    progress.end_search()
    for trial in evaluated:
        progress.trial_finished(trial)
    found = sweep_info(plan, progress, budget or Budget(None))
    bson.encode(found)
    return found


def test_it_has_what_was_asked():
    found = info(**SPACE, exp_name="mine", num_samples=2)
    assert found["sweep_id"].startswith("sweep-")
    expected = {
        **{"exp_name": "mine", "engine": "direct", "inner": "unit_inner:unit_ex"},
        **{"searcher": "random and grid search", "scheduler": "FIFO", "stop": []},
        **{"search_space": {"base_lr": "grid_search([1.0, 2.0, 3.0])"}, "dependent": {}},
        **{"metric": "loss", "mode": "min", "total": 6, "time_budget_used_up": False},
    }
    assert {name: found[name] for name in expected} == expected
    assert not {"named_configs", "pareto_front", "evaluated"} & set(found)


def test_it_names_searcher_scheduler_and_stop_rules():
    pytest.importorskip("optuna")
    space = {"search_space": {"base_lr": "uniform(0, 1)"}}
    ending = {"scheduler": "asha(max_t=9)", "stop": {"loss": "<= 0.1"}}
    found = info(**space, **ending, search_alg={"name": "optuna"})
    assert found["searcher"] == "optuna"
    assert found["scheduler"] == "asha(max_t=9)"
    assert found["stop"] == ["loss <= 0.1"]


def test_it_names_the_named_configs_that_are_searched():
    found = info(named_configs=["fast", []])
    assert found["named_configs"] == "grid_search([('fast',), ()])"


def test_it_has_the_source_of_functions():
    def double(config):
        return config.base_lr * 2

    found = info(**SPACE, dependent={"lr": double, "optimizer.momentum": "base_lr / 4"})
    assert found["dependent"]["optimizer"] == {"momentum": "base_lr / 4"}
    assert "return config.base_lr * 2" in found["dependent_source"]["lr"]
    assert "optimizer" not in found["dependent_source"]


class TestBest:
    def test_is_the_trial_with_the_best_value(self):
        found = info([outcome(0, 2.0), outcome(1, 1.0), outcome(2, 0.0, "FAILED")], **SPACE)
        assert found["counts"] == {"COMPLETED": 2, "FAILED": 1}
        assert found["best"] == {
            **{"run_id": 101, "trial_index": 1, "value": 1.0, "metrics": {"loss": 1.0}},
            "config": {"base_lr": 2.0},
        }

    def test_is_none_without_a_value(self):
        assert info([outcome(0), outcome(1, 1.0, "INTERRUPTED")], **SPACE)["best"] is None

    def test_of_repetitions_has_their_mean(self):
        trials = [outcome(0, 0.0, configuration=0), outcome(1, 9.0, configuration=0)]
        trials += [outcome(2, 2.0, configuration=1), outcome(3, 4.0, configuration=1)]
        best = info(trials, **SPACE, repeat=2)["best"]
        assert (best["value"], best["n"], best["run_ids"]) == (3.0, 2, [102, 103])
        assert best["std"] == pytest.approx(2**0.5)


def test_of_several_metrics_it_has_the_trials_that_no_other_one_beats():
    trials = [outcome(index, loss) for index, loss in enumerate([1.0, 2.0, 3.0])]
    for trial, size in zip(trials, [1.0, 0.0, 5.0], strict=True):
        trial.metrics["size"] = size
    ray = {"metric": ["loss", "size"], "mode": ["min", "max"]}
    found = info(trials, **{**SPACE, **ray})
    assert (found["metric"], found["mode"]) == (["loss", "size"], ["min", "max"])
    assert [each["trial_index"] for each in found["pareto_front"]] == [0, 2]
    assert found["best"]["trial_index"] == 0


class TestEvaluation:
    def test_is_apart_from_the_search(self):
        evaluated = [outcome(3, 0.0), outcome(4, 2.0)]
        found = info([outcome(0, 2.0)], evaluated, **SPACE, evaluate_best=2)
        assert (found["evaluated"]["n"], found["evaluated"]["mean"]) == (2, 1.0)
        assert found["evaluated"]["std"] == pytest.approx(2**0.5)
        assert found["best"]["trial_index"] == 0

    def test_counts_in_the_total(self):
        assert info(**SPACE, evaluate_best=2)["total"] == 5

    def test_of_one_trial_can_be_stored(self):
        assert info([outcome(0, 2.0)], [outcome(1, 5.0)], **SPACE)["evaluated"]["n"] == 1


def test_it_says_whether_the_time_was_used_up():
    budget = Budget(1e-9)
    budget.start()
    assert info(**SPACE, budget=budget)["time_budget_used_up"]
