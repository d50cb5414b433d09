"""Trials that are stopped, take too long, or go on from a checkpoint; run in this process."""

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from sacred import Experiment
from unit_inner import unit_ex

from sacred_ray_ingredient.checkpoints import Checkpoints
from sacred_ray_ingredient.errors import TrialFailed
from sacred_ray_ingredient.tasks import Ending
from sacred_ray_ingredient.trial import TrialStopped

failing_ex = Experiment("failing_ex", save_git_info=False)
saving_ex = Experiment("saving_ex", save_git_info=False)
checkpoints = Checkpoints(saving_ex)
endless_ex = Experiment("endless_ex", save_git_info=False)
two_metrics_ex = Experiment("two_metrics_ex", save_git_info=False)


@failing_ex.main
def fail():
    raise ValueError("broken here")


@saving_ex.main
def count_on(_run, steps=3, every=1, folder=None):
    """Count from where the last checkpoint was; its folder is gone after each step."""
    before = checkpoints.restore()
    first = int((before / "count").read_text()) + 1 if before else 0
    for step in range(first, steps):
        if step % every == 0:
            with tempfile.TemporaryDirectory() as name:
                (Path(name) / "count").write_text(str(step))
                checkpoints.save(name)
        _run.log_scalar("loss", 1.0 / (step + 1), step)
    return first


@two_metrics_ex.main
def log_two(_run):
    for step in range(4):
        _run.log_scalar("loss", 1.0, step)
        if step % 2 == 0:
            _run.log_scalar("accuracy", step / 10, step)


@endless_ex.main
def go_on_and_on(_run):
    _run.log_scalar("loss", 0.5)
    while True:
        time.sleep(0.01)


class TestStopped:
    """The engine ends a trial by raising from the report."""

    @staticmethod
    def stop(values, checkpoint):
        raise TrialStopped(Ending("stop", "seen enough"))

    @pytest.mark.parametrize(
        ("kind", "status", "tags"),
        [
            ("stop", "COMPLETED", ["early-stopped"]),
            ("pause", "COMPLETED", ["paused"]),
            ("interrupt", "INTERRUPTED", []),
        ],
    )
    def test_is_recorded_with_its_kind_of_ending(self, run_one, document, kind, status, tags):
        def end(values, checkpoint):
            raise TrialStopped(Ending(kind, "the reason"))

        with pytest.raises(TrialStopped, match=r"^the reason$"):
            run_one("unit_ex", report=end)
        assert document()["status"] == status
        assert document()["info"]["sweep"]["stop_reason"] == "the reason"
        assert document()["omniboard"]["tags"] == ["my_search", "sweep-1", "trial", *tags]

    def test_keeps_its_output(self, run_one, document):
        unit_ex.pre_run_hooks.append(unit_ex.capture(lambda: print("said before")))
        try:
            with pytest.raises(TrialStopped, match=r"^seen enough$"):
                run_one("unit_ex", report=self.stop)
        finally:
            unit_ex.pre_run_hooks.pop()
        assert document()["captured_out"].count("said before") == 1

    def test_keeps_the_metrics_up_to_there(self, run_one, database):
        with pytest.raises(TrialStopped, match=r"^seen enough$"):
            run_one("unit_ex", report=self.stop, updates={"steps": 9})
        assert database.metrics.find_one({"name": "loss"})["steps"] == [0]

    def test_has_no_report_of_its_end(self, run_one):
        seen = []

        def stop(values, checkpoint):
            seen.append(values["status"])
            raise TrialStopped(Ending("stop", "seen enough"))

        with pytest.raises(TrialStopped, match=r"^seen enough$"):
            run_one("unit_ex", report=stop)
        assert seen == ["RUNNING"]

    def test_cannot_be_caught_as_an_error_by_the_experiment(self):
        assert not issubclass(TrialStopped, Exception)


class TestCheckpoints:
    @pytest.fixture
    def saved(self, tmp_path):
        """Folders of the checkpoints that were reported, by step."""
        return {}

    @pytest.fixture
    def keep(self, saved, reports, tmp_path):
        def keep(values, checkpoint):
            reports.append(values)
            if checkpoint is not None:
                copy = tmp_path / f"kept-{values['step']}"
                saved[values["step"]] = Path(shutil.copytree(checkpoint, copy))

        return keep

    def test_go_with_the_report_of_their_step(self, run_one, saved, keep):
        run_one("saving_ex", keep)
        counts = {step: (folder / "count").read_text() for step, folder in saved.items()}
        assert counts == {0: "0", 1: "1", 2: "2"}

    def test_are_reported_once(self, run_one, saved, keep):
        run_one("saving_ex", keep, updates={"steps": 5, "every": 2})
        assert set(saved) == {0, 2, 4}

    def test_are_reported_at_once_whatever_the_time_between_reports(self, run_one, saved, keep):
        run_one("saving_ex", keep, updates={"steps": 5, "every": 2}, report_every=60.0)
        assert set(saved) == {0, 2, 4}

    def test_are_found_when_the_trial_goes_on(self, run_one, saved, keep, reports):
        run_one("saving_ex", keep)
        run_one("saving_ex", restored=saved[1])
        assert reports[-1]["result"] == 2.0

    def test_bring_their_metrics_to_the_next_segment(self, run_one, saved, keep, reports):
        run_one("saving_ex", keep)
        run_one("saving_ex", restored=saved[2])  # nothing is left to do
        assert reports[-1]["loss"] == pytest.approx(1 / 3)
        assert reports[-1]["step"] == 2

    def test_without_metrics_can_be_gone_on_from(self, run_one, reports, tmp_path):
        (tmp_path / "count").write_text("8")
        run_one("saving_ex", restored=tmp_path)
        assert "loss" not in reports[-1]
        assert reports[-1]["result"] == 9.0

    def test_are_over_with_the_trial(self, run_one, saved, keep):
        run_one("saving_ex", keep)
        run_one("saving_ex", restored=saved[1])
        assert checkpoints.restore() is None

    def test_are_no_more_a_restored_state_after_a_failure(self, run_one, tmp_path):
        with pytest.raises(TrialFailed, match=r"broken here$"):
            run_one("failing_ex", restored=tmp_path)
        assert checkpoints.restore() is None

    def test_leave_nothing_behind(self, run_one, tmp_path, monkeypatch):
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        run_one("saving_ex")
        assert list(temporary.iterdir()) == []


class TestTimeout:
    def test_ends_a_trial_that_takes_too_long(self, run_one, document, reports):
        run_one("endless_ex", trial_timeout_s=0.3)
        assert document()["status"] == "TIMEOUT"
        last = reports[-1]
        assert (last["status"], last["run_id"], last["loss"]) == ("TIMEOUT", 1, 0.5)
        assert last["error"] == "It took longer than ray.trial_timeout_s=0.3."

    def test_leaves_a_trial_in_time_alone(self, run_one, document):
        run_one("unit_ex", trial_timeout_s=60.0)
        assert document()["status"] == "COMPLETED"


def test_a_step_with_the_metric_is_reported_as_soon_as_it_is_complete(run_one, reports):
    # The steps without it are reported when the next one begins: it could have followed.
    run_one("two_metrics_ex", metric="accuracy")
    running = [(r["step"], r.get("accuracy")) for r in reports if r["status"] == "RUNNING"]
    assert running == [(0, 0.0), (1, 0.0), (2, 0.2)]
