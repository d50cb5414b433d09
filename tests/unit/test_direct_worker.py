"""The worker's end of the direct engine, in this process."""

import signal
import threading
import time
import types

import pytest

from sacred_ray_ingredient.engines import direct_worker
from sacred_ray_ingredient.engines.direct_worker import TrialWorker, _Reports, _SweepWatch
from sacred_ray_ingredient.errors import SacredRayError, TrialFailed
from sacred_ray_ingredient.metrics import report_name
from sacred_ray_ingredient.stop_rules import parse_stop
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import Ending, TrialTask
from sacred_ray_ingredient.trial import TrialStopped
from sacred_ray_ingredient.watchdog import Watchdog

ENDED = Ending("interrupt", "the time is over")


def rules(raw):
    found, mistakes = parse_stop(raw)
    assert not mistakes
    return found


def task(index=0, **named):
    return TrialTask(index=index, sampled={}, resolved={}, seed=0, **named)


def loop(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.002)


class TestReports:
    @staticmethod
    def running(**values):
        return {"status": "RUNNING", **{report_name(k): v for k, v in values.items()}}

    def test_of_the_end_is_what_the_driver_is_told(self):
        reports = _Reports("a_00001", (), None)
        reports.take(self.running(loss=1.0), None)
        last = {"status": "COMPLETED", "run_id": 7, "step": 2, "run_config": {"seed": 1}}
        reports.take({**last, report_name("loss"): 0.5}, None)
        final = reports.final()
        assert (final.status, final.run_id, final.metrics) == ("COMPLETED", 7, {"loss": 0.5})
        assert (final.error, final.config, final.stop_reason) == (None, {"seed": 1}, None)

    def test_of_a_failure_says_what_went_wrong(self):
        reports = _Reports("a_00001", (), None)
        reports.take({"status": "FAILED", "run_id": 7, "error": "ValueError: x"}, None)
        assert (reports.final().status, reports.final().error) == ("FAILED", "ValueError: x")

    def test_ends_the_trial_by_a_metric(self):
        reports = _Reports("a_00001", rules({"loss": "<= 0.5"}), None)
        reports.take(self.running(loss=0.6), None)
        with pytest.raises(
            TrialStopped, match=r"^stopped by ray\.stop: loss <= 0\.5 at step 4$"
        ) as stopped:
            reports.take({**self.running(loss=0.5), "step": 4}, None)
        assert (stopped.value.ending.kind, stopped.value.STATUS) == ("stop", "COMPLETED")
        assert reports.mistake is None

    def test_counts_reports(self):
        reports = _Reports("a_00001", rules({"training_iteration": 3}), None)
        for _ in range(2):
            reports.take(self.running(loss=0.6), None)
        with pytest.raises(TrialStopped, match="training_iteration >= 3"):
            reports.take(self.running(loss=0.6), None)

    def test_counts_seconds(self):
        reports = _Reports("a_00001", rules({"time_total_s": 0.1}), None)
        reports.take(self.running(loss=0.6), None)
        loop(0.12)
        with pytest.raises(TrialStopped, match=r"time_total_s >= 0\.1"):
            reports.take(self.running(loss=0.6), None)

    def test_are_seen_by_a_function_with_the_trial_id(self):
        seen = []
        rule = rules(lambda trial_id, values: seen.append((trial_id, values["loss"])))
        _Reports("a_00001", rule, None).take(self.running(loss=0.6), None)
        assert seen == [("a_00001", 0.6)]

    def test_of_the_end_are_no_matter_of_rules(self):
        reports = _Reports("a_00001", rules({"loss": "<= 0.5"}), None)
        reports.take({"status": "COMPLETED", "run_id": 1, report_name("loss"): 0.1}, None)
        assert reports.final().status == "COMPLETED"

    def test_end_the_trial_and_the_sweep_if_a_rule_is_wrong(self):
        def broken(trial_id, values):
            raise KeyError("accuracy")

        reports = _Reports("a_00001", rules(broken), None)
        with pytest.raises(TrialStopped, match="raised KeyError: 'accuracy'") as stopped:
            reports.take(self.running(loss=0.6), None)
        assert (stopped.value.ending.kind, stopped.value.STATUS) == ("interrupt", "INTERRUPTED")
        assert reports.mistake == stopped.value.ending.reason
        assert isinstance(stopped.value.__cause__, SacredRayError)


@pytest.fixture
def ended(monkeypatch):
    """A list whose entry is the end of the sweep."""
    ended = []
    monkeypatch.setattr(direct_worker, "_LOOK_S", 0.01)
    monkeypatch.setattr(
        direct_worker, "ending_of_sweep", lambda sweep_id: ended[0] if ended else None
    )
    return ended


def test_a_process_that_is_told_to_end_dies_at_once(monkeypatch):
    codes = []
    monkeypatch.setattr(direct_worker.os, "_exit", codes.append)
    direct_worker._leave(signal.SIGTERM, None)
    assert codes == [143]


class TestWatchOfTheSweep:
    @pytest.fixture
    def watch(self, ended):
        watch = _SweepWatch("sweep-1")
        yield watch
        watch.stop()

    @staticmethod
    def run():
        return types.SimpleNamespace(info={})

    @staticmethod
    def run_long(watch, run):
        with watch.off_afterwards(), Watchdog(None, pytest.fail) as watchdog:
            watch.watch(run, watchdog)
            loop(10)

    def test_ends_what_runs(self, watch, ended):
        run = self.run()
        threading.Timer(0.05, lambda: ended.append(ENDED)).start()
        with pytest.raises(TrialStopped, match=r"^$"):
            self.run_long(watch, run)
        assert run.info == {"sweep": {"stop_reason": "the time is over"}}
        assert watch.ending == ENDED

    def test_ends_what_begins_later(self, watch, ended):
        ended.append(ENDED)
        loop(0.1)
        run = self.run()
        with pytest.raises(TrialStopped, match=r"^$"):
            self.run_long(watch, run)
        assert run.info == {"sweep": {"stop_reason": "the time is over"}}

    def test_leaves_alone_what_is_over(self, watch, ended):
        run = self.run()
        with watch.off_afterwards(), Watchdog(None, pytest.fail) as watchdog:
            watch.watch(run, watchdog)
        ended.append(ENDED)
        loop(0.1)
        assert (watch.ending, run.info) == (ENDED, {})
        assert watch._running is None

    def test_looks_no_more_once_it_is_stopped(self, watch, ended):
        watch.stop()
        loop(0.05)
        ended.append(ENDED)
        loop(0.1)
        assert watch.ending is None


class TestBatch:
    @pytest.fixture
    def worker(self, ended, monkeypatch, tmp_path):
        """A worker whose trials do what the function in ``does`` says."""
        assigned = types.SimpleNamespace(
            get_assigned_resources=lambda: {"CPU": 1.0},
            get_actor_id=lambda: "worker-1",
            get_node_id=lambda: "node-1",
        )
        self.taken = []
        monkeypatch.setattr(direct_worker, "note_taken", lambda *each: self.taken.append(each))
        monkeypatch.setattr(direct_worker.ray, "get_runtime_context", lambda: assigned)
        self.does, self.contexts = {}, []

        def run_trial(sweep, trial, context):
            self.contexts.append(context)
            last = self.does.get(trial.index, lambda context: {})(context) or {}
            context.report({"status": "COMPLETED", "run_id": trial.run_id, **last}, None)
            if last.get("status") == "FAILED":
                raise TrialFailed("it failed")

        monkeypatch.setattr(direct_worker, "run_trial", run_trial)
        monkeypatch.setattr(direct_worker.ray, "get", lambda reference: reference)
        self.handlers = {}
        monkeypatch.setattr(direct_worker.signal, "signal", self.handlers.__setitem__)
        sweep = types.SimpleNamespace(sweep_id="sweep-abc", code=None, folder="/f", tree=None)
        monkeypatch.setattr(direct_worker, "move_in", lambda *given: None)
        worker = TrialWorker(sweep, [()], Storage.at(tmp_path).of_job("job"))
        yield worker
        worker._watch.stop()

    @staticmethod
    def tasks(count=4):
        return [task(index, run_id=50 + index) for index in range(count)]

    def test_is_noted_before_the_record_can_know_of_it(self, worker):
        tasks = self.tasks()
        worker.run(tasks)
        assert self.taken == [("sweep-abc", "worker-1", tasks[0])]

    def test_is_not_told_by_an_exception_that_its_process_is_to_end(self, worker):
        assert self.handlers == {signal.SIGTERM: direct_worker._leave}

    def test_is_run_in_its_order(self, worker):
        report = worker.run(self.tasks())
        assert [(one.status, one.run_id) for one in report.trials] == [
            ("COMPLETED", run_id) for run_id in range(50, 54)
        ]
        assert report.mistake is None
        assert 0 < report.seconds < 5
        assert [context.trial_id for context in self.contexts] == [
            f"abc_{index:05d}" for index in range(4)
        ]
        assert self.contexts[0].resources == {"CPU": 1.0}
        assert self.contexts[0].expected_names is self.contexts[1].expected_names

    @pytest.mark.parametrize("status", ["FAILED", "TIMEOUT", "INTERRUPTED"])
    def test_ends_with_the_first_that_does_not_complete(self, worker, status):
        self.does[1] = lambda context: {"status": status, "error": "E: x"}
        report = worker.run(self.tasks())
        assert [one.status for one in report.trials] == ["COMPLETED", status]
        assert report.trials[1].error == "E: x"

    def test_ends_after_a_while(self, worker, monkeypatch):
        monkeypatch.setattr(direct_worker, "_LONGEST_BATCH_S", 0.1)
        self.does[1] = lambda context: time.sleep(0.12)
        report = worker.run(self.tasks())
        assert len(report.trials) == 2
        assert report.seconds > 0.1

    def test_ends_with_the_sweep(self, worker, ended):
        def end_sweep(context):
            ended.append(ENDED)
            loop(0.1)

        self.does[1] = end_sweep
        assert len(worker.run(self.tasks()).trials) == 2
        assert worker.run(self.tasks()).trials == []

    def test_goes_on_after_a_trial_that_a_rule_has_seen_enough_of(self, worker):
        def stop(context):
            stopped = TrialStopped(Ending("stop", "enough"))
            stopped.metrics, stopped.run_id = {"loss": 0.1}, 51
            raise stopped

        self.does[1] = stop
        report = worker.run(self.tasks())
        assert len(report.trials) == 4
        second = report.trials[1]
        assert (second.status, second.stop_reason) == ("COMPLETED", "enough")
        assert (second.run_id, second.metrics) == (51, {"loss": 0.1})

    def test_of_an_ended_sweep_tells_why(self, worker, ended):
        def end_sweep(context):
            ended.append(ENDED)
            loop(0.1)
            raise TrialStopped

        self.does[0] = end_sweep
        (only,) = worker.run(self.tasks()).trials
        assert (only.status, only.stop_reason) == ("INTERRUPTED", "the time is over")

    def test_ends_with_a_mistake_of_a_rule(self, worker):
        def broken(trial_id, values):
            raise KeyError("accuracy")

        worker._stop_rules = rules(broken)
        self.does[1] = lambda context: context.report({"status": "RUNNING"}, None)
        report = worker.run(self.tasks())
        assert [one.status for one in report.trials] == ["COMPLETED", "INTERRUPTED"]
        assert "raised KeyError: 'accuracy'" in report.mistake

    def test_reports_what_breaks_outside_of_the_experiment(self, worker):
        def no_folder(context):
            raise PermissionError("no folder")

        self.does[1] = no_folder
        report = worker.run(self.tasks())
        last = report.trials[-1]
        assert (last.status, last.run_id, last.error) == (
            *("FAILED", 51, "PermissionError: no folder"),
        )
        assert (len(report.trials), report.mistake) == (2, None)

    def test_goes_on_from_a_checkpoint_that_is_there(self, worker, tmp_path):
        worker.run([task(0, restore_from=str(tmp_path)), task(1, restore_from="/not/there")])
        assert [context.restored for context in self.contexts] == [tmp_path, None]

    def test_has_the_files_of_its_trials_in_a_folder_of_the_attempt(self, worker, tmp_path):
        worker._storage = Storage.at(tmp_path, "all.txt").of_job("job")
        (tmp_path / "given").mkdir()

        def speak_and_keep(context):
            print("spoken")
            context.report({"status": "RUNNING"}, tmp_path / "given")
            self.kept = context.stored_checkpoint()

        self.does[3] = speak_and_keep
        worker.run([task(3, attempt=2, segment=1)])
        folder = tmp_path / "job" / "trial-00003-2"
        assert self.contexts[0].logs == [str(folder / "all-1.txt")]
        assert (folder / "all-1.txt").read_text("utf-8") == "spoken\n"
        assert self.kept == str(folder / "checkpoint_000000")

    def test_worker_says_whether_it_can_import_the_experiment(self, worker, monkeypatch):
        given = []
        monkeypatch.setattr(
            direct_worker, "check_import", lambda *asked: given.append(asked) or "It cannot."
        )
        vars(worker._sweep).update(inner="inner", folder="/f", code="code")
        refusal = worker.ready()
        assert (refusal.sentence, refusal.node_id) == ("It cannot.", "node-1")
        assert given == [("inner", "/f", "code", None)]

    def test_worker_brings_home_the_record_at_its_end(self, worker, monkeypatch):
        closed = []
        monkeypatch.setattr(direct_worker, "close_clients", lambda: closed.append(True))
        worker.close()
        assert closed == [True]
        assert worker._watch._stopped.is_set()
