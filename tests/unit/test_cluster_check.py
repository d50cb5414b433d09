"""What ``check`` and a sweep do with the answers of nodes; without Ray."""

import pytest

from sacred_ray_ingredient import cluster_check, mongo
from sacred_ray_ingredient.cluster.nodes import NodeFacts, Software
from sacred_ray_ingredient.errors import DatabaseError, NodeMistakes
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.settings import SweepSettings


class TestTheTarget:
    @pytest.fixture(autouse=True)
    def home(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path))
        monkeypatch.delenv("SACRED_MONGO_URL", raising=False)
        return tmp_path

    def target(self, options=None, asked=False, **settings):
        self.told = []
        return cluster_check._target(
            options or {}, SweepSettings(**settings), asked, self.told.append
        )

    def test_of_the_projects_own_server_does_not_start_it(self, monkeypatch, home):
        monkeypatch.setattr(
            mongo.EmbeddedServer, "start", lambda self: pytest.fail("a server was started")
        )
        target, is_started_later = self.target()
        assert is_started_later
        assert target.address is None
        assert target.journal_folder == str(home / ".sacred_ray" / "journals")

    def test_is_none_where_nothing_would_be_in_a_database(self):
        for options in ({"--unobserved": True}, {"--file_storage": "runs"}):
            assert self.target(options) == (RecordTarget(None), False)
        assert self.target({"--file_storage": "runs"}, asked=True)[1]

    def test_that_does_not_answer_is_a_mistake_unless_the_sweep_goes_on_without(self, monkeypatch):
        def refuse(self):
            raise DatabaseError("It is away.")

        monkeypatch.setattr(mongo.MongoAddress, "check", refuse)
        options = {"--mongo_db": "far:1:db"}
        with pytest.raises(DatabaseError, match="It is away"):
            self.target(options)
        target, is_started_later = self.target(options, record={"without_database": True})
        assert not is_started_later
        assert target.address.describe() == "far:1, database db"
        assert self.told == [
            "It is away. A sweep would go on without it; its record would be in journals."
        ]


class TestASweep:
    @pytest.fixture
    def check(self, monkeypatch):
        """Let the nodes be given, and return what is told."""
        monkeypatch.setattr(cluster_check, "_own_ip", lambda: "10.0.0.1")

        def check(*nodes):
            told = []
            monkeypatch.setattr(cluster_check, "ask_nodes", lambda question, look: nodes)
            sweep = type("Sweep", (), {"target": RecordTarget(None)})()
            cluster_check.check_nodes(sweep, SweepSettings(), lambda: None, told.append)
            return told

        return check

    @pytest.fixture
    def right(self):
        found = cluster_check.node_facts.software()
        software = Software(found["python"], found["versions"], found["digest"])
        return NodeFacts("n1", "10.0.0.1", software=software, has_imported=True)

    def test_says_nothing_where_all_is_right(self, check, right):
        assert check(right) == []

    def test_begins_after_a_note(self, check, right):
        (text,) = check(right, NodeFacts("n2", "10.0.0.2", silent_s=30.0))
        assert "n2: no answer within 30 s" in text
        assert "n1" not in text

    def test_does_not_begin_with_a_mistake_and_tells_of_all(self, check, right):
        broken = NodeFacts("n2", "10.0.0.2", failure="Crash: no")
        slow = NodeFacts("n3", "10.0.0.3", silent_s=30.0)
        with pytest.raises(NodeMistakes, match=r"(?s)none was started.*n2: nothing.*n3: no ans"):
            check(right, broken, slow)
