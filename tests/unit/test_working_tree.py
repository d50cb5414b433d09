"""What of a project goes along to the nodes of a cluster, and what stays."""

import os
import random
import socket
import subprocess
import zipfile
from pathlib import Path

import pytest

from sacred_ray_ingredient.cluster import working_tree
from sacred_ray_ingredient.cluster.working_tree import (
    WorkingTree,
    checked_tree,
    look_through,
    root_of,
    size_text,
)
from sacred_ray_ingredient.errors import ConfigMistakes


def write(folder, files):
    for name, content in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def names(folder, *arguments):
    return sorted(look_through(str(folder), *arguments).sizes)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that is neither the home folder nor that for everyone's temporary files."""
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "ada"))
    monkeypatch.setattr(working_tree.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    folder = tmp_path / "projects" / "waves"
    folder.mkdir(parents=True)
    return folder


class TestRoot:
    def test_is_the_top_of_the_repository(self, project):
        (project / ".git").mkdir()
        (project / "runs" / "deep").mkdir(parents=True)
        assert root_of(str(project / "runs" / "deep"), []) == str(project)

    def test_of_a_worktree_too_where_git_is_a_file(self, project):
        write(project, {".git": "gitdir: elsewhere"})
        assert root_of(str(project), []) == str(project)

    @pytest.mark.parametrize("mark", [".rayignore", "pyproject.toml", "setup.cfg", "setup.py"])
    def test_is_the_folder_where_it_is_a_projects(self, project, mark):
        assert root_of(str(project), []) is None
        write(project, {mark: ""})
        assert root_of(str(project), []) == str(project)

    def test_is_the_folder_that_has_modules_of_the_project(self, project):
        assert root_of(str(project), [str(project / "src" / "waves.py")]) == str(project)
        assert root_of(str(project), [str(project.parent / "waves2" / "waves.py")]) is None

    @pytest.mark.parametrize("place", ["home/ada", "home", "temporary", "."])
    @pytest.mark.parametrize("mark", [".git", "setup.py"])
    def test_is_never_what_holds_more_than_a_project(self, project, tmp_path, place, mark):
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, {mark: "", "outer.py": ""})
        assert root_of(str(folder), [str(folder / "outer.py")]) is None

    def test_below_a_home_folder_that_is_a_repository_is_the_folder_itself(self, project, tmp_path):
        inside = tmp_path / "home" / "ada" / "waves"
        write(inside, {"../.git": "", "outer.py": ""})
        assert root_of(str(inside), [str(inside / "outer.py")]) == str(inside)


class TestWhatStays:
    def test_is_what_git_ignores(self, tmp_path):
        write(
            tmp_path,
            {
                ".gitignore": "*.tmp\n/data/\n# a comment\n\n!kept.tmp\nlogs\n",
                "a.py": "",
                "x.tmp": "",
                "kept.tmp": "",
                "data/big.csv": "",
                "sub/data/small.csv": "",
                "sub/logs/x": "",
            },
        )
        assert names(tmp_path) == [".gitignore", "a.py", "kept.tmp", "sub/data/small.csv"]

    def test_by_nested_files_too_of_which_the_nearest_has_the_last_word(self, tmp_path):
        write(
            tmp_path,
            {
                ".gitignore": "*.csv\n",
                "sub/.gitignore": "!*.csv\nonly_here\n",
                "a.csv": "",
                "sub/a.csv": "",
                "sub/only_here": "",
                "only_here": "",
            },
        )
        assert names(tmp_path) == [".gitignore", "only_here", "sub/.gitignore", "sub/a.csv"]

    def test_is_what_rayignore_names_whatever_git_says(self, tmp_path):
        write(
            tmp_path,
            {
                ".rayignore": "*.bin\n",
                ".gitignore": "!a.bin\n",
                "sub/.rayignore": "/here\n",
                "a.bin": "",
                "sub/here": "",
                "here": "",
            },
        )
        assert names(tmp_path) == [".gitignore", ".rayignore", "here", "sub/.rayignore"]

    def test_is_what_the_repository_excludes_by_itself(self, tmp_path):
        write(tmp_path, {".git/info/exclude": "private\n", "private": "", "a": ""})
        assert names(tmp_path) == ["a"]

    def test_is_what_the_user_excludes(self, tmp_path):
        write(tmp_path, {"data/x": "", "a": "", "deep/data/x": ""})
        assert names(tmp_path, ["/data/"]) == ["a", "deep/data/x"]

    @pytest.mark.parametrize(
        "place", [".git", ".venv", "venv", "__pycache__", ".sacred_ray", "sub/.sacred_ray"]
    )
    def test_is_never_a_projects(self, tmp_path, place):
        write(tmp_path, {f"{place}/x": "", ".gitignore": f"!{place}/\n!{place}/x\n"})
        assert names(tmp_path) == [".gitignore"]

    def test_are_environments_of_other_names_and_folders_set_apart(self, tmp_path):
        write(tmp_path, {"env311/pyvenv.cfg": "", "env311/lib/x.py": "", "results/x": "", "a": ""})
        assert names(tmp_path, [], [str(tmp_path / "results")]) == ["a"]

    def test_is_not_what_git_keeps_although_a_pattern_fits(self, tmp_path):
        write(tmp_path, {".gitignore": "data\n*.csv\n", "data/x.csv": "", "data/y.csv": ""})
        run = {"cwd": tmp_path, "check": True, "capture_output": True}
        subprocess.run(["git", "init", "-q"], **run)
        subprocess.run(["git", "add", "-f", "data/x.csv"], **run)
        assert names(tmp_path) == [".gitignore", "data/x.csv"]


PATTERNS = [
    *(
        "*.csv",
        "/*",
        "!/src",
        "!src/",
        "data/",
        "data",
        "/data/",
        "data/*",
        "!data/x.csv",
        "data/**",
    ),
    *("**/b", "a/**/b", "a/b", "!*.csv", "*", "!*/", "src/*", "!src/a", "#c", "", "a?", "[ab]"),
]


@pytest.mark.parametrize("seed", range(8))
def test_git_itself_lists_the_same(tmp_path, seed):
    choose = random.Random(seed)
    folders = [""]
    for _ in range(7):
        folders.append(f"{choose.choice(folders)}{choose.choice(['a', 'b', 'src', 'data'])}/")
    write(tmp_path, {f"{choose.choice(folders)}{n % 3}.csv": "" for n in range(9)})
    write(tmp_path, {f"{choose.choice(folders)}x{n}": "" for n in range(9)})
    for folder in sorted({"", choose.choice(folders)}):
        lines = choose.choices(PATTERNS, k=3)
        write(tmp_path, {f"{folder}.gitignore": "\n".join(lines)})
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    command = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert names(tmp_path) == sorted(filter(None, listed.stdout.split("\0")))


class TestOddThings:
    def test_links_are_followed_but_not_in_circles(self, tmp_path):
        write(tmp_path, {"data/x": "12345", "sub/a": ""})
        (tmp_path / "sub" / "link").symlink_to(tmp_path / "data" / "x")
        (tmp_path / "sub" / "folder").symlink_to(tmp_path / "data")
        (tmp_path / "sub" / "up").symlink_to(tmp_path)
        (tmp_path / "sub" / "nowhere").symlink_to(tmp_path / "gone")
        tree = look_through(str(tmp_path))
        assert sorted(tree.sizes) == ["data/x", "sub/a", "sub/folder/x", "sub/link"]
        assert tree.sizes["sub/link"] == 5

    def test_sockets_and_pipes_stay(self, tmp_path):
        write(tmp_path, {"a": ""})
        os.mkfifo(tmp_path / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            os.chdir(tmp_path)  # the name of a socket has to be short
            server.bind("socket")
            assert names(tmp_path) == ["a"]

    def test_what_cannot_be_read_is_told(self, tmp_path, monkeypatch):
        write(tmp_path, {"a": "", "secret": ""})
        access = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: "secret" not in str(path) and access(path, mode)
        )
        said = []
        assert sorted(checked_tree(str(tmp_path), {}, [], said.append).sizes) == ["a"]
        assert said == [f"Note: the nodes do not get what cannot be read in {tmp_path}: secret."]

    def test_a_pattern_that_is_none_is_said(self, tmp_path):
        with pytest.raises(ConfigMistakes, match=r"runtime_env.excludes has a pattern that cannot"):
            names(tmp_path, ["!"])

    def test_more_files_than_a_project_has_are_refused(self, tmp_path, monkeypatch):
        write(tmp_path, {f"f{i}": "" for i in range(5)})
        monkeypatch.setattr(working_tree, "MOST_ENTRIES", 4)
        with pytest.raises(ConfigMistakes, match=r"has more than 4 files .*\.rayignore"):
            look_through(str(tmp_path))


class TestSize:
    @pytest.mark.parametrize(
        ("count", "text"),
        [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (2**29, "512 MiB")],
    )
    def test_is_written_for_a_reader(self, count, text):
        assert size_text(count) == text
        assert size_text(3 * 2**30) == "3 GiB"

    def test_the_largest_places_are_named_where_they_are(self):
        sizes = {f"data/part{i}.csv": 10 for i in range(6)} | {"models/old/best.pt": 50, "a.py": 1}
        assert WorkingTree("/p", sizes).largest(2) == [("data/", 60), ("models/old/best.pt", 50)]
        assert WorkingTree("/p", sizes).largest(9)[-1] == ("a.py", 1)
        assert WorkingTree("/p", {}).largest() == []

    def test_too_large_is_refused_with_what_makes_it_so(self, tmp_path, monkeypatch):
        from ray._private.runtime_env import packaging

        write(tmp_path, {"data/big.bin": "x" * 3000, "a.py": "x"})
        monkeypatch.setattr(packaging, "GCS_STORAGE_MAX_SIZE", 2**20 + 3000)
        match = (
            r"^The working tree .* is too large to go along to the nodes of a cluster: Ray takes "
            r"1 MiB, and this is 2\.93 KiB in 2 files; the largest: data/big\.bin \(2\.93 KiB\), "
            r"a\.py \(1 bytes\)\. Leave out .*\.rayignore.*\.gitignore.*ray\.runtime_env\.excludes="
        )
        with pytest.raises(ConfigMistakes, match=match):
            checked_tree(str(tmp_path), {}, [], print)
        checked_tree(str(tmp_path), {"excludes": ["*.bin"]}, [], print)

    def test_a_large_one_is_told(self, tmp_path, monkeypatch):
        write(tmp_path, {"a.py": "x" * 2048})
        said = []
        checked_tree(str(tmp_path), {}, [], said.append)
        assert said == []
        monkeypatch.setattr(working_tree, "LARGE_BYTES", 1000)
        checked_tree(str(tmp_path), {}, [], said.append)
        assert said == [
            f"Note: the working tree {tmp_path} goes along to the nodes: 2 KiB in 1 file; the "
            "largest: a.py (2 KiB)."
        ]


class TestArchive:
    def test_holds_the_files_and_is_equal_to_no_other(self, tmp_path):
        write(tmp_path, {"a.py": "1", "sub/run.sh": "2"})
        (tmp_path / "sub" / "run.sh").chmod(0o755)
        tree = look_through(str(tmp_path))
        first, second = tree.pack(), tree.pack()
        try:
            with zipfile.ZipFile(first) as archive:
                assert archive.namelist() == ["a.py", "sub/run.sh"]
                assert archive.read("sub/run.sh") == b"2"
                assert archive.getinfo("sub/run.sh").external_attr >> 16 & 0o777 == 0o755
            assert first.read_bytes() != second.read_bytes()
            assert first.stat().st_size <= tree.packed
        finally:
            first.unlink()
            second.unlink()

    def test_leaves_out_what_is_gone_by_then(self, tmp_path):
        write(tmp_path, {"a.py": "1", "b.py": "2"})
        tree = look_through(str(tmp_path))
        (tmp_path / "a.py").unlink()
        with working_tree.packed(tree) as path, zipfile.ZipFile(path) as archive:
            assert archive.namelist() == ["b.py"]
        assert not path.exists()
