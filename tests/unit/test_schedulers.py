"""Schedulers by name and arguments, and what is wrong with such a choice."""

import pytest

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.schedulers import (
    KINDS,
    _refused_by_tune,
    bounds,
    mutations,
    nested_mutations,
    parse_scheduler,
    scheduler_arguments,
    scheduler_class,
    scheduler_mistakes,
    stored_text,
)
from sacred_ray_ingredient.search_space import parse_search_space

SPACE = {"lr": "loguniform(1e-3, 1)", "optimizer": {"name": "choice(['sgd', 'adam'])"}}
PBT = {"name": "pbt", "perturbation_interval": 2}
PB2 = {"name": "pb2", "perturbation_interval": 2}


def choose(raw):
    choice, mistakes = parse_scheduler(raw)
    assert mistakes == []
    return choice


def space_of(raw):
    space, mistakes = parse_search_space(raw)
    assert mistakes == []
    return space


def mistakes(raw, metric="loss", space=None, has_checkpoints=True):
    chosen = space_of(SPACE if space is None else space)
    return scheduler_mistakes(choose(raw), metric, chosen, has_checkpoints)


def mistake(*arguments, **named):
    (sentence,) = mistakes(*arguments, **named)
    return sentence


class TestNames:
    @pytest.mark.parametrize("raw", [None, {}, "fifo", "FIFOScheduler", {"name": "fifo"}])
    def test_first_in_first_out_is_no_scheduler(self, raw):
        assert parse_scheduler(raw) == (None, [])

    def test_first_in_first_out_takes_no_arguments(self):
        assert parse_scheduler("fifo(max_t=3)") == (
            None,
            ["ray.scheduler.max_t is given, but fifo takes none."],
        )

    @pytest.mark.parametrize("name", KINDS)
    def test_each_is_a_class_of_tune(self, name):
        assert choose(name) == Choice(name)
        assert scheduler_class(name).__name__ == KINDS[name].class_name

    @pytest.mark.parametrize(
        ("alias", "name"),
        [
            ("async_hyperband", "asha"),
            ("AsyncHyperBand", "asha"),
            ("ASHAScheduler", "asha"),
            ("AsyncHyperBandScheduler", "asha"),
            ("HyperBandScheduler", "hyperband"),
            ("hb_bohb", "bohb"),
            ("HyperBandForBOHB", "bohb"),
            ("median", "median_stopping"),
            ("median-stopping-rule", "median_stopping"),
            ("MedianStoppingRule", "median_stopping"),
            ("PopulationBasedTraining", "pbt"),
            ("population_based_training", "pbt"),
            ("PB2", "pb2"),
        ],
    )
    def test_those_of_tune_are_known_too(self, alias, name):
        assert choose(alias).name == name

    def test_that_are_not_known_are_a_mistake(self):
        choice, (sentence,) = parse_scheduler("ashaa(max_t=3)", "ray.x")
        assert choice is None
        assert sentence.startswith("ray.x is 'ashaa(max_t=3)', but 'ashaa' is none that is known")
        assert sentence.endswith("asha, bohb, fifo, hyperband, median_stopping, pb2, pbt.")


@pytest.mark.parametrize(
    "raw",
    [
        "asha(max_t=20)",
        "asha(max_t=20, grace_period=2, reduction_factor=3, brackets=2)",
        "hyperband(max_t=9)",
        "bohb(max_t=9, reduction_factor=3)",
        "median_stopping",
        "median_stopping(grace_period=5, min_samples_required=2)",
        "median_stopping(time_attr='time_total_s')",
        PBT,
        {**PBT, "quantile_fraction": 0.5, "hyperparam_mutations": {"lr": "uniform(0, 1)"}},
    ],
)
def test_a_right_choice_has_no_mistake(raw):
    assert mistakes(raw) == []


class TestArguments:
    def test_are_those_of_tune_with_the_step_as_time(self):
        assert scheduler_arguments(choose("asha(max_t=9)")) == {
            **{"time_attr": "step", "stop_last_trials": False, "max_t": 9}
        }
        assert scheduler_arguments(choose("median_stopping")) == {
            **{"time_attr": "step", "grace_period": 1, "min_time_slice": 10**9}
        }

    def test_given_ones_win(self):
        given = "asha(max_t=9, time_attr='training_iteration', stop_last_trials=True)"
        assert scheduler_arguments(choose(given)) == {
            **{"time_attr": "training_iteration", "stop_last_trials": True, "max_t": 9}
        }

    def test_with_parameters_are_kept_apart(self):
        given = {**PBT, "hyperparam_mutations": {"lr": "uniform(0, 1)"}}
        assert scheduler_arguments(choose(given)) == {
            **{"time_attr": "step", "perturbation_interval": 2}
        }

    @pytest.mark.parametrize("name", ["asha", "hyperband", "bohb", "pbt", "pb2", "median_stopping"])
    def test_that_are_not_known_are_named_with_what_there_is(self, name):
        required = {"max_t": 9} if name in ("asha", "hyperband", "bohb") else {}
        required |= {"perturbation_interval": 2} if name.startswith("pb") else {}
        sentence = mistake({"name": name, **required, "colour": 1})
        assert sentence.startswith(f"ray.scheduler.colour is not an argument of {name}; it has ")
        offered = sentence.split("it has ")[1].rstrip(".").split(", ")
        assert set(required) | {"time_attr"} <= set(offered)
        assert not {"self", "metric", "mode", "args", "kwargs", "custom_explore_fn"} & set(offered)

    def test_that_are_misspelt_are_named_with_the_nearest(self):
        assert mistake("asha(max_t=9, grace_perio=2)") == (
            "ray.scheduler.grace_perio is not an argument of asha (did you mean 'grace_period'?)."
        )

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("metric", "; it is ray.metric"),
            ("mode", "; it is ray.mode"),
            ("custom_explore_fn", "; use ray.dependent for what follows from other parameters"),
        ],
    )
    def test_that_are_given_elsewhere_cannot_be_given(self, name, reason):
        assert mistake({**PBT, name: "x"}) == f"ray.scheduler.{name} cannot be given{reason}."

    def test_the_time_is_one_that_reports_have(self):
        assert mistake("asha(max_t=9, time_attr='epoch')") == (
            "ray.scheduler.time_attr is 'epoch'; it must be one of step, training_iteration, "
            "time_total_s."
        )

    @pytest.mark.parametrize("name", ["asha", "hyperband", "bohb"])
    @pytest.mark.parametrize("given", [{}, {"max_t": None}])
    def test_the_steps_of_a_full_trial_are_needed(self, name, given):
        sentence = mistake({"name": name, **given})
        assert sentence.endswith("which needs max_t: the steps of a full trial.")

    @pytest.mark.parametrize("name", ["pbt", "pb2"])
    def test_the_interval_is_needed(self, name):
        assert mistake(name) == (
            f"ray.scheduler is {name!r}, which needs perturbation_interval: the steps after which "
            "the worst trials take over the best."
        )

    @pytest.mark.parametrize(
        "raw",
        [
            "asha(max_t=2, grace_period=5)",
            "hyperband(max_t=0)",
            {**PBT, "quantile_fraction": 0.9},
            {**PBT, "perturbation_interval": -1},
            {**PB2, "quantile_fraction": 0.9},
        ],
    )
    def test_that_tune_refuses_are_a_mistake_with_its_reason(self, raw):
        space = {"lr": "uniform(0, 1)"}
        sentence = mistake(raw, space=space)
        assert sentence.startswith(f"ray.scheduler is {choose(raw).text()!r}, which Tune refuses: ")

    def test_that_are_wrong_come_all_at_once(self):
        found = mistakes("hyperband(colour=1, time_attr='x')", "result", has_checkpoints=False)
        assert len(found) == 5


class TestWhatDoesNotGoTogether:
    def test_the_result_as_metric(self):
        assert mistake("asha(max_t=9)", metric="result") == (
            "ray.scheduler is 'asha(max_t=9)', which compares trials while they run, but "
            "ray.metric is 'result', which is known at the end only; give the name of a metric "
            "that the experiment logs."
        )

    @pytest.mark.parametrize(
        "raw",
        ["hyperband(max_t=9)", "bohb(max_t=9)", PBT, PB2, "median_stopping(min_time_slice=2)"],
    )
    def test_pausing_without_checkpoints(self, raw):
        sentence = mistake(raw, has_checkpoints=False)
        assert sentence == (
            f"ray.scheduler is {choose(raw).text()!r}, which pauses trials and lets them go on "
            "later, for which the experiment has to save checkpoints "
            "(sacred_ray_ingredient.Checkpoints); asha and median_stopping do without."
        )

    @pytest.mark.parametrize("raw", ["asha(max_t=9)", "median_stopping"])
    def test_the_others_do_without_checkpoints(self, raw):
        assert mistakes(raw, has_checkpoints=False) == []

    @pytest.mark.parametrize(
        ("raw", "argument", "space"),
        [
            (PBT, "hyperparam_mutations", {"lr": [1.0, 2.0]}),
            (PBT, "hyperparam_mutations", {}),
            (PBT, "hyperparam_mutations", {"a+b": "choice([[1, 2], [3, 4]])"}),
            (PB2, "hyperparam_bounds", {"name": "choice(['a', 'b'])"}),
        ],
    )
    def test_nothing_to_change(self, raw, argument, space):
        assert mistake(raw, space=space) == (
            f"ray.scheduler is {choose(raw).text()!r}, which changes parameters of the search "
            f"space while trials run, but there is none that it can change; give {argument}."
        )


class TestMutations:
    """The parameters that a scheduler changes while trials run."""

    SPACE = {  # noqa: RUF012
        "lr": "loguniform(1e-3, 1)",
        "size": "randint(1, 9)",
        "optimizer": {"name": "choice(['sgd', 'adam'])"},
        "env": ["a", "b"],
        "x+y": "choice([[1, 2], [3, 4]])",
        "z": "uniform(0, 1) if env == 'a'",
    }

    def find(self, raw, space=None, **given):
        return mutations(choose({**raw, **given}), space_of(space or self.SPACE))

    def test_are_what_is_drawn_of_one_parameter_without_condition(self):
        found, wrong = self.find(PBT)
        assert (set(found), wrong) == ({"lr", "size", "optimizer.name"}, [])

    def test_of_pb2_are_the_ranges_among_these(self):
        found, wrong = self.find(PB2)
        assert (set(found), wrong) == ({"lr", "size"}, [])

    def test_can_be_given(self):
        given = {"lr": "uniform(0, 2)", "optimizer": {"name": ["sgd"]}, "env": "choice(['a'])"}
        found, wrong = self.find(PBT, hyperparam_mutations=given)
        assert wrong == []
        assert {path: sampler.text() for path, sampler in found.items()} == {
            "lr": "uniform(0, 2)",
            "optimizer.name": "grid_search(['sgd'])",
            "env": "choice(['a'])",
        }

    def test_of_pb2_can_be_given_as_pairs(self):
        found, wrong = self.find(PB2, hyperparam_bounds={"lr": [0.5, 2.0], "size": "randint(1, 5)"})
        assert wrong == []
        assert bounds(found["lr"]) == (0.5, 2.0)
        assert bounds(found["size"]) == (1, 4)

    def test_that_are_no_mapping_are_a_mistake(self):
        _, (sentence,) = self.find(PBT, hyperparam_mutations=["lr"])
        assert sentence == (
            "ray.scheduler.hyperparam_mutations is ['lr']; it must be a mapping of parameters."
        )

    def test_outside_the_space_are_a_mistake(self):
        _, (sentence,) = self.find(PBT, hyperparam_mutations={"sizes": "randint(1, 9)"})
        assert sentence == (
            "ray.scheduler.hyperparam_mutations.sizes is not in ray.search_space, which gives "
            "trials their first values (did you mean 'size'?)."
        )

    @pytest.mark.parametrize(
        ("raw", "argument", "given", "path"),
        [
            (PBT, "hyperparam_mutations", {"x+y": "choice([[1, 2]])"}, "x"),
            (PBT, "hyperparam_mutations", {"z": "uniform(0, 1) if env == 'a'"}, "z"),
            (PB2, "hyperparam_bounds", {"optimizer.name": "choice(['sgd'])"}, "optimizer.name"),
        ],
    )
    def test_that_cannot_be_changed_are_a_mistake(self, raw, argument, given, path):
        _, wrong = self.find(raw, **{argument: given})
        assert (
            f"ray.scheduler.{argument}.{path} cannot be changed: it must be a parameter with a "
            "sampler of its own."
        ) in wrong

    def test_that_cannot_be_read_are_a_mistake(self):
        _, (sentence,) = self.find(PBT, hyperparam_mutations={"lr": "uniform(2, 1)"})
        assert sentence.startswith("ray.scheduler.hyperparam_mutations.lr")

    def test_their_mistakes_are_those_of_the_choice(self):
        sentence = mistake({**PBT, "hyperparam_mutations": {"sizes": "randint(1, 9)"}})
        assert "is not in ray.search_space" in sentence


class TestForTune:
    def test_ranges_of_pb2_are_nested_pairs(self):
        space = space_of({"lr": "uniform(0, 1)", "net": {"size": "randint(1, 9)"}})
        found, _ = mutations(choose(PB2), space)
        assert nested_mutations(found, "pb2") == {"lr": [0, 1], "net": {"size": [1, 8]}}

    def test_pbt_gets_lists_and_samplers(self):
        found, _ = mutations(choose(PBT), space_of(SPACE))
        given = nested_mutations(found, "pbt")
        assert given["optimizer"] == {"name": ["sgd", "adam"]}
        assert (given["lr"].lower, given["lr"].upper) == (1e-3, 1)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("uniform(-1, 2)", (-1, 2)),
        ("loguniform(0.1, 1)", (0.1, 1)),
        ("quniform(0, 1, 0.25)", (0, 1)),
        ("randint(1, 9)", (1, 8)),
        ("lograndint(1, 9)", (1, 8)),
        ("qrandint(2, 8, 2)", (2, 8)),
        ("qrandint(2, 8)", (2, 7)),
        ("choice([1, 2])", None),
        ("randn(0, 1)", None),
    ],
)
def test_bounds_are_the_least_and_the_greatest_value(text, pair):
    sampler = space_of({"x": text}).entries["x"].cases[0].sampler
    assert bounds(sampler) == pair


class TestValuesOfArguments:
    @pytest.mark.parametrize(
        ("raw", "name", "wanted"),
        [
            ("median_stopping(grace_period='a')", "grace_period", "a number"),
            ("median_stopping(min_samples_required=[1])", "min_samples_required", "a number"),
            ("hyperband(max_t=True)", "max_t", "a number"),
            ("asha(max_t='nine')", "max_t", "a number"),
            ("asha(max_t=9, grace_period=1e999)", "grace_period", "a number"),
            ({"name": "asha", "max_t": 10**400}, "max_t", "a number"),
            ("asha(max_t=9, brackets=2.0)", "brackets", "a whole number"),
            ("asha(max_t=9, reduction_factor=1)", "reduction_factor", "a number above 1"),
            ("hyperband(max_t=9, reduction_factor=-2)", "reduction_factor", "a number above 1"),
            ({**PBT, "perturbation_factors": "ab"}, "perturbation_factors", "a list of 2 numbers"),
            ({**PBT, "perturbation_factors": 5}, "perturbation_factors", "a list of 2 numbers"),
            ({**PBT, "perturbation_factors": [1]}, "perturbation_factors", "a list of 2 numbers"),
            ({**PBT, "log_config": "a"}, "log_config", "True or False"),
            ({**PB2, "synch": 1}, "synch", "True or False"),
        ],
    )
    def test_that_are_of_a_wrong_kind(self, raw, name, wanted):
        sentence = mistake(raw)
        assert sentence.startswith(f"ray.scheduler.{name} is ")
        assert sentence.endswith(f"; it must be {wanted}.")

    @pytest.mark.parametrize(
        "raw",
        [
            "asha(max_t=9.5, brackets=2, stop_last_trials=True)",
            {**PBT, "perturbation_factors": [1.5, 0.5], "synch": True, "burn_in_period": 2},
        ],
    )
    def test_that_are_right(self, raw):
        assert mistakes(raw) == []

    def test_errors_of_python_are_no_reason(self, monkeypatch):
        def fail(**arguments):
            raise OverflowError("cannot convert float infinity to integer")

        choice = choose("asha(max_t=9)")
        assert _refused_by_tune(choice, "ray.scheduler") == []
        monkeypatch.setattr("sacred_ray_ingredient.schedulers.scheduler_class", lambda name: fail)
        (sentence,) = _refused_by_tune(choice, "ray.scheduler")
        assert "infinity" not in sentence
        assert sentence.endswith("it cannot compute anything with these arguments together.")


@pytest.mark.parametrize("raw", [PBT, PB2])
def test_a_population_has_no_repetitions(raw):
    space = space_of({"lr": "uniform(0, 1)"})
    (sentence,) = scheduler_mistakes(choose(raw), "loss", space, True, repeats=True)
    assert "takes over the parameters of another one" in sentence
    assert scheduler_mistakes(choose("asha(max_t=9)"), "loss", space, True, repeats=True) == []


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("x", "moves together with others (x+y)"),
        ("z", "has conditions"),
        ("w", "has conditions"),
        ("c", "is a constant"),
    ],
)
def test_what_the_space_does_not_draw_alone_cannot_be_changed(path, problem):
    space = {
        **{"x+y": "choice([[1, 2], [3, 4]])", "z": "uniform(0, 1) if env == 'a'"},
        **{"w": "uniform(0, 1) if env == 'a' else uniform(2, 3)", "c": 3, "env": ["a", "b"]},
    }
    raw = {**PBT, "hyperparam_mutations": {path: "uniform(0, 1)"}}
    assert mistake(raw, space=space) == (
        f"ray.scheduler.hyperparam_mutations.{path} cannot be changed: in ray.search_space it "
        f"{problem}; it must have one sampler of its own there, without conditions."
    )


def test_samplers_of_tune_are_written_as_text():
    from ray import tune

    given = {"lr": tune.uniform(0, 1), "net": {"k": tune.choice(["a"])}, "n": [1, 2]}
    raw = {**PBT, "hyperparam_mutations": given}
    written = {"lr": "uniform(0, 1)", "net": {"k": "choice(['a'])"}, "n": [1, 2]}
    assert stored_text(raw) == {**PBT, "hyperparam_mutations": written}
    assert stored_text("asha(max_t=3)") == "asha(max_t=3)"
    assert stored_text(None) is None
    assert "object at" not in choose(raw).text()
    assert choose(choose(raw).text()) == choose(raw)
