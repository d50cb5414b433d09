"""A trial in its worker, run in this process: config, run, report, record."""

# Local variables of config scopes are entries.
# ruff: noqa: F841

import os

import numpy as np
import pytest
from sacred import Experiment
from unit_inner import unit_ex

from sacred_ray_ingredient.errors import TrialFailed
from sacred_ray_ingredient.record.target import RecordTarget

failing_ex = Experiment("failing_ex", save_git_info=False)
stillborn_ex = Experiment("stillborn_ex", save_git_info=False)
stillborn_ex.main(lambda size: size)
messy_ex = Experiment("messy_ex", save_git_info=False)
numpy_ex = Experiment("numpy_ex", save_git_info=False)


@failing_ex.main
def fail(_run):
    print("the last line")
    _run.log_scalar("loss", 0.5)
    raise ValueError("broken here\nand more")


@stillborn_ex.config
def stillborn_config():
    size = 1
    share = 10 / size


@messy_ex.main
def make_a_mess():
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "1"
    os.environ["CHANGED"] = "after"
    del os.environ["DELETED"]
    raise ValueError("with a mess")


@numpy_ex.main
def log_numpy(_run):
    for step in range(2):
        _run.log_scalar("loss", np.float32(0.5), step)
    return {"score": np.float64(0.25), "name": "x"}


class TestCompleted:
    def test_is_recorded_with_the_complete_config_and_an_explicit_seed(self, run_one, document):
        run_one("unit_ex", sampled={"base_lr": 2.0}, updates={"env_name": "b"})
        assert document()["status"] == "COMPLETED"
        assert document()["config"] == {
            **{"base_lr": 2.0, "lr": 4.0, "env_name": "b", "extra": {}, "seed": 11},
            "optimizer": {"name": "sgd", "momentum": 0.9},
            "unit_data": {"size": 3, "doubled": 6},
        }

    def test_resolved_values_win_over_sampled_and_those_over_the_sweeps(self, run_one, document):
        updates = {"base_lr": 1.0, "lr": 1.0, "env_name": "u", "unit_data": {"size": 9}}
        sampled = {"lr": 2.0, "base_lr": 2.0}
        run_one("unit_ex", updates=updates, sampled=sampled, resolved={"lr": 3.0})
        config = document()["config"]
        assert (config["lr"], config["base_lr"], config["env_name"]) == (3.0, 2.0, "u")
        assert config["unit_data"]["size"] == 9

    def test_document_tells_its_place_in_the_sweep(self, run_one, document):
        run_one("unit_ex", sampled={"base_lr": 2.0}, resolved={"lr": 3.0})
        assert document()["meta"]["sweep"] == {
            **{"sweep_id": "sweep-1", "outer_run_id": 77, "exp_name": "my_search"},
            **{"trial_index": 3, "trial_id": "abc", "attempt": 1, "segment": 0, "engine": "tune"},
            **{"configuration": 2, "repetition": 0, "named_configs": []},
            **{"experiment": "unit_inner:unit_ex", "code": None},
            **{"sampled": {"base_lr": 2.0}, "resolved": {"lr": 3.0}},
        }
        assert document()["info"]["sweep"]["pid"] == os.getpid()
        assert document()["info"]["sweep"]["resources"] == {"CPU": 1.0}
        assert document()["omniboard"]["tags"] == ["my_search", "sweep-1", "trial"]

    def test_reports_its_metrics_and_at_the_end_its_result(self, run_one, reports):
        run_one("unit_ex", sampled={"base_lr": 2.0})
        common = {"run_id": 1, "attempt": 1}
        assert reports == [
            {"loss": 4.0, "step": 0, "status": "RUNNING", **common},
            {"loss": 2.0, "step": 1, "status": "RUNNING", **common},
            # Its configuration is in the record, and need not be sent.
            {"loss": 2.0, "step": 1, "result": 10.0, "status": "COMPLETED", **common},
        ]

    def test_throttled_reports_still_end_with_the_latest(self, run_one, reports, database):
        run_one("unit_ex", sampled={"base_lr": 2.0}, updates={"steps": 50}, report_every=60.0)
        assert [report["step"] for report in reports] == [0, 49]
        assert reports[-1]["loss"] == 4.0 / 50
        assert len(database.metrics.find_one({"name": "loss"})["values"]) == 50

    def test_numpy_numbers_are_reported_as_numbers(self, run_one, reports, document):
        run_one("numpy_ex")
        assert reports[0]["loss"] == 0.5
        assert reports[-1]["score"] == 0.25
        assert {type(reports[0]["loss"]), type(reports[-1]["score"])} == {float}
        assert document()["result"] == {"score": 0.25, "name": "x"}

    def test_is_the_same_when_it_is_run_again(self, run_one, reports):
        run_one("unit_ex")
        once = len(reports)
        run_one("unit_ex")
        assert [r.get("loss") for r in reports[:once]] == [r.get("loss") for r in reports[once:]]
        assert [report["run_id"] for report in reports] == [1] * once + [2] * once
        assert unit_ex.observers == []

    def test_without_a_database_reports_all_the_same(self, run_one, reports):
        run_one("unit_ex", target=RecordTarget(None))
        assert (reports[-1]["status"], reports[-1]["run_id"]) == ("COMPLETED", None)
        config = reports[-1]["run_config"]
        assert (config["seed"], config["unit_data"]) == (11, {"size": 3, "doubled": 6})


class TestFailed:
    def test_is_recorded_with_output_and_trace(self, run_one, document):
        with pytest.raises(
            TrialFailed, match=r"Trial 3 \(run 1\) ended FAILED: ValueError: broken"
        ):
            run_one("failing_ex")
        assert document()["status"] == "FAILED"
        assert "ValueError: broken here" in "".join(document()["fail_trace"])
        assert document()["captured_out"].count("the last line") == 1

    def test_reports_its_error_in_one_line(self, run_one, reports):
        with pytest.raises(TrialFailed, match=r"broken here$"):
            run_one("failing_ex")
        error = "ValueError: broken here"
        assert reports[-1] == {"run_id": 1, "attempt": 1, "status": "FAILED", "error": error}

    def test_does_not_carry_the_exception_of_the_experiment(self, run_one):
        with pytest.raises(TrialFailed, match=r"broken here$") as caught:
            run_one("failing_ex")
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_whose_config_scope_raises_has_a_document_too(self, run_one, document, reports):
        with pytest.raises(TrialFailed, match=r"Trial 3 \(run 1\) ended FAILED: ZeroDivisionError"):
            run_one("stillborn_ex", sampled={"size": 0})
        found = document()
        assert (found["status"], found["config"]) == ("FAILED", {"size": 0, "seed": 11})
        assert "ZeroDivisionError" in "".join(found["fail_trace"])
        assert found["meta"]["sweep"]["trial_index"] == 3
        assert found["omniboard"]["tags"] == ["my_search", "sweep-1", "trial"]
        assert (reports[-1]["status"], reports[-1]["run_id"]) == ("FAILED", 1)

    @pytest.mark.parametrize(
        "named", [{"target": RecordTarget(None)}, {"options": {"--unobserved": True}}]
    )
    def test_without_a_record_has_no_document(self, run_one, database, reports, named):
        with pytest.raises(TrialFailed, match=r"Trial 3 \(run None\) ended FAILED"):
            run_one("stillborn_ex", sampled={"size": 0}, **named)
        assert database.runs.count_documents({}) == 0
        assert reports[-1]["run_id"] is None

    def test_import_has_a_document_too(self, run_one, database):
        with pytest.raises(TrialFailed, match=r"test_trial:no_such cannot be used"):
            run_one("no_such")
        document = database.runs.find_one()
        assert document["status"] == "FAILED"
        assert "no_such" in "".join(document["fail_trace"])
        assert document["meta"]["sweep"]["trial_index"] == 3


def test_a_trial_tells_what_its_state_was_replaced_with(run_one, document):
    task = {"taken_over": "takes over trial 1", "segment": 2, "named_configs": ("fast",)}
    run_one("unit_ex", trial={**task, "repetition": 4})
    found = document()["meta"]["sweep"]
    assert {name: found[name] for name in task} == {**task, "named_configs": ["fast"]}
    assert found["repetition"] == 4


def test_the_process_is_left_as_it_was_found(run_one, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHANGED", "before")
    monkeypatch.setenv("DELETED", "back")
    with pytest.raises(TrialFailed, match="with a mess"):
        run_one("messy_ex")
    assert os.getcwd() == str(tmp_path)
    assert "LEFT_BEHIND" not in os.environ
    assert (os.environ["CHANGED"], os.environ["DELETED"]) == ("before", "back")
