"""Journals without a run that could be told: which are deleted, and which are kept and named."""

import os
import time

import pytest

from sacred_ray_ingredient.record.journal import DeadJournal, Journal
from sacred_ray_ingredient.record.sync import DRIVER, sync

TARGET = {"uri": "mongodb://127.0.0.1:1/nobody"}


@pytest.fixture
def make(tmp_path):
    """Return a function that writes the journal of a process that is gone."""

    def write(name, *events, age_s=60.0):
        journal = Journal(tmp_path / "runs" / f"{name}.jsonl")
        for event in events:
            journal.append(*event)
        journal.close()
        then = time.time() - age_s
        os.utime(journal.path, (then, then))
        return journal.path

    return write


def test_what_a_killed_driver_held_is_deleted_without_a_word(make, tmp_path):
    path = make(f"{DRIVER}00ff", ("driver", {}))
    report = sync(tmp_path, print)
    assert (report.journals, report.left, report.alive) == (0, [], 0)
    assert not path.exists()


def test_what_a_driver_may_be_about_to_lock_is_left(make, tmp_path):
    path = make(f"{DRIVER}00ff", ("driver", {}), age_s=0)
    assert sync(tmp_path, print).left == []
    assert path.exists()


def test_a_journal_whose_beginning_cannot_be_read_is_kept_and_named(make, tmp_path):
    path = make("run-00ff", ("target", TARGET), ("scalar", ["height", 0, 1.5, None]))
    report = sync(tmp_path, print)
    assert report.journals == 0
    (sentence,) = report.left
    assert sentence.startswith("run-00ff.jsonl: the beginning of the run is not in it")
    assert path.exists()


@pytest.mark.parametrize("digest", ["/etc/hostname", "../secret", "", 7, None])
def test_a_journal_names_no_files_outside_its_folder(make, tmp_path, digest):
    path = make("run-00ff", ("target", TARGET))
    path.with_suffix(".files").mkdir()
    (tmp_path / "runs" / "secret").write_text("of somebody else")
    assert DeadJournal(path).files.content(digest) is None


def test_an_empty_journal_is_deleted_without_a_word(make, tmp_path):
    path = make("run-00ff")
    assert sync(tmp_path, print).left == []
    assert not path.exists()
