"""Tune with reused actors and Sacred, joined by hand as well as it can be.

The same as `benchmarks.recipe`, with what makes it fast: an actor is used for one trial after the
other, each actor has one database client, and Tune's own loggers are off. Nothing of this package
is in it. Run, from the root of the repository, with the database in ``SACRED_MONGO_URL``::

    python -m benchmarks.plain_tune with num_samples=500
"""

import os
from collections.abc import Mapping
from typing import Any

# Before Tune is imported, which reads it then.
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"

import ray
from ray import tune
from sacred import Experiment

from benchmarks.database import observe, prepare_metrics

plain_tune_ex = Experiment("plain_tune_search")
plain_tune_ex.add_config(num_samples=500)  # number of trials


def trainable(config: Mapping[str, Any]) -> None:
    """Run one trial."""
    from benchmarks.noop import noop_ex

    observe(noop_ex)
    run = noop_ex.run(config_updates=dict(config))
    tune.report({"result": run.result})


@plain_tune_ex.main
def search(num_samples: int) -> float:
    """Run the search and return the best result."""
    prepare_metrics()
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="result", mode="max", num_samples=num_samples, reuse_actors=True
        ),
        run_config=tune.RunConfig(verbose=0),
    )
    best: float = tuner.fit().get_best_result().metrics["result"]
    ray.shutdown()
    return best


if __name__ == "__main__":
    observe(plain_tune_ex)
    plain_tune_ex.run_commandline()
