"""The entries of ``ray``."""

import pytest

from sacred_ray_ingredient.ingredient import ray_ingredient
from sacred_ray_ingredient.settings import SweepSettings, read_settings

METRIC = "the name of a logged metric or 'result', or a list of different names"
MODE = "'min' or 'max', or a list of these, one for each metric"
ALTERNATIVES = (
    "a list of alternatives, each a named config of the inner experiment or a list of them"
)
TRIALS = "a list of trials such as {'named_configs': ['fast'], 'config_updates': {'lr': 0.1}}"
SEEDS = "the number of seeds, from 1, or a list of different whole numbers from 0, below 2**32"
SECONDS = "seconds, above 0 and at most 100,000,000, or None"
RESOURCES = (
    "amounts by name from 0 (of a GPU up to 1, or a whole number), such as {'cpu': 1, 'gpu': 0.5}; "
    "'bundles', a list of such, for what a trial starts itself; and 'strategy', one of PACK, "
    "SPREAD, STRICT_PACK, STRICT_SPREAD"
)
LOGS = "True, the name of a file, two names, or None"
EARLIER = "the id of an earlier sweep, such as 'sweep-94889e7c9c', or a list of ids"


def test_the_defaults_of_the_ingredient_are_right_and_complete():
    defaults = dict(ray_ingredient.configurations[0]())
    settings, mistakes = read_settings(defaults)
    assert mistakes == []
    assert set(defaults) == set(vars(SweepSettings()))
    assert settings.resources_per_trial == {"cpu": 1}


def test_entries_of_sacred_are_left_out():
    assert read_settings({"seed": 3, "__doc__": "text"}) == (SweepSettings(), [])


@pytest.mark.parametrize(
    "entries",
    [
        {"mode": "min", "metric": "loss", "num_samples": 1},
        {"envs": ("a", 2), "env_key": "env", "seeds": 3},
        {"seeds": [0, 7, 2**32 - 1]},
        {"envs": [1, True, "1"], "time_budget_s": 1e8},
        {"resources_per_trial": {"cpu": 0.5, "gpu": 0}},
        {"resources_per_trial": {"cpu": 1, "bundles": [{"cpu": 2}], "strategy": "SPREAD"}},
        {"runtime_env": {"env_vars": {"A": "1"}}, "log_to_file": ["out", "err"]},
        {"log_to_file": "all.txt"},
        {"report_every": 0, "max_failures": 0, "max_concurrent_trials": 2},
        {"address": "auto", "init_kwargs": {"num_cpus": 2}, "storage_path": "/tmp/x"},
        {"mongo": {"url": None}, "exp_name": "mine"},
        {"resume": "last", "retry_failed": True, "accept_changes": True},
        {"record": {"without_database": True, "wait_s": 0, "fsync_s": 2.5}},
        {"metric": ["loss", "accuracy"], "mode": ["min", "max"]},
        {"metric": ["loss", "accuracy"], "mode": "min"},
        {"named_configs": ["fast", ["fast", "big"], []]},
        {"named_configs": "choice(['fast', 'big'])"},
        {"trials": [{"named_configs": ["fast"]}, {"config_updates": {"lr": 1}}], "repeat": 2},
        {"trials": [{"config_updates": {"lr": 1}}], "seeds": 2},
        {"repeat": 3, "evaluate_best": 5},
        {"search_alg": "optuna", "scheduler": {"name": "asha", "max_t": 9}, "stop": {"loss": 1}},
        {"points_to_evaluate": ({"lr": 0.1},), "warm_start": "sweep-1"},
        {"warm_start": ["sweep-1", "sweep-2"]},
        {"time_budget_s": 0.5, "trial_timeout_s": 60, "report_every": None},
    ],
)
def test_right_values_are_taken_as_they_are(entries):
    settings, mistakes = read_settings(entries)
    assert mistakes == []
    assert {name: getattr(settings, name) for name in entries} == entries


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("search_space", ["lr"], "a mapping of parameters to samplers"),
        ("dependent", "lr * 2", "a mapping of parameters to expressions"),
        ("resume", 3, "the id of a sweep, such as 'sweep-94889e7c9c', or 'last', or None"),
        ("retry_failed", 1, "True or False"),
        ("accept_changes", "yes", "True or False"),
        ("record", "fast", "a mapping such as {'wait_s': 5.0}"),
        ("metric", "", METRIC),
        ("metric", [], METRIC),
        ("metric", ["loss", ""], METRIC),
        ("metric", 3, METRIC),
        ("mode", "maximum", MODE),
        ("mode", ["max", "best"], MODE),
        ("mode", [], MODE),
        ("mode", None, MODE),
        ("named_configs", 3, ALTERNATIVES),
        ("trials", {"config_updates": {}}, TRIALS),
        ("trials", [["lr"]], TRIALS),
        ("trials", "lr", TRIALS),
        ("repeat", 0, "a whole number from 1"),
        ("repeat", True, "a whole number from 1"),
        ("evaluate_best", -1, "a whole number from 0"),
        (
            "points_to_evaluate",
            {"lr": 1},
            "a list of points, each a mapping of parameters to values",
        ),
        ("points_to_evaluate", [1], "a list of points, each a mapping of parameters to values"),
        ("warm_start", "", EARLIER),
        ("warm_start", [], EARLIER),
        ("warm_start", [7], EARLIER),
        ("time_budget_s", 0, SECONDS),
        ("time_budget_s", "60", SECONDS),
        ("trial_timeout_s", -1.0, SECONDS),
        ("trial_timeout_s", True, SECONDS),
        ("num_samples", 0, "a whole number from 1, or None"),
        ("num_samples", True, "a whole number from 1, or None"),
        ("num_samples", 2.0, "a whole number from 1, or None"),
        ("envs", "uniform", "a list of different names or numbers, such as ['uniform', 'normal']"),
        ("env_key", None, "the name of the parameter that picks the environment"),
        ("seeds", 0, SEEDS),
        ("seeds", [], SEEDS),
        ("seeds", [1, -1], SEEDS),
        ("seeds", "12", SEEDS),
        ("seeds", [3, 3], SEEDS),
        ("seeds", [2**32], SEEDS),
        ("metric", ["loss", "loss"], METRIC),
        ("time_budget_s", 1.1e8, SECONDS),
        ("trial_timeout_s", 10**400, SECONDS),
        (
            "envs",
            ["a", "b", "a"],
            "a list of different names or numbers, such as ['uniform', 'normal']",
        ),
        ("max_concurrent_trials", 0, "a whole number from 1, or None"),
        ("max_failures", -1, "a whole number from 0"),
        ("resources_per_trial", {"cpu": -1}, RESOURCES),
        ("resources_per_trial", {"cpu": "1"}, RESOURCES),
        ("resources_per_trial", {"bundles": {"cpu": 1}}, RESOURCES),
        ("resources_per_trial", {"strategy": "NEAR"}, RESOURCES),
        ("runtime_env", "numpy", "a runtime environment of Ray, a mapping"),
        ("log_to_file", ["one", "two", "three"], LOGS),
        ("log_to_file", ["same", "same"], LOGS),
        ("log_to_file", "../out", LOGS),
        ("log_to_file", "", LOGS),
        ("address", 7, "'auto', the address of a Ray cluster, or None"),
        ("init_kwargs", [], "arguments of ray.init by name"),
        ("storage_path", "", "a folder or a URL such as s3://bucket/path, or None"),
        ("exp_name", 3, "a name, or None"),
        ("report_every", float("nan"), "seconds, from 0, or None"),
        ("report_every", float("inf"), "seconds, from 0, or None"),
        ("report_every", -0.1, "seconds, from 0, or None"),
        ("mongo", "localhost", "a mapping such as {'url': 'mongodb://host:27017'}"),
    ],
)
def test_a_wrong_value_is_named_and_the_default_stands_in(name, value, wanted):
    settings, mistakes = read_settings({name: value})
    assert mistakes == [f"ray.{name} is {value!r}; it must be {wanted}."]
    assert settings == SweepSettings()


def test_an_unknown_entry_is_named_with_the_nearest():
    _, mistakes = read_settings({"num_sample": 3})
    assert mistakes == [
        "ray.num_sample is not an entry of the ray ingredient (did you mean 'num_samples'?)."
    ]


def test_all_mistakes_come_at_once():
    assert len(read_settings({"mode": 1, "metric": 1, "colour": "red"})[1]) == 3


class TestMetrics:
    @pytest.mark.parametrize(
        ("entries", "metrics", "modes"),
        [
            ({}, ["result"], ["max"]),
            ({"metric": "loss", "mode": "min"}, ["loss"], ["min"]),
            ({"metric": ["loss", "time"], "mode": "min"}, ["loss", "time"], ["min", "min"]),
            (
                {"metric": ("loss", "gain"), "mode": ("min", "max")},
                ["loss", "gain"],
                ["min", "max"],
            ),
        ],
    )
    def test_are_listed_with_a_mode_each(self, entries, metrics, modes):
        settings, mistakes = read_settings(entries)
        assert mistakes == []
        assert (settings.metrics, settings.modes) == (metrics, modes)

    @pytest.mark.parametrize(("metric", "n"), [("loss", 1), (["loss", "gain", "time"], 3)])
    def test_without_a_mode_each_are_a_mistake(self, metric, n):
        _, mistakes = read_settings({"metric": metric, "mode": ["min", "max"]})
        assert mistakes == [
            f"ray.mode has 2 entries and ray.metric {n}; "
            "give one mode for all metrics, or one for each."
        ]

    def test_without_a_mode_each_are_a_mistake_also_by_default(self):
        _, mistakes = read_settings({"mode": ["min", "max"]})
        assert len(mistakes) == 1

    def test_that_are_wrong_are_not_counted_besides(self):
        _, mistakes = read_settings({"metric": ["loss", 2], "mode": ["min", "max"]})
        assert len(mistakes) == 1


class TestReportEvery:
    @pytest.mark.parametrize(
        ("entries", "seconds"),
        [
            ({}, 1.0),
            ({"scheduler": "median_stopping"}, 0.0),
            ({"stop": {"loss": 0.1}}, 0.0),
            ({"scheduler": "median_stopping", "report_every": 5}, 5),
            ({"report_every": 0}, 0),
        ],
    )
    def test_is_a_second_unless_each_step_counts(self, entries, seconds):
        assert read_settings(entries)[0].seconds_between_reports == seconds


class TestEntriesThatDoNotGoTogether:
    def test_repetitions_and_seeds(self):
        _, mistakes = read_settings({"repeat": 3, "seeds": [1, 2]})
        assert mistakes == [
            "ray.repeat=3 and ray.seeds=[1, 2] both say how often a configuration is run; "
            "give one of them."
        ]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("search_space", {"lr": [1]}),
            ("named_configs", ["fast"]),
            ("envs", ["a"]),
            ("search_alg", "optuna"),
            ("points_to_evaluate", [{"lr": 1}]),
        ],
    )
    def test_listed_trials_and_a_search(self, name, value):
        _, mistakes = read_settings({"trials": [{"config_updates": {"lr": 1}}], name: value})
        assert mistakes == [
            f"ray.trials lists the trials, so that ray.{name} has no place beside it; "
            "give one of them."
        ]

    def test_listed_trials_and_a_number_of_samples(self):
        _, mistakes = read_settings({"trials": [{}], "num_samples": 2})
        assert mistakes == [
            "ray.num_samples is 2, but ray.trials lists the trials; "
            "use ray.repeat to run each of them several times."
        ]


class TestRecord:
    def test_is_complete_where_a_part_is_given(self):
        settings, mistakes = read_settings({"record": {"wait_s": 2}})
        assert mistakes == []
        recording = settings.recording
        assert (recording.without_database, recording.wait_s, recording.fsync_s) == (False, 2, None)

    @pytest.mark.parametrize(
        ("entries", "sentence"),
        [
            ({"wait_s": -1}, "ray.record.wait_s is -1; it must be seconds, from 0 to 100,000,000."),
            (
                {"without_database": 0},
                "ray.record.without_database is 0; it must be True or False.",
            ),
            (
                {"fsync_s": "1"},
                "ray.record.fsync_s is '1'; it must be seconds, from 0 to 100,000,000, or None.",
            ),
            (
                {"wait": 1},
                "ray.record.wait is not a known entry (did you mean 'wait_s'?); known are "
                "without_database, wait_s, fsync_s.",
            ),
        ],
    )
    def test_of_each_wrong_part_a_sentence_tells(self, entries, sentence):
        settings, mistakes = read_settings({"record": entries})
        assert mistakes == [sentence]
        assert settings.recording.wait_s == 5.0


@pytest.mark.parametrize("name", ["retry_failed", "accept_changes"])
def test_what_is_about_a_sweep_that_goes_on_needs_one(name):
    _, (mistake,) = read_settings({name: True})
    assert mistake.startswith(f"ray.{name} is True, which is about a sweep that goes on")


class TestEngine:
    @pytest.mark.parametrize("engine", ["auto", "direct", "tune"])
    def test_is_one_of_those_there_are(self, engine):
        settings, mistakes = read_settings({"engine": engine})
        assert (settings.engine, mistakes) == (engine, [])

    @pytest.mark.parametrize("engine", ["Direct", "ray", "", None, 1, True])
    def test_is_no_other(self, engine):
        settings, mistakes = read_settings({"engine": engine})
        assert mistakes == [f"ray.engine is {engine!r}; it must be 'auto', 'direct' or 'tune'."]
        assert settings.engine == "auto"
