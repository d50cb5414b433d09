"""The observer that writes runs, on real Sacred runs and a database in memory."""

import math
import time

import numpy as np
import pytest

from sacred_ray_ingredient.record.observer import RunObserver


@pytest.fixture
def start(database, tmp_path, make_experiment):
    """Return a function that runs an experiment observed, and returns its run."""

    def start(main, tags=("my_search", "sweep-1"), info=None, meta_info=None, **entries):
        experiment = main if hasattr(main, "run") else make_experiment(main, **entries)
        run = experiment._create_run(
            options={"--capture": "sys"}, info=info, meta_info=meta_info, config_updates={"seed": 5}
        )
        observer = RunObserver(run, database, tags=tags, failure_dir=tmp_path)
        run.observers.append(observer)
        run.beat_interval = 0.02
        run()
        return run

    return start


def the_run(database):
    (document,) = database.runs.find()
    return document


def metric(database, name):
    return database.metrics.find_one({"name": name})


def test_a_finished_run_is_a_sacred_document(start, database):
    start(lambda size: size * 2, size=4)
    document = the_run(database)
    assert document["_id"] == 1
    assert document["status"] == "COMPLETED"
    assert document["config"] == {"size": 4, "seed": 5}
    assert document["result"] == 8
    assert document["experiment"]["name"] == "unit_ex"
    assert document["start_time"] <= document["stop_time"]


def test_tags_and_meta_are_there_while_the_run_runs(start, database):
    seen = []

    def main():
        seen.append(the_run(database))

    start(main, tags=["a", "b"], meta_info={"sweep": {"trial_index": 3}})
    assert seen[0]["status"] == "RUNNING"
    assert seen[0]["omniboard"] == {"tags": ["a", "b"]}
    assert seen[0]["meta"]["sweep"] == {"trial_index": 3}


def test_what_a_user_changes_of_the_tags_meanwhile_stays(start, database):
    def main():
        database.runs.update_one({}, {"$set": {"omniboard.tags": ["mine"]}})
        time.sleep(0.1)

    start(main)
    document = the_run(database)
    assert document["omniboard"] == {"tags": ["mine"]}
    assert document["heartbeat"] is not None


class TestOutput:
    """It is complete for every ending, also what comes after the last heartbeat."""

    def test_of_a_run_that_returns(self, start, database):
        start(lambda: print("the last line"))
        assert the_run(database)["captured_out"].count("the last line") == 1

    def test_of_a_run_that_raises(self, start, database):
        def main():
            print("before the heartbeat")
            time.sleep(0.1)
            print("the last line")
            raise ValueError("broken here")

        with pytest.raises(ValueError, match="broken here"):
            start(main)
        document = the_run(database)
        assert document["captured_out"].count("before the heartbeat") == 1
        assert document["captured_out"].count("the last line") == 1
        assert document["status"] == "FAILED"
        assert "broken here" in "".join(document["fail_trace"])

    def test_of_a_run_that_is_interrupted(self, start, database):
        def main():
            print("the last line")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            start(main)
        document = the_run(database)
        assert document["captured_out"].count("the last line") == 1
        assert document["status"] == "INTERRUPTED"

    def test_goes_through_the_filter_of_the_experiment(self, start, database, make_experiment):
        def main():
            print("a secret")
            raise ValueError("broken here")

        experiment = make_experiment(main)
        experiment.captured_out_filter = lambda text: text.replace("secret", "word")
        with pytest.raises(ValueError, match="broken here"):
            start(experiment)
        assert "a word" in the_run(database)["captured_out"]


class TestTagsAtTheEnd:
    def test_are_those_of_a_run_that_is_stopped(self, start, database):
        def main(_run):
            _run.observers[0].tag_at_end(["paused"])
            assert "paused" not in the_run(database)["omniboard"]["tags"]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            start(main)
        assert the_run(database)["omniboard"]["tags"] == ["my_search", "sweep-1", "paused"]

    def test_are_not_those_of_one_that_returns_all_the_same(self, start, database):
        start(lambda _run: _run.observers[0].tag_at_end(["paused"]))
        assert the_run(database)["omniboard"]["tags"] == ["my_search", "sweep-1"]


class TestMetrics:
    def test_the_run_and_its_metric_refer_to_each_other(self, start, database):
        def main(_run):
            for step in range(3):
                _run.log_scalar("loss", 1.0 - step, step)

        start(main)
        loss = metric(database, "loss")
        assert loss["run_id"] == 1
        assert (loss["steps"], loss["values"]) == ([0, 1, 2], [1.0, 0.0, -1.0])
        assert the_run(database)["info"]["metrics"] == [{"name": "loss", "id": str(loss["_id"])}]

    def test_values_that_no_plot_can_show_are_counted_instead(self, start, database):
        def main(_run):
            for step, value in enumerate([1.0, math.nan, 2.0, math.inf, -math.inf]):
                _run.log_scalar("loss", value, step)

        start(main, info={"sweep": {"node": "here"}})
        assert metric(database, "loss")["steps"] == [0, 2]
        assert metric(database, "loss")["values"] == [1.0, 2.0]
        sweep = the_run(database)["info"]["sweep"]
        assert sweep == {"node": "here", "nonfinite": {"loss": 3}}

    def test_the_count_grows_over_heartbeats(self, start, database):
        def main(_run):
            for _ in range(2):
                _run.log_scalar("loss", math.nan)
                time.sleep(0.08)

        start(main)
        assert the_run(database)["info"]["sweep"]["nonfinite"] == {"loss": 2}
        assert database.metrics.count_documents({}) == 0

    def test_a_numpy_scalar_is_a_number(self, start, database):
        start(lambda _run: _run.log_scalar("loss", np.float32(0.5)))
        assert metric(database, "loss")["values"] == [0.5]

    def test_what_is_no_number_does_not_end_the_record(self, start, database):
        def main(_run):
            _run.log_scalar("odd", {"not": "a number"})
            _run.log_scalar("loss", 1.0)

        start(main)
        assert metric(database, "odd") is None
        assert metric(database, "loss")["values"] == [1.0]


def test_info_and_result_may_hold_anything(start, database):
    def main(_run):
        _run.info["array"] = np.array([1, 2])
        _run.info["a.b"] = {"huge": 2**70, "nul\0": np.float64(0.5)}
        return {"loss": np.float32(0.25), "odd": object}

    start(main)
    document = the_run(database)
    assert document["info"] == {"array": [1, 2], "a,b": {"huge": str(2**70), "nul": 0.5}}
    assert document["result"] == {"loss": 0.25, "odd": "<class 'object'>"}


def test_a_config_that_bson_refuses_is_stored_as_text(start, database):
    start(lambda big: None, big=2**70)
    assert the_run(database)["config"]["big"] == str(2**70)


def test_sources_are_stored_once(start, database):
    first = start(lambda: None)._id
    second = start(lambda: None)._id
    sources = [
        database.runs.find_one({"_id": run_id})["experiment"]["sources"]
        for run_id in (first, second)
    ]
    assert sources[0] == sources[1]
    ((name, file_id),) = sources[0]
    assert name.endswith("conftest.py")  # the file in which the experiment is made
    assert [file["_id"] for file in database.fs.files.find()] == [file_id]


def test_a_changed_source_is_stored_anew(start, database, tmp_path, make_experiment):
    source = tmp_path / "helper.py"
    experiment = make_experiment(lambda: None)
    for content in ("x = 1\n", "x = 2\n"):
        source.write_text(content)
        experiment.sources.clear()
        experiment.add_source_file(str(source))
        start(experiment)
    assert database.fs.files.count_documents({}) == 2


def test_ids_count_up(start, database):
    database.runs.insert_one({"_id": 41})
    assert [start(lambda: None)._id for _ in range(3)] == [42, 43, 44]


def test_observers_are_told_apart(start, database):
    one, other = (start(lambda: None).observers[0] for _ in range(2))
    assert one != other
    assert one == one
    assert len({one, other, one}) == 2
