"""Searches whose trials are ended early, paused, or changed while they run.

Run, from the root of the repository::

    python -m experiments.softmax_search with asha
    python -m experiments.softmax_search with pbt

On two cores each takes under half a minute.
"""

from experiments.softmax import softmax_ex
from sacred_ray_ingredient import make_outer

softmax_search = make_outer("softmax_search", softmax_ex)

SPACE = {
    "lr": "loguniform(1e-3, 1)",
    "momentum": "uniform(0, 0.95)",
    "weight_decay": "loguniform(1e-6, 1e-1)",
}


@softmax_search.named_config
def asha():
    """End the worse half of the trials after 2, 4 and 8 epochs."""
    ray = {
        "search_space": SPACE,
        "metric": "val_accuracy",
        "num_samples": 16,
        "scheduler": {"name": "asha", "max_t": 20, "grace_period": 2, "reduction_factor": 2},
    }


@softmax_search.named_config
def hyperband():
    """Pause trials, and let only the better third of each bracket go on."""
    ray = {
        "search_space": SPACE,
        "metric": "val_accuracy",
        "num_samples": 12,
        "scheduler": {"name": "hyperband", "max_t": 9},
    }
    softmax = {"epochs": 9}


@softmax_search.named_config
def bohb():
    """Hyperband, with a searcher that learns from its brackets."""
    ray = {
        "search_space": SPACE,
        "metric": "val_accuracy",
        "num_samples": 12,
        "search_alg": "bohb",
        "scheduler": {"name": "bohb", "max_t": 9},
    }
    softmax = {"epochs": 9}


@softmax_search.named_config
def median():
    """End trials that are worse than the median of the others at the same epoch."""
    ray = {
        "search_space": SPACE,
        "metric": "val_accuracy",
        "num_samples": 12,
        "scheduler": {"name": "median_stopping", "grace_period": 4},
    }


@softmax_search.named_config
def pbt():
    """Let the worst of four trials take over the best one's weights, with other parameters."""
    ray = {
        "search_space": SPACE,
        "metric": "val_accuracy",
        "num_samples": 4,
        "scheduler": {"name": "pbt", "perturbation_interval": 4},
    }


@softmax_search.named_config
def pb2():
    """Do the same, with the new parameters chosen by a model of what helped."""
    ray = {
        "search_space": SPACE,
        "metric": "val_accuracy",
        "num_samples": 4,
        "scheduler": {"name": "pb2", "perturbation_interval": 4},
    }


if __name__ == "__main__":
    softmax_search.run_commandline()
