"""The database of the ways that are written by hand, which the environment names."""

import os

import pymongo
from sacred import Experiment
from sacred.observers import MongoObserver

URL_VARIABLE = "SACRED_MONGO_URL"


def prepare_metrics() -> None:
    """Make the index by which Sacred's observer looks for metrics, which it does not make itself.

    Without it each run takes longer than the one before.
    """
    with pymongo.MongoClient(os.environ[URL_VARIABLE]) as client:
        client.get_default_database().metrics.create_index([("run_id", 1), ("name", 1)])


def observe(experiment: Experiment) -> None:
    """Give an experiment an observer, the first time that a process asks for it.

    One client, and one observer, for all runs of the process.
    """
    if not experiment.observers:
        client: pymongo.MongoClient = pymongo.MongoClient(os.environ[URL_VARIABLE])
        name = client.get_default_database().name
        experiment.observers.append(MongoObserver(client=client, db_name=name))
