"""Sweeps that are interrupted and resumed."""

from resume_inner import ex

from sacred_ray_ingredient import make_outer

outer = make_outer("resume_outer", ex)


@outer.named_config
def grid():
    ray = {"search_space": {"k": [0, 1, 2, 3, 4, 5, 6, 7], "x": "uniform(0, 1)"}, "num_samples": 1}
    seed = 5


@outer.named_config
def searched():
    ray = {
        "search_space": {"k": "randint(0, 100)", "x": "uniform(0, 1)"},
        "search_alg": "optuna",
        "num_samples": 8,
    }
    seed = 5


if __name__ == "__main__":
    outer.run_commandline()
