"""Runs that are made again from their documents, with a database in memory."""

import traceback
from pathlib import Path
from unittest import mock

import gridfs
import pytest
import rerun_inner

from sacred_ray_ingredient import recorded_code
from sacred_ray_ingredient.errors import ConfigMistakes, InnerImportError
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.documents import storable
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.recorded_run import parse_reference, read_run
from sacred_ray_ingredient.rerun import RerunRequest, rerun

SOURCE = Path(rerun_inner.__file__).read_bytes()
SWEEP = {"sweep_id": "sweep-1", "trial_index": 0, "segment": 0}


@pytest.fixture
def target(database, monkeypatch):
    monkeypatch.setattr(target_module, "database_at", lambda address: database)
    return RecordTarget(MongoAddress("mongodb://unit.test/", db_name="db"))


@pytest.fixture
def told():
    return []


@pytest.fixture
def again(target, told):
    """Return a function that runs a run of the database again."""

    def again(run_id=1, inner=None, **more):
        return rerun(RerunRequest(run_id, target, inner=inner, **more), told.append)

    return again


@pytest.fixture
def recorded(database):
    """Return a function that runs an experiment and stores what an observer would store."""

    def recorded(experiment, changes=(), metrics=None, **updates):
        logged = {}
        run = experiment._create_run(config_updates={"seed": 7, **updates})

        def log(name, value, step=None):
            points = logged.setdefault(name, [])
            points.append((len(points) if step is None else step, value))

        run._metrics.log_scalar_metric = log
        trace = None
        try:
            run()
        except Exception as error:
            trace = traceback.format_exception(error)
        finite = {name: points for name, points in logged.items() if name != "endless"}
        document = {
            "_id": 1,
            "status": run.status,
            "result": storable(run.result),
            "config": storable(run.config),
            "command": run.meta_info["command"],
            "experiment": {"name": experiment.path, "sources": []},
            "info": {"sweep": {"nonfinite": {"endless": 1} if "endless" in logged else {}}},
            "meta": {
                "sweep": dict(SWEEP),
                "options": {"--loglevel": "ERROR", "--file_storage": "somewhere"},
                "record": {"experiment": f"rerun_inner:{experiment.path}"},
            },
        }
        if trace is not None:
            document["fail_trace"] = trace
        for path, value in dict(changes).items():
            *above, last = path.split(".")
            level = document
            for name in above:
                level = level.setdefault(name, {})
            level[last] = value
        database.runs.insert_one(document)
        for name, points in (finite if metrics is None else metrics).items():
            steps, values = [step for step, _ in points], [value for _, value in points]
            database.metrics.insert_one(
                {"run_id": 1, "name": name, "steps": steps, "values": values}
            )
        return document

    return recorded


def test_the_same_code_config_and_seed_give_the_same_to_the_last_bit(recorded, again, told):
    document = recorded(rerun_inner.follows_config, rate=0.3)
    assert document["config"]["sizes"] == [0, 1, 2], "an array for the experiment"
    assert again() == 0
    assert told[0].startswith("Run 1 again: rerun_inner:follows_config, in /")
    assert told[1].endswith("again, to the last bit; 2 metrics, 6 values: all the same.")
    assert "was not recorded" in "\n".join(told)


def test_the_recorded_seed_and_derived_entries_are_taken_as_they_stand(recorded, again, told):
    recorded(rerun_inner.follows_config, {"config.doubled": 5.0})
    assert again() == 1
    assert "result.sum: " in told[2]


def test_another_seed_in_the_document_gives_another_result(recorded, again):
    recorded(rerun_inner.follows_config, {"config.seed": 8})
    assert again() == 1


def test_the_last_bit_of_a_metric_is_seen(recorded, again, told):
    recorded(rerun_inner.follows_config, metrics={"loss": [(0, 0.1), (10, 0.05), (20, 0.03)]})
    assert again() == 1
    text = "\n".join(told)
    assert "It came out differently:\n" in text
    assert "loss: 1 of 3 values differ" in text
    assert "noise: 3 of 3 values differ; the first: 0 values were recorded, 3 came now." in text


def test_what_the_result_depends_on_besides_its_config_is_pointed_at(
    recorded, again, told, database, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "number.txt").write_text("2")
    source = gridfs.GridFS(database).put(SOURCE)
    recorded(
        rerun_inner.reads_number, {"experiment.sources": [["rerun_inner.py", source]]}, point=3
    )
    (tmp_path / "number.txt").write_text("2.5")
    assert again() == 1
    text = "\n".join(told)
    assert "  result: 6.0 was recorded, 7.5 came now (difference 1.5).\n" in text
    assert "number: 1 of 1 values differ, by at most 0.5" in text
    assert "such as a file, the time, or random numbers without a seed" in text


def test_a_failure_that_comes_again_is_the_same(recorded, again, told):
    recorded(rerun_inner.fails)
    assert again() == 0
    assert told[1].startswith("failed again with ValueError: no such thing; 1 metric, 1 value")


def test_a_failure_that_is_new_is_shown_with_its_trace(recorded, again, told):
    recorded(rerun_inner.fails, {"status": "COMPLETED", "result": 1.0, "fail_trace": None})
    assert again() == 1
    text = "\n".join(told)
    assert "Traceback (most recent call last)" in text
    assert "status: COMPLETED was recorded, FAILED (ValueError: no such thing) came now." in text


STOPPED = {
    "status": "COMPLETED",
    "fail_trace": None,
    "info.sweep.stop_reason": "stopped by asha at step=2.",
    "config": {"seed": 1, "first": 0},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "INTERRUPTED", "info.sweep.stop_reason": None},
        {"status": "TIMEOUT", "info.sweep.stop_reason": None},
        {
            "status": "FAILED",
            "info.sweep.stop_reason": None,
            "fail_trace": ["the worker process died\n"],
        },
    ],
)
def test_a_trial_that_was_ended_is_compared_as_far_as_it_went(recorded, again, told, changes):
    points = {"height": [(0, 0.0), (1, 1 / 3), (2, 2 / 3)], "cost": [(0, 0), (1, -1)]}
    recorded(rerun_inner.goes_on, {**STOPPED, **changes}, metrics=points)
    assert again() == 0, told
    assert told[1] == "the result is not compared; 2 metrics, 5 values: all the same."
    assert told[2].startswith("The recorded run ended early (")


def test_a_value_before_the_end_that_differs_is_found(recorded, again):
    points = {"height": [(0, 0.0), (1, 0.3333)]}
    recorded(rerun_inner.goes_on, STOPPED, metrics=points)
    assert again() == 1


def test_an_ended_trial_without_values_cannot_be_compared(recorded, again):
    recorded(rerun_inner.goes_on, STOPPED, metrics={})
    with pytest.raises(ConfigMistakes, match="had logged nothing: there is nothing to compare"):
        again()


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"meta.sweep.segment": 2}, "went on from a checkpoint, as segment 2 of its trial"),
        ({"meta.sweep.taken_over": "state of trial 3"}, "replaced: state of trial 3"),
        ({"meta.sweep.restored": "x"}, "it went on from a checkpoint"),
    ],
)
def test_a_run_that_went_on_is_compared_from_its_first_step(recorded, again, told, changes, note):
    points = {"height": [(5, 5 / 3), (6, 6 / 3)], "cost": [(5, -5), (6, -6)]}
    recorded(rerun_inner.goes_on, {**STOPPED, **changes}, metrics=points)
    assert again() == 0, told
    assert note in told[3]


def test_a_metric_in_several_documents_is_one(recorded, database, target):
    recorded(rerun_inner.follows_config, metrics={"a (part 2)": [(0, 9)]})
    parts = {"loss": [(0, 1)], "loss (part 10)": [(2, 3)], "loss (part 2)": [(1, 2)]}
    for name, points in parts.items():
        steps, values = zip(*points, strict=True)
        document = {"run_id": 1, "name": name, "steps": list(steps), "values": list(values)}
        database.metrics.insert_one(document)
    metrics = read_run(database, "runs", 1, "here").outcome.metrics
    assert metrics == {"loss": [(0, 1), (1, 2), (2, 3)], "a (part 2)": [(0, 9)]}


def test_entries_that_the_code_no_longer_has_are_given_all_the_same(recorded, again, told):
    recorded(rerun_inner.fails, {"config": {"seed": 7, "old_entry": 2, "message": "no such thing"}})
    assert again() == 0
    assert "The configuration is another one now" not in "\n".join(told)


def test_an_entry_that_is_new_since_is_noted(recorded, again, told):
    recorded(rerun_inner.fails, {"config": {"seed": 7}})
    assert again() == 0
    note = "The configuration is another one now: message is 'no such thing', and was not there."
    assert note in told


def test_what_the_record_does_not_have_as_it_was_is_noted(recorded, again, told):
    recorded(rerun_inner.fails, {"info.sweep.left_out": ["config.x: stored as text"]})
    again()
    assert "Of the record: config.x: stored as text" in told


def test_text_of_the_database_cannot_control_the_terminal(recorded, again, told):
    recorded(rerun_inner.fails, {"info.sweep.left_out": ["\x1b[2Jgone"]})
    again()
    assert "\x1b" not in "".join(told)
    assert "Of the record: \\x1b[2Jgone" in told


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"status": "RUNNING"}, "Run 1 is RUNNING: only a run that has ended can be compared"),
        ({"meta.sweep": {"sweep_id": "sweep-1"}}, "Run 1 is a sweep; what can be run again"),
        ({"config": None}, "Run 1 has no config in its document"),
        ({"meta.record": {}}, "does not say where its experiment 'fails' is: name it with"),
        ({"meta.record.experiment": "os.system"}, "'os.system' does not say where an experiment"),
        ({"meta.record.experiment": "/tmp/evil.py:ex"}, "is not in the current folder: go to"),
    ],
)
def test_a_run_that_cannot_be_run_again_is_refused_with_a_sentence(
    recorded, again, changes, sentence
):
    recorded(rerun_inner.fails, changes)
    with pytest.raises(ConfigMistakes, match=sentence.replace("(", r"\(")) as refused:
        again()
    assert refused.value.exit_code == 2


def test_the_trials_of_a_sweep_are_named(recorded, again, database):
    recorded(rerun_inner.fails, {"meta.sweep": {"sweep_id": "sweep-1"}})
    database.runs.insert_one({"_id": 5, "meta": {"sweep": SWEEP}})
    with pytest.raises(ConfigMistakes, match=r"its trials, such as 5\."):
        again()


@pytest.mark.parametrize("wrong", ["no_such_module_here:ex", "rerun_inner:itertools"])
def test_what_is_no_experiment_is_not_run(recorded, again, wrong):
    recorded(rerun_inner.fails, {"meta.record.experiment": wrong})
    with pytest.raises(InnerImportError, match="cannot be"):
        again()


def test_an_unknown_id_names_the_newest(again, database):
    with pytest.raises(ConfigMistakes, match=r"no run 9 in unit.test:27017, .*; there are no runs"):
        again(9)
    database.runs.insert_many([{"_id": number} for number in range(1, 9)])
    for wrong in (9, 2**70):
        with pytest.raises(ConfigMistakes, match=rf"no run {wrong} .*newest are 8, 7, 6, 5, 4\."):
            again(wrong)
    with pytest.raises(ConfigMistakes, match="is a whole number, not 'abc'; the newest are 8"):
        again("abc")


def test_the_experiment_at_hand_is_taken_where_the_document_names_none(recorded, again):
    recorded(rerun_inner.follows_config, {"meta.record": {}})
    assert again(inner=rerun_inner.follows_config) == 0
    with pytest.raises(ConfigMistakes, match="'follows_config' is, and this is 'fails': name it"):
        again(inner=rerun_inner.fails)


def test_the_experiment_that_the_document_names_is_taken_else(recorded, again):
    recorded(rerun_inner.follows_config)
    assert again(inner=rerun_inner.fails) == 0


def test_an_experiment_that_the_user_names_is_taken_in_any_case(recorded, again, told):
    recorded(rerun_inner.follows_config)
    assert again(inner=rerun_inner.fails, is_named=True) == 1
    assert told[0].startswith("Run 1 again: rerun_inner:fails, in ")


def test_the_reference_of_the_sweep_serves_too(recorded, again):
    changes = {"meta.record": {}, "meta.sweep.experiment": "rerun_inner:follows_config"}
    recorded(rerun_inner.follows_config, changes)
    assert again() == 0


def test_the_recorded_command_is_run(recorded, again, told):
    changes = {"command": "other", "result": "other", "info": {}}
    recorded(rerun_inner.follows_config, changes, metrics={})
    assert again() == 0, told


def test_nothing_is_recorded_unless_asked(recorded, again, database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorded(rerun_inner.follows_config)
    assert again() == 0
    assert database.runs.count_documents({}) == 1
    assert list(tmp_path.iterdir()) == [], "the file storage of the record's options"


def test_observers_of_the_experiment_hear_of_it_only_where_it_is_recorded(
    recorded, again, monkeypatch
):
    recorded(rerun_inner.follows_config)
    observer = mock.Mock(priority=0)
    monkeypatch.setattr(rerun_inner.follows_config, "observers", [observer])
    assert again() == 0
    assert observer.method_calls == []


def test_where_it_is_recorded_is_not_for_the_database_to_say(
    recorded, again, told, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    observed = []
    monkeypatch.setattr(
        RecordTarget, "observe", lambda self, run, **given: observed.append((self, run, given))
    )
    recorded(rerun_inner.follows_config)
    assert again(record=True) == 0
    ((target, run, given),) = observed
    assert given == {"extra_tags": ["rerun"], "name": "rerun"}
    assert target.about["experiment"] == "rerun_inner:follows_config"
    assert run.meta_info["rerun_of"] == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["a.b:c", "a:c"])
def test_a_module_is_named_by_its_dotted_name(text):
    reference = parse_reference(text)
    assert (str(reference), reference.script) == (text, None)


def test_a_script_is_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(parse_reference("my.py:ex")) == f"{tmp_path}/my.py:ex"
    assert parse_reference("/x/my.py:ex").script == "/x/my.py"


@pytest.mark.parametrize(
    "text", ["", "a", "a:", ":a", "a:b.c", "a b:c", "../x:c", "a:b()", "a..b:c"]
)
def test_other_text_names_no_experiment(text):
    with pytest.raises(ConfigMistakes, match="does not say where an experiment is"):
        parse_reference(text)


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"resources": {"CPU": 2.5}}, [(2, False)]),
        ({"resources": {"CPU": 0.5}}, [(1, False)]),
        ({"resources": {"CPU": 2.0}, "threads": "3"}, [(3, True)]),
        ({}, []),
    ],
)
def test_the_process_gets_the_threads_of_the_trial(recorded, again, sweep, expected):
    asked = []
    recorded(rerun_inner.fails, {"info.sweep": sweep})
    again(restart=lambda *given: asked.append(given))
    assert asked == expected


def test_threads_that_are_other_are_noted(recorded, again, told, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    recorded(rerun_inner.fails, {"info.sweep.threads": "1"})
    again()
    assert any("used 1 thread for numerical libraries; this process uses 4" in x for x in told)


class TestCode:
    def test_changed_and_missing_sources_are_named(self, recorded, again, told, database):
        files = gridfs.GridFS(database)
        old, same = files.put(b"old"), files.put(SOURCE)
        sources = [["rerun_inner.py", same], ["unit_inner.py", old], ["gone.py", old]]
        recorded(rerun_inner.fails, {"experiment.sources": sources})
        assert again() == 0
        code = told[told.index("Code:") + 1 :]
        assert code == ["  unit_inner.py has changed", "  gone.py is gone"]

    def test_the_archive_is_compared_where_there_is_one(
        self, recorded, again, told, database, monkeypatch
    ):
        from sacred_ray_ingredient import frozen_code

        compared = []
        monkeypatch.setattr(frozen_code.FrozenCode, "from_archive", lambda archive: archive)
        monkeypatch.setattr(frozen_code, "freeze", str)
        monkeypatch.setattr(
            frozen_code, "differences", lambda *both: compared.append(both) or ["x.py has changed"]
        )
        recorded(
            rerun_inner.fails, {"meta.sweep.code": gridfs.GridFS(database).put(b"the archive")}
        )
        again()
        assert compared == [(b"the archive", "rerun_inner:fails")]
        assert told[-2:] == ["Code:", "  x.py has changed"]

    @pytest.mark.parametrize("code_id", ["no id", "0" * 24, 5])
    def test_an_archive_that_is_not_there_is_told(self, recorded, again, told, code_id):
        recorded(rerun_inner.fails, {"meta.sweep.code": code_id})
        again()
        assert "  The code of this run was not recorded, so that it cannot be compared." in told


class TestWritingCode:
    @pytest.fixture
    def document(self, database):
        file_id = gridfs.GridFS(database).put(b"content")
        return {"_id": 3, "experiment": {"sources": [["a.py", file_id], ["b/c.py", file_id]]}}

    def test_sources_are_written_to_a_new_folder(self, database, document, tmp_path):
        written = recorded_code.write_code(database, document, tmp_path / "new")
        assert written == (2, "the sources that Sacred found")
        assert (tmp_path / "new" / "b" / "c.py").read_bytes() == b"content"
        assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2

    @pytest.mark.parametrize("name", ["../x.py", "/x.py", "a/../../x.py", "a\\x.py", "", "."])
    def test_a_path_that_leaves_the_folder_is_refused(self, database, document, tmp_path, name):
        document["experiment"]["sources"][1][0] = name
        with pytest.raises(ConfigMistakes, match=r"which would be outside of .*nothing is written"):
            recorded_code.write_code(database, document, tmp_path / "new")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_in_use_is_refused(self, database, document, tmp_path):
        (tmp_path / "mine").write_text("x")
        for folder in (tmp_path, tmp_path / "mine"):
            with pytest.raises(ConfigMistakes, match="is there already; give the name of a new"):
                recorded_code.write_code(database, document, folder)
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_an_empty_folder_will_do(self, database, document, tmp_path):
        recorded_code.write_code(database, document, tmp_path)
        assert (tmp_path / "a.py").exists()

    def test_without_code_that_is_said(self, database, tmp_path):
        with pytest.raises(ConfigMistakes, match="The code of run 3 was not recorded"):
            recorded_code.write_code(database, {"_id": 3, "experiment": {}}, tmp_path / "new")

    def test_a_folder_that_cannot_be_made_is_said(self, database, document, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigMistakes, match=r"new cannot be written \(Not a directory\)"):
            recorded_code.write_code(database, document, tmp_path / "file" / "new")

    def test_the_archive_wins(self, database, document, tmp_path):
        from sacred_ray_ingredient.frozen_code import freeze

        code = freeze(parse_reference("rerun_inner:fails"))
        archive = gridfs.GridFS(database).put(code.to_archive())
        document["meta"] = {"sweep": {"code": archive}}
        count, what = recorded_code.write_code(database, document, tmp_path / "new")
        assert (count, what) == (len(code.files()), "the project's modules")
        written = {path.read_bytes() for path in (tmp_path / "new").rglob("rerun_inner.py")}
        assert written == {SOURCE}


class TestSurroundings:
    def test_packages_with_other_versions_are_named_whatever_their_spelling(self):
        notes = recorded_code.package_notes(
            ["A_b==1.0", "c==2", "d==1"], ["a-B==1.0", "c==3", "e==1"]
        )
        assert notes == ["c: 2 then, 3 now", "d: 1 then, not installed now"]

    def test_one_of_several_installed_versions_will_do(self):
        assert recorded_code.package_notes(["a==1", "a==2"], ["a==2", "a==1"]) == []
        notes = recorded_code.package_notes(["a==1", "a==2"], ["a==2"])
        assert notes == ["a: 1 then, 2 now"]

    def test_what_ray_brings_to_its_workers_is_not_taken_for_a_change(self, database):
        vendored = recorded_code._packages_in_ray()
        assert vendored
        database.environments.insert_one({"_id": "e", "distributions": vendored})
        document = {"meta": {"record": {"environment": "e"}}}
        assert recorded_code.environment_notes(database, document) == []

    def test_of_many_packages_ten_are_named(self):
        notes = recorded_code.package_notes([f"p{number:02}==1" for number in range(15)], [])
        assert len(notes) == 11
        assert notes[-1] == "and 5 packages more"

    def test_python_and_processor_are_compared(self, database):
        database.environments.insert_one({"_id": "e", "python": "2.7.1", "distributions": []})
        database.environments.insert_one({"_id": "n", "cpu": "abacus"})
        document = {"meta": {"record": {"environment": "e"}}, "host": {"node": "n"}}
        python, processor = recorded_code.environment_notes(database, document)
        assert python.startswith("Python: 2.7.1 then, 3.")
        assert processor.startswith("processor: abacus then, ")

    def test_what_is_not_recorded_is_not_compared(self, database):
        assert recorded_code.environment_notes(database, {}) == []

    def test_they_are_shown_where_something_differs_and_only_there(
        self, recorded, again, told, database
    ):
        database.environments.insert_one({"_id": "e", "distributions": ["no-such-package==1"]})
        changes = {"meta.record.environment": "e"}
        recorded(rerun_inner.follows_config, changes)
        assert again() == 0
        assert "Surroundings:" not in told
        database.runs.update_one({"_id": 1}, {"$set": {"result": 0}})
        assert again() == 1
        assert told[-1] == "  no-such-package: 1 then, not installed now"
