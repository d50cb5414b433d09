"""Sacred and Ray Tune joined by hand, the way it is usually shown.

An outer experiment calls Tune with a function that imports the inner experiment, gives it a
``MongoObserver`` in the worker, runs it and reports its result. Nothing of this package is in it.
Run, from the root of the repository, with the database in ``SACRED_MONGO_URL``::

    python -m benchmarks.recipe with num_samples=40

It is what a careful user writes, with nothing made slower than it has to be: Ray without its
dashboard, one processor per trial, and a result reported once. All else is Tune's default: an
actor, and so a process, of its own for each trial, and loggers for JSON, CSV and TensorBoard.
"""

import os
from collections.abc import Mapping
from typing import Any

import ray
from pymongo.uri_parser import parse_uri
from ray import tune
from sacred import Experiment
from sacred.observers import MongoObserver

from benchmarks.database import URL_VARIABLE

recipe_ex = Experiment("recipe_search")
recipe_ex.add_config(num_samples=40)  # number of trials


def make_observer() -> MongoObserver:
    """Make an observer for the database that the environment names."""
    url = os.environ[URL_VARIABLE]
    return MongoObserver(url=url, db_name=parse_uri(url)["database"])


@recipe_ex.main
def search(num_samples: int) -> float:
    """Run the search and return the best result."""

    def trainable(config: Mapping[str, Any]) -> None:
        from benchmarks.noop import noop_ex

        noop_ex.observers.append(make_observer())
        run = noop_ex.run(config_updates=dict(config))
        tune.report({"result": run.result})

    ray.init(address="local", include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="result", mode="max", num_samples=num_samples, reuse_actors=False
        ),
    )
    best: float = tuner.fit().get_best_result().metrics["result"]
    ray.shutdown()
    return best


if __name__ == "__main__":
    recipe_ex.observers.append(make_observer())
    recipe_ex.run_commandline()
