"""The commands of the README, run as a user runs them, and their documents field by field."""

import csv
import io
import json
import math

import gridfs
import pytest

from experiments.inner import ENVIRONMENTS, inner_ex
from tests.integration.harness import Command

pytestmark = pytest.mark.integration

OUTER = "experiments.outer"
NAMED = "hyperparameter_search"


@pytest.fixture(scope="module")
def searched(home, ray_folder, database):
    """Run the main job once for the tests that look at its record."""
    return Command(home, ray_folder)(OUTER, "with", NAMED, "seed=3")


def test_hyperparameter_search_runs_the_grid_with_the_offset_fixed(searched, last_sweep):
    assert searched.code == 0
    sweep = last_sweep()
    assert sweep.configs("exponent") == list(range(1, 10))
    assert set(sweep.configs("offset")) == {8}
    assert set(sweep.statuses) == {"COMPLETED"}


def test_a_trials_document_has_all_that_the_data_contract_names(searched, last_sweep):
    sweep = last_sweep()
    outer_id = sweep.outer["_id"]
    sweep_id = sweep.outer["meta"]["sweep"]["sweep_id"]
    for index, trial in enumerate(sweep.trials):
        assert isinstance(trial["_id"], int)
        assert trial["experiment"]["name"] == "inner_ex"
        meta = trial["meta"]["sweep"]
        trial_id = meta.pop("trial_id")
        assert trial_id.endswith(f"_{index:05d}")
        assert meta.pop("node_id")
        assert meta.pop("code") == sweep.outer["meta"]["sweep"]["code"]
        assert meta == {
            "sweep_id": sweep_id,
            "outer_run_id": outer_id,
            "exp_name": NAMED,
            "trial_index": index,
            "attempt": 0,
            "segment": 0,
            "configuration": index,
            "repetition": 0,
            "named_configs": [],
            "engine": "direct",
            "experiment": "experiments.inner:inner_ex",
            "sampled": {"exponent": index + 1},
            "resolved": {},
        }
        assert trial["info"]["sweep"]["resources"] == {"CPU": 1.0}
        assert trial["info"]["sweep"]["node"]
        assert trial["omniboard"]["tags"] == [NAMED, sweep_id, "trial"]
        assert trial["artifacts"] == []
        assert f"Result: {trial['result']}" in trial["captured_out"]
        assert trial["start_time"] < trial["stop_time"]


def test_the_stored_config_gives_the_same_result_when_run_alone(searched, last_sweep):
    for trial in last_sweep().trials[:3]:
        alone = inner_ex.run(config_updates=trial["config"], options={"--unobserved": True})
        assert alone.config == trial["config"]
        assert alone.result == trial["result"]


def test_metrics_are_linked_both_ways(searched, last_sweep, database):
    for trial in last_sweep().trials:
        (link,) = trial["info"]["metrics"]
        metric = database.metrics.find_one({"run_id": trial["_id"]})
        assert (link["name"], link["id"]) == ("running_max", str(metric["_id"]))
        assert metric["steps"] == [1000 * step for step in range(1, 21)]
        assert metric["values"][-1] == trial["result"]
        assert len(metric["timestamps"]) == 20


def test_sources_are_stored_once(searched, last_sweep, database):
    sweep = last_sweep()
    ids = {trial["experiment"]["sources"][0][1] for trial in sweep.trials}
    assert [trial["experiment"]["sources"][0][0] for trial in sweep.trials] == ["inner.py"] * 9
    (file_id,) = ids
    stored = gridfs.GridFS(database).get(file_id).read()
    assert b"inner_ex = Experiment" in stored


def test_the_sweeps_document_has_counts_best_trial_and_table(searched, last_sweep, database):
    sweep = last_sweep()
    info = sweep.outer["info"]["sweep"]
    best = max(sweep.trials, key=lambda trial: trial["result"])
    assert sweep.outer["result"] == best["result"]
    assert info["counts"] == {"COMPLETED": 9}
    assert info["best"]["run_id"] == best["_id"]
    assert info["best"]["value"] == best["result"]
    assert info["best"]["config"] == best["config"]
    assert info["search_space"] == {"exponent": "grid_search([1, 2, 3, 4, 5, 6, 7, 8, 9])"}
    assert sweep.outer["config"]["ray"]["search_space"] == info["search_space"]
    (artifact,) = sweep.outer["artifacts"]
    text = gridfs.GridFS(database).get(artifact["file_id"]).read().decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["run_id"]) for row in rows] == [trial["_id"] for trial in sweep.trials]
    assert [float(row["metric.result"]) for row in rows] == sweep.results
    names = {metric["name"] for metric in database.metrics.find({"run_id": sweep.outer["_id"]})}
    assert names == {"best_result", "trials_per_second"}


def test_the_terminal_shows_best_trials_config_and_where_to_look(searched, last_sweep):
    sweep = last_sweep()
    best = sweep.outer["info"]["sweep"]["best"]
    assert f"│ {best['run_id']} " in searched.out
    assert "exponent = 9" in searched.out
    assert "Trials: 9 COMPLETED (of 9)." in searched.out
    assert f"the sweep is run {sweep.outer['_id']}" in searched.out
    assert ' mongo uri)" omniboard' in searched.out


def test_indexes_and_columns_are_there(searched, database):
    keys = [index["key"] for index in database.runs.index_information().values()]
    assert [("meta.sweep.sweep_id", 1), ("meta.sweep.trial_index", 1)] in keys
    assert [("omniboard.tags", 1)] in keys
    columns = {column["name"] for column in database["omniboard.custom.columns"].find()}
    assert {"sweep", "trial"} <= columns


@pytest.mark.parametrize(
    ("update", "offset"), [("inner_ex.offset=3", 3), ("inner_ex.high_offset", 50)]
)
def test_the_command_line_and_the_inners_named_configs_win(command, last_sweep, update, offset):
    finished = command(OUTER, "with", NAMED, update, "ray.search_space.exponent=[1, 2]")
    assert finished.code == 0
    assert set(last_sweep().configs("offset")) == {offset}


@pytest.mark.long
def test_the_same_seed_gives_the_same_results_trial_by_trial(command, last_sweep):
    words = [OUTER, "with", NAMED, "ray.search_space.exponent=grid_search([2, 4])", "seed=7"]
    words += ["ray.search_space.offset=uniform(0, 1)", "ray.num_samples=2"]
    sweeps = []
    for _ in range(2):
        assert command(*words).code == 0
        sweeps.append(last_sweep())
    first, second = sweeps
    assert first.outer["_id"] != second.outer["_id"]
    assert [t["config"] for t in first.trials] == [t["config"] for t in second.trials]
    assert first.results == second.results
    assert len(set(first.configs("seed"))) == 4


def test_multi_env_eval_runs_every_env_with_the_same_seeds(command, last_sweep):
    finished = command(OUTER, "with", "multi_env_eval", "inner_ex.n_draws=100")
    assert finished.code == 0
    sweep = last_sweep()
    pairs = {(trial["config"]["env_name"], trial["config"]["seed"]) for trial in sweep.trials}
    seeds = {seed for _, seed in pairs}
    assert len(seeds) == 5
    assert pairs == {(env, seed) for env in ENVIRONMENTS for seed in seeds}
    for env in ENVIRONMENTS:
        values = [t["result"] for t in sweep.trials if t["config"]["env_name"] == env]
        (row,) = [line for line in finished.out.splitlines() if line.startswith(f"│ {env} ")]
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        mean = math.fsum(values) / 5
        assert cells[1] == "5"
        assert float(cells[2]) == pytest.approx(mean, rel=1e-5)


def test_dependent_params_are_resolved_and_stored(command, last_sweep):
    finished = command(OUTER, "with", "dependent_params")
    assert finished.code == 0
    sweep = last_sweep()
    assert len(sweep.trials) == 12
    base = {"uniform": 0, "normal": 10, "exponential": 100}
    for trial in sweep.trials:
        config, meta = trial["config"], trial["meta"]["sweep"]
        draws = 1000 * config["exponent"] if config["env_name"] == "normal" else 5000
        assert config["offset"] == base[config["env_name"]] + config["exponent"]
        assert config["n_draws"] == draws
        assert config["log_every"] == draws // 20, "derived from a resolved entry"
        assert meta["resolved"] == {"offset": config["offset"], "n_draws": draws}
        assert set(meta["sampled"]) == {"env_name", "exponent"}


def test_print_config_and_named_configs_start_nothing(command, database):
    runs = database.runs.count_documents({})
    finished = command(OUTER, "print_config", "with", NAMED)
    assert finished.code == 0
    assert "exponent = 'grid_search(range(1, 10))'" in finished.out
    listed = command(OUTER, "print_named_configs")
    for name in (NAMED, "multi_env_eval", "dependent_params", "inner_ex.high_offset"):
        assert f"  {name}" in listed.out
    assert database.runs.count_documents({}) == runs


@pytest.mark.slow
@pytest.mark.long
def test_digits_search_finds_a_good_network(command, last_sweep):
    finished = command("experiments.digits_search", "with", NAMED, "seed=1")
    assert finished.code == 0
    sweep = last_sweep()
    best = sweep.outer["info"]["sweep"]["best"]
    assert len(sweep.trials) == 20
    assert best["metrics"]["result"] >= 0.95
    assert sweep.outer["result"] == best["value"] == best["metrics"]["val_accuracy"]
    lrs = {trial["config"]["optimizer"]["lr"] for trial in sweep.trials}
    assert len(lrs) == 20
    assert all(trial["config"]["optimizer"]["name"] == "adam" for trial in sweep.trials)


@pytest.mark.parametrize("kind", ["yaml", pytest.param("json", marks=pytest.mark.long)])
def test_a_config_file_is_a_search(command, last_sweep, tmp_path, kind):
    content = {
        "ray": {"search_space": {"exponent": {"grid_search": [3, 1]}}, "mode": "min"},
        "inner_ex": {"offset": 100},
    }
    path = tmp_path / f"search.{kind}"
    path.write_text(json.dumps(content))  # JSON is YAML too
    assert command(OUTER, "with", str(path)).code == 0
    sweep = last_sweep()
    assert sweep.configs("exponent") == [3, 1]
    assert set(sweep.configs("offset")) == {100}
    assert sweep.outer["result"] == min(sweep.results)


def test_entries_derived_from_a_swept_one_follow_it(command, last_sweep):
    assert command(OUTER, "with", "ray.search_space.n_draws=[200, 4000]").code == 0
    assert last_sweep().configs("log_every") == [10, 200]


def test_entries_of_the_inners_ingredients_reach_the_trials(command, last_sweep):
    words = ["with", "data.size=6", "ray.search_space.data.scale=[1, 2]", "with_factor"]
    assert command("ingredients_outer", *words).code == 0
    sweep = last_sweep()
    assert [trial["config"]["data"]["size"] for trial in sweep.trials] == [6, 6]
    assert [trial["config"]["data"]["scale"] for trial in sweep.trials] == [1, 2]
    assert sweep.configs("factor") == [10, 10]
    assert sweep.results == [60, 120]


@pytest.mark.long
def test_tunes_objects_and_python_functions_are_stored_as_text(command, last_sweep):
    configs = []
    for _ in range(2):
        assert command("python_objects", "with", "in_python", "seed=5").code == 0
        sweep = last_sweep()
        configs.append([trial["config"] for trial in sweep.trials])
    assert configs[0] == configs[1], "draws of functions follow the seed too"
    assert sweep.configs("point") == [1, 2, 1, 2]
    assert sweep.configs("inverse") == [2, 4, 2, 4]
    assert len(set(sweep.configs("seconds"))) == 4
    stored = sweep.outer["config"]["ray"]
    assert stored["search_space"]["point"] == "grid_search([1, 2])"
    assert stored["search_space"]["seconds"].startswith("sample_from(")
    assert stored["dependent"]["inverse"].endswith(".twice>")
    assert "return config" in sweep.outer["info"]["sweep"]["dependent_source"]["inverse"]
