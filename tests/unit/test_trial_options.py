"""Which of Sacred's command-line options each trial gets too."""

import os

from sacred_ray_ingredient.trial_options import trial_options


def test_those_of_the_sweep_alone_are_not_passed_on():
    given = {"--mongo_db": "x", "--print-config": True, "--id": 3, "--pdb": True, "--queue": 1}
    assert trial_options({**given, "--enforce_clean": True}) == {"--force": True}


def test_others_are():
    given = {"--loglevel": "ERROR", "--capture": "no", "--debug": False, "COMMAND": "x"}
    assert trial_options(given) == {"--loglevel": "ERROR", "--capture": "no", "--force": True}


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = trial_options({"--file_storage": "runs", "--tiny_db": "db"})
    assert options["--file_storage"] == os.path.join(tmp_path, "runs")
    assert options["--tiny_db"] == os.path.join(tmp_path, "db")
