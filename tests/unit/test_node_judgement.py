"""What the answers of nodes mean, and how they are shown."""

import pytest

from sacred_ray_ingredient.cluster.judgement import judge, judge_all, named, sentences
from sacred_ray_ingredient.cluster.node_facts import PACKAGE
from sacred_ray_ingredient.cluster.node_table import nodes_text
from sacred_ray_ingredient.cluster.nodes import Clock, Disk, Driver, NodeFacts, Software
from sacred_ray_ingredient.mongo.address import MongoAddress

VERSIONS = {"ray": "2.60.0", "sacred": "0.8.7", "pymongo": "4.20", PACKAGE: "0.1.0"}
OWN = Software("3.11.7", VERSIONS, "a" * 64)
ELSEWHERE = MongoAddress("mongodb://db.lab:27017/")
LOOPBACK = MongoAddress("mongodb://localhost:27017/")
EMBEDDED = MongoAddress("mongodb://sacred@127.0.0.1:4001/", embedded=True)
DRIVER = Driver(OWN, "10.0.0.1", ELSEWHERE)
ROOM = Disk("/j/journals", 5_000_000_000, True)
REACHED = {"reason": None, "server": None}


def software(python="3.11.7", digest="a" * 64, **versions):
    return Software(python, {**VERSIONS, **versions}, digest)


def node(name="n1", **facts):
    right = {
        "ip": "10.0.0.2",
        "resources": {"CPU": 8.0},
        "software": OWN,
        "has_imported": True,
        "disk": ROOM,
        "database": REACHED,
        "clock": Clock(0.1, 0.01),
    }
    return NodeFacts(name, **{**right, **facts})


def silent(name="n1"):
    return NodeFacts(name, "10.0.0.2", silent_s=30.0)


def only_problem(facts, driver=DRIVER):
    (problem,) = judge(facts, driver)
    return problem


def test_a_node_like_the_driver_has_no_problem():
    assert judge(node(), DRIVER) == []
    assert judge(node(software=software(python="3.11.2", pymongo="4.6")), DRIVER) == []


@pytest.mark.parametrize(
    ("facts", "column", "words"),
    [
        ({"software": software(python="3.12.7")}, "Python", "Python 3.12.7 there, 3.11.7 on"),
        ({"software": software(ray="2.60.1")}, "Ray", "Ray 2.60.1 there, 2.60.0 on the driver"),
        ({"software": software(sacred="0.8.6")}, "Sacred", "install sacred==0.8.7 there"),
        ({"software": software(sacred=None)}, "Sacred", "Sacred is not installed there"),
        ({"software": software(pymongo=None)}, "package", "pymongo is not installed there"),
        ({"software": software(digest=None)}, "package", f"{PACKAGE} is not installed there"),
        (
            {"software": software(digest="b", **{PACKAGE: "0.0.9"})},
            "package",
            f"{PACKAGE} 0.0.9 there, 0.1.0 on the driver",
        ),
        ({"software": software(digest="b")}, "package", "but other source files"),
        ({"trouble": "ImportError: no x"}, "package", "cannot be used there: ImportError: no x."),
        ({"import_mistake": "No module y."}, "experiment", "No module y. What it imports has to"),
        ({"disk": Disk("/j", 5 * 10**9, False)}, "disk", "cannot be written to /j there"),
        ({"disk": Disk("/j", 99_000_000, True)}, "disk", "less than 100 MB free there"),
        ({"software": None, "failure": "Crash: no."}, "node", "nothing can be run there: Crash"),
    ],
)
def test_what_lets_trials_fail_is_a_mistake(facts, column, words):
    problem = only_problem(node(**facts))
    assert problem.is_error
    assert problem.column == column
    assert words in problem.sentence


@pytest.mark.parametrize(
    ("facts", "column", "words"),
    [
        ({"disk": Disk("/j", 999_000_000, True)}, "disk", "less than 1000 MB free there"),
        ({"clock": Clock(-5.2, 0.1)}, "clock", "more than 5 s off the driver's"),
        ({"clock": Clock(61.0, 0.1)}, "clock", "WRONG by more than 60 s"),
        ({"database": {"reason": "refused", "server": None}}, "database", "(refused); what"),
        ({"software": None, "silent_s": 30.0}, "node", "no answer within 30 s"),
        ({"software": None, "is_gone": True}, "node", "lost it while it was asked"),
    ],
)
def test_what_does_not_is_a_note(facts, column, words):
    problem = only_problem(node(**facts))
    assert not problem.is_error
    assert problem.column == column
    assert words in problem.sentence


def test_the_time_that_an_answer_takes_is_not_taken_for_a_wrong_clock():
    assert judge(node(clock=Clock(5.2, 0.3)), DRIVER) == []
    assert judge(node(clock=Clock(5.0, 0.0)), DRIVER) == []


def test_a_package_of_the_same_source_may_have_no_version():
    """As in a folder that travels with the sweep, which nobody has installed."""
    assert judge(node(software=software(**{PACKAGE: None})), DRIVER) == []


def test_trouble_with_another_version_is_not_told_besides():
    facts = node(software=software(digest="b"), trouble="AttributeError: x")
    assert only_problem(facts).column == "package"
    assert "other source" in only_problem(facts).sentence


def test_all_problems_of_a_node_are_found_at_once():
    facts = node(
        software=software(sacred="0.8.6"),
        import_mistake="No.",
        disk=Disk("/j", 1, True),
        database={"reason": "refused", "server": None},
        clock=Clock(9, 0),
    )
    columns = [problem.column for problem in judge(facts, DRIVER)]
    assert columns == ["Sacred", "experiment", "disk", "database", "clock"]


def test_a_node_without_room_for_trials_needs_nothing():
    assert judge(node(takes_trials=False, software=software(digest=None)), DRIVER) == []


class TestTheDatabase:
    def test_of_the_project_is_out_of_reach_on_another_machine(self):
        driver = Driver(OWN, "10.0.0.1", EMBEDDED)
        problem = only_problem(node(database={"reason": "refused", "server": None}), driver)
        assert not problem.is_error
        assert "the project's own MongoDB" in problem.sentence
        assert "comes through the driver, and later" in problem.sentence
        assert "ray.mongo.url" in problem.sentence

    def test_that_a_sweep_would_start_is_in_reach_on_the_drivers_machine_only(self):
        driver = Driver(OWN, "10.0.0.1", is_started_later=True)
        assert judge(node(ip="10.0.0.1", database=None), driver) == []
        problem = only_problem(node(ip="10.0.0.2", database=None), driver)
        assert "listens on the driver's machine only" in problem.sentence

    def test_behind_a_loopback_address_can_be_another_one(self):
        driver = Driver(OWN, "10.0.0.1", LOOPBACK, server="p1")
        assert judge(node(database={"reason": None, "server": "p1"}), driver) == []
        problem = only_problem(node(database={"reason": None, "server": "p2"}), driver)
        assert problem.is_error
        assert "another MongoDB than the driver's answers at localhost:27017" in problem.sentence

    def test_of_many_processes_is_one_elsewhere(self):
        driver = Driver(OWN, "10.0.0.1", ELSEWHERE, server="p1")
        assert judge(node(database={"reason": None, "server": "p2"}), driver) == []

    def test_is_not_asked_for_without_a_record(self):
        facts = node(database=None, software=software(pymongo=None))
        assert judge(facts, Driver(OWN, "10.0.0.1")) == []


def test_if_no_node_answers_the_sweep_does_not_start():
    found = judge_all([silent("n1"), silent("n2")], DRIVER)
    assert [problem.is_error for _, problem in found] == [True, True]
    head = node("head", takes_trials=False)
    assert judge_all([head, silent()], DRIVER)[0][1].is_error
    assert not judge_all([node("n2"), silent()], DRIVER)[0][1].is_error


def test_a_cluster_without_nodes_for_trials_yet_has_no_mistake():
    assert judge_all([node(takes_trials=False)], DRIVER) == []


def test_the_same_problem_is_told_once_with_all_its_nodes():
    old = software(sacred="0.8.6")
    nodes = [node("n1", software=old), node("n2"), node("n3", software=old, clock=Clock(7, 0))]
    told = sentences(judge_all(nodes, DRIVER))
    assert [sentence.split(":")[0] for sentence in told] == ["n1, n3", "n3"]
    nodes[0] = node("n1", clock=Clock(8.3, 0))
    assert sentences(judge_all(nodes, DRIVER))[0].startswith("n1, n3: the clock is")


def test_of_many_nodes_the_first_are_named():
    names = [f"n{number}" for number in range(40)]
    assert named(names) == "n0, n1, n2, n3, n4, n5, n6, n7 and 32 more"
    assert named(names[:9]) == ", ".join(names[:9])


class TestTheTable:
    def test_has_only_nodes_with_problems_unless_asked_for_all(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "160")
        nodes = [node("good"), node("old", software=software(sacred="0.8.6"))]
        text = nodes_text(nodes, DRIVER, with_all=False)
        assert "good" not in text
        assert "\N{BALLOT X} 0.8.6" in text
        assert "Mistakes:\n  - old: Sacred 0.8.6 there" in text
        assert "Notes" not in text
        assert "good" in nodes_text(nodes, DRIVER, with_all=True)

    def test_is_empty_if_all_is_right(self):
        assert nodes_text([node()], DRIVER, with_all=False) == ""
        assert "Mistakes" not in nodes_text([node()], DRIVER, with_all=True)

    def test_shows_what_each_node_is_like(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "160")
        far = node("far", clock=Clock(-71.23, 0.01), disk=Disk("/j", 40_300_000, True))
        text = nodes_text([far, silent("n2"), node("h", takes_trials=False)], DRIVER, with_all=True)
        rows = {
            row.split()[1]: row
            for row in text.splitlines()
            if row.startswith("\N{BOX DRAWINGS LIGHT VERTICAL}")
        }
        assert "! -71.2 s" in rows["far"]
        assert "\N{BALLOT X} 0.04 GB" in rows["far"]
        assert "8/0" in rows["far"]
        assert "0.1.0 (aaaaaaa)" in rows["this"]
        assert "no answer" in rows["!"]
        assert "no trials" in rows["h"]

    def test_leaves_out_versions_that_are_the_same_everywhere_where_there_is_no_room(
        self, monkeypatch
    ):
        monkeypatch.setenv("COLUMNS", "90")
        nodes = [node("a"), node("b")]
        text = nodes_text(nodes, DRIVER, with_all=True)
        assert max(map(len, text.splitlines()[:-1])) <= 90
        assert "package" not in text.splitlines()[1]
        assert text.splitlines()[-1].startswith("The same everywhere: Python 3.11.7, Ray 2.60.0, ")

    def test_takes_names_as_they_are(self):
        assert "[red]x" in nodes_text([node("[red]x")], DRIVER, with_all=True)
