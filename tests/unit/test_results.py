"""Tables of what a sweep has recorded."""

import datetime

import mongomock
import pytest

from sacred_ray_ingredient import results
from sacred_ray_ingredient.errors import ConfigMistakes, DatabaseError
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.run_state import RunState

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
ADDRESS = MongoAddress("mongodb://unit.test/", db_name="db")


def after(seconds):
    return AT + datetime.timedelta(seconds=seconds)


@pytest.fixture
def found(database, monkeypatch):
    """Return a function that finds a sweep in the database in memory."""
    monkeypatch.setattr(target_module, "database_at", lambda address: database)
    monkeypatch.setattr(MongoAddress, "check", lambda address: None)
    return lambda sweep_id="sweep-1": results.sweep(sweep_id, ADDRESS)


@pytest.fixture
def write_sweep(database):
    """Return a function that writes a sweep's own run."""

    def write_sweep(run_id, sweep_id="sweep-1", start_time=AT, status="COMPLETED"):
        meta = {"sweep": {"sweep_id": sweep_id, "exp_name": "my_search"}}
        document = {"_id": run_id, "status": status, "start_time": start_time, "meta": meta}
        database.runs.insert_one(document)

    write_sweep(1000)
    return write_sweep


@pytest.fixture
def write(database, write_sweep):
    """Return a function that writes a trial's document."""

    def write(run_id, index, attempt=0, segment=0, sweep_id="sweep-1", logged=(), **further):
        sweep = {"sweep_id": sweep_id, "trial_index": index, "attempt": attempt}
        sweep["segment"] = segment
        document = {"status": "COMPLETED", "start_time": AT, "stop_time": after(2.5)}
        document |= {"result": 0.5, "config": {"seed": 5, "opt": {"lr": 0.1 * index}}}
        document |= {"omniboard": {"tags": ["trial"]}, **further, "meta": {"sweep": sweep}}
        database.runs.insert_one({"_id": run_id, **document})
        for name, values in dict(logged).items():
            points = {"steps": list(range(len(values))), "values": values}
            points["timestamps"] = [after(step) for step in points["steps"]]
            database.metrics.insert_one({"run_id": run_id, "name": name, **points})

    return write


def rows(table, *columns):
    return [tuple(row) for row in table[list(columns)].itertuples(index=False)]


class TestTrials:
    def test_a_trial_is_a_row_with_all_its_columns(self, found, write):
        write(3, 1, logged={"loss": [3.0, 1.0]})
        (row,) = found().trials.to_dict("records")
        assert row == {
            **{"run_id": 3, "trial_index": 1, "attempt": 0, "status": "COMPLETED"},
            **{"start_time": AT, "duration": 2.5, "result": 0.5, "tags": ["trial"]},
            **{"config.seed": 5, "config.opt.lr": 0.1, "metric.loss": 1.0},
        }

    def test_columns_of_numbers_have_numeric_types(self, found, write):
        write(1, 0, logged={"loss": [2]})
        write(2, 1)
        types = found().trials.dtypes
        for name in ("result", "duration", "config.opt.lr", "metric.loss"):
            assert types[name].kind == "f"
        for name in ("run_id", "trial_index", "attempt", "config.seed"):
            assert types[name].kind == "i"
        assert types["start_time"].kind == "M"

    def test_trials_come_by_index_and_those_of_other_sweeps_not(self, found, write):
        write(1, 2)
        write(2, 0)
        write(3, 1, sweep_id="sweep-2")
        assert list(found().trials["trial_index"]) == [0, 2]

    def test_only_the_last_attempt_of_a_trial_counts(self, found, write):
        write(1, 0, status="FAILED", result=None)
        write(2, 1)
        write(3, 0, attempt=1)
        sweep = found()
        assert rows(sweep.trials, "run_id", "attempt", "status") == [
            (3, 1, "COMPLETED"),
            (2, 0, "COMPLETED"),
        ]
        assert list(sweep.trials.index) == [0, 1]
        assert list(sweep.attempts["run_id"]) == [1, 3, 2]

    def test_segments_of_an_attempt_are_one_row_of_it(self, found, write):
        write(1, 0, logged={"loss": [2.0], "early": [7.0]}, stop_time=after(1))
        write(2, 0, segment=1, logged={"loss": [1.0]}, start_time=after(10), stop_time=after(13))
        (row,) = found().attempts.to_dict("records")
        assert (row["run_id"], row["start_time"], row["duration"]) == (2, AT, 4.0)
        assert (row["metric.loss"], row["metric.early"]) == (1.0, 7.0)

    def test_what_a_trial_does_not_have_is_missing_in_its_row_alone(self, found, write):
        write(1, 0, config={"a": 1})
        write(2, 1, config={"b": "x", "a": 3}, stop_time=None, logged={"loss": [4.0]})
        write(3, 2, config={"a": 2})
        table = found().trials
        assert list(table["config.a"]) == [1, 3, 2]
        assert list(table["config.b"].isna()) == [True, False, True]
        assert list(table["metric.loss"].isna()) == [True, False, True]
        assert list(table["duration"].isna()) == [False, True, False]

    def test_numbers_of_a_returned_dictionary_are_metrics(self, found, write):
        write(1, 0, result={"acc": 0.75, "name": "x"}, logged={"acc": [0.1]})
        table = found().trials
        assert table["metric.acc"][0] == 0.75
        assert "metric.name" not in table
        assert table["result"][0] == {"acc": 0.75, "name": "x"}

    def test_lists_and_empty_dictionaries_of_a_config_are_values(self, found, write):
        write(1, 0, config={"layers": [1, 2], "options": {}})
        table = found().trials
        assert table["config.layers"][0] == [1, 2]
        assert table["config.options"][0] == {}

    def test_a_metric_in_several_documents_has_its_last_value_in_the_last(
        self, found, write, database
    ):
        write(1, 0)
        for part, value in ((2, 2.0), (3, 3.0)):
            about = {"name": f"loss (part {part})", "of": "loss", "part": part}
            database.metrics.insert_one({"run_id": 1, **about, "values": [0.0, value]})
        database.metrics.insert_one({"run_id": 1, "name": "loss", "values": [1.0]})
        table = found().trials
        assert table["metric.loss"][0] == 3.0
        assert [name for name in table if "part" in name] == []

    def test_a_sweep_without_trials_is_an_empty_table(self, found, write_sweep):
        table = found().trials
        assert len(table) == 0
        assert list(table)[:3] == ["run_id", "trial_index", "attempt"]

    def test_more_runs_than_one_query_takes_are_read_in_several(self, found, write, monkeypatch):
        monkeypatch.setattr(results, "_RUNS_PER_QUERY", 2)
        for run_id in range(1, 6):
            write(run_id, run_id, logged={"loss": [float(run_id)]})
        sweep = found()
        assert list(sweep.trials["metric.loss"]) == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert list(sweep.metrics("loss")["run_id"]) == [1, 2, 3, 4, 5]

    def test_only_what_the_table_shows_travels(self, write, found, monkeypatch):
        """Output, host and the points of metrics would be many times as much."""
        write(1, 0, captured_out="long", logged={"loss": [1.0, 2.0]})
        travelled = []
        find = mongomock.Collection.find

        def seen(collection, *arguments, **named):
            documents = list(find(collection, *arguments, **named))
            travelled.extend(documents)
            return iter(documents)

        sweep = found()
        monkeypatch.setattr(mongomock.Collection, "find", seen)
        assert len(sweep.trials) == 1
        run, metric = travelled
        assert set(run) == {
            *("_id", "status", "start_time", "stop_time", "result", "config"),
            *("omniboard", "meta"),
        }
        assert metric["values"] == [2.0]
        assert "steps" not in metric


class TestMetrics:
    def test_each_point_is_a_row(self, found, write):
        write(4, 1, logged={"loss": [3.0, 1.0], "other": [9.0]})
        write(5, 0, logged={"loss": [2.0]})
        table = found().metrics("loss")
        assert list(table) == ["run_id", "trial_index", "attempt", "step", "value", "time"]
        assert rows(table, "run_id", "trial_index", "step", "value") == [
            (5, 0, 0, 2.0),
            (4, 1, 0, 3.0),
            (4, 1, 1, 1.0),
        ]
        assert list(table["time"]) == [AT, AT, after(1)]
        assert table["value"].dtype == float

    def test_parts_of_a_metric_follow_each_other(self, found, write, database):
        write(1, 0)
        many = RunState()
        many.apply([("scalar", ["loss (a)", step, float(step), AT]) for step in range(400_001)])
        for series in reversed(many.series.values()):
            about = {"name": series.name, "of": series.of, "part": series.part}
            if series.part == 1:
                del about["of"], about["part"]
            points = {"steps": series.steps[:2], "values": series.values[:2]}
            points["timestamps"] = series.timestamps[:2]
            database.metrics.insert_one({"run_id": 1, **about, **points})
        # A name that a user has chosen makes no part.
        single = {"steps": [0], "values": [5.0], "timestamps": [AT]}
        database.metrics.insert_one({"run_id": 1, "name": "loss (a) (part 9)", **single})
        sweep = found()
        assert list(sweep.metrics("loss (a)")["step"]) == [0, 1, 200_000, 200_001, 400_000]
        assert list(sweep.metrics("loss (a) (part 9)")["value"]) == [5.0]

    def test_earlier_attempts_are_there_on_request(self, found, write):
        write(1, 0, logged={"loss": [1.0]}, status="FAILED")
        write(2, 0, attempt=1, logged={"loss": [2.0]})
        write(3, 0, attempt=1, segment=1, logged={"loss": [3.0]})
        sweep = found()
        assert list(sweep.metrics("loss")["value"]) == [2.0, 3.0]
        everything = sweep.metrics("loss", all_attempts=True)
        assert rows(everything, "attempt", "value") == [(0, 1.0), (1, 2.0), (1, 3.0)]

    def test_a_point_that_is_being_written_is_left_out(self, found, write, database):
        write(1, 0, logged={"loss": [1.0, 2.0]})
        database.metrics.update_one({"run_id": 1}, {"$pop": {"timestamps": 1}})
        assert list(found().metrics("loss")["value"]) == [1.0]

    def test_a_wrong_name_is_answered_with_the_right_ones(self, found, write):
        write(1, 0, logged={"loss": [1.0]})
        expected = r"has logged the metric 'los' \(did you mean 'loss'\?\); it has loss\."
        with pytest.raises(ConfigMistakes, match=expected):
            found().metrics("los")

    def test_nothing_logged_yet(self, found, write):
        write(1, 0)
        with pytest.raises(ConfigMistakes, match=r"the metric 'loss'; it has none yet\."):
            found().metrics("loss")


class TestSweep:
    def test_the_last_one_is_that_which_began_last(self, found, write_sweep):
        write_sweep(1001, "sweep-2", after(5), "RUNNING")
        write_sweep(1002, "sweep-1", after(3))
        sweep = found("last")
        assert (sweep.sweep_id, sweep.exp_name) == ("sweep-2", "my_search")
        assert (sweep.outer_run_ids, sweep.status) == ((1001,), "RUNNING")

    def test_a_sweep_that_was_resumed_has_several_runs(self, found, write_sweep):
        write_sweep(1001, start_time=after(9), status="INTERRUPTED")
        sweep = found()
        assert (sweep.outer_run_ids, sweep.status) == ((1000, 1001), "INTERRUPTED")

    def test_an_unknown_one_is_answered_with_those_there_are(self, found, write_sweep):
        expected = r"There is no sweep 'sweep-3' in unit\.test:27017, database db \(did you mean"
        with pytest.raises(ConfigMistakes, match=expected):
            found("sweep-3")

    def test_an_empty_database_says_so(self, found):
        with pytest.raises(ConfigMistakes, match=r"No sweep is recorded in unit\.test.* yet"):
            found("last")

    def test_what_was_read_stays_and_a_new_one_sees_more(self, found, write):
        write(1, 0)
        sweep = found()
        assert len(sweep.trials) == 1
        write(2, 1)
        assert len(sweep.trials) == 1
        assert len(found().trials) == 2


class TestAddress:
    @pytest.fixture(autouse=True)
    def asked(self, monkeypatch, tmp_path):
        monkeypatch.setattr(MongoAddress, "check", lambda address: None)
        monkeypatch.setenv("SACRED_RAY_HOME", str(tmp_path))
        monkeypatch.delenv("SACRED_MONGO_URL", raising=False)
        self.addresses = []

        def database_at(address):
            self.addresses.append(address)
            database = mongomock.MongoClient()[address.db_name]
            meta = {"sweep": {"sweep_id": "sweep-1"}}
            database[address.collection].insert_one({"_id": 1, "meta": meta})
            return database

        monkeypatch.setattr(target_module, "database_at", database_at)

    @pytest.mark.parametrize(
        ("given", "name", "collection"),
        [
            ("mongodb://unit.test/mine", "mine", "runs"),
            ("unit.test:27017:theirs", "theirs", "runs"),
            ("unit.test:27017:theirs.others", "theirs", "others"),
            (MongoAddress("mongodb://unit.test/", db_name="x", collection="y"), "x", "y"),
        ],
    )
    def test_it_can_be_given_in_several_forms(self, given, name, collection):
        results.sweep("sweep-1", given)
        (address,) = self.addresses
        assert (address.db_name, address.collection) == (name, collection)

    def test_without_one_the_environment_says_it(self, monkeypatch):
        monkeypatch.setenv("SACRED_MONGO_URL", "mongodb://unit.test/env")
        results.sweep()
        assert self.addresses[0].db_name == "env"

    def test_a_project_without_a_record_is_told_so(self):
        with pytest.raises(DatabaseError, match="There is no record in"):
            results.sweep()
