"""What a trial begins from, where its sweep goes on."""

import pytest

from sacred_ray_ingredient.engines import tune_worker
from sacred_ray_ingredient.tasks import TrialTask


@pytest.fixture(autouse=True)
def no_checkpoint_of_tune(monkeypatch):
    monkeypatch.setattr(tune_worker.tune, "get_checkpoint", lambda: None)


def restored(path):
    with tune_worker._restored_folder(TrialTask(0, {}, {}, 1, restore_from=path)) as folder:
        return folder


def test_the_checkpoint_of_before_is_taken_where_it_exists(tmp_path):
    assert restored(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("path", [None, "/nowhere/to/be/found"])
def test_without_one_a_trial_begins_at_its_beginning(path):
    assert restored(path) is None
