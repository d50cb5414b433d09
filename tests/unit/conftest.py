"""What several unit tests need: a database in memory, small experiments, a target for records."""

import mongomock
import mongomock.gridfs
import pytest
from sacred import Experiment

from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.target import RecordTarget

mongomock.gridfs.enable_gridfs_integration()


@pytest.fixture
def database():
    return mongomock.MongoClient().db


@pytest.fixture
def target(database, tmp_path, monkeypatch):
    """Records go to the database in memory."""
    monkeypatch.setattr(target_module, "_client", lambda address: {address.db_name: database})
    address = MongoAddress("mongodb://unit.test/", db_name="db")
    return RecordTarget(address, tags=("my_search", "sweep-1"), failure_dir=str(tmp_path))


@pytest.fixture
def make_experiment():
    """Return a function that makes a Sacred experiment from its main and its entries."""

    def make(main, name="unit_ex", **entries):
        experiment = Experiment(name, save_git_info=False)
        if entries:
            experiment.add_config(entries)
        experiment.main(main)
        return experiment

    return make
