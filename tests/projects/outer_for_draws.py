from sacred import Experiment

from sacred_ray_ingredient import make_outer

draw_ex = Experiment("draw")


@draw_ex.config
def config():
    scale = 1.0


@draw_ex.main
def draw(scale, _rnd):
    return float(scale + 0.1 * _rnd.normal())


draws_outer = make_outer("draws_outer", draw_ex)

if __name__ == "__main__":
    draws_outer.run_commandline()
