"""Where the runs of a sweep are recorded."""

import dataclasses
import os
import pickle
import tempfile
from pathlib import Path

import pytest
from pymongo.errors import ConnectionFailure

from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.journal import DeadJournal
from sacred_ray_ingredient.record.shipper import UNREACHABLE
from sacred_ray_ingredient.record.target import RecordTarget


def test_a_run_is_observed_with_the_tags_of_the_sweep_and_its_own(
    target, database, make_experiment
):
    run = make_experiment(lambda: 7)._create_run(options={"--capture": "no"})
    observer = target.observe(run, extra_tags=["trial"])
    assert run.observers == [observer]
    run()
    document = database.runs.find_one()
    assert document["omniboard"]["tags"] == ["my_search", "sweep-1", "trial"]
    assert document["result"] == 7


def test_without_an_address_nothing_is_observed(make_experiment):
    run = make_experiment(lambda: 7)._create_run()
    assert RecordTarget(None).observe(run) is None
    assert run.observers == []


def test_without_an_address_there_is_no_database():
    with pytest.raises(ValueError, match="without a MongoDB address has no database"):
        RecordTarget(None).database()
    with pytest.raises(ValueError, match="without a MongoDB address has no runs"):
        RecordTarget(None).runs()


def test_runs_are_in_the_collection_of_the_address(target, database):
    database.runs.insert_one({"_id": 1})
    assert target.runs().find_one() == {"_id": 1}


class _Client(dict):
    closed = False

    def close(self):
        self.closed = True


def test_one_client_serves_a_whole_process_until_it_is_closed(monkeypatch):
    made = []

    def client(self, **options):
        made.append(_Client(db=object()))
        return made[-1]

    monkeypatch.setattr(MongoAddress, "client", client)
    monkeypatch.setattr(target_module, "_clients", {})
    address = MongoAddress("mongodb://unit.test/", db_name="db")
    targets = [RecordTarget(address, tags=(tag,)) for tag in "ab"]
    assert targets[0].database() is targets[1].database()
    assert len(made) == 1
    target_module.close_clients()
    assert made[0].closed
    assert targets[0].database() is made[1]["db"]


def test_a_target_travels():
    there = RecordTarget(MongoAddress("mongodb://unit.test/"), ("a",), "/tmp/x", "sweep-1")
    assert pickle.loads(pickle.dumps(there)) == there


class TestJournals:
    def test_of_a_sweep_are_in_a_folder_of_their_own(self, tmp_path):
        target = RecordTarget(None, journal_folder=str(tmp_path / "journals"), group="sweep-1")
        assert target.folder() == tmp_path / "journals" / "sweep-1"

    def test_of_a_node_without_the_project_folder_are_in_its_temporary_one(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        target = RecordTarget(None, journal_folder="/gone/.sacred_ray/journals", group="sweep-1")
        assert target.folder() == tmp_path / f"sacred-ray-{os.getuid()}" / "journals" / "sweep-1"

    @pytest.fixture
    def temporary(self, tmp_path, monkeypatch):
        """The folder that a node would take for its own."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        return tmp_path / f"sacred-ray-{os.getuid()}"

    @staticmethod
    def taken():
        target = RecordTarget(None, journal_folder="/gone/.sacred_ray/journals", group="sweep-1")
        folder = target.folder()
        assert folder.parts[-2:] == ("journals", "sweep-1")
        return folder.parent.parent

    def test_are_in_a_temporary_folder_that_only_the_user_can_read(self, temporary):
        assert self.taken() == temporary
        assert temporary.stat().st_mode & 0o777 == 0o700
        assert self.taken() == temporary

    def test_are_not_in_a_temporary_folder_of_somebody_else(self, temporary, monkeypatch):
        other = temporary.with_name(f"sacred-ray-{os.getuid() + 1}")
        other.mkdir(mode=0o700)
        monkeypatch.setattr(os, "getuid", lambda: int(other.name.rpartition("-")[2]))
        self.is_another(other)

    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o720])
    def test_are_not_in_a_temporary_folder_that_others_can_write_to(self, temporary, mode):
        temporary.mkdir()
        temporary.chmod(mode)
        self.is_another(temporary)

    def test_are_not_behind_a_link(self, temporary, tmp_path):
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        temporary.symlink_to(tmp_path / "elsewhere")
        self.is_another(temporary)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_are_not_in_a_file(self, temporary):
        temporary.write_text("")
        self.is_another(temporary)

    def is_another(self, folder):
        taken = self.taken()
        assert taken != folder
        assert taken.parent == folder.parent
        assert taken.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("is_shared", [True, False])
    def test_are_the_drivers_where_its_own_file_is_seen(self, tmp_path, temporary, is_shared):
        folder = tmp_path / "project" / "journals"
        (folder / "sweep-1").mkdir(parents=True)  # another machine has it, too
        target = RecordTarget(None, (), str(folder), "sweep-1", driver="sweep-driver-a.jsonl")
        if is_shared:
            (folder / "sweep-1" / "sweep-driver-a.jsonl").touch()
        assert target.is_at_home() == is_shared
        assert target.home() == folder / "sweep-1"
        assert target.folder() == (folder if is_shared else temporary / "journals") / "sweep-1"

    def test_of_a_process_stay_where_they_are_when_the_driver_ends(self, tmp_path, temporary):
        folder = tmp_path / "project" / "journals"
        target = RecordTarget(None, (), str(folder), "sweep-1", driver="sweep-driver-b.jsonl")
        (folder / "sweep-1").mkdir(parents=True)
        mark = folder / "sweep-1" / "sweep-driver-b.jsonl"
        mark.touch()
        assert target.folder() == folder / "sweep-1"
        mark.unlink()
        assert target.folder() == folder / "sweep-1"

    def test_of_other_machines_are_found_where_they_are(self, temporary):
        assert target_module.own_folders() == []
        self.taken().joinpath("journals").mkdir()
        assert target_module.own_folders() == [temporary / "journals"]
        another = temporary.with_name(f"{temporary.name}-x1y2")
        another.joinpath("journals").mkdir(parents=True)
        another.chmod(0o700)
        assert target_module.own_folders() == [temporary / "journals", another / "journals"]
        another.chmod(0o770)
        other = temporary.with_name(f"{temporary.name}9")  # of the user with a longer number
        other.joinpath("journals").mkdir(parents=True)
        assert target_module.own_folders() == [temporary / "journals"]

    def test_in_place_of_a_folder_of_somebody_else_are_in_one_for_a_process(self, temporary):
        temporary.write_text("")
        assert self.taken() == self.taken()

    def test_say_which_database_they_are_for_and_no_secret(self, target, make_experiment):
        run = make_experiment(lambda: None)._create_run()
        target.observe(run)
        (path,) = Path(target.journal_folder).rglob("*.jsonl")
        events, _ = DeadJournal(path).read(0)
        assert events == [("target", dataclasses.asdict(target.address))]

    def test_are_gone_when_the_database_has_all(self, target, make_experiment):
        run = make_experiment(lambda: None)._create_run(options={"--capture": "no"})
        target.observe(run)
        run()
        assert list(Path(target.journal_folder).rglob("*.jsonl")) == []


def test_what_one_run_has_stored_the_next_one_need_not(target, database, make_experiment):
    for _ in range(2):
        run = make_experiment(lambda: None)._create_run(options={"--capture": "no"})
        target.observe(run)
        run()
    documents = list(database.runs.find())
    assert documents[0]["experiment"]["sources"] == documents[1]["experiment"]["sources"]
    assert documents[0]["host"]["node"] == documents[1]["host"]["node"]
    given = target_module.given_to(target.address)
    ((_, file_id),) = documents[0]["experiment"]["sources"]
    assert {str(file_id), documents[0]["host"]["node"]} <= given
    assert {each["_id"] for each in database.environments.find()} <= given


def test_scalars_reach_the_record_when_they_are_logged(target, make_experiment):
    events = []

    def main(_run):
        _run.log_scalar("loss", 0.5)
        events.extend(_run.observers[0]._journal.read(0)[0])

    run = make_experiment(main)._create_run(options={"--capture": "no"})
    target.observe(run)
    run()
    (scalar,) = (content for kind, content in events if kind == "scalar")
    assert scalar[:3] == ["loss", 0, 0.5]


class TestNodeElsewhere:
    @pytest.fixture
    def far(self, target, tmp_path, monkeypatch):
        """The target of a sweep on a node that does not share the driver's folder."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        return dataclasses.replace(target, group="sweep-1", driver="sweep-driver-none.jsonl")

    def test_lets_the_driver_know_what_it_cannot_ship(self, far, make_experiment):
        run = make_experiment(lambda: None)._create_run(options={"--capture": "no"})
        far.observe(run)
        shipper = target_module.shipper_for(far.address)
        assert shipper.beacon == far.folder() / UNREACHABLE
        near = dataclasses.replace(far, driver="")
        Path(near.journal_folder).parent.mkdir(exist_ok=True)
        near.observe(make_experiment(lambda: None)._create_run())
        assert shipper.beacon is None

    def test_leaves_the_private_server_of_the_driver_alone(self, far, database, make_experiment):
        """What listens there under the same address is that of somebody else."""
        address = dataclasses.replace(far.address, embedded=True)
        there = dataclasses.replace(far, address=address, wait_s=0.3)
        run = make_experiment(lambda: 7)._create_run(options={"--capture": "no"})
        there.observe(run)
        run()
        assert database.runs.count_documents({}) == 0
        assert len(list(there.folder().glob("*.jsonl"))) == 1
        with pytest.raises(ConnectionFailure, match="on the machine of the driver"):
            there._database_to_write()
