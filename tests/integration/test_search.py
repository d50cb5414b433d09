"""What can be searched, and how: spaces, searchers, repetitions, earlier results."""

import re

import pytest
import yaml

pytestmark = pytest.mark.integration

# Every searcher is in test_searchers; of whole sweeps with them, one is in the quick tests.
_LONG = ("hyperopt", "nevergrad", "bayesopt", "zoopt")
SEARCHERS = ("optuna", *(pytest.param(name, marks=pytest.mark.long) for name in _LONG))


def _sweep_id(sweep):
    return sweep.outer["meta"]["sweep"]["sweep_id"]


def _sampled(sweep):
    return [trial["meta"]["sweep"]["sampled"] for trial in sweep.trials]


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_every_searcher_runs_coupled_conditional_and_dependent_parameters(
    command, last_sweep, searcher
):
    finished = command(
        "curve_outer",
        "with",
        f"ray.search_alg={searcher}",
        "ray.num_samples=6",
        "ray.metric=height",
        "ray.search_space.quality=loguniform(0.1, 10)",
        "ray.search_space.optimizer=choice(['sgd', 'adam'])",
        "ray.search_space.momentum=uniform(0, 1) if optimizer == 'sgd'",
        "ray.search_space.beta.one=randn(0, 1) if optimizer == 'adam'",
        "ray.search_space.steps+pause_s=choice([[3, 0.0], [4, 0.01]])",
        "ray.dependent.hang_s='quality * 0.0 + steps / 1000'",
    )
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert sweep.statuses == ["COMPLETED"] * 6
    for trial, sampled in zip(sweep.trials, _sampled(sweep), strict=True):
        config = trial["config"]
        assert (config["steps"], config["pause_s"]) in {(3, 0.0), (4, 0.01)}
        assert config["hang_s"] == pytest.approx(config["steps"] / 1000)
        assert 0.1 <= config["quality"] <= 10
        is_sgd = config["optimizer"] == "sgd"
        assert ("momentum" in sampled) == is_sgd
        assert ("beta" in sampled) == (not is_sgd)
        assert is_sgd or config["momentum"] == 0.9  # the experiment's own
        assert not is_sgd or config["beta"]["one"] == 0.5
        assert trial["result"]["summit"] == pytest.approx(config["quality"] * config["steps"])
    best = sweep.outer["info"]["sweep"]["best"]
    assert best["value"] == pytest.approx(max(r["summit"] for r in sweep.results))
    assert sweep.outer["info"]["sweep"]["searcher"] == searcher


@pytest.mark.long
def test_repetitions_count_by_their_mean_and_the_best_is_run_on_fresh_seeds(command, last_sweep):
    finished = command(
        "outer_for_draws",
        "with",
        "ray.search_space.scale=[1, 2]",
        "ray.repeat=3",
        "ray.evaluate_best=2",
    )
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert len(sweep.trials) == 8
    seeds = [trial["config"]["seed"] for trial in sweep.trials]
    assert len(set(seeds)) == 8
    assert [t["meta"]["sweep"]["configuration"] for t in sweep.trials[:6]] == [0, 0, 0, 1, 1, 1]
    means = [sum(sweep.results[:3]) / 3, sum(sweep.results[3:6]) / 3]
    info = sweep.outer["info"]["sweep"]
    assert info["best"]["value"] == pytest.approx(max(means))
    assert info["best"]["n"] == 3
    assert info["best"]["std"] > 0
    best_scale = info["best"]["config"]["scale"]
    assert [trial["config"]["scale"] for trial in sweep.trials[6:]] == [best_scale] * 2
    assert info["evaluated"]["n"] == 2
    assert info["evaluated"]["mean"] == pytest.approx(sum(sweep.results[6:]) / 2)
    assert "mean" in finished.out
    assert "On 2 fresh seeds" in finished.out


@pytest.mark.long
def test_a_searcher_sees_the_mean_of_a_grid_and_its_repetitions(command, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_alg=optuna",
        "ray.search_space.quality=uniform(0, 1)",
        "ray.search_space.steps=[2, 4]",
        "ray.repeat=2",
        "ray.num_samples=3",
        "ray.metric=height",
    )
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert sweep.configs("steps") == [2, 2, 4, 4] * 3
    qualities = sweep.configs("quality")
    assert all(len(set(qualities[start : start + 4])) == 1 for start in (0, 4, 8))
    assert len(set(qualities)) == 3


def test_named_configs_are_searched_like_parameters(command, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.named_configs=[[], 'careful']",
        "ray.search_space.quality=[1, 2]",
        "ray.metric=height",
    )
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert sweep.configs("optimizer") == ["sgd", "sgd", "adam", "adam"]
    assert sweep.configs("momentum") == [0.9, 0.9, 0.1, 0.1]
    assert [t["meta"]["sweep"]["named_configs"] for t in sweep.trials] == [
        [],
        [],
        ["careful"],
        ["careful"],
    ]


def test_trials_can_be_listed_one_by_one(command, last_sweep, tmp_path):
    trials = [
        {"named_configs": ["careful"]},
        {"config_updates": {"quality": 3.0, "beta": {"one": 0.25}}},
    ]
    (tmp_path / "listed.yaml").write_text(
        yaml.safe_dump({"ray": {"trials": trials, "metric": "height"}})
    )
    finished = command("curve_outer", "with", str(tmp_path / "listed.yaml"))
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert sweep.configs("optimizer") == ["adam", "sgd"]
    assert sweep.configs("quality") == [1.0, 3.0]
    assert sweep.configs("beta") == [{"one": 0.5}, {"one": 0.25}]


@pytest.mark.long
def test_what_is_stored_runs_the_same_trials_again(command, last_sweep, tmp_path):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.quality=loguniform(0.1, 10)",
        "ray.search_space.optimizer=choice(['sgd', 'adam'], weights=[1, 3])",
        "ray.search_space.momentum=uniform(0, 1) if optimizer == 'sgd' else 0.25",
        "ray.search_space.steps+pause_s=[[2, 0.0], [3, 0.0]]",
        "ray.dependent.hang_s='uniform(0, 0.001)'",
        "ray.num_samples=3",
        "ray.metric=height",
    )
    assert finished.code == 0, finished.text
    first = last_sweep()
    stored = {key: first.outer["config"][key] for key in ("ray", "seed")}
    stored["ray"].pop("mongo")
    stored["ray"].pop("seed", None)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(stored))
    finished = command("curve_outer", "with", str(tmp_path / "again.yaml"))
    assert finished.code == 0, finished.text
    second = last_sweep()
    assert _sweep_id(second) != _sweep_id(first)
    assert [t["config"] for t in second.trials] == [t["config"] for t in first.trials]


@pytest.mark.long
def test_a_search_learns_from_an_earlier_one(command, last_sweep):
    words = ["curve_outer", "with", "ray.search_space.quality=uniform(0, 1)", "ray.metric=height"]
    assert command(*words, "ray.num_samples=8").code == 0
    earlier = last_sweep()
    known = max(earlier.configs("quality"))
    finished = command(
        *words, "ray.num_samples=4", "ray.search_alg=optuna", f"ray.warm_start={_sweep_id(earlier)}"
    )
    assert finished.code == 0, finished.text
    assert "told of 8 earlier configurations" in finished.out
    assert len(last_sweep().trials) == 4
    assert 0 < known <= 1
    finished = command(*words, "ray.search_alg=optuna", "ray.warm_start=sweep-none")
    assert finished.code == 2
    assert "'sweep-none', which has no trials" in finished.err
    assert _sweep_id(earlier) in finished.err


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_the_search_begins_with_the_points_that_are_given(command, last_sweep, searcher):
    finished = command(
        "curve_outer",
        "with",
        f"ray.search_alg={searcher}",
        "ray.search_space.quality=uniform(0, 1)",
        "ray.search_space.momentum=choice([0.1, 0.2])",
        "ray.points_to_evaluate=[{'quality': 0.25, 'momentum': 0.2}, {'quality': 0.75}]",
        "ray.num_samples=3",
        "ray.metric=height",
    )
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert sweep.configs("quality")[:2] == [0.25, 0.75]
    assert sweep.configs("momentum")[0] == 0.2


@pytest.mark.long
def test_two_metrics_give_a_front_of_trials_that_none_beats(command, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_alg={'name': 'optuna', 'sampler': 'nsgaii'}",
        "ray.search_space.quality=uniform(0.1, 2)",
        "ray.search_space.momentum=uniform(0, 1)",
        "ray.metric=['height', 'cost']",
        "ray.mode=['max', 'min']",
        "ray.num_samples=8",
    )
    assert finished.code == 0, finished.text
    assert "no other one beats" in finished.out
    front = last_sweep().outer["info"]["sweep"]["pareto_front"]
    points = [(one["metrics"]["height"], one["metrics"]["cost"]) for one in front]
    assert points == sorted(points, reverse=True)
    assert [cost for _, cost in points] == sorted((cost for _, cost in points), reverse=True)


def test_an_early_tune_file_runs_as_it_is(command, last_sweep, tmp_path):
    (tmp_path / "early.yaml").write_text(
        """
climbing:
    stop: {height: 6}
    num_trials: 2
    resources: {cpu: 1, gpu: 0}
    config:
        quality: {grid_search: [1, 2]}
        momentum: {eval: "random.uniform(1e-4, 1e-3)"}
        steps: {eval: "2 ** np.random.randint(2, 4)"}
        beta: {one: 0.75}
"""
    )
    finished = command("curve_outer", "with", str(tmp_path / "early.yaml"), "ray.metric=height")
    assert finished.code == 0, finished.text
    sweep = last_sweep()
    assert sorted(sweep.configs("quality")) == [1, 1, 2, 2]
    assert all(1e-4 <= momentum <= 1e-3 for momentum in sweep.configs("momentum"))
    assert set(sweep.configs("steps")) <= {4, 8}
    assert sweep.configs("beta") == [{"one": 0.75}] * 4
    assert sweep.outer["info"]["sweep"]["stop"] == ["height >= 6"]


def test_a_decorated_resolver_reads_what_it_says(command, last_sweep):
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.optimizer=['sgd', 'adam']",
        "ray.dependent.momentum=curve_outer:momentum_of",
        "ray.metric=height",
        "curve.steps=1",
    )
    assert finished.code == 0, finished.text
    assert last_sweep().configs("momentum") == [1, 2]


def test_the_preview_shows_what_would_run_and_runs_nothing(command, last_sweep):
    before = last_sweep().outer["_id"]
    finished = command(
        "curve_outer",
        "preview",
        "with",
        "ray.search_space.quality=[1, 2, 3]",
        "ray.dependent.momentum='quality / 10'",
        "ray.repeat=10",
    )
    assert finished.code == 0, finished.text
    assert "30 trials of curve" in finished.out
    shown = re.findall(r"^│ (\d+) ", finished.out, re.MULTILINE)
    assert [int(number) for number in shown] == [*range(10), *range(20, 30)]
    assert "0.3" in finished.out
    assert last_sweep().outer["_id"] == before


def test_all_mistakes_of_a_search_are_told_at_once_and_nothing_starts(command, last_sweep):
    before = last_sweep().outer["_id"]
    finished = command(
        "curve_outer",
        "with",
        "ray.search_space.qualty=uniform(0, 1)",
        "ray.search_space.momentum=loguniform(0, 1)",
        "ray.search_space.steps=uniform(0, 1) if optimzer == 'sgd'",
        "ray.search_alg={'name': 'hyperopt', 'n_initial_point': 3}",
        "ray.scheduler=ahsa",
        "ray.stop.height=many",
        "ray.repeat=0",
    )
    assert finished.code == 2
    for part in (
        "did you mean 'quality'",
        "lower is 0 and must be above 0",
        "did you mean 'optimizer'",
        "did you mean 'n_initial_points'",
        "did you mean 'asha'",
        "ray.stop.height is 'many'",
        "ray.repeat is 0",
    ):
        assert part in finished.err, part
    assert last_sweep().outer["_id"] == before
