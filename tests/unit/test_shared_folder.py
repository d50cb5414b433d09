"""Marks by which a process finds out whether it sees a folder of another one."""

from sacred_ray_ingredient.shared_folder import FolderMark, leave_mark


def test_a_marked_folder_is_here(tmp_path):
    mark = leave_mark(tmp_path / "journals")
    assert mark.is_here()
    assert mark.folder == tmp_path / "journals"


def test_a_folder_of_the_same_name_on_another_machine_is_not(tmp_path):
    mark = leave_mark(tmp_path)
    mark.remove()
    other = leave_mark(tmp_path)
    assert other.is_here()
    assert not mark.is_here()


def test_a_mark_leaves_nothing_behind(tmp_path):
    leave_mark(tmp_path).remove()
    assert list(tmp_path.iterdir()) == []
    FolderMark(str(tmp_path / "gone")).remove()
