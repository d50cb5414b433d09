"""What a journal says, as the document that the database is to have."""

import datetime
import json

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacred_ray_ingredient.record import run_state
from sacred_ray_ingredient.record.lines import decode_lines, encode
from sacred_ray_ingredient.record.run_state import RunState, metric_id, object_id

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
LATER = datetime.datetime(2026, 1, 2, 3, 5)
SERVER_LIMIT = 16 * 2**20
FILE = "a" * 24


def start(**entries):
    content = {
        **{"experiment": {"name": "x", "sources": [["x.py", FILE]]}, "command": "main"},
        **{"host": {"hostname": "here"}, "config": {"seed": 1}, "start_time": AT, "tags": ["a"]},
        **{"meta": {"record": {"journal": "abc"}}, "notes": []},
    }
    return ("start", {**content, **entries})


def beat(**entries):
    return ("beat", {"time": LATER, "notes": [], **entries})


def end(status="COMPLETED", **entries):
    return ("end", {"status": status, "time": LATER, "notes": [], **entries})


def scalar(value, step=0, name="loss"):
    return ("scalar", [name, step, value, AT])


def folded(*events):
    """Return the state of these events, as a reader of their lines has it."""
    state = RunState()
    state.apply(decode_lines(b"".join(encode(*event) for event in events))[0])
    return state


def whole(state):
    series = {
        name: (each.steps, each.values, each.timestamps) for name, each in state.series.items()
    }
    others = (state.files, state.documents, state.amendments, state.tags, state.full_output)
    return (state.started and state.document(), state.status, series, others)


def left_out(document):
    return document["info"]["sweep"]["left_out"]


def test_a_run_that_has_begun_is_a_document_of_sacred():
    state = folded(start())
    assert state.document() == {
        **{"experiment": {"name": "x", "sources": [["x.py", bson.ObjectId(FILE)]]}},
        **{"command": "main", "host": {"hostname": "here"}, "config": {"seed": 1}},
        **{"start_time": AT, "meta": {"record": {"journal": "abc"}}, "status": "RUNNING"},
        **{"resources": [], "artifacts": [], "captured_out": "", "info": {}, "result": None},
        **{"heartbeat": None},
    }
    assert state.tags == ["a"]
    assert not state.has_ended


def test_beats_bring_output_info_and_result():
    state = folded(start(), beat(out=[0, "one\n"], info={"a": 1}), beat(out=[4, "two\n"], result=3))
    document = state.document()
    assert (document["captured_out"], document["info"]) == ("one\ntwo\n", {"a": 1})
    assert (document["result"], document["heartbeat"]) == (3, LATER)


def test_output_that_was_rewritten_is_as_it_was_at_last():
    state = folded(start(), beat(out=[0, "10 %"]), beat(out=[0, "20 %"]))
    assert state.document()["captured_out"] == "20 %"


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "INTERRUPTED", "TIMEOUT"])
def test_the_first_end_is_final(status):
    other = end("FAILED", reason="The driver did not hear of it.", trace=["x"], tags=["dead"])
    state = folded(start(), end(status, result=5), other)
    document = state.document()
    assert (state.status, document["status"]) == (status, status)
    assert (document["result"], document["stop_time"]) == (5, LATER)
    assert "fail_trace" not in document
    assert document["info"] == {}
    assert state.tags == ["a"]


def test_an_end_that_others_wrote_says_why():
    reason = "The driver process died before the sweep ended."
    document = folded(start(), end("INTERRUPTED", reason=reason, trace=[reason])).document()
    assert document["info"]["sweep"]["stop_reason"] == reason
    assert document["fail_trace"] == [reason]


def test_entries_that_are_set_come_on_top_of_what_the_run_says():
    fields = {"info.sweep.node": "here", "meta.sweep": {"sweep_id": "s"}}
    state = folded(
        start(), ("set", {"fields": fields, "tags": ["b"]}), beat(info={"sweep": {"pid": 3}})
    )
    document = state.document()
    assert document["info"]["sweep"] == {"pid": 3, "node": "here"}
    assert document["meta"] == {"record": {"journal": "abc"}, "sweep": {"sweep_id": "s"}}
    assert state.tags == ["a", "b"]


def test_files_documents_and_amendments_are_kept_in_order():
    events = [
        ("file", {"id": FILE, "digest": "d"}),
        ("document", {"collection": "environments", "id": "e", "content": {}}),
        ("amend", {"kind": "died", "index": 3}),
        ("file", {"id": "b" * 24, "digest": "e"}),
        ("artifact", {"name": "weights", "id": FILE}),
        ("resource", ["/data", "d"]),
        ("resource", ["/data", "d"]),
    ]
    state = folded(start(), *events)
    assert [file["digest"] for file in state.files] == ["d", "e"]
    assert [each["id"] for each in state.documents] == ["e"]
    assert state.amendments == [{"kind": "died", "index": 3}]
    document = state.document()
    assert document["artifacts"] == [{"name": "weights", "file_id": bson.ObjectId(FILE)}]
    assert document["resources"] == [["/data", "d"]]


def test_documents_are_of_the_collection_of_environments_only():
    def document(collection):
        return ("document", {"collection": collection, "id": "e", "content": {"x": 1}})

    others = [
        document(name) for name in ("runs", "metrics", "fs.files", "", None, ["environments"])
    ]
    state = folded(*others, start(), *others, ("document", {"id": "e", "content": {}}))
    assert state.documents == []
    assert len(folded(document("environments")).documents) == 1


def test_all_events_are_counted():
    state = folded(start(), scalar(1.0), ("novelty", 7), end())
    assert state.events == 4
    state.apply([("note", "x")])
    assert state.events == 5


def test_kinds_that_are_not_known_are_left_out():
    assert whole(folded(start(), ("novelty", 7), ("", {}), end())) == whole(folded(start(), end()))


class TestMetrics:
    def test_have_a_last_value_each(self):
        events = [scalar(0.5), scalar(3, name="count"), scalar(0.25), scalar(True, name="flag")]
        state = folded(start(), *events, scalar(float("nan")), scalar("text"))
        assert state.last == {"loss": 0.25, "count": 3, "flag": 1}
        state.series["loss"].drop_until(2)
        assert state.last["loss"] == 0.25

    def test_have_one_last_value_in_several_documents(self, monkeypatch):
        monkeypatch.setattr(run_state, "POINTS_PER_DOCUMENT", 3)
        assert folded(start(), *(scalar(n, n) for n in range(8))).last == {"loss": 7}

    @pytest.mark.parametrize(
        ("name", "key"),
        [("a.b", "a,b"), ("$loss", "@loss"), ("lo\0ss", "loss"), ("x\ud800", "x\\ud800")],
    )
    def test_that_are_not_finite_are_counted_under_names_that_bson_takes(self, name, key):
        document = folded(start(), scalar(float("nan"), name=name)).document()
        assert document["info"]["sweep"]["nonfinite"] == {key: 1}
        bson.encode(document)

    def test_are_series_with_their_steps_and_times(self):
        state = folded(start(), scalar(0.5, 1), scalar(0.25, 2), scalar(True, 0, "flag"))
        assert (state.series["loss"].steps, state.series["loss"].values) == ([1, 2], [0.5, 0.25])
        assert state.series["loss"].timestamps == [AT, AT]
        assert state.series["flag"].values == [1]
        assert type(state.series["flag"].values[0]) is int

    def test_have_links_in_the_info(self):
        document = folded(start(), scalar(0.5)).document()
        assert document["info"]["metrics"] == [{"name": "loss", "id": metric_id("abc", "loss")}]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_that_are_not_finite_are_counted(self, value):
        document = folded(start(), scalar(value), scalar(1.0), scalar(value)).document()
        assert document["info"]["sweep"] == {"nonfinite": {"loss": 2}}

    @pytest.mark.parametrize("value", ["array([1, 2])", None, [1], {"a": 1}])
    def test_that_are_no_numbers_are_noted(self, value):
        state = folded(start(), scalar(value, 4), scalar(1.0))
        (note,) = left_out(state.document())
        assert note == f"metric 'loss', step 4: {value} is no number and left out"
        assert state.series["loss"].values == [1.0]

    def test_that_are_too_long_for_a_document_go_on_in_others(self, monkeypatch):
        monkeypatch.setattr(run_state, "POINTS_PER_DOCUMENT", 3)
        events = [scalar(n, n) for n in range(8)]
        state = folded(start(), *events[:4], scalar(0, 0, "other"), *events[4:])
        found = {name: each.values for name, each in state.series.items()}
        assert found == {
            **{"loss": [0, 1, 2], "loss (part 2)": [3, 4, 5], "loss (part 3)": [6, 7]},
            "other": [0],
        }
        (note,) = left_out(state.document())
        assert note.startswith("metric 'loss' has more points than a document can hold")
        names = [link["name"] for link in state.document()["info"]["metrics"]]
        assert names == ["loss", "loss (part 2)", "other", "loss (part 3)"]

    def test_that_were_shipped_count_for_the_length_of_a_part(self, monkeypatch):
        monkeypatch.setattr(run_state, "POINTS_PER_DOCUMENT", 3)
        state = folded(start(), scalar(0), scalar(1))
        state.series["loss"].drop_until(2)
        state.apply([scalar(2), scalar(3)])
        assert (state.series["loss"].total, state.series["loss"].values) == (3, [2])
        assert state.series["loss (part 2)"].values == [3]

    def test_of_a_million_points_fit_into_documents(self):
        state = RunState()
        state.apply([start()])
        state.apply(scalar(0.5, step) for step in range(10**6))
        assert [each.total for each in state.series.values()] == [200_000] * 5
        longest = max(state.series.values(), key=lambda each: each.total)
        fields = {"steps": longest.steps, "values": longest.values, "t": longest.timestamps}
        assert len(bson.encode(fields)) < 0.75 * SERVER_LIMIT

    def test_drop_what_was_shipped_once_however_often_it_is_said(self):
        series = folded(start(), *(scalar(n, n) for n in range(5))).series["loss"]
        for count in (2, 2, 1, 0):
            series.drop_until(count)
            assert (series.shipped, series.values, series.total) == (2, [2, 3, 4], 5)
        series.drop_until(99)
        assert (series.values, series.steps, series.timestamps, series.total) == ([], [], [], 5)


class TestTooMuchForADocument:
    def test_of_output_is_cut_in_the_middle(self):
        output = "first line\n" + "x" * (5 * 2**20) + "\nlast line\n"
        state = folded(start(), beat(out=[0, output]))
        shown = state.document()["captured_out"]
        assert shown.startswith("first line\n")
        assert shown.endswith("\nlast line\n")
        assert "characters left out ...]" in shown
        assert len(shown) < 2**20
        assert state.full_output == output
        assert left_out(state.document())[0].startswith("captured_out: 5,242,902 characters are ")

    def test_of_short_output_is_nothing(self):
        state = folded(start(), beat(out=[0, "x" * (2 * 2**20)]))
        assert state.full_output is None
        assert len(state.document()["captured_out"]) == 2 * 2**20

    def test_of_all_at_once_leaves_a_document_that_the_server_takes(self):
        text = "x" * (17 * 2**20)
        many = {f"entry{n}": "y" * 100 for n in range(150_000)}
        meta = {"record": {"journal": "abc"}, "comment": text}
        state = folded(
            start(config={"seed": 1, "text": text}, meta=meta),
            beat(info={"kept": 1, "many": many}, out=[0, "\U0001f600" * (2 * 2**20)]),
            end("FAILED", result={"loss": 0.5, "text": text}, trace=[text, "ValueError: x\n"]),
        )
        document = state.document()
        assert len(bson.encode({"_id": 1, **document})) < SERVER_LIMIT
        assert document["config"]["seed"] == 1
        assert document["info"]["kept"] == 1
        assert document["result"]["loss"] == 0.5
        assert document["meta"]["record"] == {"journal": "abc"}
        notes = " ".join(left_out(document))
        parts = ("config.text: ", "info.many: ", "result.text: ", "meta.comment: ", "fail_trace.0")
        for part in (*parts, "captured_out: "):
            assert part in notes

    @pytest.mark.parametrize("part", ["host", "experiment"])
    def test_of_host_or_experiment_is_cut(self, part):
        known = dict(start()[1][part])
        state = folded(start(**{part: {**known, "text": "x" * (17 * 2**20)}}))
        document = state.document()
        assert len(bson.encode({"_id": 1, **document})) < SERVER_LIMIT / 8
        assert known.keys() <= document[part].keys()
        name = next(key for key in ("hostname", "name") if key in known)
        assert document[part][name] == known[name]
        assert left_out(document)[0].startswith(f"{part}.text: text of 17,825,")

    @pytest.mark.parametrize("part", ["info", "meta", "config", "host", "experiment", "result"])
    def test_of_what_is_set_afterwards_is_cut(self, part):
        fields = {f"{part}.text": "x" * (17 * 2**20), f"{part}.short": 1}
        document = folded(start(), beat(result={}), ("set", {"fields": fields})).document()
        assert len(bson.encode({"_id": 1, **document})) < SERVER_LIMIT
        assert document[part]["short"] == 1
        assert any(note.startswith(f"{part}.text: ") for note in left_out(document))

    def test_of_each_part_at_once_leaves_a_document_that_the_server_takes(self):
        text = "x" * (17 * 2**20)
        parts = ("info", "meta", "config", "host", "experiment", "result")
        fields = {f"{part}.text": text for part in parts}
        output, names = "y" * (3 * 2**20), [f"{n} {'x' * 1000}" for n in range(2_000)]
        values = [scalar(v, name=name) for name in names for v in (1.0, float("nan"))]
        events = [beat(result={}, out=[0, output]), *values, ("set", {"fields": fields})]
        events += [("artifact", {"name": "z" * 2**20, "id": FILE}), ("resource", [text, "d"])]
        document = folded(start(), *events, end("FAILED", trace=[text])).document()
        assert len(bson.encode({"_id": 1, **document})) < SERVER_LIMIT

    def test_of_many_middling_entries_leaves_the_id_of_the_record(self):
        meta = {"record": {"journal": "abc"}, **{f"x{n}": "y" * 50_000 for n in range(100)}}
        document = folded(start(meta=meta)).document()
        assert document["meta"]["record"] == {"journal": "abc"}
        meta = {**{f"x{n}": "y" * 50_000 for n in range(100)}, "record": {"journal": "abc"}}
        document = folded(start(meta=meta)).document()
        assert document["meta"]["record"] == {"journal": "abc"}

    def test_of_notes_is_cut_too(self):
        notes = [f"{number} {'long ' * 2**15}" for number in range(200)]
        document = folded(start(notes=notes)).document()
        assert len(bson.encode(document)) < 2**17
        assert left_out(document)[-1] == "(and 150 more)"

    def test_of_artifacts_and_resources_is_cut_too(self):
        name = "x" * 1000
        events = [("artifact", {"name": f"{n} {name}", "id": FILE}) for n in range(20_000)]
        document = folded(start(), *events, ("resource", ["/x" * 2**24, "d"])).document()
        assert len(bson.encode(document)) < SERVER_LIMIT / 4
        first = {"name": f"0 {name}", "file_id": bson.ObjectId(FILE)}
        assert document["artifacts"][0] == first
        notes = [note.partition(":")[0] for note in left_out(document)]
        assert notes == ["artifacts", "resources.0.0"]

    def test_of_names_of_metrics_is_cut_too(self):
        names = [f"{n} {'x' * 1000}" for n in range(10_000)]
        events = [scalar(value, name=name) for name in names for value in (1.0, float("nan"))]
        document = folded(start(), *events).document()
        assert len(bson.encode(document)) < SERVER_LIMIT / 4
        assert document["info"]["metrics"][0]["name"] == names[0]
        assert document["info"]["sweep"]["nonfinite"][names[0]] == 1
        notes = [note.partition(":")[0] for note in left_out(document)]
        assert notes == ["info.metrics", "info.sweep.nonfinite"]


def test_notes_are_told_once():
    state = folded(start(notes=["a"]), beat(notes=["a", "b"]), ("note", "b"), end(notes=["c"]))
    assert left_out(state.document()) == left_out(state.document()) == ["a", "b", "c"]


def test_ids_are_made_of_what_they_are_of():
    assert object_id("a", "b") == object_id("a", "b")
    assert len({object_id("a", "b"), object_id("ab"), object_id("a", "b", ""), object_id("b")}) == 4
    assert bson.ObjectId.is_valid(object_id("half of a character \ud800"))


NAMES = st.sampled_from(["loss", "accuracy"])
NUMBERS = st.one_of(st.integers(-5, 5), st.floats(), st.booleans(), st.text(max_size=3))
EVENTS = st.lists(
    st.one_of(
        st.builds(scalar, NUMBERS, st.integers(0, 9), NAMES),
        st.builds(
            lambda offset, text, info: beat(out=[offset, text], info=info),
            *(st.integers(0, 6), st.text("ab\n", max_size=4)),
            st.dictionaries(
                st.sampled_from(["a", "sweep", "metrics"]), st.integers(0, 9), max_size=2
            ),
        ),
        st.builds(lambda result: beat(result=result), st.integers(0, 9)),
        st.builds(
            lambda tags: ("set", {"fields": {"info.x.y": len(tags)}, "tags": tags}),
            st.lists(st.sampled_from("bc"), max_size=2),
        ),
        st.builds(lambda sentence: ("note", sentence), st.text("xyz", max_size=2)),
        st.builds(lambda name: ("artifact", {"name": name, "id": FILE}), NAMES),
        st.builds(lambda digest: ("file", {"id": FILE, "digest": digest}), NAMES),
        st.builds(lambda name: ("resource", [name, "d"]), NAMES),
        st.builds(end, st.sampled_from(["COMPLETED", "FAILED"])),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(EVENTS, st.data())
def test_pieces_say_the_same_as_the_whole(events, data):
    lines = [encode(*event) for event in [start(), *events]]
    at_once, in_pieces = RunState(), RunState()
    at_once.apply(decode_lines(b"".join(lines))[0])
    while lines:
        length = data.draw(st.integers(1, len(lines)))
        in_pieces.apply(decode_lines(b"".join(lines[:length]))[0])
        in_pieces.document()  # reading it changes nothing
        del lines[:length]
    assert repr(whole(in_pieces)) == repr(whole(at_once))
    bson.encode(at_once.document())


@given(EVENTS)
def test_after_the_end_only_additions_change_the_status(events):
    state = folded(start(), end("TIMEOUT"), *events)
    assert (state.status, state.document()["status"]) == ("TIMEOUT", "TIMEOUT")


def test_a_journal_is_text_that_others_can_read():
    assert json.loads(encode("scalar", ["loss", 0, 1.5, AT])) == [
        "scalar",
        ["loss", 0, 1.5, {"$date": "2026-01-02T03:04:05"}],
    ]
