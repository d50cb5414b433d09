"""A random search for the hyperparameters of a network that reads handwritten digits.

Trials are compared by their validation accuracy; the held-out test accuracy is their result.
Run, from the root of the repository::

    python -m experiments.digits_search with hyperparameter_search
    python -m experiments.digits_search with asha

On two cores each takes under half a minute; the best network reads 97 % of the test images.
"""

from experiments.digits import digits_ex
from sacred_ray_ingredient import make_outer

digits_search = make_outer("digits_search", digits_ex)


SPACE = {
    "optimizer": {
        "lr": "loguniform(1e-3, 3e-2)",
        "batch_size": "choice([16, 32, 64])",
    },
    "model": {
        "hidden": "choice([64, 128, 256])",
        "alpha": "loguniform(1e-6, 1e-1)",
    },
}


@digits_search.named_config
def hyperparameter_search():
    """Try twenty random points over the optimiser and the size of the network."""
    ray = {"search_space": SPACE, "metric": "val_accuracy", "num_samples": 20}


@digits_search.named_config
def asha():
    """Try sixty points, and let only the best quarter go on after 1, 4 and 16 epochs."""
    ray = {
        "search_space": SPACE,
        "metric": "val_accuracy",
        "num_samples": 60,
        "scheduler": {"name": "asha", "max_t": 20, "grace_period": 1, "reduction_factor": 4},
    }


if __name__ == "__main__":
    digits_search.run_commandline()
