"""Sweeps over trials that write down all that Ray tells them."""

from looks_around_inner import looking_ex

from sacred_ray_ingredient import make_outer

outer = make_outer("looking", looking_ex)

if __name__ == "__main__":
    outer.run_commandline()
