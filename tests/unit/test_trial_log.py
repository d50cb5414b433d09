"""Files with what a trial prints, beside the record."""

import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from pyarrow import fs

from sacred_ray_ingredient import trial_log
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import TrialTask
from sacred_ray_ingredient.trial_log import logged, use_log_files

TASK = TrialTask(0, {}, {}, 1)


@pytest.fixture(autouse=True)
def fresh_streams(monkeypatch):
    """What is replaced in this process is put back."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)


@pytest.fixture(params=["folder", "url", "carried"])
def storage(request, tmp_path, monkeypatch):
    """Return a function that makes a storage of each kind, below ``tmp_path / "kept"``."""
    root = tmp_path / "kept"
    root.mkdir()

    class FarAway:
        is_here = False

        def filesystem(self):
            return fs.LocalFileSystem()

    def make(log_to_file):
        if request.param == "url":
            inside = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
            monkeypatch.setattr("sacred_ray_ingredient.storage.open_url", lambda url: (inside, ""))
            return Storage.at("s3://bucket", log_to_file).of_job("job")
        storage = Storage.at(root, log_to_file).of_job("job")
        return storage if request.param == "folder" else replace(storage, carrier=FarAway())

    return make


def texts(tmp_path, attempt=0):
    folder = tmp_path / "kept" / "job" / f"trial-00000-{attempt}"
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def speak():
    print("to output")
    print("to error", file=sys.stderr)
    logging.StreamHandler().emit(logging.makeLogRecord({"msg": "logged"}))


@pytest.mark.parametrize(
    ("log_to_file", "expected"),
    [
        (True, {"stdout": "to output\n", "stderr": "to error\nlogged\n"}),
        (["out.txt", "err.txt"], {"out.txt": "to output\n", "err.txt": "to error\nlogged\n"}),
        ("all", {"all": "to output\nto error\nlogged\n"}),
    ],
)
def test_output_goes_to_one_file_or_two(storage, tmp_path, capsys, log_to_file, expected):
    stored = storage(log_to_file).of_trial(TASK)
    print("before")
    with logged(stored, 0) as places:
        speak()
    print("after")
    assert texts(tmp_path) == expected
    assert places == [stored.place(name) for name in expected]


def test_without_names_nothing_is_made_and_nothing_replaced(storage, tmp_path):
    before = sys.stdout
    with logged(storage(None).of_trial(TASK), 0) as places:
        print("to output")
        assert sys.stdout is before
    assert places == []
    assert list((tmp_path / "kept").iterdir()) == []


def test_parts_and_attempts_have_files_of_their_own(storage, tmp_path):
    kept = storage(["out.txt", "err"])
    for attempt, segment in [(0, 0), (0, 1), (1, 0)]:
        with logged(kept.of_trial(TrialTask(0, {}, {}, 1, attempt=attempt)), segment):
            print(f"attempt {attempt}, part {segment}")
    assert texts(tmp_path) == {
        **{"out.txt": "attempt 0, part 0\n", "out-1.txt": "attempt 0, part 1\n"},
        **{"err": "", "err-1": ""},
    }
    assert texts(tmp_path, attempt=1) == {"out.txt": "attempt 1, part 0\n", "err": ""}


def test_what_is_there_is_not_overwritten(tmp_path):
    stored = Storage.at(tmp_path / "kept", "all").of_job("job").of_trial(TASK)
    for text in ("one", "two"):
        with logged(stored, 0):
            print(text)
    assert texts(tmp_path) == {"all": "one\ntwo\n"}


def test_lines_can_be_read_while_the_trial_runs(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_log, "_SEND_S", 0.01)
    monkeypatch.setattr(trial_log, "_SEND_WHOLE_S", 0.01)
    monkeypatch.setattr(trial_log, "_REST", 0)
    kept = storage(["out", "err"])
    with logged(kept.of_trial(TASK), 0):
        for text in ("first", "second"):
            print(text)
            for _ in range(500):
                if texts_or_nothing(tmp_path).get("out", "").endswith(f"{text}\n"):
                    break
                trial_log.time.sleep(0.01)
            else:
                pytest.fail(f"{text} is not there")
    assert texts(tmp_path)["out"] == "first\nsecond\n"


def texts_or_nothing(tmp_path):
    try:
        return texts(tmp_path)
    except FileNotFoundError:
        return {}


def test_a_log_that_cannot_be_brought_home_is_warned_of_and_no_trial_fails(
    tmp_path, monkeypatch, caplog
):
    class Gone:
        is_here = False

        def filesystem(self):
            return fs.SubTreeFileSystem("/dev/null", fs.LocalFileSystem())

    stored = Storage(str(tmp_path), "job", ("all",), Gone()).of_trial(TASK)
    with caplog.at_level("WARNING"), logged(stored, 0):
        print("lost")
    assert "all cannot be brought home" in caplog.text


SCRIPT = """
import subprocess, sys
from pathlib import Path
from sacred import Experiment
from sacred_ray_ingredient.capture import is_log_captured, use_file
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import TrialTask
from sacred_ray_ingredient.trial_log import logged

spoken_ex = Experiment("spoken", save_git_info=False)

@spoken_ex.main
def main():
    print("one")
    print("two", file=sys.stderr)
    subprocess.run(["sh", "-c", "echo three; echo four >&2"], check=True)
    print("five")

use_file()
folder, mode, *names = sys.argv[1:]
stored = Storage.at(folder, names).of_job("job").of_trial(TrialTask(0, {}, {}, 1))
with logged(stored, 0):
    run = spoken_ex._create_run(options={"--capture": mode})
    run()
assert not is_log_captured()
Path(folder, "captured").write_text(run.captured_out)
"""


@pytest.mark.parametrize(
    ("mode", "captured"),
    [
        ("fd", ["one", "two", "three", "four", "five"]),
        ("sys", ["one", "two", "five"]),
        ("no", []),
    ],
)
@pytest.mark.parametrize("names", [["all"], ["out", "err"]])
def test_the_record_has_all_in_order_whatever_the_files_are(tmp_path, mode, captured, names):
    script = tmp_path / "spoken.py"
    script.write_text(SCRIPT, encoding="utf-8")
    subprocess.run(
        [sys.executable, str(script), str(tmp_path / "kept"), mode, *names],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        check=True,
    )
    lines = {
        name: [line for line in text.splitlines() if " - " not in line]
        for name, text in texts(tmp_path).items()
    }
    if names == ["all"]:
        assert lines == {"all": captured or ["one", "two", "five"]}
    else:
        assert lines == {"out": ["one", "five"], "err": ["two"]}
    recorded = (tmp_path / "kept" / "captured").read_text("utf-8").splitlines()
    assert [line for line in recorded if " - " not in line] == captured


def test_a_stream_is_replaced_once_and_is_otherwise_as_before():
    before = sys.stdout
    use_log_files()
    replaced = sys.stdout
    use_log_files()
    assert sys.stdout is replaced
    assert sys.stdout.encoding == before.encoding
    sys.stdout.writelines(["a\n", "b\n"])
