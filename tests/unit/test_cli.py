"""The sacred-ray command, as far as it needs no server."""

import os
import subprocess
import sys

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


def test_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sacred_ray_ingredient", "mongo", "status"],
        env={**os.environ, "SACRED_RAY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert str(tmp_path / ".sacred_ray") in done.stdout
