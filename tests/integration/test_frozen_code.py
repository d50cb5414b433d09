"""Trials run the code as it was when the sweep started."""

import textwrap
import time

import gridfs
import pytest

pytestmark = pytest.mark.integration

INNER = """
import os
import signal
import time
from pathlib import Path

from sacred import Experiment

import frozen_helper

frozen_ex = Experiment("frozen")


@frozen_ex.config
def config():
    folder = ""


@frozen_ex.main
def main(folder, _run):
    folder = Path(folder)
    if not (folder / "edited").exists():
        (folder / "running").touch()
        while not (folder / "edited").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    from frozen_late import LATE

    return frozen_helper.VALUE + LATE
"""
OUTER = """
from frozen_inner import frozen_ex

from sacred_ray_ingredient import make_outer

outer_ex = make_outer("frozen_outer", frozen_ex)

if __name__ == "__main__":
    outer_ex.run_commandline()
"""


def _write(folder, value):
    (folder / "frozen_inner.py").write_text(textwrap.dedent(INNER))
    (folder / "frozen_outer.py").write_text(textwrap.dedent(OUTER))
    (folder / "frozen_helper.py").write_text(f"VALUE = {value}\n")
    (folder / "frozen_late.py").write_text(f"LATE = {10 * value}\n")


def test_files_that_are_edited_meanwhile_change_no_trial(command, last_sweep, database, tmp_path):
    _write(tmp_path, value=1)
    words = ["ray.max_failures=1", "ray.seeds=[0]", f"frozen.folder={tmp_path}"]
    process, mark = command.start("frozen_outer", "with", *words, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "running").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    _write(tmp_path, value=2)
    (tmp_path / "edited").touch()
    finished = command.finish(process, mark)
    assert finished.code == 0, finished.text

    sweep = last_sweep()
    # The second attempt ran in a worker that had imported nothing before the edit.
    assert [trial["meta"]["sweep"]["attempt"] for trial in sweep.trials] == [0, 1]
    assert sweep.trials[1]["result"] == 11
    sources = dict(sweep.trials[1]["experiment"]["sources"])
    stored = gridfs.GridFS(database).get(sources["frozen_helper.py"])
    assert stored.read() == b"VALUE = 1\n"
