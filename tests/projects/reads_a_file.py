"""An inner experiment that reads a file by a relative path, with its outer experiment."""

from pathlib import Path

from sacred import Experiment

from sacred_ray_ingredient import make_outer

reading_ex = Experiment("reading_ex")
NUMBER = int(Path("number.txt").read_text())


@reading_ex.config
def config():
    point = 1


@reading_ex.main
def run(point):
    return point * (NUMBER + int(Path("number.txt").read_text())) // 2


outer = make_outer("reads_a_file", reading_ex)

if __name__ == "__main__":
    outer.run_commandline()
