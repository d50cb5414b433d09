"""The sacred-ray command, as far as it needs no server."""

import os
import subprocess
import sys
import tempfile

import pytest

from sacred_ray_ingredient import cli


@pytest.mark.parametrize("argv", [["--help"], ["mongo", "--help"]])
def test_help_has_examples(argv, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(argv)
    assert "sacred-ray mongo start" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("sacred-ray ")


@pytest.mark.parametrize("argv", [[], ["mongo"], ["mongo", "begin"]])
def test_wrong_command_is_told_with_exit_code_2(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(argv)
    assert "usage: sacred-ray" in capsys.readouterr().err


def test_looking_at_a_server_that_never_was_changes_nothing(tmp_path, capsys):
    folder = ["--folder", str(tmp_path / "here")]
    assert cli.main(["mongo", "status", *folder]) == 3
    assert cli.main(["mongo", "stop", *folder]) == 0
    assert cli.main(["mongo", "uri", *folder]) == 2
    captured = capsys.readouterr()
    assert "does not run" in captured.out
    assert "start it with `sacred-ray mongo start`" in captured.err
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_interrupt_is_no_stack_trace(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_server", interrupted)
    assert cli.main(["mongo", "status"]) == 130
    assert capsys.readouterr().err == "sacred-ray: interrupted\n"


@pytest.mark.parametrize("verb", ["rerun", "code", "sync"])
def test_verbs_about_the_record_have_help_with_examples(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    out = capsys.readouterr().out
    assert f"  sacred-ray {verb}" in out
    assert "HOST:PORT:DB" in out


@pytest.mark.parametrize("argv", [["rerun", "1"], ["code", "1", "new"]])
def test_where_there_is_no_record_none_is_made(argv, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path))
    monkeypatch.delenv("SACRED_MONGO_URL", raising=False)
    assert cli.main(argv) == 2
    assert f"There is no record in {tmp_path}/.sacred_ray; go to" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["rerun", "1"], ["code", "1", "new"], ["sync"]])
def test_a_wrong_address_is_a_sentence(argv, capsys):
    assert cli.main([*argv, "-m", "host:abc:x:y:z"]) == 2
    assert "sacred-ray: -m was given" in capsys.readouterr().err


def test_a_named_experiment_that_is_none_is_a_sentence(capsys):
    assert cli.main(["rerun", "1", "--experiment", "os.system"]) == 2
    assert "'os.system' does not say where an experiment is" in capsys.readouterr().err


class TestSync:
    @pytest.fixture
    def synced(self, monkeypatch, tmp_path):
        """Stand in for the sync itself; what it was asked for, and what it returns."""
        from sacred_ray_ingredient.record import sync

        asked = {"report": sync.SyncReport(2, 10), "folders": []}

        def stand_in(folder, say, address=None):
            asked.update(folder=folder, address=address)
            asked["folders"].append(folder)
            say("said")
            return asked["report"]

        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))

        monkeypatch.setattr(sync, "sync", stand_in)
        return asked

    def test_journals_of_the_project_go_where_each_says(
        self, synced, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path))
        assert cli.main(["sync"]) == 0
        assert synced["folder"] == tmp_path / ".sacred_ray" / "journals"
        assert synced["address"] is None
        assert capsys.readouterr().out == "said\n"

    def test_so_do_those_that_sweeps_of_other_machines_left_here(
        self, synced, tmp_path, monkeypatch
    ):
        own = tmp_path / "temporary" / f"sacred-ray-{os.getuid()}"
        (own / "journals").mkdir(parents=True, mode=0o700)
        other = own.with_name(f"{own.name}-abc")
        (other / "journals").mkdir(parents=True)
        other.chmod(0o777)  # somebody else may have written to it
        monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path))
        assert cli.main(["sync"]) == 0
        project = tmp_path / ".sacred_ray" / "journals"
        assert synced["folders"] == [project, own / "journals"]

    def test_another_folder_and_database_can_be_named(self, synced, tmp_path):
        assert cli.main(["sync", "--folder", str(tmp_path), "-m", "h:1:db"]) == 0
        assert synced["folder"] == tmp_path
        assert synced["address"].describe() == "h:1, database db"

    def test_what_is_left_is_told_with_exit_code_1(self, synced, capsys):
        synced["report"].left.append("run-1.jsonl: the database refuses it")
        assert cli.main(["sync"]) == 1
        assert "Left: run-1.jsonl: the database refuses it\n" in capsys.readouterr().out

    def test_nothing_to_do_is_told(self, synced, capsys):
        synced["report"].journals = 0
        assert cli.main(["sync"]) == 0
        assert capsys.readouterr().out.endswith("The database has everything.\n")

    def test_a_folder_that_is_not_there_is_a_sentence(self, synced, tmp_path, capsys):
        assert cli.main(["sync", "--folder", str(tmp_path / "none")]) == 2
        assert capsys.readouterr().err == f"sacred-ray: There is no folder {tmp_path}/none.\n"
        assert "folder" not in synced


def test_rerun_hands_on_what_was_asked(monkeypatch):
    from sacred_ray_ingredient import record_access, rerun

    asked = []
    monkeypatch.setattr(record_access, "record_target", lambda option: f"target {option}")
    monkeypatch.setattr(rerun, "rerun", lambda request, say: asked.append(request) or 1)
    words = ["--record", "--experiment", "unit_inner:unit_ex"]
    assert cli.main(["rerun", "7", "-m", "h:1:db", *words]) == 1
    (request,) = asked
    assert (request.run_id, request.target, request.record) == ("7", "target h:1:db", True)
    assert (request.inner.path, request.is_named) == ("unit_ex", True)
    assert request.restart is None, "the process of the tests is not the command's own"


def test_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sacred_ray_ingredient", "mongo", "status"],
        env={**os.environ, "SACRED_RAY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert str(tmp_path / ".sacred_ray") in done.stdout
