"""The example inner experiments are ordinary Sacred experiments and do what they say."""

import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from sacred.observers import RunObserver

from experiments.inner import ENVIRONMENTS, inner_ex
from sacred_ray_ingredient.checkpoints import Keeper, set_keeper
from sacred_ray_ingredient.plan import OuterRequest, make_plan

PROJECT = Path(__file__).resolve().parents[2]


class MetricsRecorder(RunObserver):
    def __init__(self):
        self.steps = defaultdict(list)
        self.values = defaultdict(list)

    def log_metrics(self, metrics_by_name, info):
        for name, metric in metrics_by_name.items():
            self.steps[name] += metric["steps"]
            self.values[name] += metric["values"]


@pytest.fixture
def metrics(monkeypatch):
    """What the next runs log; the experiments get their own observers back afterwards."""
    recorder = MetricsRecorder()
    monkeypatch.setattr(inner_ex, "observers", [recorder])
    return recorder


@pytest.fixture
def digits_ex(metrics, monkeypatch):
    pytest.importorskip("sklearn")
    from experiments.digits import digits_ex

    monkeypatch.setattr(digits_ex, "observers", [metrics])
    return digits_ex


def run(experiment, *named_configs, **updates):
    return experiment.run(
        named_configs=named_configs, config_updates=updates, options={"--capture": "no"}
    )


@pytest.mark.usefixtures("metrics")
class TestInner:
    def test_the_offset_is_added_to_the_largest_power(self):
        base = run(inner_ex, seed=1, offset=0, exponent=1).result
        assert 9 < base < 10
        assert run(inner_ex, seed=1, offset=8, exponent=3).result == pytest.approx(base**3 + 8)

    def test_the_same_seed_gives_the_same_result(self):
        assert run(inner_ex, seed=1).result == run(inner_ex, seed=1).result
        assert run(inner_ex, seed=1).result != run(inner_ex, seed=2).result

    def test_log_every_follows_n_draws_unless_it_is_given(self):
        assert run(inner_ex).config["log_every"] == 1_000
        assert run(inner_ex, n_draws=400).config["log_every"] == 20
        assert run(inner_ex, n_draws=5).config["log_every"] == 1
        assert run(inner_ex, n_draws=400, log_every=7).config["log_every"] == 7

    def test_how_often_it_logs_does_not_change_the_result(self):
        results = {run(inner_ex, seed=1, log_every=every).result for every in (300, 1_000, 90_000)}
        assert len(results) == 1

    def test_high_offset_is_fifty(self):
        high = run(inner_ex, "high_offset", seed=1)
        assert high.config["offset"] == 50
        assert high.result == pytest.approx(run(inner_ex, seed=1).result + 40)

    def test_the_config_holds_the_documented_entries_only(self):
        entries = {"exponent", "offset", "env_name", "n_draws", "log_every", "seed"}
        assert set(run(inner_ex, "high_offset").config) == entries

    def test_the_running_maximum_is_logged_after_each_chunk(self, metrics):
        result = run(inner_ex, n_draws=250, log_every=100).result
        assert metrics.steps["running_max"] == [100, 200, 250]
        values = metrics.values["running_max"]
        assert values == sorted(values)
        assert values[-1] == result

    def test_the_result_is_a_plain_float(self):
        assert type(run(inner_ex).result) is float

    def test_a_power_too_large_for_a_float_is_infinite(self):
        assert run(inner_ex, exponent=400, n_draws=1_000).result == np.inf

    @pytest.mark.parametrize("env_name", ENVIRONMENTS)
    def test_each_environment_takes_any_exponent(self, env_name):
        assert run(inner_ex, env_name=env_name, exponent=0.5, n_draws=1_000).result > 10

    @pytest.mark.parametrize("draw", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
    @pytest.mark.parametrize("make_rnd", [np.random.default_rng, np.random.RandomState])
    def test_environments_draw_from_both_of_sacreds_generators(self, draw, make_rnd):
        values = draw(make_rnd(0), 1_000)
        assert values.shape == (1_000,)
        assert values.min() >= 0

    def test_an_unknown_environment_is_refused_with_the_known_ones(self):
        with pytest.raises(ValueError, match=r"'moon'.*uniform, normal, exponential"):
            run(inner_ex, env_name="moon")

    def test_it_runs_alone_from_the_command_line(self):
        command = [sys.executable, "-m", "experiments.inner", "with", "offset=8", "seed=1"]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        expected = run(inner_ex, offset=8, seed=1).result
        assert f"Result: {expected}" in done.stdout + done.stderr


class TestDigits:
    def test_fast_learns_and_logs_one_value_per_epoch(self, digits_ex, metrics):
        result = run(digits_ex, "fast", seed=1).result
        assert type(result) is float
        assert result > 0.8
        assert metrics.steps == {"train_loss": [1, 2, 3], "val_accuracy": [1, 2, 3]}
        losses = metrics.values["train_loss"]
        assert losses == sorted(losses, reverse=True)
        assert metrics.values["val_accuracy"][-1] > 0.8

    def test_the_defaults_learn_well(self, digits_ex):
        assert run(digits_ex, seed=1).result > 0.94

    def test_the_same_seed_gives_the_same_training(self, digits_ex, metrics):
        run(digits_ex, "fast", seed=1)
        run(digits_ex, "fast", seed=1)
        run(digits_ex, "fast", seed=2)
        losses = metrics.values["train_loss"]
        assert losses[:3] == losses[3:6]
        assert losses[:3] != losses[6:]

    @pytest.mark.parametrize(
        "update",
        [
            {"optimizer.name": "sgd"},
            {"optimizer.name": "sgd", "optimizer.momentum": 0.5},
            {"optimizer.lr": 0.01},
            {"optimizer.batch_size": 64},
            {"model.hidden": 16},
            {"model.layers": 2},
            {"model.alpha": 0.5},
        ],
        ids=str,
    )
    def test_each_entry_reaches_the_training(self, digits_ex, metrics, update):
        run(digits_ex, "fast", seed=1, **{"optimizer.name": "adam"})
        run(digits_ex, "fast", seed=1, **update)
        losses = metrics.values["train_loss"]
        assert losses[:3] != losses[3:]

    def test_the_parts_share_no_image_and_hold_every_digit(self, digits_ex):
        from experiments.digits import load_splits

        parts = load_splits()
        assert [len(labels) for _, labels in parts] == [1077, 360, 360]
        assert all(set(labels) == set(range(10)) for _, labels in parts)
        images = np.concatenate([images for images, _ in parts])
        assert images.min() == 0
        assert images.max() == 1
        assert len(np.unique(images, axis=0)) == len(images)


class TestSoftmax:
    @pytest.fixture
    def softmax_ex(self, metrics, monkeypatch):
        pytest.importorskip("sklearn")
        from experiments.softmax import softmax_ex

        monkeypatch.setattr(softmax_ex, "observers", [metrics])
        yield softmax_ex
        set_keeper(None)

    def test_learns_and_logs_one_value_per_epoch(self, softmax_ex, metrics):
        result = run(softmax_ex, seed=1, epochs=4, lr=0.5).result
        assert metrics.steps == {"val_accuracy": [1, 2, 3, 4]}
        assert metrics.values["val_accuracy"][-1] == result > 0.9

    def test_the_same_seed_gives_the_same_training(self, softmax_ex):
        results = [run(softmax_ex, seed=seed, epochs=1, lr=0.1).result for seed in (1, 1, 2)]
        assert results[0] == results[1] != results[2]

    def test_goes_on_from_a_checkpoint(self, softmax_ex, metrics, tmp_path):
        saved = []

        def keep(folder):
            saved.append(shutil.copytree(folder, tmp_path / str(len(saved))))

        set_keeper(Keeper(None, keep))
        run(softmax_ex, seed=1, epochs=3)
        assert len(saved) == 3
        set_keeper(Keeper(saved[1], keep))
        run(softmax_ex, seed=1, epochs=4)
        assert metrics.steps["val_accuracy"] == [1, 2, 3, 3, 4]
        first, third = metrics.values["val_accuracy"][0], metrics.values["val_accuracy"][3]
        assert third > first

    def test_has_nothing_left_to_do_after_its_last_epoch(self, softmax_ex, metrics, tmp_path):
        folder = tmp_path / "saved"
        set_keeper(Keeper(None, lambda path: shutil.copytree(path, folder, dirs_exist_ok=True)))
        result = run(softmax_ex, seed=1, epochs=2).result
        set_keeper(Keeper(folder, print))
        assert run(softmax_ex, seed=1, epochs=2).result == result
        assert metrics.steps["val_accuracy"] == [1, 2]

    @pytest.mark.parametrize("name", ["asha", "hyperband", "bohb", "median", "pbt", "pb2"])
    def test_each_search_can_be_run(self, softmax_ex, name):
        if name == "bohb":
            pytest.importorskip("hpbandster")
        from experiments.softmax_search import softmax_search

        outer_run = softmax_search._create_run("print_config", named_configs=[name])
        plan = make_plan(softmax_search, softmax_ex, OuterRequest.of_run(outer_run))
        assert plan.scheduler is not None
        assert plan.total_trials == plan.settings.num_samples
