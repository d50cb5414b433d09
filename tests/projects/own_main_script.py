"""An inner and an outer experiment in one script; the outer one has a main of its own."""

from sacred import Experiment

from sacred_ray_ingredient import attach, launch, ray_ingredient

script_ex = Experiment("script_ex")
outer = Experiment("own_main", ingredients=[script_ex, ray_ingredient])


@script_ex.config
def config():
    point = 1


@script_ex.main
def run(point):
    return 10 * point


@outer.config
def outer_config():
    ray = {"metric": "result"}
    bonus = 5


@outer.main
def search(bonus, _run):
    return launch(_run) + bonus


attach(outer, script_ex, main=False)

if __name__ == "__main__":
    outer.run_commandline()
