"""What several unit tests need: a database in memory, small experiments, a target for records."""

import os

import mongomock
import mongomock.gridfs
import pytest
from sacred import Experiment

from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.tasks import SweepTask, TrialTask
from sacred_ray_ingredient.trial import TrialContext, run_trial

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


@pytest.fixture
def reports():
    """What trials report."""
    return []


@pytest.fixture
def run_one(target, reports, request):
    """Return a function that runs one trial in this process."""

    def append(values, checkpoint):
        reports.append(values)

    def run_one(attribute, report=append, sampled=(), resolved=(), **named):
        module = "unit_inner" if attribute == "unit_ex" else request.module.__name__
        sweep = SweepTask(
            sweep_id="sweep-1",
            exp_name="my_search",
            engine="tune",
            inner=InnerReference(attribute, module=module),
            options={"--force": True, "--capture": "sys", **named.get("options", {})},
            target=named.get("target", target),
            folder=named.get("folder", os.getcwd()),
            outer_run_id=77,
            metric=named.get("metric", "result"),
            report_every=named.get("report_every", 0.0),
            trial_timeout_s=named.get("trial_timeout_s"),
        )
        trial = TrialTask(
            index=3,
            sampled=dict(sampled),
            resolved=dict(resolved),
            seed=11,
            updates=named.get("updates", {}),
            attempt=1,
            configuration=2,
            **named.get("trial", {}),
        )
        context = TrialContext(
            report=report,
            trial_id="abc",
            resources={"CPU": 1.0},
            restored=named.get("restored"),
        )
        run_trial(sweep, trial, context)

    return run_one


@pytest.fixture
def document(database):
    """Return a function that reads the only run in the database."""

    def document():
        (found,) = database.runs.find()
        return found

    return document
