"""Which database a sweep is recorded in, and getting it ready."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sacred.run import Run

from sacred_ray_ingredient import mongo
from sacred_ray_ingredient.errors import ConfigMistakes, DatabaseError
from sacred_ray_ingredient.fingerprint import fingerprint
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.record.observer import RunObserver
from sacred_ray_ingredient.record.processes import this_process
from sacred_ray_ingredient.record.reconcile import close_abandoned, telling_of_outages
from sacred_ray_ingredient.record.sync import OUTER, sync
from sacred_ray_ingredient.record.target import JOURNALS, RecordTarget, make_indexes
from sacred_ray_ingredient.settings import RecordSettings
from sacred_ray_ingredient.stored_request import to_text
from sacred_ray_ingredient.warm_start import earlier_trials, fitting

# Sacred's options that record elsewhere, for the sweep and for each trial.
_RECORDING_OPTIONS = ("--file_storage", "--sql", "--tiny_db", "--s3")


def open_record(run: Run, plan: SweepPlan | None, asked: bool) -> RecordTarget:
    """Choose the database of an outer run, check it, and let the run be recorded there.

    Parameters
    ----------
    run
        The outer run, which has not started.
    plan
        The sweep, whose name becomes a tag; None where it is not known yet.
    asked
        Whether the user asked for a record in MongoDB although there are files.

    Returns
    -------
    RecordTarget
        For the trials; without an address for a run that is not recorded in MongoDB.

    Raises
    ------
    DatabaseError
        If the database cannot be reached or started.
    """
    address = (
        None
        if run.unobserved
        else choose_address(run.meta_info["options"], run.config["ray"]["mongo"], asked)
    )
    target = RecordTarget(address)
    if address is not None:
        target = _ready(run, address)
    if plan is not None:
        target = name_sweep(run, plan, target)
    # The workers' runs are of other processes.
    about = {"process": this_process()}
    replace(target, about=about).observe(run, extra_tags=["sweep"], name=OUTER)
    return target


def _ready(run: Run, address: mongo.MongoAddress) -> RecordTarget:
    """Make sure that the database can be written, and that it is true of what is over."""
    ray = run.config["ray"]
    record = {**RecordSettings().__dict__, **(ray["record"] or {})}
    folder = mongo.create_project_folder(mongo.project_folder()) / JOURNALS
    target = RecordTarget(
        address, journal_folder=str(folder), wait_s=record["wait_s"], fsync_s=record["fsync_s"]
    )
    try:
        address.check()
        make_indexes(address)
    except DatabaseError as error:
        if not record["without_database"]:
            raise DatabaseError(
                f"{error} To go on without it, and bring the record there later, add "
                "ray.record.without_database=True."
            ) from error
        run.run_logger.warning("%s The sweep goes on without it; its record is in journals.", error)
        return target
    with telling_of_outages(run.run_logger.warning):
        sync(folder, run.run_logger.info, only_to=address)
        for sweep_id in close_abandoned(target.database(), address.collection):
            run.run_logger.warning(
                "The driver of %s died; what it left running is recorded as INTERRUPTED.", sweep_id
            )
    return replace(target, has_indexes=True)


def name_sweep(run: Run, plan: SweepPlan, target: RecordTarget) -> RecordTarget:
    """Write into an outer run which sweep it runs.

    Parameters
    ----------
    run
        The outer run; where it has started already, its document is changed.
    plan
        The sweep.
    target
        Where it is recorded.

    Returns
    -------
    RecordTarget
        The same, with the tags of the sweep for the trials.
    """
    target = replace(target, tags=(plan.exp_name, plan.sweep_id), group=plan.sweep_id)
    run.meta_info["sweep"] = _sweep_meta(plan)
    if target.address is not None:
        if target.has_indexes:
            mongo.register_omniboard_columns(target.database(), *_omniboard_columns(plan))
        for observer in run.observers:
            if isinstance(observer, RunObserver):
                observer.add_to_document({"meta.sweep": run.meta_info["sweep"]}, target.tags)
    return target


def _sweep_meta(plan: SweepPlan) -> dict[str, Any]:
    """Return what a later command has to know of the sweep; parts of it as text, see there."""
    meta: dict[str, Any] = {"sweep_id": plan.sweep_id, "exp_name": plan.exp_name}
    if plan.request is not None:
        meta["request"] = plan.request.text()
    meta["fingerprint"] = to_text(fingerprint(plan))
    if plan.restart is not None:
        meta["resumed"] = list(plan.restart.outer_run_ids)
        meta["changes"] = list(plan.changes)
    return meta


def _started(server: mongo.EmbeddedServer) -> mongo.MongoAddress | None:
    return server.start()


def choose_address(
    options: Mapping[str, Any],
    entry: Mapping[str, Any],
    asked: bool,
    own_server: Callable[[mongo.EmbeddedServer], mongo.MongoAddress | None] = _started,
) -> mongo.MongoAddress | None:
    """Take the most explicit of what the user said, and the project's own server otherwise.

    Parameters
    ----------
    options
        Sacred's options of the command.
    entry
        ``ray.mongo``.
    asked
        Whether the user asked for a record in MongoDB although there are files.
    own_server
        Gives the address of the project's own server; by default it is started.

    Returns
    -------
    MongoAddress or None
        None where the user records elsewhere.

    Raises
    ------
    DatabaseError
        If the address is wrong, or the server cannot be started.
    """
    if options.get("--mongo_db"):
        return mongo.from_option(options["--mongo_db"])
    address = mongo.from_config(entry) or mongo.from_environment(os.environ)
    if address is not None:
        return address
    elsewhere = [name for name in _RECORDING_OPTIONS if options.get(name)]
    if elsewhere and not asked:  # the user has said where to record
        return None
    return own_server(mongo.EmbeddedServer(mongo.project_folder()))


def _omniboard_columns(plan: SweepPlan) -> tuple[dict[str, str], list[str]]:
    """Name columns that Omniboard does not have by itself."""
    columns = {"sweep": "meta.sweep.sweep_id", "trial": "meta.sweep.trial_index"}
    # Omniboard shows the top level of a config; what is nested needs a column of its own.
    nested = [path for path in plan.parameters if "." in path]
    columns |= {path: f"config.{path}" for path in nested}
    return columns, [metric for metric in plan.settings.metrics if metric != "result"]


def with_earlier_results(
    plan: SweepPlan, target: RecordTarget, say: Callable[[str], None] = print
) -> SweepPlan:
    """Add the results of the sweeps that ``ray.warm_start`` names.

    Parameters
    ----------
    plan
        Of the new sweep.
    target
        Where the earlier ones are recorded too.
    say
        Prints a line for the user.

    Raises
    ------
    ConfigMistakes
        If there are no such sweeps, or none of their trials lies in the new space.
    """
    settings = plan.settings
    if settings.warm_start is None:
        return plan
    source = f"ray.warm_start is {settings.warm_start!r}"
    if target.address is None:
        raise ConfigMistakes([f"{source}, but there is no database to read it from."])
    database = target.database()
    found = earlier_trials(
        target.runs(), database["metrics"], settings.warm_start, settings.metrics, plan.inner.path
    )
    earlier, left_out = fitting(found, plan.sampling.dimensions(), plan.space)
    if not earlier:
        raise ConfigMistakes(
            [
                f"{source}, but none of its {len(found)} completed trials with a value of "
                f"{', '.join(settings.metrics)} lies in ray.search_space."
            ]
        )
    rest = f"; {left_out} trials do not lie in the search space" if left_out else ""
    say(f"The searcher is told of {len(earlier)} earlier configurations{rest}.")
    return replace(plan, earlier=earlier)
