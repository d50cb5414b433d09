"""What a trial of Ray Tune begins from, and what Tune is told of its checkpoints."""

import types

import pytest
from pyarrow import fs

from sacred_ray_ingredient.engines import tune_worker
from sacred_ray_ingredient.engines.tune_storage import SweepExperiment, SweepStorage
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.tasks import TrialTask


@pytest.fixture
def known_to_tune(monkeypatch):
    """A list whose entry is what Tune wants a trial to go on from."""
    known = []
    monkeypatch.setattr(tune_worker.tune, "get_checkpoint", lambda: known[0] if known else None)
    return known


def restored(storage, path):
    task = TrialTask(0, {}, {}, 1, restore_from=path)
    with tune_worker._restored_folder(storage, task) as folder:
        return folder


def test_the_checkpoint_of_before_is_taken_where_it_exists(tmp_path, known_to_tune):
    assert restored(Storage.at(tmp_path), str(tmp_path)) == tmp_path


@pytest.mark.parametrize("path", [None, "/nowhere/to/be/found"])
def test_without_one_a_trial_begins_at_its_beginning(tmp_path, path, known_to_tune):
    assert restored(Storage.at(tmp_path), path) is None


def test_what_tune_knows_comes_before_that(tmp_path, known_to_tune):
    (tmp_path / "newer").mkdir()
    known_to_tune.append(
        types.SimpleNamespace(filesystem=fs.LocalFileSystem(), path=str(tmp_path / "newer"))
    )
    assert restored(Storage.at(tmp_path), str(tmp_path)) == tmp_path / "newer"


def test_a_checkpoint_is_where_it_stays_before_tune_hears_of_it(tmp_path, monkeypatch):
    reported = []
    monkeypatch.setattr(
        tune_worker.tune, "report", lambda values, checkpoint: reported.append(checkpoint)
    )
    task = TrialTask(4, {}, {}, 1)
    stored = Storage.at(tmp_path).of_job("job").of_trial(task)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "state").write_text("7", encoding="utf-8")
    tune_worker._report_to_tune("sweep-1", task, stored, {"status": "RUNNING"}, None)
    tune_worker._report_to_tune("sweep-1", task, stored, {"status": "RUNNING"}, tmp_path / "given")
    assert reported[0] is None
    kept = tmp_path / "job" / "trial-00004-0" / "checkpoint_000000"
    assert (reported[1].path, (kept / "state").read_text("utf-8")) == (str(kept), "7")
    assert stored.take_kept() == str(kept)


def test_tune_copies_nothing_and_leaves_no_files(tmp_path):
    def trainable(config):
        """Never run."""

    experiment = SweepExperiment("by_hand", trainable, storage_path=str(tmp_path))
    assert isinstance(experiment.storage, SweepStorage)
    given = object()
    assert experiment.storage.persist_current_checkpoint(given) is given
    assert list(tmp_path.iterdir()) == []
