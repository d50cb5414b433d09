"""A search space of Tune's objects and Python functions, as people have them in their scripts."""

import numpy as np
from faulty_inner import faulty_ex
from ray import tune

from sacred_ray_ingredient import make_outer

outer = make_outer("python_objects", faulty_ex)


def twice(config):
    return config["point"] * 2


@outer.named_config
def in_python():
    """Search over Tune's own objects."""
    ray = {
        "search_space": {
            "point": tune.grid_search([1, 2]),
            "seconds": tune.sample_from(lambda: np.random.uniform(0, 0.01)),
        },
        "dependent": {"inverse": twice},
        "num_samples": 2,
    }


if __name__ == "__main__":
    outer.run_commandline()
