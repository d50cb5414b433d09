"""What a trial prints, captured without processes of its own."""

import contextlib
import os
import subprocess

import pytest
from sacred import Experiment, stdout_capturing

from sacred_ray_ingredient.capture import capture_in_file, use_file


@contextlib.contextmanager
def standard_in(folder):
    """Let standard output and error lead to files; not as a fixture, since pytest resets both."""
    paths = [folder / "out", folder / "err"]
    saved = [os.dup(1), os.dup(2)]
    files = [path.open("wb", buffering=0) for path in paths]
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(file.fileno(), descriptor)
    try:
        yield paths
    finally:
        for descriptor, kept in zip((1, 2), saved, strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)
        for file in files:
            file.close()


def test_what_the_process_and_its_children_print_is_captured_in_order(tmp_path):
    with standard_in(tmp_path) as standard:
        with capture_in_file() as out:
            os.write(1, b"one\n")
            os.write(2, b"two\n")
            subprocess.run(["sh", "-c", "echo three; echo four >&2"], check=True)
            assert out.get() == "one\ntwo\nthree\nfour\n"
            os.write(1, b"five\n")
        assert out.closed
        assert out.get() == "five\n"
        os.write(1, b"afterwards\n")
        assert standard[0].read_text() == "one\ntwo\nthree\nfour\nfive\nafterwards\n"


def test_each_capture_has_its_own(tmp_path):
    with standard_in(tmp_path):
        for text in (b"first", b"second"):
            with capture_in_file() as out:
                os.write(1, text)
            assert out.get() == text.decode()


def test_a_character_that_is_cut_in_two_comes_whole(tmp_path):
    with standard_in(tmp_path):
        first, second = "é".encode()[:1], "é".encode()[1:]
        with capture_in_file() as out:
            os.write(1, b"caf" + first)
            assert out.get() == "caf"
            os.write(1, second)
            assert out.get() == "é"
            os.write(1, b"\xff" + first)
        assert out.get() == "��"


def test_reading_does_not_move_the_place_where_is_written(tmp_path):
    with standard_in(tmp_path) as standard:
        with capture_in_file() as out:
            for number in range(100):
                os.write(1, f"{number}\n".encode())
                if number % 7 == 0:
                    out.get()
            out.get()
        assert standard[0].read_text() == "".join(f"{number}\n" for number in range(100))


def test_a_program_that_opens_its_standard_output_anew_loses_nothing_after_it(tmp_path):
    with standard_in(tmp_path), capture_in_file() as out:
        os.write(1, b"a long line before it\n")
        assert out.get() == "a long line before it\n"
        subprocess.run(["sh", "-c", "echo anew > /dev/stdout"], check=True)
        os.write(1, b"after\n")
        assert out.get() == "anew\nafter\n"


def test_descriptors_are_as_before_also_after_an_exception(tmp_path):
    with standard_in(tmp_path) as standard:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ValueError, match="within"), capture_in_file():
            raise ValueError("within")
        assert len(os.listdir("/proc/self/fd")) == before
        os.write(2, b"to the file\n")
        assert standard[1].read_text() == "to the file\n"


def test_a_run_of_sacred_has_all_of_it_and_starts_no_process(tmp_path, monkeypatch):
    with standard_in(tmp_path):
        monkeypatch.setattr(stdout_capturing, "tee_output_fd", stdout_capturing.tee_output_fd)
        use_file()
        started = []
        popen = subprocess.Popen
        monkeypatch.setattr(
            subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k)
        )
        experiment = Experiment("captured")

        @experiment.main
        def main():
            # Not sys.stdout, which pytest has replaced.
            os.write(1, b"printed\n")
            os.system("echo by a child")

        run = experiment._create_run(options={"--capture": "fd"})
        run.capture_mode = "fd"
        run()
        assert run.captured_out.startswith("printed\n")
        assert "by a child\n" in run.captured_out
        assert not [words for words in started if "tee" in str(words)]
