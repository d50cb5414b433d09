"""Files that a journal keeps until the database has them."""

import errno
import hashlib
import os

import pytest

from sacred_ray_ingredient.record.journal import DeadJournal, Journal
from sacred_ray_ingredient.record.kept_files import KeptFiles, folder_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep" / "trial0-0-0-abc.jsonl"


@pytest.fixture
def files(path):
    return KeptFiles(path)


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "weights"
    source.write_bytes(b"content")
    return source


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


def test_a_journal_has_them_whoever_reads_it(path):
    journal = Journal(path)
    digest = journal.files.keep_bytes(b"text")
    assert journal.files.content(digest) == DeadJournal(path).files.content(digest) == b"text"
    journal.close()


def test_are_beside_the_journal(files, path):
    digest = files.keep_bytes(b"text")
    assert folder_of(path) == path.parent / "trial0-0-0-abc.files"
    assert (folder_of(path) / digest).read_bytes() == b"text"


def test_only_the_user_can_look_into_their_folder(files, path):
    files.keep_bytes(b"text")
    assert folder_of(path).stat().st_mode & 0o777 == 0o700


def test_are_kept_by_their_content_as_it_was(files, source):
    content = b"x" * 3_000_000
    source.write_bytes(content)
    digest = files.keep_file(source)
    source.write_bytes(b"other")
    assert digest == digest_of(content)
    assert files.content(digest) == content


def test_of_the_same_content_are_one(files, path, source):
    digests = {files.keep_bytes(b"content"), files.keep_file(source), files.keep_file(str(source))}
    assert digests == {digest_of(b"content")}
    assert [file.name for file in folder_of(path).iterdir()] == [*digests]


def test_that_cannot_be_read_are_named(files, tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such"):
        files.keep_file(tmp_path / "no_such")


def test_that_are_not_kept_are_none(files):
    assert files.content("0" * 64) is None


@pytest.mark.parametrize("content", [b"", b"conten", b"content and more", b"CONTENT"])
def test_that_are_something_else_by_now_are_none(files, path, source, content):
    digest = files.keep_file(source)
    (folder_of(path) / digest).write_bytes(content)
    assert files.content(digest) is None


@pytest.mark.parametrize("method", ["bytes", "file"])
class TestFullDisk:
    @pytest.fixture
    def keep(self, files, source, method):
        return {
            "bytes": lambda: files.keep_bytes(b"content"),
            "file": lambda: files.keep_file(source),
        }[method]

    @staticmethod
    def refuse(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    def test_leaves_them_in_the_memory(self, files, path, source, keep, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(type(path), "mkdir", self.refuse)
            digest = keep()
        source.unlink()
        assert digest == digest_of(b"content")
        assert files.content(digest) == b"content"
        assert not folder_of(path).exists()

    def test_leaves_no_part_of_them(self, files, path, keep, monkeypatch):
        monkeypatch.setattr(os, "fsync", self.refuse)
        digest = keep()
        assert list(folder_of(path).iterdir()) == []
        assert files.content(digest) == b"content"
