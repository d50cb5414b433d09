"""The command line of an outer experiment: sentences and exit codes."""

import json
import subprocess
import sys

import pytest
from sacred.run import Run
from unit_inner import unit_ex

from sacred_ray_ingredient.command_line import run_commandline
from sacred_ray_ingredient.ingredient import make_outer
from sacred_ray_ingredient.interruption import SweepInterrupted

outer_ex = make_outer("outer_ex", unit_ex)


@pytest.fixture
def refusal(capsys, monkeypatch, tmp_path):
    """Return a function that runs a command line and gives its exit code and what it wrote."""
    monkeypatch.chdir(tmp_path)

    def refusal(*argv, outer=outer_ex):
        with pytest.raises(SystemExit, match=r"^\d+$") as caught:
            outer.run_commandline(["outer.py", "-u", "-l", "ERROR", *argv])
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return caught.value.code, error.strip().splitlines()

    return refusal


@pytest.fixture
def outer_with_main():
    """Return a function that makes an outer experiment with a main in the place of the sweep."""

    def make(main):
        outer = make_outer("outer_with_main", unit_ex)
        outer.sweep_command = None
        outer.command(main, unobserved=True)
        return outer

    return make


class TestRefusals:
    """Exit code 2 and sentences; nothing has been started."""

    def test_nothing_to_search(self, refusal):
        code, (sentence,) = refusal()
        assert code == 2
        assert sentence.startswith("There is nothing to search: choose a named config (dependent_")

    def test_unknown_named_config(self, refusal):
        code, (sentence,) = refusal("with", "multi_env_evl")
        assert code == 2
        assert sentence.startswith(
            "There is no named config or config file 'multi_env_evl' (did you mean 'multi_env_eval'"
        )
        assert "unit_ex.fast" in sentence

    def test_missing_config_file(self, refusal):
        code, (sentence,) = refusal("with", "missing.json")
        assert code == 2
        assert sentence.startswith("There is no named config or config file 'missing.json'")

    def test_several_unknown_named_configs(self, refusal):
        code, lines = refusal("with", "one", "two")
        assert code == 2
        assert lines[0] == "2 mistakes in the configuration:"
        assert len(lines) == 3

    def test_unknown_entry_of_the_outer(self, refusal):
        code, lines = refusal("with", "sead=3", "ray.search_space.lr=[1, 2]")
        assert code == 2
        assert lines == ["sead is not an entry of the configuration (did you mean 'seed'?)."]

    def test_unknown_entry_of_the_ingredient(self, refusal):
        code, lines = refusal("with", "ray.num_sample=3", "ray.search_space.lr=[1, 2]")
        assert code == 2
        assert lines == [
            "ray.num_sample is not an entry of the ray ingredient (did you mean 'num_samples'?)."
        ]

    def test_unknown_entry_of_the_inner(self, refusal):
        code, lines = refusal("with", "unit_ex.bas_lr=3", "ray.search_space.lr=[1, 2]")
        assert code == 2
        assert lines == [
            "unit_ex.bas_lr is not a parameter of the inner experiment 'unit_ex' "
            "(did you mean 'base_lr'?)."
        ]

    def test_all_that_sacred_and_the_plan_know_come_together(self, refusal):
        updates = ["sead=3", "unit_ex.bas_lr=3", "ray.mode=best", "ray.search_space.x=[1]"]
        code, lines = refusal("with", *updates)
        assert code == 2
        text = "\n".join(lines)
        for part in (
            "sead is not",
            "unit_ex.bas_lr is not",
            "ray.mode is 'best'",
            "space.x is not",
        ):
            assert part in text

    @pytest.mark.parametrize(
        ("name", "text", "told"),
        [
            ("code.json", '{"seed": {"py/function": "os.system"}}', "has the key 'py/function', "),
            ("code.yaml", "seed: !!python/name:os.system", "has the tag '!!python/name:os.system'"),
            ("code.pickle", "{}", "is a pickle, which can run code "),
            ("list.yaml", "[1]", "holds [1]; it must hold a mapping of entries."),
            ("cut.json", "{", "cannot be read: JSONDecodeError: "),
        ],
    )
    def test_config_file_that_is_no_plain_data(self, refusal, tmp_path, name, text, told):
        (tmp_path / name).write_text(text)
        code, (sentence,) = refusal("print_config", "with", name)
        assert code == 2
        assert sentence.startswith(f"The config file {name!r} {told}")

    def test_config_file_beside_other_mistakes(self, refusal, tmp_path):
        (tmp_path / "code.json").write_text('{"seed": {"py/function": "os.system"}}')
        code, lines = refusal("with", "code.json", "multi_env_evl")
        assert code == 2
        assert lines[0] == "2 mistakes in the configuration:"

    def test_dotted_key_within_a_dictionary(self, refusal, tmp_path):
        (tmp_path / "dots.json").write_text(json.dumps({"unit_ex": {"optimizer": {"a.b": 1}}}))
        code, (sentence,) = refusal("with", "dots.json")
        assert code == 2
        assert sentence.startswith('Invalid key "a.b".')
        assert sentence.endswith("{'optimizer': {'lr': ...}} instead of {'optimizer.lr': ...}.")


class TestExitCodes:
    def test_of_failed_trials_is_1(self, outer_with_main, refusal):
        def some_failed(_run):
            _run.info["sweep"] = {"counts": {"COMPLETED": 3, "FAILED": 2, "TIMEOUT": 1}}

        code, lines = refusal("some_failed", outer=outer_with_main(some_failed))
        assert (code, lines) == (1, ["3 of the sweep's trials did not complete."])

    def test_of_completed_trials_is_none(self, outer_with_main):
        def all_completed(_run):
            _run.info["sweep"] = {"counts": {"COMPLETED": 3}}

        outer = outer_with_main(all_completed)
        assert isinstance(run_commandline(outer, ["x", "all_completed"]), Run)

    @pytest.mark.parametrize(
        ("exception", "expected"),
        [(SweepInterrupted(15), 143), (SweepInterrupted(2), 130), (KeyboardInterrupt(), 130)],
    )
    def test_of_an_end_by_a_signal_is_that_of_shells(
        self, outer_with_main, refusal, exception, expected
    ):
        def ended():
            raise exception

        assert refusal("ended", outer=outer_with_main(ended))[0] == expected


def test_an_error_of_a_command_is_sacreds_own_matter(outer_with_main, capsys):
    def broken():
        return {}["missing"]

    with pytest.raises(SystemExit, match="1"):
        run_commandline(outer_with_main(broken), ["x", "broken"])
    assert "KeyError: 'missing'" in capsys.readouterr().err


def test_debug_lets_the_exception_through(outer_with_main):
    def broken():
        return {}["missing"]

    with pytest.raises(KeyError, match="missing"):
        run_commandline(outer_with_main(broken), ["x", "-d", "broken"])


def test_the_experiment_runs_as_before_afterwards(refusal):
    refusal()
    assert "run" not in vars(outer_ex)


def test_print_config_shows_everything_and_leaves_ray_alone(tmp_path):
    (tmp_path / "search.json").write_text(json.dumps({"ray": {"num_samples": 4}}))
    (tmp_path / "outer.py").write_text(
        "import sys\n"
        "from sacred_ray_ingredient import make_outer\n"
        "from unit_inner import unit_ex\n"
        "outer = make_outer('outer', unit_ex)\n"
        "outer.run_commandline()\n"
        "assert 'ray' not in sys.modules, 'Ray was imported'\n"
    )
    updates = ["hyperparameter_search", "search.json", "ray.search_space.lr=uniform(0,1)"]
    done = subprocess.run(
        [sys.executable, "outer.py", "print_config", "with", *updates],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for part in ("num_samples = 4", "exp_name = 'hyperparameter_search'", "lr = 'uniform(0,1)'"):
        assert part in done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
