"""What an experiment saves, and what it finds again."""

import pytest
from sacred import Experiment

from sacred_ray_ingredient import Checkpoints as public_checkpoints
from sacred_ray_ingredient.checkpoints import Checkpoints, Keeper, has_checkpoints, set_keeper


@pytest.fixture
def experiment():
    return Experiment("saving_ex", save_git_info=False)


@pytest.fixture
def checkpoints(experiment):
    return Checkpoints(experiment)


@pytest.fixture
def keep_with():
    """Return a function that makes this process that of a trial, for the time of the test."""
    yield lambda restored, keep: set_keeper(Keeper(restored, keep))
    set_keeper(None)


def test_are_part_of_the_package():
    assert public_checkpoints is Checkpoints


def test_an_experiment_with_checkpoints_can_be_told_from_others(experiment):
    assert not has_checkpoints(experiment)
    Checkpoints(experiment)
    assert has_checkpoints(experiment)


class TestAlone:
    """Run without a sweep, nothing happens."""

    def test_there_is_nothing_to_go_on_from(self, checkpoints):
        assert checkpoints.restore() is None

    def test_a_folder_is_left_as_it_is(self, checkpoints, tmp_path):
        (tmp_path / "state").write_text("1")
        checkpoints.save(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["state"]

    def test_what_is_no_folder_is_refused_all_the_same(self, checkpoints, tmp_path):
        (tmp_path / "file").write_text("1")
        for name in ("missing", "file"):
            with pytest.raises(NotADirectoryError, match=rf"needs a folder; .*{name} is none\.$"):
                checkpoints.save(tmp_path / name)


class TestInATrial:
    def test_the_keeper_gets_the_folder(self, checkpoints, keep_with, tmp_path):
        kept = []
        keep_with(None, kept.append)
        checkpoints.save(str(tmp_path))
        assert kept == [tmp_path]

    def test_the_restored_folder_is_returned(self, checkpoints, keep_with, tmp_path):
        keep_with(tmp_path, print)
        assert checkpoints.restore() == tmp_path

    def test_what_is_no_folder_is_refused(self, checkpoints, keep_with, tmp_path):
        kept = []
        keep_with(None, kept.append)
        with pytest.raises(NotADirectoryError, match="missing is none"):
            checkpoints.save(tmp_path / "missing")
        assert kept == []

    def test_afterwards_it_is_alone_again(self, checkpoints, keep_with, tmp_path):
        keep_with(tmp_path, print)
        set_keeper(None)
        assert checkpoints.restore() is None
