"""Sweeps over trials that meet each of the fates that a trial can meet."""

from status_inner import status_ex

from sacred_ray_ingredient import make_outer

outer = make_outer("statuses", status_ex)

if __name__ == "__main__":
    outer.run_commandline()
