"""Config files are data: nothing in them is run."""

import json

import pytest
import yaml
from sacred.config import load_config_file
from unit_inner import unit_ex

from sacred_ray_ingredient.config_files import read_config_file
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.nested import flat_updates

outer_ex = make_outer("outer_ex", unit_ex)
CALL = {
    "py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["touch ran"]}],
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return a function that writes a file into the folder in which all runs."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        (tmp_path / name).write_text(text)
        return name

    return write


def mistake(name):
    with pytest.raises(ConfigMistakes) as told:
        read_config_file(name)
    (sentence,) = told.value.mistakes
    return sentence


HARMFUL = {
    "value.json": json.dumps({"ray": {"exp_name": CALL}}),
    "in_a_list.json": json.dumps({"ray": {"envs": [1, [CALL]]}}),
    "top.json": json.dumps(CALL),
    "list.json": json.dumps([CALL]),
    "within_a_key.json": json.dumps({"ray": {f"json://{json.dumps(CALL)}": 1}}),
    "early.json": json.dumps({"config": {"lr": CALL}}),
    "twice.yaml": json.dumps({"ray": {"exp_name": CALL}}),
    "alias.yml": "ray: {exp_name: {py/object: os.system}}\na: &a {b: [*a]}\n",
    "apply.yaml": "ray: {exp_name: !!python/object/apply:os.system ['touch ran']}\n",
    "new.yaml": "ray: {exp_name: !!python/object/new:os.system ['touch ran']}\n",
    "name.yaml": "ray: {exp_name: !!python/name:os.system }\n",
    "tuple.yaml": "ray: {envs: !!python/tuple [a, b]}\n",
    "early.yaml": "config: {lr: !!python/object/apply:os.system ['touch ran']}\n",
}


class TestHarmfulFiles:
    @pytest.mark.parametrize("name", HARMFUL)
    def test_are_refused_with_a_sentence(self, file, tmp_path, name):
        sentence = mistake(file(name, HARMFUL[name]))
        assert sentence.startswith(f"The config file {name!r} has the ")
        assert sentence.endswith(
            " can run code when the file is read; write plain values, lists and mappings."
        )
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_are_named_by_what_is_harmful(self, file):
        assert " has the key 'py/reduce', and such keys " in mistake(
            file("value.json", HARMFUL["value.json"])
        )
        assert " has the tag '!!python/object/apply:os.system', and such tags " in mistake(
            file("apply.yaml", HARMFUL["apply.yaml"])
        )

    @pytest.mark.parametrize("name", HARMFUL)
    @pytest.mark.parametrize("command", ["print_config", "preview"])
    def test_never_get_to_sacred(self, file, tmp_path, capsys, name, command):
        argv = ["outer.py", "-u", "-l", "ERROR", command, "with", file(name, HARMFUL[name])]
        with pytest.raises(SystemExit, match=r"^2$"):
            outer_ex.run_commandline(argv)
        (sentence,) = capsys.readouterr().err.strip().splitlines()
        assert sentence.startswith(f"The config file {name!r} has the ")
        assert [path.name for path in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize("name", ["value.json", "within_a_key.json"])
    def test_run_code_when_sacred_reads_them(self, file, tmp_path, name):
        """Otherwise the other tests would show nothing."""
        load_config_file(file(name, HARMFUL[name]))
        assert (tmp_path / "ran").exists()

    @pytest.mark.parametrize("name", ["code.pickle", "code.pkl", "CODE.PICKLE"])
    def test_can_be_pickles(self, file, name):
        assert mistake(file(name, "{}")) == (
            f"The config file {name!r} is a pickle, which can run code when it is read; write YAML "
            "or JSON."
        )


class TestFiles:
    CONTENT = {  # noqa: RUF012
        "ray": {"search_space": {"lr": "uniform(0, 1)"}, "envs": ["a", None, 1.5, True]},
        "python": {"py": 1, "spy/object": 2, "json": "py/object"},
        "empty": {},
    }

    @pytest.mark.parametrize(
        ("name", "write"), [("a.json", json.dumps), ("a.yaml", yaml.safe_dump)]
    )
    def test_are_read_as_sacred_reads_them(self, file, name, write):
        file(name, write(self.CONTENT))
        assert read_config_file(name) == load_config_file(name) == self.CONTENT

    def test_can_have_aliases(self, file):
        name = file("a.yml", "a: &a {b: 1}\nc: [*a, *a]\nd: {<<: *a, e: 2}\n")
        assert read_config_file(name) == {
            "a": {"b": 1},
            "c": [{"b": 1}, {"b": 1}],
            "d": {"b": 1, "e": 2},
        }

    @pytest.mark.parametrize(
        ("name", "text", "reason"),
        [
            ("a.json", "{", "JSONDecodeError: "),
            ("a.yaml", "a: [", "ParserError: "),
            ("a.yaml", "a: !other 1", "ConstructorError: "),
            ("a.toml", "a = 1", "ValueError: '.toml' is not an extension that is known; "),
            ("a", "{}", "ValueError: '' is not an extension that is known; "),
            ("a.json", "[" * 100_000, "RecursionError: "),
        ],
    )
    def test_that_cannot_be_read_are_told(self, file, name, text, reason):
        assert mistake(file(name, text)).startswith(
            f"The config file {name!r} cannot be read: {reason}"
        )

    @pytest.mark.parametrize(("text", "shown"), [("[1]", "[1]"), ("3", "3"), ("", "None")])
    def test_hold_a_mapping(self, file, text, shown):
        assert mistake(file("a.yaml", text)) == (
            f"The config file 'a.yaml' holds {shown}; it must hold a mapping of entries."
        )


class TestUpdates:
    def test_can_be_none(self):
        raw = {"a": {"b": None, "c": 1}, "d.e": None}
        assert flat_updates(raw, "here") == ({"a.b": None, "a.c": 1, "d.e": None}, [])

    def test_of_none_contradict_others_too(self):
        _, (sentence,) = flat_updates({"a": None, "a.b": 1}, "here")
        assert sentence.startswith("here has both 'a' and 'a.b'")

    def test_within_a_value_stay(self):
        flat, _ = flat_updates({"a": {"choice": None}}, "here", lambda value: "choice" in value)
        assert flat == {"a": {"choice": None}}
