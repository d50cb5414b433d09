"""The same experiment run alone, without Ray, recorded by the package's observer."""

from fault_inner import fault_ex

from sacred_ray_ingredient import observe

if __name__ == "__main__":
    observe(fault_ex)
    fault_ex.run_commandline()
