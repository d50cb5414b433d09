"""A recorded sweep, found and continued."""

import datetime
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_plan import plan

from sacred_ray_ingredient import resume
from sacred_ray_ingredient.earlier_sweep import EarlierSweep, find_sweep
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.fingerprint import fingerprint
from sacred_ray_ingredient.record.earlier import RecordedAttempt
from sacred_ray_ingredient.resume import resumed
from sacred_ray_ingredient.stored_request import StoredRequest, to_text

SPACE = {"search_space": {"base_lr": "uniform(0, 1)"}, "num_samples": 3}
RESUMED = {"resume": "sweep-1"}


@pytest.fixture
def write(database):
    """Return a function that writes the own document of a sweep, a minute after the last one."""
    minutes = iter(range(100))

    def write(run_id, sweep_id, outer="outer_ex", status="COMPLETED", **meta):
        start = datetime.datetime(2026, 1, 1) + datetime.timedelta(minutes=next(minutes))
        sweep = {"sweep_id": sweep_id, "exp_name": "mine", **meta}
        document = {"_id": run_id, "status": status, "start_time": start}
        document["experiment"] = {"name": outer}
        database.runs.insert_one({**document, "meta": {"sweep": sweep}})

    return write


class TestFinding:
    def test_all_runs_of_a_sweep_belong_to_it_and_the_last_one_counts(self, database, write):
        request = StoredRequest({"ray": {"mode": "min"}}, ("a",), 3).text()
        write(1, "sweep-1")
        write(2, "sweep-2")
        write(9, "sweep-1", outer="another")
        write(3, "sweep-1", request=request, fingerprint='{"search": {}}')
        write(4, "sweep-1", trial_index=0)
        found = find_sweep(database.runs, "sweep-1", "outer_ex", "the database")
        assert found.outer_run_ids == (1, 3)
        assert found.exp_name == "mine"
        assert found.request.seed == 3
        assert found.fingerprint == {"search": {}}
        assert not found.is_running

    def test_last_is_the_one_that_was_started_last(self, database, write):
        write(5, "sweep-1")
        write(2, "sweep-2", status="RUNNING")
        write(1, "sweep-3", outer="another")
        write(3, "sweep-4", trial_index=0)
        found = find_sweep(database.runs, "last", "outer_ex", "the database")
        assert found.sweep_id == "sweep-2"
        assert found.is_running

    def test_one_that_is_not_there_is_told_with_those_that_are(self, database, write):
        write(1, "sweep-17")
        with pytest.raises(ConfigMistakes) as caught:
            find_sweep(database.runs, "sweep-18", "outer_ex", "the database")
        assert str(caught.value) == (
            "There is no sweep 'sweep-18' of 'outer_ex' in the database (did you mean "
            "'sweep-17'?); the latest ones are: sweep-17."
        )

    def test_where_nothing_is_recorded_there_is_no_last_one(self, database):
        with pytest.raises(ConfigMistakes, match="No sweep of 'outer_ex' is recorded in there yet"):
            find_sweep(database.runs, "last", "outer_ex", "there")


def attempt(index, status="COMPLETED", **further):
    further.setdefault("configuration", index)
    return RecordedAttempt(index, 0, 0, status, 100 + index, **further)


class TestGoingOn:
    @pytest.fixture
    def said(self):
        return []

    @pytest.fixture
    def go_on(self, database, said):
        def go_on(made, *attempts, before=None, **meta):
            described = to_text(fingerprint(plan(SPACE) if before is None else before))
            earlier = EarlierSweep(
                sweep_id="sweep-1",
                exp_name="mine",
                outer_run_ids=(7,),
                request=StoredRequest({}),
                meta={"fingerprint": described, **meta},
                is_running=False,
            )
            target = SimpleNamespace(database=lambda: database)
            return resumed(made, earlier, attempts, target, said.append)

        return go_on

    def test_keeps_the_sweeps_names_and_says_what_is_done(self, go_on, said):
        made = go_on(plan(SPACE | RESUMED), attempt(0), attempt(1, "FAILED"), attempt(2, "RUNNING"))
        assert (made.sweep_id, made.exp_name) == ("sweep-1", "mine")
        assert made.restart.outer_run_ids == (7,)
        assert said == [
            "sweep-1 goes on: 1 trial finished, 1 failed and left (ray.retry_failed=True runs them "
            "again), 1 to be run again."
        ]

    def test_a_change_is_named_and_refused(self, go_on):
        changed = plan({"search_space": {"base_lr": "uniform(0, 2)"}, **RESUMED})
        with pytest.raises(ConfigMistakes, match=r"base_lr was 'uniform\(0, 1\)', is now"):
            go_on(changed)

    def test_an_accepted_change_is_recorded(self, go_on, said):
        ray = {"search_space": {"base_lr": "uniform(0, 2)"}, **RESUMED, "accept_changes": True}
        made = go_on(plan(ray), attempt(0))
        assert len(made.changes) == 1
        assert said[0] == f"Accepted: {made.changes[0]}"

    def test_changed_code_is_named(self, go_on, monkeypatch):
        monkeypatch.setattr(resume, "code_notes", lambda *_: ["inner.py has changed"])
        with pytest.raises(ConfigMistakes, match=r"  - inner\.py has changed\.\n"):
            go_on(plan(SPACE | RESUMED), code="0123")

    def test_a_new_file_alone_is_no_change(self, go_on, monkeypatch):
        monkeypatch.setattr(resume, "code_notes", lambda *_: ["other.py is new"])
        assert go_on(plan(SPACE | RESUMED), code="0123").changes == ()

    def test_code_that_was_not_recorded_is_no_change(self, go_on):
        assert go_on(plan(SPACE | RESUMED)).changes == ()

    def test_fewer_samples_than_were_begun_are_refused(self, go_on):
        with pytest.raises(ConfigMistakes, match=r"num_samples is 2, but 3 samples of sweep-1"):
            go_on(plan({**SPACE, "num_samples": 2, **RESUMED}), *map(attempt, range(3)))

    def test_fewer_samples_than_planned_are_fine(self, go_on):
        made = go_on(plan({**SPACE, "num_samples": 2, **RESUMED}), attempt(0))
        assert made.total_trials == 2

    def test_a_searcher_goes_on_too(self, go_on):
        ray = {**SPACE, "search_alg": "optuna"}
        trial = attempt(0, sampled={"base_lr": 0.5}, metrics={"result": 2.0})
        made = go_on(plan(ray | RESUMED), trial, before=plan(ray))
        assert made.restart.earlier == (({"base_lr": 0.5}, [2.0]),)
        assert made.restart.asked == 1

    def test_a_searcher_that_learns_nothing_is_told_of(self, go_on, said):
        made = plan(SPACE | RESUMED)
        searching = plan({**SPACE, "search_alg": "optuna"})
        zoopt = replace(made, searcher=replace(searching.searcher, name="zoopt", arguments={}))
        go_on(zoopt, before=zoopt)
        assert "The searcher zoopt cannot be told of the finished trials." in said
