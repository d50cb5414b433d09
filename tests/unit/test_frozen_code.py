"""Code that is kept as it was: which files, as an archive, compared to the code of now."""

import io
import json
import pickle
import sys
import zipfile

import pytest

from sacred_ray_ingredient import code_archive, frozen_code, project_files
from sacred_ray_ingredient.errors import FrozenCodeError
from sacred_ray_ingredient.frozen_code import (
    FrozenCode,
    differences,
    freeze,
    script_module_name,
)
from sacred_ray_ingredient.inner import InnerReference

# Names that no other module of this process has.
PACKAGE = "frozen_test_package"
SINGLE = "frozen_test_single"
MODULE = InnerReference("ex", module=f"{PACKAGE}.inner")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that Python imports from, cleared of what was imported from it at the end."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("frozen_test"):
            del sys.modules[name]


@pytest.fixture
def write(project):
    """Return a function that writes files of the project: ``a__b=text`` is ``a/b.py``."""

    def write(**files):
        for name, text in files.items():
            path = project / (name.replace("__init__", "@").replace("__", "/") + ".py")
            path = path.with_name(path.name.replace("@", "__init__"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


@pytest.fixture
def frozen(project):
    """Return a function that imports modules and keeps what of the code is in the project."""

    def frozen(*names, inner=MODULE):
        for name in names:
            __import__(name)
        code = freeze(inner)
        ours = tuple(m for m in code.modules if m.path.startswith(str(project)))
        return FrozenCode(ours, code.contents)

    return frozen


def names(code):
    return {module.name for module in code.modules}


class TestFreeze:
    def test_keeps_a_package_also_what_is_imported_later(self, project, frozen, write):
        write(
            frozen_test_package____init__="",
            frozen_test_package__inner="x = 1\n",
            frozen_test_package__later="y = 2\n",
            frozen_test_package__deep__below="z = 3\n",
        )
        code = frozen(f"{PACKAGE}.inner")
        below = {"", ".inner", ".later", ".deep.below"}
        assert names(code) == {f"{PACKAGE}{name}" for name in below}
        by_name = {module.name: module for module in code.modules}
        later = by_name[f"{PACKAGE}.later"]
        assert code.source(later) == b"y = 2\n"
        assert later.path == str(project / PACKAGE / "later.py")
        assert later.label == f"{PACKAGE}/later.py"
        assert [by_name[name].is_package for name in (PACKAGE, later.name)] == [True, False]

    def test_keeps_the_single_modules_beside_a_loaded_one(self, frozen, write):
        write(frozen_test_single="", frozen_test_beside="", frozen_test_folder__other="")
        assert names(frozen(SINGLE)) == {SINGLE, "frozen_test_beside"}

    def test_keeps_a_package_without_init(self, frozen, write):
        write(frozen_test_package__sub__inner="", frozen_test_package__sub__later="")
        code = frozen(f"{PACKAGE}.sub.inner")
        assert names(code) == {f"{PACKAGE}.sub.inner", f"{PACKAGE}.sub.later"}

    def test_keeps_other_packages_that_are_imported_within_functions(self, frozen, write):
        write(
            frozen_test_single="def f():\n    from frozen_test_other.a import b\n",
            frozen_test_other____init__="",
            frozen_test_other__a="import json, frozen_test_third as t\n",
            frozen_test_third____init__="",
            frozen_test_unrelated____init__="",
        )
        others = {"frozen_test_other", "frozen_test_other.a", "frozen_test_third"}
        assert names(frozen(SINGLE)) == {SINGLE, *others}

    def test_leaves_installed_and_standard_modules_and_this_package_out(self, frozen, write):
        write(frozen_test_single="import json, sacred, numpy, sacred_ray_ingredient\n")
        frozen(SINGLE)
        tops = {name.partition(".")[0] for name in names(freeze(MODULE))}
        assert tops & {"json", "sacred", "numpy", "sacred_ray_ingredient", "pytest"} == set()

    @pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
    def test_takes_links_into_and_out_of_installed_packages_for_installed(self, tmp_path, folder):
        (tmp_path / folder).mkdir()
        (tmp_path / "source.py").touch()
        (tmp_path / folder / "installed.py").touch()
        (tmp_path / folder / "out.py").symlink_to(tmp_path / "source.py")
        (tmp_path / "into.py").symlink_to(tmp_path / folder / "installed.py")
        assert project_files.is_project_file(str(tmp_path / "source.py"))
        for name in (f"{folder}/installed.py", f"{folder}/out.py", "into.py", "missing.py"):
            assert not project_files.is_project_file(str(tmp_path / name))

    def test_leaves_a_file_out_whose_name_is_of_another_module(self, frozen, write):
        """It is not what an import of the name gives."""
        write(frozen_test_single="", json="", colorsys_="", numpy="")
        # Installed, and before the project on the path.
        write(**{"sub__frozen_test_hidden": "", "frozen_test_hidden": ""})
        sys.path.insert(0, f"{sys.path[0]}/sub")
        assert names(frozen(SINGLE)) == {SINGLE, "colorsys_"}

    def test_leaves_environments_caches_and_hidden_folders_out(self, project, frozen, write):
        write(
            frozen_test_package__inner="",
            frozen_test_package__env__module="",
            frozen_test_package__node_modules__module="",
        )
        (project / PACKAGE / "env" / "pyvenv.cfg").touch()
        for folder in (".hidden", "no-name"):
            (project / PACKAGE / folder).mkdir()
            (project / PACKAGE / folder / "module.py").touch()
        (project / PACKAGE / "no-name.py").touch()
        (project / PACKAGE / "linked").symlink_to(project / PACKAGE)
        assert names(frozen(f"{PACKAGE}.inner")) == {f"{PACKAGE}.inner"}

    @pytest.mark.parametrize("bound", ["MOST_FILES", "MOST_ENTRIES"])
    def test_keeps_only_loaded_modules_of_a_project_of_unusual_size(
        self, frozen, write, monkeypatch, bound
    ):
        write(
            frozen_test_package____init__="",
            frozen_test_package__inner="",
            frozen_test_package__later="",
        )
        monkeypatch.setattr(project_files, bound, 1)
        assert names(frozen(f"{PACKAGE}.inner")) == {PACKAGE, f"{PACKAGE}.inner"}

    def test_keeps_only_loaded_modules_where_the_files_are_large(self, frozen, write, monkeypatch):
        write(frozen_test_single="x = 1\n", frozen_test_beside="#" * 2000)
        monkeypatch.setattr(frozen_code, "MOST_BYTES", 1000)
        assert names(frozen(SINGLE)) == {SINGLE}

    def test_keeps_a_script_under_the_name_that_it_is_imported_as(self, project, frozen, write):
        write(frozen_test_script="import frozen_test_beside\n", frozen_test_beside="")
        path = str(project / "frozen_test_script.py")
        code = frozen(inner=InnerReference("ex", script=path))
        name = script_module_name(path)
        assert names(code) == {name, "frozen_test_script", "frozen_test_beside"}
        assert code.files().keys() == {"frozen_test_script.py", "frozen_test_beside.py"}

    @pytest.mark.parametrize("with_spec", [True, False])
    def test_keeps_what_python_was_started_with(
        self, project, frozen, write, monkeypatch, with_spec
    ):
        write(frozen_test_package__inner="")
        path = str(project / PACKAGE / "inner.py")
        main = type(sys)("__main__")
        main.__file__ = path
        main.__spec__ = type(sys)("spec") if with_spec else None
        if with_spec:
            main.__spec__.name = f"{PACKAGE}.inner"
        monkeypatch.setitem(sys.modules, "__main__", main)
        expected = {f"{PACKAGE}.inner"} if with_spec else {script_module_name(path), "inner"}
        assert names(frozen()) == expected

    def test_tells_files_of_the_same_label_apart(self, project, frozen, write):
        write(one__frozen_test_single="a = 1\n", two__frozen_test_single="b = 2\n")
        sys.path.insert(0, str(project / "one"))
        path = str(project / "two" / "frozen_test_single.py")
        code = frozen(SINGLE, inner=InnerReference("ex", script=path))
        assert sorted(code.files()) == ["frozen_test_single.py", "one/frozen_test_single.py"]
        assert len(set(code.files().values())) == 2


@pytest.fixture
def code(frozen, write):
    write(frozen_test_package____init__="", frozen_test_package__inner="x = 1\ny = 2\n")
    return frozen(f"{PACKAGE}.inner")


class TestDigest:
    def test_is_the_same_for_the_same_files_elsewhere(self, code):
        moved = tuple(
            frozen_code.FrozenModule(m.name, f"/other/{m.label}", m.label, m.is_package, m.digest)
            for m in code.modules
        )
        assert FrozenCode(moved, code.contents).digest == code.digest
        assert len(code.digest) == 64

    def test_is_another_for_other_source(self, code, frozen, write):
        write(frozen_test_package__inner="x = 2\n")
        assert frozen().digest != code.digest

    def test_survives_the_way_to_a_worker(self, code):
        there = pickle.loads(pickle.dumps(code))
        assert (there, there.contents, there.digest) == (code, code.contents, code.digest)


class TestArchive:
    def test_gives_the_same_code_back(self, code):
        back = FrozenCode.from_archive(code.to_archive())
        assert back == code
        assert [back.source(m) for m in back.modules] == [code.source(m) for m in code.modules]

    def test_is_the_same_bytes_each_time(self, code, monkeypatch):
        first = code.to_archive()
        monkeypatch.setattr("time.time", lambda: 2e9)
        assert code.to_archive() == first

    def test_has_the_files_under_their_labels(self, code):
        with zipfile.ZipFile(io.BytesIO(code.to_archive())) as archive:
            assert archive.read(f"files/{PACKAGE}/inner.py") == b"x = 1\ny = 2\n"


def archive(*modules, version=1, extra=(), **files):
    """Make an archive by hand."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("code.json", json.dumps({"version": version, "modules": list(modules)}))
        for label, content in {**files, **dict(extra)}.items():
            made.writestr(f"files/{label}", content)
    return buffer.getvalue()


def entry(label="a.py", **changes):
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of nothing
    module = {"name": "a", "path": "/p/a.py", "label": label, "is_package": False}
    return {**module, "digest": digest, **changes}


EMPTY = [("a.py", "")]


class TestBrokenArchive:
    def test_by_hand_is_read(self):
        (module,) = FrozenCode.from_archive(archive(entry(), extra=EMPTY)).modules
        assert module.name == "a"

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "File is not a zip file"),
            (b"PK\x05\x06 something else", "not a zip file"),
            (archive(version=2), "version that is not known"),
            (archive(entry()), r"files/a\.py is not in it"),
            (archive(entry(), extra=[("a.py", "changed")]), "a.py is not what its digest says"),
            (archive(entry(), entry(), extra=EMPTY), "has one twice"),
            (archive("a"), "an entry that is none"),
            (archive({**entry(), "more": 1}, extra=EMPTY), "an entry that is none"),
            (archive(entry(name=1), extra=EMPTY), "an entry that is none"),
            (archive(entry(path=""), extra=EMPTY), "an entry that is none"),
            (archive(entry(is_package=None), extra=EMPTY), "an entry that is none"),
            (archive(entry("../a.py"), extra=[("../a.py", "")]), "'../a.py' is not a path below"),
            (archive(entry("/a.py"), extra=[("/a.py", "")]), "'/a.py' is not a path below"),
            (archive(entry("b//a.py"), extra=[("b//a.py", "")]), "'b//a.py' is not a path below"),
            (archive(entry("\x1b.py"), extra=[("\x1b.py", "")]), r"x1b.py' is not a path below"),
            (archive(5, extra=EMPTY).replace(b"code.json", b"nope.json"), "code.json is not in it"),
        ],
    )
    def test_is_a_sentence(self, content, why):
        with pytest.raises(
            FrozenCodeError, match=f"^The recorded code of .* cannot be read: .*{why}"
        ):
            FrozenCode.from_archive(content)

    def test_cut_short_or_damaged_is_a_sentence(self, code):
        whole = code.to_archive()
        for place in range(0, len(whole), 7):
            with pytest.raises(FrozenCodeError, match="cannot be read"):
                FrozenCode.from_archive(whole[:place])
            damaged = bytearray(whole)
            damaged[place] ^= 0xFF
            try:
                assert FrozenCode.from_archive(bytes(damaged)).digest == code.digest
            except FrozenCodeError:
                continue

    @pytest.mark.parametrize("bound", ["_MOST_BYTES", "_MOST_FILES"])
    def test_too_large_is_refused_before_it_is_unpacked(self, bound, monkeypatch):
        content = archive(entry(), extra=[("a.py", "0" * 1_000_000)])
        monkeypatch.setattr(code_archive, bound, 1)
        with pytest.raises(FrozenCodeError, match="too large, 2 files with 1,000,"):
            FrozenCode.from_archive(content)


class TestDifferences:
    def test_of_the_same_code_are_none(self, code, frozen):
        assert differences(code, frozen()) == []

    def test_name_changed_new_and_gone_files(self, code, project, frozen, write):
        write(frozen_test_package__inner="x = 1\ny = 3\nz = 4\n", frozen_test_package__new="")
        now = frozen()
        assert differences(code, now) == [
            f"{PACKAGE}/inner.py has changed (+2 \u22121 lines)",
            f"{PACKAGE}/new.py is new",
        ]
        (project / PACKAGE / "new.py").unlink()
        assert differences(now, frozen()) == [f"{PACKAGE}/new.py is gone"]

    def test_show_the_lines_where_asked_to(self, code, frozen, write):
        write(frozen_test_package__inner="x = 1\ny = '\x1b[2J'\n")
        (text,) = differences(code, frozen(), with_diff=True)
        assert text.splitlines() == [
            f"{PACKAGE}/inner.py has changed (+1 \u22121 lines)",
            f"--- {PACKAGE}/inner.py (of the sweep)",
            f"+++ {PACKAGE}/inner.py (now)",
            "@@ -1,3 +1,3 @@",
            " x = 1",
            "-y = 2",
            "+y = '\\x1b[2J'",
            " ",
        ]

    def test_do_not_call_files_gone_that_are_only_not_loaded_now(self, code, frozen, write):
        """As those of an outer experiment, where only the inner one is loaded."""
        less = FrozenCode(code.modules[:1], code.contents)
        assert differences(code, less) == []
        write(frozen_test_package__inner="x = 1\n")
        changed = [f"{PACKAGE}/inner.py has changed (+0 \u22121 lines)"]
        assert differences(code, less) == changed

    def test_do_not_call_a_package_new_that_was_only_not_loaded_then(self, code, frozen, write):
        write(frozen_test_single="")
        assert f"{SINGLE}.py" in frozen(SINGLE).files()
        assert differences(code, frozen()) == []

    def test_find_the_file_in_another_folder(self, code, frozen):
        moved = tuple(
            frozen_code.FrozenModule(m.name, f"/other/{m.label}", m.label, m.is_package, m.digest)
            for m in code.modules
        )
        less = FrozenCode(code.modules[:1], code.contents)
        assert differences(FrozenCode(moved, code.contents), less) == []

    def test_of_source_that_is_no_text_are_told(self, code, project, frozen):
        (project / PACKAGE / "inner.py").write_bytes(b"x = '\xff'\n")
        (text,) = differences(code, frozen())
        assert "inner.py has changed (+1 \u22122 lines)" in text

    def test_of_very_long_files_are_not_counted(self, code, frozen, write, monkeypatch):
        monkeypatch.setattr(frozen_code, "_MOST_LINES", 2)
        write(frozen_test_package__inner="x\n" * 5)
        assert differences(code, frozen()) == [f"{PACKAGE}/inner.py has changed"]
