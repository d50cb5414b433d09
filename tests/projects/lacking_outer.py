"""Sweeps over an inner experiment with a library that not every node has."""

from lacking_inner import lacking_ex

from sacred_ray_ingredient import make_outer

outer = make_outer("lacking", lacking_ex)

if __name__ == "__main__":
    outer.run_commandline()
