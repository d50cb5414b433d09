"""Sweeps in a job of Slurm's."""

from slurm_inner import ex

from sacred_ray_ingredient import make_outer

outer = make_outer("slurm_outer", ex)

if __name__ == "__main__":
    outer.run_commandline()
