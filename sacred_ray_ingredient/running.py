"""Running the trials of a sweep: connect to Ray, look at the cluster, give the engine its jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sacred_ray_ingredient.cluster.capacity import check_resources
from sacred_ray_ingredient.cluster.connection import connected_ray
from sacred_ray_ingredient.cluster.couriers import couriers
from sacred_ray_ingredient.cluster.head import connected_head, while_head_lives
from sacred_ray_ingredient.cluster.probe import ImportProbe
from sacred_ray_ingredient.cluster_check import check_nodes, is_cluster
from sacred_ray_ingredient.engines.base import Engine, EngineJob
from sacred_ray_ingredient.evaluation import evaluation_job
from sacred_ray_ingredient.interruption import Interruption
from sacred_ray_ingredient.mongo.folder import project_folder
from sacred_ray_ingredient.plan import SweepPlan
from sacred_ray_ingredient.progress import Budget, SweepProgress
from sacred_ray_ingredient.record.settlement import SweepRecord
from sacred_ray_ingredient.settings import SweepSettings
from sacred_ray_ingredient.storage import Storage
from sacred_ray_ingredient.sweep_storage import with_storage
from sacred_ray_ingredient.tasks import SweepTask


@dataclass
class Running:
    """The trials of a sweep on their way.

    Parameters
    ----------
    plan
        What is to be done.
    sweep
        What all trials share.
    progress
        Hears of each trial.
    record
        The driver's hand on the record; None for a sweep that is not in a database.
    interruption
        Tells whether the user has ended the sweep.
    budget
        Tells whether its time is over.
    """

    plan: SweepPlan
    sweep: SweepTask
    progress: SweepProgress
    record: SweepRecord | None
    interruption: Interruption
    budget: Budget

    def run(self) -> None:
        """Run what is left to be done.

        Raises
        ------
        ConfigMistakes, NodeMistakes, InnerImportError
            If Ray cannot run the trials; none has begun then.
        ClusterLost
            If the cluster has gone away.
        """
        job = _job(self.plan, self.sweep)
        if job.is_done:
            evaluation = evaluation_job(job, self.progress)
            if evaluation is None or evaluation.is_done:
                self.progress.note("Nothing is left to do.")
                return
        settings, say = self.plan.settings, self.progress.note
        job.storage.check()
        with connected_ray(settings, self.sweep.folder, self.sweep.code, say) as tree:
            self.interruption.take_back()  # Ray has its own way with SIGTERM
            connected = replace(job, sweep=replace(self.sweep, tree=tree))
            head = connected_head(settings.address, say)
            while_head_lives(head, lambda: self._run_on_ray(connected))

    def _run_on_ray(self, job: EngineJob) -> None:
        """Run the search, and what comes after it."""
        settings, say = self.plan.settings, self.progress.note
        job = _with_room(job, say)
        engine = _make_engine(job.sweep, settings, self.interruption.raise_if_requested, say)
        self.interruption.raise_if_requested()
        home = couriers(self.record, job.sweep.target, settings, say)
        with home, with_storage(job, self.plan.inner, say) as stored:
            self.budget.start()
            if not stored.is_done:
                engine.run(stored, self.progress, self._should_stop)
            if self._should_stop() is None:
                evaluation = evaluation_job(stored, self.progress)
                if evaluation is not None and not evaluation.is_done:
                    engine.run(evaluation, self.progress, self._should_stop)

    def _should_stop(self) -> str | None:
        self.progress.ended_by = self._why_to_stop()
        return self.progress.ended_by

    def _why_to_stop(self) -> str | None:
        if self.interruption.requested():
            return "The user ended the sweep."
        if self.progress.unreported is not None or self.progress.uncompared is not None:
            return "The sweep was ended, as its metric is not reported."
        return self.budget.reason if self.budget.is_used_up else None


def _job(plan: SweepPlan, sweep: SweepTask) -> EngineJob:
    settings = plan.settings
    folder = settings.storage_path or project_folder() / "tune"
    return EngineJob(
        sweep=sweep,
        sampling=plan.sampling,
        resolver=plan.trial_resolver,
        settings=settings,
        storage=Storage.at(folder, settings.log_to_file),
        searcher=plan.searcher,
        scheduler=plan.scheduler,
        stop_rules=plan.stop_rules,
        earlier=plan.earlier,
        restart=plan.restart,
    )


def _with_room(job: EngineJob, say: Callable[[str], None]) -> EngineJob:
    """Make sure that the cluster has room for a trial, or can get it.

    Raises
    ------
    ConfigMistakes
        If a trial asks for more than there can ever be.
    """
    settings = job.settings
    may_grow = settings.address not in (None, "local")
    autoscaler, note = check_resources(settings.resources_per_trial, may_grow)
    if note is not None:
        say(note)
    return replace(job, autoscaler=autoscaler)


def _make_engine(
    sweep: SweepTask,
    settings: SweepSettings,
    look: Callable[[], None],
    say: Callable[[str], None],
) -> Engine:
    """Make what executes the trials, once the nodes of a cluster have been asked.

    Raises
    ------
    NodeMistakes
        If trials would fail on a node of a cluster.
    InnerImportError
        If a worker of a local Ray cannot import the inner experiment; with the direct engine, its
        own workers say that as they start.
    """
    is_on_cluster = is_cluster(settings)
    if is_on_cluster:
        check_nodes(sweep, settings, look, say)
    if sweep.engine == "direct":
        from sacred_ray_ingredient.engines.direct import DirectEngine

        return DirectEngine()
    probe = None if is_on_cluster else ImportProbe(sweep.inner, sweep.folder, sweep.code)
    # Importing Tune takes a second, in which the worker can answer.
    from sacred_ray_ingredient.engines.tune import TuneEngine

    if probe is not None:
        probe.wait()
    return TuneEngine()
