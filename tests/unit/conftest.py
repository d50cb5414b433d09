"""What several unit tests need: a database in memory, small experiments, a target for records."""

import dataclasses
import datetime
import os

import hypothesis
import mongomock
import mongomock.gridfs
import pytest
from mongomock.collection import BulkOperationBuilder
from sacred import Experiment

from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.mongo import MongoAddress
from sacred_ray_ingredient.record import sync as sync_module
from sacred_ray_ingredient.record import target as target_module
from sacred_ray_ingredient.record.journal import Journal
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.tasks import SweepTask, TrialTask
from sacred_ray_ingredient.trial import TrialContext, run_trial

# A computer that is busy makes no test wrong.
hypothesis.settings.register_profile("unit", deadline=None)
hypothesis.settings.load_profile("unit")
mongomock.gridfs.enable_gridfs_integration()
AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
_add_update = BulkOperationBuilder.add_update


def _add_update_of_newer_pymongo(builder, *arguments, sort=None, **named):
    """Take the argument that pymongo gives since 4.11, which mongomock does not know."""
    assert sort is None
    return _add_update(builder, *arguments, **named)


BulkOperationBuilder.add_update = _add_update_of_newer_pymongo


@pytest.fixture
def database():
    return mongomock.MongoClient().db


@pytest.fixture
def target(database, tmp_path, monkeypatch):
    """Records go to the database in memory."""
    for module in (target_module, sync_module):
        monkeypatch.setattr(module, "database_at", lambda address: database)
    for name, empty in (("_shippers", {}), ("_indexed", set()), ("_given", {})):
        monkeypatch.setattr(target_module, name, empty)
    address = MongoAddress("mongodb://unit.test/", db_name="db")
    folder = str(tmp_path / "journals")
    yield RecordTarget(address, tags=("my_search", "sweep-1"), journal_folder=folder, wait_s=30.0)
    target_module.close_clients()


@pytest.fixture
def write_journal(target):
    """Return a function that writes the journal of a run, as its process would."""

    def write_journal(name, *events, sweep=None, folder=None, address=target.address):
        journal = Journal((folder or target.folder()) / f"{name}.jsonl")
        if address is not None:
            journal.append("target", dataclasses.asdict(address))
        meta = {"record": {"journal": journal.record_id}}
        if sweep is not None:
            meta["sweep"] = {"sweep_id": "sweep-1", "attempt": 0, "segment": 0, **sweep}
        start = {
            **{"experiment": {"name": "x", "sources": []}, "command": "main", "tags": ["trial"]},
            **{"config": {"seed": 1}, "start_time": AT, "meta": meta, "notes": []},
        }
        for event in [("start", start), ("scalar", ["loss", 0, 0.5, AT]), *events]:
            journal.append(*event)
        return journal

    return write_journal


@pytest.fixture
def double():
    """Return the class whose instances stand before a database and see each request."""
    # Here, since what a module of an experiment has imported is among its sources.
    from database_double import DatabaseDouble

    return DatabaseDouble


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
        try:
            run_trial(sweep, trial, context)
        finally:  # a trial does not wait for the database
            for shipper in target_module._shippers.values():
                shipper.stop(30.0)

    return run_one


@pytest.fixture
def document(database):
    """Return a function that reads the only run in the database."""

    def document():
        (found,) = database.runs.find()
        return found

    return document
