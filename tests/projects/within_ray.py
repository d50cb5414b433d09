"""A sweep in a process that is connected to Ray already."""

import ray
from faulty_outer import outer

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        outer.run_commandline()
        assert ray.is_initialized()
        print("Ray is still there")
    finally:
        ray.shutdown()
