"""Commands of outer experiments that are about the record, and their words."""

import os
import sys

import pytest

from experiments.outer import outer_ex
from sacred_ray_ingredient import cluster_check, record_access, rerun, threads
from sacred_ray_ingredient.positional_arguments import (
    Positional,
    options_with_value,
    positional,
)
from sacred_ray_ingredient.record import sync


@pytest.mark.parametrize(
    ("line", "left", "word"),
    [
        ("x rerun 12", "x rerun", "12"),
        ("x rerun 12 -d with a=1", "x rerun -d with a=1", "12"),
        ("x rerun -d 12", "x rerun -d", "12"),
        ("x -m h:1:db rerun 12", "x -m h:1:db rerun", "12"),
        ("x rerun -m h:1:db 12", "x rerun -m h:1:db", "12"),
        ("x -n rerun preview", "x -n rerun preview", None),
        ("x rerun", "x rerun", None),
        ("x rerun with a=1", "x rerun with a=1", None),
        ("x with rerun 12", "x with rerun 12", None),
        ("x help rerun", "x help rerun", None),
        ("x preview 12", "x preview 12", None),
        ("x", "x", None),
    ],
)
def test_the_word_after_rerun_is_taken_out(line, left, word):
    words, taken = positional(line.split(), options_with_value(outer_ex))
    assert " ".join(words) == left
    assert taken == Positional(word)


def test_the_command_line_of_the_process_is_told_from_others(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "rerun", "5"])
    assert positional(None) == (["x", "rerun"], Positional("5", is_own_process=True))
    assert positional(["x", "rerun", "6"])[1] == Positional("6")
    assert positional(["x", "rerun", "5"])[1].is_own_process


@pytest.fixture
def asked(monkeypatch):
    """Stand in for what is done; what was asked for."""
    asked = {"code": 0}

    def stand_in(request, say):
        asked["request"] = request
        return asked["code"]

    monkeypatch.setattr(rerun, "rerun", stand_in)
    monkeypatch.setattr(record_access, "record_target", lambda *given: given)
    return asked


def test_rerun_gets_the_run_the_database_and_the_inner_experiment(asked):
    url = "mongodb://here/"
    outer_ex.run_commandline(
        ["x", "rerun", "7", "-r", "-m", "h:1:db", "with", f"ray.mongo.url={url}"]
    )
    request = asked["request"]
    assert (request.run_id, request.record, request.restart) == ("7", True, None)
    assert request.inner is outer_ex.inner_experiment
    assert request.target[0] == "h:1:db"
    assert request.target[1]["url"] == url


def test_nothing_is_recorded_unless_asked(asked):
    outer_ex.run_commandline(["x", "rerun", "7"])
    assert asked["request"].record is False
    assert asked["request"].target[0] is None


def test_a_process_of_its_own_may_be_started_anew(asked, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "rerun", "5"])
    outer_ex.run_commandline()
    assert asked["request"].restart is threads.restart_with


@pytest.mark.parametrize("code", [1, 2])
def test_the_exit_code_is_that_of_the_comparison(asked, code):
    asked["code"] = code
    with pytest.raises(SystemExit, match=str(code)):
        outer_ex.run_commandline(["x", "rerun", "7"])


def test_a_missing_id_is_a_sentence(asked, capsys):
    with pytest.raises(SystemExit, match="2"):
        outer_ex.run_commandline(["x", "rerun"])
    assert "rerun needs the id of a run, as in: rerun 12" in capsys.readouterr().err
    assert "request" not in asked


def test_the_word_of_a_command_line_is_not_that_of_the_next(asked, capsys):
    outer_ex.run_commandline(["x", "rerun", "7"])
    with pytest.raises(SystemExit, match="2"):
        outer_ex.run_commandline(["x", "rerun"])


@pytest.mark.parametrize(("left", "code"), [([], None), (["a: b"], 1)])
def test_sync_brings_the_journals_of_the_project(monkeypatch, tmp_path, capsys, left, code):
    given = []

    def stand_in(folder, say, address=None):
        given.append((folder, address and address.describe()))
        return sync.SyncReport(1, 2, left)

    monkeypatch.setattr(sync, "sync", stand_in)
    monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path))
    if code is None:
        outer_ex.run_commandline(["x", "sync", "-m", "h:1:db"])
    else:
        with pytest.raises(SystemExit, match=str(code)):
            outer_ex.run_commandline(["x", "sync", "-m", "h:1:db"])
        assert "Left: a: b" in capsys.readouterr().out
    assert given == [(tmp_path / ".sacred_ray" / "journals", "h:1, database db")]


class TestThreads:
    @pytest.fixture
    def started(self, monkeypatch):
        started = []
        monkeypatch.setattr(os, "execve", lambda *given: started.append(given))
        monkeypatch.delenv(threads.VARIABLE, raising=False)
        return started

    def test_the_process_is_started_anew_with_them(self, started, monkeypatch):
        monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "x", "rerun", "5"])
        threads.restart_with(3)
        ((program, words, environment),) = started
        assert (program, words) == (sys.executable, [sys.executable, "-m", "x", "rerun", "5"])
        assert environment == {**os.environ, "OMP_NUM_THREADS": "3"}

    @pytest.mark.parametrize(
        ("given", "is_certain", "times"), [("3", True, 0), ("4", False, 0), ("4", True, 1)]
    )
    def test_once_and_not_against_the_users_choice(
        self, started, monkeypatch, given, is_certain, times
    ):
        monkeypatch.setenv(threads.VARIABLE, given)
        threads.restart_with(3, is_certain)
        assert len(started) == times

    def test_a_note_is_made_where_they_are_others(self, monkeypatch):
        monkeypatch.delenv(threads.VARIABLE, raising=False)
        (note,) = threads.thread_note(2)
        assert "used 2 threads" in note
        assert "uses as many as there are processors" in note
        monkeypatch.setenv(threads.VARIABLE, "2")
        assert threads.thread_note(2) == threads.thread_note(None) == []


class TestCheck:
    @pytest.fixture
    def checked(self, monkeypatch):
        checked = {"code": 0}

        def stand_in(plan, options, asked, say):
            checked["plan"], checked["asked"] = plan, asked
            say("a table")
            return checked["code"]

        monkeypatch.setattr(cluster_check, "check_cluster", stand_in)
        return checked

    LINE = ("with", "ray.search_space.offset=[1, 2]", "ray.address=auto")

    def test_looks_at_the_cluster_that_the_sweep_would_run_on(self, checked, capsys):
        outer_ex.run_commandline(["x", "check", *self.LINE])
        assert checked["plan"].settings.address == "auto"
        assert checked["asked"] is False
        assert capsys.readouterr().out == "a table\n"

    def test_has_the_exit_code_of_a_mistake_if_trials_would_fail(self, checked):
        checked["code"] = 2
        with pytest.raises(SystemExit, match="2"):
            outer_ex.run_commandline(["x", "check", *self.LINE])

    def test_does_not_connect_with_a_mistake_in_the_configuration(self, checked, capsys):
        with pytest.raises(SystemExit, match="2"):
            outer_ex.run_commandline(["x", "check", "with", "ray.search_space.ofset=[1]"])
        assert "did you mean 'offset'?" in capsys.readouterr().err
        assert "plan" not in checked
