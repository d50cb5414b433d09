"""Sweeps over the experiment that notes by itself what it has logged."""

from fault_inner import fault_ex

from sacred_ray_ingredient import make_outer

outer = make_outer("fault_outer", fault_ex)

if __name__ == "__main__":
    outer.run_commandline()
