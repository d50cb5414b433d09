"""The parts of the benchmarks that measure nothing: medians, ratios, tables, the picture."""

import datetime
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import mongomock
import pytest

from benchmarks import __main__ as command
from benchmarks.figures import (
    BenchmarkFailed,
    Row,
    Size,
    markdown_table,
    medians,
    ratios,
    text_table,
)
from benchmarks.growth import _rows, curves
from benchmarks.noop import METRIC
from benchmarks.picture import growth_picture
from benchmarks.runs import Expected, read_runs

OURS = Row("direct", "ours", 600.0, "trials/s")
HAND = Row("direct", "by hand", 150.0, "trials/s")


def test_medians_are_taken_of_each_number_by_itself():
    rounds = [
        [replace(OURS, value=value), replace(OURS, value=value / 10, measure="other"), HAND]
        for value in (100.0, 700.0, 300.0)
    ]
    assert [(row.way, row.measure, row.value) for row in medians(rounds)] == [
        ("ours", "", 300.0),
        ("ours", "other", 30.0),
        ("by hand", "", 150.0),
    ]


def test_a_round_that_failed_leaves_the_others():
    assert [row.value for row in medians([[], [OURS]])] == [600.0]


@pytest.mark.parametrize(("better", "ratio"), [("higher", 4.0), ("lower", 0.25)])
def test_a_ratio_is_above_1_where_ours_is_the_better_one(better, ratio):
    rows = [replace(OURS, better=better), replace(HAND, better=better)]
    (row,) = ratios(rows, "ours", {"by hand": 3.5})
    assert (row.way, row.value, row.unit, row.goal) == ("ours : by hand", ratio, "x", 3.5)
    assert row.reached is (ratio >= 3.5)


def test_ratios_are_of_one_measure_and_of_what_was_measured():
    rows = [OURS, replace(HAND, measure="command")]
    assert ratios(rows, "ours", {"by hand": None, "SEML": 40.0}) == []


@pytest.mark.parametrize(
    ("value", "better", "reached"),
    [(0.97, "higher", True), (0.96, "higher", False), (0.97, "lower", True), (1.0, "lower", False)],
)
def test_goals_are_limits_from_either_side(value, better, reached):
    assert Row("cores", "ours", value, "x", 0.97, better).reached is reached


def test_tables_have_a_line_for_each_row():
    rows = [OURS, replace(HAND, value=0.25, goal=3.5, note="a | b")]
    assert markdown_table(rows).splitlines() == [
        "| figure | what | way | median | unit | goal | reached | note |",
        "| --- | --- | --- | ---: | --- | ---: | --- | --- |",
        "| direct |  | ours | 600 | trials/s |  |  |  |",
        "| direct |  | by hand | 0.25 | trials/s | >= 3.50 | no | a / b |",
    ]
    lines = text_table(rows).splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["direct", "ours", "600", "trials/s"]


def test_ways_take_turns_in_being_first():
    first, second = (Size(round=number).turns(["ours", "by hand"]) for number in (0, 1))
    assert (first, second) == (["ours", "by hand"], ["by hand", "ours"])


def test_the_number_of_trials_can_be_given():
    sizes = (Size(), Size(quick=True), Size(quick=True, trials=7))
    assert [size.pick(2000, 40) for size in sizes] == [2000, 40, 7]


def run_document(**entries):
    moment = datetime.datetime(2026, 1, 1)
    return {
        "experiment": {"name": "noop"},
        "status": "COMPLETED",
        "start_time": moment,
        "stop_time": moment,
        **entries,
    }


def test_a_complete_record_is_accepted_also_of_a_metric_in_parts():
    database = mongomock.MongoClient().db
    run = database.runs.insert_one(run_document()).inserted_id
    part = {"run_id": run, "name": METRIC, "values": [1.0, 2.0, 3.0]}
    database.metrics.insert_many([part, {**part, "name": f"{METRIC} 2", "of": METRIC}])
    assert len(read_runs(database, Expected(1, points=6))) == 1


@pytest.mark.parametrize(
    ("status", "values", "message"),
    [
        ("RUNNING", [1.0, 2.0], "0 of 1 recorded runs are COMPLETED, 1 should be"),
        ("COMPLETED", [1.0], "1 runs do not have their 2 points; run .* has 1"),
    ],
)
def test_an_incomplete_record_is_no_measurement(status, values, message):
    database = mongomock.MongoClient().db
    run = database.runs.insert_one(run_document(status=status)).inserted_id
    database.metrics.insert_one({"run_id": run, "name": METRIC, "values": values})
    with pytest.raises(BenchmarkFailed, match=message):
        read_runs(database, Expected(1, points=2))


def test_a_run_too_many_is_no_measurement():
    database = mongomock.MongoClient().db
    database.runs.insert_many([run_document(), run_document()])
    with pytest.raises(BenchmarkFailed, match="2 of 2 recorded runs are COMPLETED, 1 should be"):
        read_runs(database, Expected(1, points=0))


def test_the_picture_has_a_curve_for_each_way():
    rows = [
        Row("growth", way, value, "ms/trial", measure=f"{count:,} trials")
        for way, values in {"ours, direct": (1.5, 1.6), "ours, tune": (14.0, 16.5)}.items()
        for count, value in zip((500, 10_000), values, strict=True)
    ]
    found = curves([*rows, OURS])
    assert found["ours, tune"] == {500: 14.0, 10_000: 16.5}
    picture = ET.fromstring(growth_picture(found))
    names = [element.tag.rpartition("}")[2] for element in picture.iter()]
    assert (names.count("polyline"), names.count("circle")) == (2, 4)
    words = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert {"ours, direct", "ours, tune", "500", "10,000"} <= set(words)
    # Larger numbers of trials are further to the right, and more time is higher up.
    line = next(element for element in picture.iter() if element.tag.endswith("polyline"))
    (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in line.get("points").split())
    assert x1 < x2
    assert y1 > y2


@pytest.fixture
def two_figures(monkeypatch):
    """Two figures that are measured at once, one of which can not be."""

    def measured(size):
        return [replace(OURS, value=100.0 + size.round), HAND]

    def broken(size):
        raise BenchmarkFailed("a record is not complete")

    functions = {"direct": measured, "tune": broken}
    monkeypatch.setattr(command, "load", functions.__getitem__)


def test_the_command_prints_medians_and_keeps_samples(two_figures, tmp_path, capsys):
    samples, table = tmp_path / "samples.json", tmp_path / "table.md"
    words = ["direct", "--rounds", "3", "--json", str(samples), "--markdown", str(table)]
    assert command.main(words) == 0
    rounds = json.loads(samples.read_text())["rounds"]
    assert [rows[0]["value"] for rows in rounds] == [100.0, 101.0, 102.0]
    assert "| direct |  | ours | 101 | trials/s |  |  |  |" in table.read_text()
    assert "Medians of 3 rounds" in capsys.readouterr().out


def test_a_figure_that_fails_is_told_and_leaves_the_others(two_figures, capsys):
    assert command.main(["tune", "direct", "--rounds", "1"]) == 1
    output = capsys.readouterr().out
    assert "not measured: round 1, tune: a record is not complete" in output
    assert "direct" in output.partition("Medians")[2].partition("not measured")[0]


def test_an_unknown_figure_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["directt"])
    assert "there is no figure 'directt'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(command.FIGURES))
def test_every_figure_can_be_loaded(name):
    assert callable(command.load(name))


def test_growth_tells_constant_times_from_what_grows():
    # 1 s of constant time, and 2 ms for each trial: the average falls, a further trial costs 2 ms.
    milliseconds = {count: 2.0 + 1000.0 / count for count in (500, 2000)}
    rows = _rows("direct", milliseconds, {500: 100_000, 2000: 130_000}, Size())
    values = {(row.measure, row.unit): (row.value, row.reached) for row in rows}
    assert values["from 500 to 2,000 trials", "ms per further trial"] == (pytest.approx(2.0), None)
    assert values["2,000 trials against 500", "x"] == (pytest.approx(2.5 / 4.0), True)
    assert values["memory of the driver", "kB/trial"] == (pytest.approx(20.0), True)
