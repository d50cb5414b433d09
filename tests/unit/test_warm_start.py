"""What is read of earlier sweeps, and which of it a searcher can be told."""

import datetime

import pytest

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.search_space import parse_search_space
from sacred_ray_ingredient.warm_start import EarlierTrial, earlier_trials, fitting

LR = Sampler("uniform", {"lower": 0.0, "upper": 1.0})


class Record:
    """Writes trials as Sacred does."""

    def __init__(self, database):
        self.database = database
        self.next_id = 1

    def trial(self, sweep_id, index, sampled, logged=None, **further):
        run_id, self.next_id = self.next_id, self.next_id + 1
        sweep = {"sweep_id": sweep_id, "trial_index": index, "sampled": sampled}
        sweep |= further.pop("sweep", {})
        start = datetime.datetime(2026, 1, 1) + datetime.timedelta(minutes=run_id)
        self.database.runs.insert_one(
            {
                "_id": run_id,
                "status": "COMPLETED",
                "start_time": start,
                "experiment": {"name": "inner"},
                "config": sampled,
                "result": None,
                "meta": {"sweep": sweep},
                **further,
            }
        )
        for name, values in (logged or {}).items():
            self.database.metrics.insert_one({"run_id": run_id, "name": name, "values": values})

    def read(self, *sweeps, metrics=("loss",)):
        return earlier_trials(self.database.runs, self.database.metrics, sweeps, metrics)


@pytest.fixture
def record(database):
    return Record(database)


def measured(trials):
    return [(trial.sampled["lr"], trial.metrics) for trial in trials]


class TestReading:
    def test_the_last_value_of_a_metric_counts(self, record):
        record.trial("sweep-a", 0, {"lr": 0.1}, {"loss": [3.0, 2.0, 1.0], "other": [7.0]})
        assert measured(record.read("sweep-a")) == [(0.1, [1.0])]

    def test_several_metrics_in_their_order(self, record):
        record.trial("sweep-a", 0, {"lr": 0.1}, {"loss": [1.0], "time": [5.0]})
        assert measured(record.read("sweep-a", metrics=("time", "loss"))) == [(0.1, [5.0, 1.0])]

    def test_a_number_that_was_returned_is_the_result(self, record):
        record.trial("sweep-a", 0, {"lr": 0.1}, result=0.25)
        assert measured(record.read("sweep-a", metrics=("result",))) == [(0.1, [0.25])]

    def test_of_a_dictionary_that_was_returned_the_entry_counts_more_than_the_log(self, record):
        record.trial("sweep-a", 0, {"lr": 0.1}, {"loss": [9.0]}, result={"loss": 0.25})
        assert measured(record.read("sweep-a")) == [(0.1, [0.25])]

    @pytest.mark.parametrize(
        "what",
        [
            {"status": "FAILED", "logged": {"loss": [1.0]}},
            {"status": "RUNNING", "logged": {"loss": [1.0]}},
            {"logged": {"other": [1.0]}},
            {"logged": {"loss": []}},
            {"logged": {"loss": [1.0, float("nan")]}},
        ],
    )
    def test_trials_without_a_value_are_left_out(self, record, what):
        record.trial("sweep-a", 0, {"lr": 0.1}, {"loss": [1.0]})
        record.trial("sweep-a", 1, {"lr": 0.2}, **what)
        assert measured(record.read("sweep-a")) == [(0.1, [1.0])]

    def test_a_trial_that_was_run_again_counts_once(self, record):
        record.trial("sweep-a", 0, {"lr": 0.1}, {"loss": [2.0]})
        record.trial("sweep-a", 0, {"lr": 0.1}, {"loss": [1.0]})
        assert measured(record.read("sweep-a")) == [(0.1, [1.0])]

    def test_several_sweeps(self, record):
        record.trial("sweep-b", 0, {"lr": 0.3}, {"loss": [3.0]})
        record.trial("sweep-a", 0, {"lr": 0.1}, {"loss": [1.0]})
        record.trial("sweep-c", 0, {"lr": 0.2}, {"loss": [2.0]})
        read = record.read("sweep-a", "sweep-b", "sweep-a")
        assert [trial.sweep_id for trial in read] == ["sweep-a", "sweep-b"]

    def test_one_id_need_not_be_a_list(self, record):
        record.trial("sweep-a", 0, {"lr": 0.1}, {"loss": [1.0]})
        collections = record.database.runs, record.database.metrics
        assert len(earlier_trials(*collections, "sweep-a", ["loss"])) == 1

    def test_an_unknown_sweep_is_said_with_the_latest_ones_of_the_experiment(self, record):
        for number in range(7):
            record.trial(f"sweep-{number}", 0, {"lr": 0.1}, {"loss": [1.0]})
        record.trial("sweep-other", 0, {}, experiment={"name": "other"})
        with pytest.raises(ConfigMistakes) as raised:
            earlier_trials(
                record.database.runs,
                record.database.metrics,
                ["sweep-3", "sweep-x", "sweep-y"],
                ["loss"],
                experiment="inner",
            )
        first, second = raised.value.mistakes
        assert "ray.warm_start names the sweep 'sweep-x'" in first
        assert "sweeps of inner, the latest ones are: sweep-6, sweep-5, " in first
        assert "sweep-2." in first
        assert "sweep-1" not in first
        assert "'sweep-y'" in second

    def test_the_sweep_itself_is_no_trial(self, record):
        record.database.runs.insert_one({"_id": 99, "meta": {"sweep": {"sweep_id": "sweep-a"}}})
        with pytest.raises(ConfigMistakes, match="there is none to learn from"):
            record.read("sweep-a")


def trial(sampled, value=1.0, configuration=0, **further):
    return EarlierTrial("sweep-a", configuration, sampled, [value], **further)


class TestFitting:
    def test_values_by_dimension(self):
        net = {"lr": LR, "net.size": Sampler("randint", {"lower": 1, "upper": 9})}
        points, wrong = fitting([trial({"lr": 0.5, "net": {"size": 3}})], net)
        assert points == [({"lr": 0.5, "net.size": 3}, [1.0])]
        assert wrong == 0

    @pytest.mark.parametrize("lr", [2.0, "0.5", None, True])
    def test_what_lies_outside_is_counted(self, lr):
        points, wrong = fitting([trial({"lr": lr}), trial({"lr": 0.5})], {"lr": LR})
        assert [values for values, _ in points] == [{"lr": 0.5}]
        assert wrong == 1

    def test_what_the_earlier_sweep_did_not_vary_is_known_from_its_configuration(self):
        both = {"lr": LR, "momentum": LR}
        known = trial({"lr": 0.5}, config={"lr": 0.5, "momentum": 0.9})
        assert fitting([known], both) == ([({"lr": 0.5, "momentum": 0.9}, [1.0])], 0)
        assert fitting([trial({"lr": 0.5}, config={"momentum": 9})], both) == ([], 1)
        assert fitting([trial({"lr": 0.5})], both) == ([], 1)

    def test_repetitions_are_averaged(self):
        trials = [trial({"lr": 0.5, "seed": s}, v) for s, v in enumerate([1.0, 2.0, 6.0])]
        other = trial({"lr": 0.5}, 7.0, configuration=1)
        points, _ = fitting([*trials, other], {"lr": LR})
        assert [value for _, value in points] == [[3.0], [7.0]]

    def test_parameters_that_move_together(self):
        together = {"env+victim": Sampler("choice", {"categories": [("A", 1), ("B", 2)]})}
        fits, does_not = trial({"env": "B", "victim": 2}), trial({"env": "A", "victim": 2})
        assert fitting([fits, does_not], together) == ([({"env+victim": ("B", 2)}, [1.0])], 1)

    def test_named_configs(self):
        named = {"named_configs": Sampler("choice", {"categories": [["small"], ["small", "fast"]]})}
        points, wrong = fitting(
            [trial({}, named_configs=("small", "fast")), trial({}, named_configs=("big",))], named
        )
        assert points == [({"named_configs": ["small", "fast"]}, [1.0])]
        assert wrong == 1


class TestConditions:
    @pytest.fixture
    def space(self):
        space, mistakes = parse_search_space(
            {
                "opt": "choice(['sgd', 'adam', 'none'])",
                "m": "uniform(0, 1) if opt == 'sgd' else uniform(5, 7) if opt == 'adam' else 0.25",
                "decay": "uniform(0, 2) if opt == 'sgd'",
            }
        )
        assert mistakes == []
        return space

    def values(self, space, sampled, **further):
        points, wrong = fitting([trial(sampled, **further)], space.dimensions(), space)
        return points[0][0] if points else wrong

    def test_each_case_has_the_values_that_it_can_draw(self, space):
        assert self.values(space, {"opt": "sgd", "m": 0.9, "decay": 1.5}) == {
            "opt": "sgd",
            "m": 0.9,
            "m [2]": 6.0,
            "decay": 1.5,
        }

    def test_what_was_not_active_has_its_median(self, space):
        assert self.values(space, {"opt": "adam", "m": 5.5}, config={"decay": 0.1}) == {
            "opt": "adam",
            "m": 0.5,
            "m [2]": 5.5,
            "decay": 1.0,
        }

    def test_a_constant_of_a_case_is_no_draw(self, space):
        cases = self.values(space, {"opt": "none", "m": 0.25})
        assert cases["m [2]"] == 6.0

    def test_a_constant_that_nothing_can_draw_is_not_active_either(self):
        space, _ = parse_search_space(
            {"opt": ["a", "b"], "m": "uniform(0, 1) if opt == 'a' else 9"}
        )
        assert self.values(space, {"opt": "b", "m": 9}) == {"m": 0.5}
        assert self.values(space, {"opt": "b", "m": 8}) == 1

    def test_what_no_case_can_draw_does_not_fit(self, space):
        assert self.values(space, {"opt": "sgd", "m": 3.0, "decay": 1.0}) == 1
        assert self.values(space, {"opt": "sgd", "m": 0.5, "decay": 3.0}) == 1


def test_the_dimension_of_named_configs_is_that_of_the_sampling():
    from sacred_ray_ingredient import sampling, warm_start

    assert warm_start.NAMED_CONFIGS is sampling.NAMED_CONFIGS
    assert not hasattr(warm_start, "_NAMED_CONFIGS")
