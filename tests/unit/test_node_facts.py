"""What a node says of itself, and how nodes are named; without Ray."""

import shutil
import sys
from pathlib import Path

import pytest

import sacred_ray_ingredient
from sacred_ray_ingredient.cluster import node_facts
from sacred_ray_ingredient.cluster.probe import names_of_nodes


def described(node_id, hostname, ip, name=None):
    return {
        "NodeID": node_id,
        "NodeManagerHostname": hostname,
        "NodeManagerAddress": ip,
        "NodeName": name or ip,
    }


def test_nodes_are_named_by_their_own_name_else_by_the_host():
    nodes = [described("1" * 20, "gpu-1", "10.0.0.1"), described("2" * 20, "x", "10.0.0.2", "big")]
    assert names_of_nodes(nodes) == ["gpu-1", "big"]


def test_names_are_completed_until_each_is_unique():
    nodes = [
        described("a" * 20, "pod", "10.0.0.1"),
        described("b" * 20, "pod", "10.0.0.2"),
        described("c" * 20, "vm", "10.0.0.3"),
        described("d" * 20, "vm", "10.0.0.3"),
    ]
    assert names_of_nodes(nodes) == [
        "pod (10.0.0.1)",
        "pod (10.0.0.2)",
        "vm (10.0.0.3) cccccccc",
        "vm (10.0.0.3) dddddddd",
    ]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Let a copy of the package be found first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, node_facts.PACKAGE)
    return Path(
        shutil.copytree(
            Path(sacred_ray_ingredient.__file__).parent,
            tmp_path / node_facts.PACKAGE,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    )


def test_the_digest_is_that_of_the_source_wherever_it_is(copied, monkeypatch):
    same = node_facts.package_digest()
    monkeypatch.undo()
    assert same == node_facts.package_digest()


@pytest.mark.parametrize("change", ["edited", "renamed", "gone"])
def test_the_digest_changes_with_the_source(copied, change):
    before = node_facts.package_digest()
    module = copied / "record" / "lines.py"
    if change == "edited":
        module.write_text(module.read_text() + "\n")
    elif change == "renamed":
        module.rename(module.with_name("liness.py"))
    else:
        module.unlink()
    assert node_facts.package_digest() not in (before, None)


def test_a_missing_package_has_no_digest_and_no_version(monkeypatch):
    monkeypatch.setattr(node_facts, "PACKAGE", "no_such_package")
    monkeypatch.setattr(node_facts, "DISTRIBUTIONS", ("ray", "no_such_package"))
    found = node_facts.gather([object()])
    assert found["digest"] is None
    assert found["versions"]["no_such_package"] is None
    assert found["versions"]["ray"]
    assert "trouble" not in found


def test_a_package_that_cannot_be_found_out_about_counts_as_missing(monkeypatch):
    def find_spec(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(node_facts.importlib.util, "find_spec", find_spec)
    assert node_facts.package_digest() is None


def test_what_goes_wrong_in_the_package_is_trouble(monkeypatch):
    def broken(reference):
        raise SystemExit("no")

    monkeypatch.setattr(node_facts, "_record", broken)
    assert node_facts.gather([object()])["trouble"] == "SystemExit: no"


def test_free_space_is_that_of_the_nearest_folder_that_is_there(tmp_path):
    found = node_facts.free_space(tmp_path / "a" / "b")
    assert found == {
        "folder": str(tmp_path / "a" / "b"),
        "free": pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1),
        "is_writable": True,
    }
    assert not (tmp_path / "a").exists()
