"""Sweeps over an inner experiment that workers cannot import."""

from driver_only_inner import driver_only_ex

from sacred_ray_ingredient import make_outer

outer = make_outer("driver_only", driver_only_ex)

if __name__ == "__main__":
    outer.run_commandline()
