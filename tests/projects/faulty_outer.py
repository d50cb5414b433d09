"""Sweeps over trials that end in all the ways that trials can end."""

from faulty_inner import faulty_ex

from sacred_ray_ingredient import make_outer

outer = make_outer("faulty", faulty_ex)

if __name__ == "__main__":
    outer.run_commandline()
