"""Where checkpoints and logs are kept, and what is wrong with a URL."""

import errno

import pytest
from pyarrow import fs

from sacred_ray_ingredient import storage as module
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.settings import read_settings
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.storage_url import is_url, secret_in_url, storage_mistakes
from sacred_ray_ingredient.tasks import TrialTask

URL = "s3://bucket/path/?endpoint_override=localhost:5000&scheme=http"


def task(index=0, **named):
    return TrialTask(index=index, sampled={}, resolved={}, seed=0, **named)


class TestChoice:
    def test_a_folder_is_made_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert Storage.at("kept").root == str(tmp_path / "kept")
        assert Storage.at(tmp_path).root == str(tmp_path)
        assert Storage.at("~/kept").root == str(tmp_path / "home" / "kept")

    def test_a_file_url_is_a_folder(self):
        storage = Storage.at("file:///some/fo%20lder")
        assert (storage.root, storage.is_url, storage.is_plain) == ("/some/fo lder", False, True)

    def test_another_url_stays_one(self):
        storage = Storage.at(URL)
        assert (storage.root, storage.is_url, storage.is_plain) == (URL, True, False)

    @pytest.mark.parametrize(
        ("log_to_file", "names"),
        [
            (None, ()),
            (False, ()),
            (True, ("stdout", "stderr")),
            ("all.txt", ("all.txt",)),
            (["out", "err"], ("out", "err")),
        ],
    )
    def test_names_of_logs(self, log_to_file, names):
        assert Storage.at("/kept", log_to_file).log_names == names

    def test_places_are_below_the_folder_of_the_attempt(self):
        stored = Storage.at("/kept").of_job("sweep-1-0").of_trial(task(7, attempt=2))
        assert stored.place() == "/kept/sweep-1-0/trial-00007-2"
        assert stored.place("out") == "/kept/sweep-1-0/trial-00007-2/out"

    def test_a_place_of_a_url_is_a_url_with_the_same_options(self):
        stored = Storage.at(URL).of_job("sweep-1-0").of_trial(task(7))
        assert stored.place("out") == (
            "s3://bucket/path/sweep-1-0/trial-00007-0/out?endpoint_override=localhost:5000"
            "&scheme=http"
        )


class TestUrls:
    @pytest.mark.parametrize("text", ["s3://b/p", "GS://b", "file:///x", "a+b://c"])
    def test_are_told_from_paths(self, text):
        assert is_url(text)

    @pytest.mark.parametrize("text", ["/a/b", "a", "C:/x", "a/b://c", "s3:b"])
    def test_paths_are_none(self, text):
        assert not is_url(text)

    @pytest.mark.parametrize(
        "url",
        [
            "s3://KEYMARK:SECRETMARK@bucket/path",
            "s3://KEYMARK@bucket/path",
            "S3://:SECRETMARK@bucket",
            "abfs://container:SECRETMARK@account.dfs.core.windows.net/path",
            "abfs://container@account.dfs.core.windows.net/path?sig=SECRETMARK",
            "s3://bucket/path?scheme=http&secret_key=SECRETMARK",
            "s3://bucket/path?Access_Key=KEYMARK",
            "gs://SECRETMARK@bucket/path",
            "nonsense://KEYMARK:SECRETMARK@host",
        ],
    )
    def test_with_keys_are_refused_without_repeating_them(self, url):
        sentences = [secret_in_url(url), *storage_mistakes(url)]
        assert len(sentences) == 2
        for sentence in sentences:
            assert "key or a password in it" in sentence
            assert "MARK" not in sentence

    @pytest.mark.parametrize(
        "url",
        [
            URL,
            "s3://bucket",
            "gs://anonymous@bucket/path",
            "abfs://container@account.dfs.core.windows.net/path",
            "hdfs://user@host:8020/path",
            "file:///folder",
            "/folder",
            None,
        ],
    )
    def test_without_are_right(self, url):
        assert secret_in_url(url) is None
        assert storage_mistakes(url) == []

    @pytest.mark.parametrize("value", [3, ["s3://a:b@c"], {}])
    def test_what_is_no_text_has_no_secret(self, value):
        assert secret_in_url(value) is None

    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("s3a://bucket", "of whose kind no files can be kept (did you mean 's3'?)"),
            ("http://host/x", "known kinds: file, s3, gs, gcs, abfs, abfss, hdfs, viewfs"),
            ("s3://", "names no bucket"),
            ("file://host/x", "names a machine, 'host'; a folder is written with three slashes"),
            ("s3://[x/y", "which is no URL"),
        ],
    )
    def test_of_another_form_are_refused_with_a_sentence(self, url, sentence):
        _, mistakes = read_settings({"storage_path": url})
        assert len(mistakes) == 1
        assert repr(url) in mistakes[0]
        assert sentence in mistakes[0]


@pytest.fixture(params=["folder", "url", "carried"])
def storage(request, tmp_path, monkeypatch):
    """A storage of each kind; what is in it lies below ``tmp_path / "kept"``."""
    root = tmp_path / "kept"
    root.mkdir()
    if request.param == "folder":
        return Storage.at(root).of_job("job")
    if request.param == "url":
        inside = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
        monkeypatch.setattr(module, "open_url", lambda url: (inside, "/"))
        return Storage.at("s3://bucket").of_job("job")
    return Storage(str(root), "job", carrier=FarAway())


class FarAway:
    """Stands for what brings files to a folder that this process does not see."""

    is_here = False

    def filesystem(self):
        return fs.LocalFileSystem()


@pytest.fixture
def given(tmp_path):
    """Return a function that makes the folder of a checkpoint."""

    def make(text):
        folder = tmp_path / "given"
        (folder / "deep" / "empty").mkdir(parents=True, exist_ok=True)
        (folder / "deep" / "state").write_text(text, encoding="utf-8")
        (folder / "nothing").write_bytes(b"")
        return folder

    return make


def state_of(storage, place):
    with storage.opened(place) as folder:
        return None if folder is None else (folder / "deep" / "state").read_text("utf-8")


class TestCheckpoints:
    def test_are_found_again_as_they_were_given(self, storage, given):
        stored = storage.of_trial(task(3))
        place = stored.keep(given("first"))
        assert place == stored.place("checkpoint_000000")
        with storage.opened(place) as folder:
            assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
                *["deep", "deep/empty", "deep/state", "nothing"]
            ]
        assert state_of(storage, place) == "first"

    def test_have_growing_numbers_also_for_another_part_of_the_attempt(self, storage, given):
        stored = storage.of_trial(task(3))
        places = [stored.keep(given("first")), stored.keep(given("second"))]
        again = storage.of_trial(task(3, segment=1))
        places.append(again.keep(given("third")))
        assert places == [stored.place(f"checkpoint_{number:06d}") for number in range(3)]
        assert [state_of(storage, place) for place in places] == ["first", "second", "third"]
        assert stored.last_checkpoint() == places[-1]

    def test_of_other_attempts_and_trials_are_others(self, storage, given):
        storage.of_trial(task(3)).keep(given("first"))
        assert storage.of_trial(task(3, attempt=1)).last_checkpoint() is None
        assert storage.of_trial(task(4)).last_checkpoint() is None

    def test_are_told_once(self, storage, given):
        stored = storage.of_trial(task(3))
        assert stored.take_kept() is None
        place = stored.keep(given("first"))
        assert [stored.take_kept(), stored.take_kept()] == [place, None]

    def test_that_are_not_whole_do_not_count_and_are_not_mixed_with_later_ones(
        self, storage, given, monkeypatch, tmp_path
    ):
        stored = storage.of_trial(task(3))
        first = stored.keep(given("first"))
        copy = module._copy

        def breaks(source, target, **named):
            if not storage.is_plain:
                copy(source, target, **named)
            raise OSError(errno.ENOSPC, "disk full")

        with monkeypatch.context() as patch:
            patch.setattr(
                *([module.os, "replace"] if storage.is_plain else [module, "_copy"]), breaks
            )
            (given("second") / "of the second").write_text("", encoding="utf-8")
            with pytest.raises(OSError, match="disk full"):
                stored.keep(tmp_path / "given")
            assert stored.take_kept() == first
        assert len(list((tmp_path / "kept" / "job" / "trial-00003-0").iterdir())) == 2
        assert stored.last_checkpoint() == first
        (tmp_path / "given" / "of the second").unlink()
        later = storage.of_trial(task(3, segment=1))
        third = later.keep(given("third"))
        assert third not in (first, None)
        assert later.last_checkpoint() == third
        with storage.opened(third) as folder:
            assert not (folder / "of the second").exists()

    def test_that_are_not_there_are_none(self, storage):
        missing = storage.of_trial(task(3)).place("checkpoint_000000")
        assert state_of(storage, missing) is None
        assert state_of(storage, None) is None

    def test_leave_nothing_behind_where_they_were_fetched_to(self, storage, given):
        place = storage.of_trial(task(3)).keep(given("first"))
        with storage.opened(place) as folder:
            (folder / "deep" / "state").read_text("utf-8")
        assert folder.exists() is storage.is_plain

    def test_of_a_folder_are_found_when_a_sweep_goes_on_elsewhere(self, storage, given, tmp_path):
        before = Storage.at(tmp_path / "before").of_job("job").of_trial(task(3)).keep(given("old"))
        assert state_of(storage, before) == "old"


class TestCheck:
    def test_leaves_nothing_behind(self, storage, tmp_path):
        storage.check()
        assert list((tmp_path / "kept").rglob("*")) == []

    @pytest.mark.parametrize("error", [OSError("no such bucket\nand more"), ValueError("odd")])
    def test_says_what_is_wrong_in_a_sentence(self, monkeypatch, error):
        def fail(url):
            raise error

        monkeypatch.setattr(module, "open_url", fail)
        what = str(error).partition("\n")[0]
        with pytest.raises(
            ConfigMistakes, match=rf"'s3://b/p', where nothing can be written \({what}\); look at"
        ):
            Storage.at("s3://b/p").check()
