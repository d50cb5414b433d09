"""Checkpoints and logs of trials come home: from nodes that do not see the folder, and to S3."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pyarrow import fs

from tests.integration.harness import PROJECTS, ROOT, Command
from tests.integration.nodes import ray_nodes

pytestmark = pytest.mark.integration

CURVE = ["curve_outer", "with", "ray.search_space.quality=[1.0,2.0]", "ray.metric=height"]
ENGINES = pytest.mark.parametrize("engine", ["direct", "tune"])
PATHS = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(PROJECTS)])}
HIDDEN = 'mount -t tmpfs none {} && exec "$@"'


@pytest.fixture(scope="module")
def server():
    """A fake S3; gives its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def nodes(kept):
    """A head that sees the driver's folder, without processors, and two nodes that do not."""
    with ray_nodes() as nodes:
        nodes.head(cpus=0, environment=PATHS)
        for _ in range(2):
            add_hidden(nodes, kept)
        yield nodes


def add_hidden(nodes, kept):
    """Add a node on which a folder is empty."""
    prefix = ("unshare", "-m", "sh", "-c", HIDDEN.format(kept), "sh")
    return nodes.add(cpus=1, prefix=prefix, environment=PATHS)


def files_of(folder):
    """Return the names in the folder of an attempt, and those of its checkpoints apart."""
    names = {path.name for path in Path(folder).iterdir()}
    kept = {name for name in names if name.startswith("checkpoint_")}
    return kept, names - kept


def lines_of(path):
    """Return what the experiment itself has printed."""
    return [line for line in Path(path).read_text("utf-8").splitlines() if " - " not in line]


class TestLogs:
    """On a local Ray."""

    def test_of_all_names_are_where_the_record_says(self, command, last_sweep, tmp_path):
        words = [*CURVE, f"ray.storage_path={tmp_path}", "ray.log_to_file=all.txt"]
        finished = command(*words)
        assert finished.code == 0, finished.text
        for trial in last_sweep().trials:
            (path,) = trial["info"]["sweep"]["log"]
            assert Path(path).name == "all.txt"
            quality = trial["config"]["quality"]
            said = [f"from step 1 with quality {quality} momentum 0.9", "at the top"]
            assert lines_of(path) == said
            folder = Path(path).parent
            assert folder.name == f"trial-{trial['meta']['sweep']['trial_index']:05d}-0"
            assert str(folder / "checkpoint_000007") == trial["info"]["sweep"]["checkpoint"]
            assert [
                line for line in trial["captured_out"].splitlines() if " - " not in line
            ] == said

    @pytest.mark.long
    @ENGINES
    @pytest.mark.parametrize("names", [["stdout", "stderr"], ["out", "err"]])
    def test_of_two_names(self, command, last_sweep, tmp_path, engine, names):
        words = [*CURVE, f"ray.storage_path={tmp_path}", f"ray.engine={engine}"]
        finished = command(*words, f"ray.log_to_file={names if 'out' in names else True}")
        assert finished.code == 0, finished.text
        for trial in last_sweep().trials:
            paths = [Path(path) for path in trial["info"]["sweep"]["log"]]
            assert [path.name for path in paths] == names
            assert lines_of(paths[0])[-1] == "at the top"
            assert lines_of(paths[1]) == []
            assert "Started run" in paths[1].read_text("utf-8")

    @pytest.mark.long
    def test_of_parts_are_files_of_their_own(self, command, last_sweep, tmp_path):
        words = [*CURVE, f"ray.storage_path={tmp_path}", "ray.log_to_file=all"]
        words += ["ray.scheduler=pbt(perturbation_interval=2)", "ray.num_samples=2"]
        finished = command(*words, "ray.search_space.quality=uniform(0, 1)")
        assert finished.code == 0, finished.text
        trials = last_sweep().trials
        assert max(trial["meta"]["sweep"]["segment"] for trial in trials) > 0
        for trial in trials:
            segment = trial["meta"]["sweep"]["segment"]
            (path,) = trial["info"]["sweep"]["log"]
            assert Path(path).name == (f"all-{segment}" if segment else "all")
            said = [line for line in trial["captured_out"].splitlines() if " - " not in line]
            assert lines_of(path)[: len(said)] == said


@pytest.mark.long
class TestUrl:
    """A bucket of a fake S3."""

    @pytest.fixture
    def keys(self, monkeypatch):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-a-test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-test")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    @pytest.fixture
    def bucket(self, server, keys):
        there = fs.S3FileSystem(
            endpoint_override=server, scheme="http", allow_bucket_creation=True, region="us-east-1"
        )
        there.create_dir("trials")
        return there

    @ENGINES
    def test_has_the_files_and_a_killed_trial_goes_on_from_there(
        self, command, last_sweep, tmp_path, server, bucket, engine
    ):
        url = f"s3://trials/{engine}?endpoint_override={server}&scheme=http"
        words = ["resume_outer", "with", f"ray.storage_path={url}", f"ray.engine={engine}"]
        words += ["ray.search_space.k=[0,1]", "ray.metric=height", "ray.max_failures=1"]
        words += ["resume_inner.epochs=4", f"resume_inner.starts_folder={tmp_path}"]
        (tmp_path / "kill").mkdir()
        (tmp_path / "kill" / "0").write_text("3")
        words += [f"resume_inner.kill_folder={tmp_path}/kill", "ray.log_to_file=True"]
        finished = command(*words)
        assert finished.code == 0, finished.text
        killed, again = [
            trial for trial in last_sweep().trials if trial["meta"]["sweep"]["trial_index"] == 0
        ]
        assert (killed["status"], again["status"]) == ("FAILED", "COMPLETED")
        assert again["info"]["sweep"]["restored"] is True
        assert (tmp_path / "0").read_text().split() == ["1", "3"]
        place = killed["info"]["sweep"]["checkpoint"]
        assert place.startswith(f"s3://trials/{engine}/sweep-")
        assert place.endswith(f"?endpoint_override={server}&scheme=http")
        logs = [where.partition("?")[0] for where in again["info"]["sweep"]["log"]]
        assert [where.rpartition("/")[2] for where in logs] == ["stdout", "stderr"]
        with bucket.open_input_stream(logs[1].removeprefix("s3://")) as stream:
            assert b"Started run" in stream.read()

    def test_that_is_not_there_is_said_before_the_first_trial(self, command, server, keys):
        url = f"s3://no-such-bucket/x?endpoint_override={server}&scheme=http"
        finished = command(*CURVE, f"ray.storage_path={url}")
        assert finished.code == 2, finished.text
        assert f"ray.storage_path is '{url}', where nothing can be written" in finished.err
        assert "trial 0" not in finished.out

    def test_with_a_key_is_refused_and_repeated_nowhere(self, command, database):
        before = database.runs.count_documents({})
        finished = command(*CURVE, "ray.storage_path=s3://KEYMARK:SECRETMARK@trials/x")
        assert finished.code == 2, finished.text
        assert "key or a password in it" in finished.err
        assert "MARK" not in finished.text
        assert database.runs.count_documents({}) == before


@pytest.mark.long
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="hiding a folder from a node needs root")
class TestHiddenFolder:
    """Two nodes on which the driver's folder is empty, and a head that sees it."""

    @pytest.fixture
    def command(self, home, ray_folder, nodes, kept):
        return Command(home, ray_folder, dict(nodes.environment))

    @staticmethod
    def words(nodes, kept, engine, *more):
        return [
            *CURVE, f"ray.address={nodes.address}", f"ray.storage_path={kept}",
            f"ray.engine={engine}", "ray.log_to_file=True", *more,
        ]  # fmt: skip

    def test_pbt_takes_over_states_from_another_node(self, command, nodes, kept, last_sweep):
        finished = command(
            *self.words(nodes, kept, "tune", "ray.num_samples=2", "curve.pause_s=0.3"),
            "ray.search_space.quality=uniform(0, 1)",
            "ray.scheduler=pbt(perturbation_interval=2, quantile_fraction=0.5)",
        )
        assert finished.code == 0, finished.text
        trials = last_sweep().trials
        assert {trial["status"] for trial in trials} == {"COMPLETED"}
        taken_over = [trial for trial in trials if trial["meta"]["sweep"].get("taken_over")]
        assert taken_over
        assert all(trial["info"]["sweep"]["restored"] for trial in taken_over)
        pids = {trial["info"]["sweep"]["pid"] for trial in trials}
        assert len(pids) > 1

    @ENGINES
    def test_a_trial_whose_node_is_killed_goes_on_from_its_checkpoint_on_another(
        self, command, nodes, kept, last_sweep, engine
    ):
        before = set(kept.iterdir())
        words = self.words(nodes, kept, engine, "ray.max_failures=2", "curve.pause_s=1.5")
        process, mark = command.start(*words)
        deadline = time.monotonic() + 150
        while not self.is_under_way(set(kept.iterdir()) - before):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        nodes.nodes[-1].kill()
        add_hidden(nodes, kept)
        finished = command.finish(process, mark)
        assert finished.code == 0, finished.text
        trials = last_sweep().trials
        killed = [trial for trial in trials if trial["status"] == "FAILED"]
        again = [trial for trial in trials if trial["meta"]["sweep"]["attempt"] > 0]
        assert len(killed) == 1
        assert len(again) == 1
        assert again[0]["info"]["sweep"]["restored"] is True
        first = int(again[0]["captured_out"].partition("from step ")[2].split()[0])
        assert first > 1
        place = Path(again[0]["info"]["sweep"]["checkpoint"])
        assert (place / "state").read_text("utf-8").split()[1] == "9"
        kept_there, logs = files_of(place.parent)
        assert (len(kept_there), logs) == (9 - first, {"stdout", "stderr"})
        assert lines_of(place.parent / "stdout")[-1] == "at the top"
        for trial in killed:  # of what it had printed, at most the last two seconds are missing
            (path, _) = trial["info"]["sweep"]["log"]
            assert lines_of(path)[0].startswith("from step 1 with")
        assert list(kept.glob(".seen-from-*")) == []

    @staticmethod
    def is_under_way(jobs):
        return any(len(list(job.glob("trial-0000[01]-0/checkpoint_000002"))) == 2 for job in jobs)
