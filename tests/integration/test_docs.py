"""The documentation is run, not believed: its commands, its modules, its table."""

import re
import shlex

import pytest

from docs.make_reference import PAGE, page_with_table
from tests.integration.harness import ROOT
from tests.integration.nodes import ray_nodes

DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page, language):
    return [code for kind, code in _BLOCK.findall(page.read_text()) if kind == language]


def _shell_lines(start):
    blocks = [block for page in DOCS for block in _blocks(page, "bash")]
    lines = [line for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith(start)))


def _commands():
    return [line for line in _shell_lines("python -m ") if "ray.address=" not in line]


def _cluster_commands():
    """Return the commands that join a cluster; where that is differs from reader to reader."""
    lines = [line for line in _shell_lines("python -m ") if "ray.address=" in line]
    found = [re.sub(r"ray\.address=\S+", "ray.address=ADDRESS", line) for line in lines]
    return list(dict.fromkeys(line.partition(" #")[0].strip() for line in found))


def _marked(line):
    """Leave out of the quick tests what differs from others in its scheduler or engine only."""
    is_long = re.search(
        r"with (asha|bohb|hyperband|median|pb2|pbt)\b|engine=tune|digits_search", line
    )
    is_long = is_long or ("ray.address=" in line and "check" not in line)
    return pytest.param(line, marks=pytest.mark.long if is_long else ())


def test_the_table_of_entries_is_that_of_the_code():
    assert PAGE.read_text() == page_with_table(PAGE.read_text())


def test_every_page_and_file_that_is_linked_exists():
    for page in DOCS:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page}: {link}"


def test_there_are_commands_to_run():
    assert len(_commands()) >= 10
    assert len(_cluster_commands()) >= 4


@pytest.mark.integration
@pytest.mark.parametrize("line", list(map(_marked, _commands())))
def test_every_command_of_the_docs_runs(command, tmp_path, line):
    for page in DOCS:
        for code in [*_blocks(page, "python"), *_blocks(page, "yaml")]:
            name = re.match(r"# (\w+\.\w+)\n", code).group(1)
            (tmp_path / name).write_text(code)
    words = shlex.split(line, comments=True)[2:]
    # Where the blocks of the documentation are, if it is about one of them.
    is_own = any("my_" in word or word.endswith(".yaml") for word in words)
    folder = tmp_path if is_own else ROOT
    finished = command(*words, cwd=folder)
    assert finished.code == 0, finished.text


@pytest.fixture(scope="module")
def cluster():
    with ray_nodes() as nodes:
        nodes.head(cpus=2)
        yield nodes


@pytest.mark.integration
@pytest.mark.parametrize("line", list(map(_marked, _cluster_commands())))
def test_every_command_for_a_cluster_runs_on_one(command, cluster, line):
    command.environment |= cluster.environment
    words = shlex.split(line.replace("ADDRESS", cluster.address))[2:]
    if "resume" in words:
        begun = command("experiments.outer", "with", "hyperparameter_search", "ray.num_samples=1")
        assert begun.code == 0, begun.text
    finished = command(*words)
    assert finished.code == 0, finished.text


@pytest.mark.integration
def test_the_shell_commands_for_the_private_server_run(command):
    # 'stop' is tried in test_embedded_mongo; here it would end the server of the other tests.
    verbs = [line for line in _shell_lines("sacred-ray ") if "stop" not in line]
    assert set(verbs) == {"sacred-ray mongo status", "sacred-ray sync"}
    for line in verbs:
        finished = command("sacred_ray_ingredient", *shlex.split(line)[1:])
        assert finished.code == 0, finished.text
