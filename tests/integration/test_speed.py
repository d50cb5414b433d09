"""The price of a trial, by the benchmarks: reused workers cost a small part of a process each."""

import json

import pytest

from benchmarks import rates
from benchmarks.__main__ import main
from benchmarks.figures import Size
from benchmarks.ways import ours

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def values(rows, measure):
    return {row.way: row.value for row in rows if row.measure == measure}


@pytest.mark.slow
@pytest.mark.alone
def test_trials_cost_under_a_tenth_of_an_actor_each():
    rows = rates.recipe(Size(trials=16))
    rate = values(rows, "until recorded")
    assert rate[ours("tune")] > 10 * rate[rates.RECIPE], rows


@pytest.mark.slow
@pytest.mark.long
def test_a_command_with_forty_trials_takes_a_third_of_the_time():
    rows = rates.recipe(Size())
    command = values(rows, "whole command")
    # With the start of Ray and of the workers, which is the same for 40 trials and for 4,000, the
    # ratio is about 6 (docs/speed.md); the limit leaves room for a machine that is busy.
    assert command[ours("tune")] < command[rates.RECIPE] / 3, rows


@pytest.mark.long
@pytest.mark.slow
def test_the_command_measures_small_sizes_of_figures(tmp_path):
    samples, table = tmp_path / "samples.json", tmp_path / "table.md"
    words = ["direct", "cores", "--quick", "--trials", "6", "--rounds", "1"]
    assert main([*words, "--json", str(samples), "--markdown", str(table)]) == 0
    (rows,) = json.loads(samples.read_text(encoding="utf-8"))["rounds"]
    ways = {(row["figure"], row["way"]) for row in rows}
    both = {("cores", ours("direct")), ("cores", ours("tune"))}
    assert {("direct", ours("direct")), ("direct", rates.BY_HAND), *both} <= ways
    assert all(row["value"] > 0 for row in rows)
    shares = [row["value"] for row in rows if row["measure"] == "trial times / (2 x wall)"]
    assert all(share <= 1.01 for share in shares)
    assert len(table.read_text(encoding="utf-8").splitlines()) == len(rows) + 2
