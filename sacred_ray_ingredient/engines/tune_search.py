"""From samples and suggestions to Tune's trials, completed by dependent parameters and seeds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.tune.experiment import Experiment, Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.search.search_generator import SearchGenerator

from sacred_ray_ingredient.engines.base import EngineJob
from sacred_ray_ingredient.engines.encoding import Encoding
from sacred_ray_ingredient.engines.make_searcher import SearchJob, make_searcher
from sacred_ray_ingredient.errors import SweepFailed
from sacred_ray_ingredient.metrics import report_name
from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.sampling import Sample, Sampling

# How often a searcher is asked again that has nothing to wait for and yet suggests nothing.
_MOST_QUESTIONS = 100


def make_generator(job: EngineJob) -> SearchAlgorithm:
    """Make what gives Tune the trials of a job.

    Parameters
    ----------
    job
        The trials; the searcher begins with the points of its settings, while those of a random
        search are among its samples.

    Raises
    ------
    SweepFailed
        If the searcher cannot be made.
    """
    settings, sampling = job.settings, job.sampling
    most = settings.max_concurrent_trials or 0
    if job.searcher is None:
        return ResolvingGenerator(job.samples(), job.total, job.resolver, most, job.first_index)
    search = SearchJob(
        dimensions=sampling.dimensions(),
        metrics=[report_name(metric) for metric in settings.metrics],
        modes=list(settings.modes),
        seed=sampling.seed,
        num_samples=sampling.num_samples,
        max_concurrent=most or _trials_at_once(settings.resources_per_trial),
        points_to_evaluate=settings.points_to_evaluate,
        earlier=job.earlier,
    )
    searcher, encodings = make_searcher(job.searcher, search)
    return SearchingGenerator(
        searcher,
        encodings,
        sampling,
        job.resolver,
        most,
        settings.metrics,
        (job.first_index, job.first_configuration),
    )


def _trials_at_once(resources_per_trial: Mapping[str, float]) -> int:
    """Count how many trials the resources allow, as far as they are there yet."""
    there = ray.cluster_resources() if ray.is_initialized() else {}
    names = {"cpu": "CPU", "gpu": "GPU"}
    shares = [
        there.get(names.get(name.lower(), name), 0) / amount
        for name, amount in resources_per_trial.items()
        if amount > 0
    ]
    return max(int(min(shares, default=1)), 1)


class _TrialMaker:
    """Makes Tune's trials, which get what the resolver completes and nothing of Tune's own."""

    def __init__(self, experiment: Experiment, resolver: TrialResolver, first_index: int) -> None:
        self._spec = {**experiment.spec, "config": {}}
        self._parser = _make_parser()
        self._resolver = resolver
        self._next_index = first_index

    def make(self, trial_id: str, sample: Sample) -> Trial:
        index = self._next_index
        task = self._resolver.complete(index, sample)
        self._next_index += 1
        return _create_trial_from_spec(
            {**self._spec, "config": task.to_config()},
            self._parser,
            evaluated_params=flatten(task.parameters()),
            trial_id=trial_id,
            experiment_tag=str(index),
        )


class ResolvingGenerator(BasicVariantGenerator):
    """Random and grid search: makes a trial of each sample when Tune wants one.

    A subclass, since Tune asks for this very class when it decides how many trials to prepare.

    Parameters
    ----------
    samples
        What was sampled, in the order of the trials.
    total
        How many samples there are, or the most that there can be.
    resolver
        Completes samples.
    max_concurrent
        Most trials at once; 0 for as many as the resources allow.
    first_index
        Index of the first trial.
    """

    def __init__(
        self,
        samples: Iterator[Sample],
        total: int,
        resolver: TrialResolver,
        max_concurrent: int = 0,
        first_index: int = 0,
    ) -> None:
        super().__init__(max_concurrent=max_concurrent)
        self._samples = samples
        self._total_samples = total
        self._resolver = resolver
        self._first_index = first_index
        self._made = 0
        self._maker: _TrialMaker | None = None

    def add_configurations(self, experiments: Any) -> None:
        """Take from Tune what its trials need besides their parameters."""
        self._maker = _TrialMaker(_only(experiments), self._resolver, self._first_index)

    def next_trial(self) -> Trial | None:
        """Return the next trial; None where there is none, or none yet."""
        full = 0 < self.max_concurrent <= len(self._live_trials)
        if self._maker is None or full or self.is_finished():
            return None
        sample = next(self._samples, None)
        if sample is None:
            self.set_finished()
            return None
        trial = self._maker.make(f"{self._uuid_prefix}{self._made:05d}", sample)
        self._made += 1
        self._live_trials.add(trial.trial_id)
        return trial

    def is_finished(self) -> bool:
        """Tell whether there will be no more trials."""
        return self._finished or self._made >= self._total_samples

    def get_state(self) -> bool:
        """Keep no state in Tune's files: the record in MongoDB is the state of a sweep."""
        return False

    def save_to_dir(self, dirpath: str, session_str: str) -> bool:
        """Write nothing; see `get_state`."""
        return False


def _only(experiments: Any) -> Experiment:
    return experiments[0] if isinstance(experiments, list) else experiments


@dataclass
class _Suggestion:
    """What a searcher has chosen, and what became of the trials of it."""

    searcher_id: str
    trials: int
    open: int
    measured: list[list[float]] = field(default_factory=list)


class SearchingGenerator(SearchGenerator):
    """Makes one or more trials of each suggestion of a searcher.

    Parameters
    ----------
    searcher
        Chooses values for its own names of the dimensions.
    encodings
        Read what it chooses, by these names.
    sampling
        Makes samples of a suggestion; knows how many suggestions there are.
    resolver
        Completes samples.
    max_concurrent
        Most trials at once; 0 for as many as the resources allow.
    metrics
        Names of the metrics as the experiment has them.
    first
        Index of the first trial, and number of the first configuration.
    """

    def __init__(
        self,
        searcher: Searcher,
        encodings: Mapping[str, Encoding],
        sampling: Sampling,
        resolver: TrialResolver,
        max_concurrent: int,
        metrics: Sequence[str],
        first: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(searcher)
        self._encodings = encodings
        self._sampling = sampling
        self._resolver = resolver
        self._keys = [report_name(metric) for metric in metrics]
        # BOHB counts for itself: for it, a paused trial is none that runs.
        limits_itself = max_concurrent > 0 and searcher.set_max_concurrency(max_concurrent)
        self._most = 0 if limits_itself else max_concurrent
        self._limits_itself = limits_itself
        self._maker: _TrialMaker | None = None
        self._waiting: deque[tuple[_Suggestion, Sample]] = deque()
        self._open: dict[str, _Suggestion] = {}
        self._latest: dict[str, dict[str, Any]] = {}
        self._asked = 0
        self._first_index, self._next_configuration = first
        self._exhausted = False
        self._has_to_wait = False
        self._failure: Exception | None = None

    @property
    def total_samples(self) -> int:
        """The number of trials, or the most that there can be."""
        return self._sampling.total(suggested=True)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take nothing from Tune: the searcher was given all of it when it was made."""
        return True

    def add_configurations(self, experiments: Any) -> None:
        """Take from Tune what its trials need besides their parameters."""
        self._maker = _TrialMaker(_only(experiments), self._resolver, self._first_index)

    def next_trial(self) -> Trial | None:
        """Return the next trial; None where there is none, or none yet.

        Raises
        ------
        SweepFailed
            If the searcher has failed.
        """
        if self._failure is not None:
            self._fail(self._failure)
        full = 0 < self._most <= len(self._open)
        if self._maker is None or full or self.is_finished():
            return None
        if not self._waiting:
            self._ask()
        if not self._waiting:
            return None
        suggestion, sample = self._waiting.popleft()
        alone = suggestion.trials == 1
        trial_id = suggestion.searcher_id if alone else Trial.generate_id()
        trial = self._maker.make(trial_id, sample)
        self._open[trial_id] = suggestion
        return trial

    def is_finished(self) -> bool:
        """Tell whether there will be no more trials."""
        asked = self._exhausted or self._asked >= self._sampling.num_samples
        return self._finished or (asked and not self._waiting)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Let the searcher hear of a trial on its way, where that is all of its suggestion."""
        if self._limits_itself:
            self._has_to_wait = False  # the trial may have been paused
        suggestion = self._open.get(trial_id)
        if suggestion is None or self._measured(result) is None:
            return
        self._latest[trial_id] = result
        if suggestion.trials > 1:
            return
        try:
            self.searcher.on_trial_result(trial_id, result)
        except Exception as error:
            self._failure = error

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Let the searcher hear of the last trial of a suggestion, with the mean of them all."""
        self._has_to_wait = False
        suggestion, latest = self._open.pop(trial_id, None), self._latest.pop(trial_id, None)
        if suggestion is None:
            return
        if result is None and not error:
            # Tune has no result at hand when it ends a trial that is paused.
            result = latest
        elif result is not None and result.get("status") == "TIMEOUT":
            error = True
        measured = None if error or result is None else self._measured(result)
        if measured is not None:
            suggestion.measured.append(measured)
        suggestion.open -= 1
        if suggestion.open:
            return
        columns = zip(*suggestion.measured, strict=True)
        means = {key: math.fsum(c) / len(c) for key, c in zip(self._keys, columns, strict=False)}
        try:
            self.searcher.on_trial_complete(
                suggestion.searcher_id,
                result={**(result or {}), **means} if means else None,
                error=not means,
            )
        except Exception as failure:
            # Tune would take this for a failure of the trial, so it is raised at the next one.
            self._failure = failure

    def get_state(self) -> dict[str, Any]:
        """Keep no state in Tune's files: the record in MongoDB is the state of a sweep."""
        return {}

    def has_checkpoint(self, dirpath: str) -> bool:
        """There is none; see `get_state`."""
        return False

    def save_to_dir(self, dirpath: str, session_str: str) -> None:
        """Write nothing; see `get_state`."""

    def _measured(self, result: Mapping[str, Any]) -> list[float] | None:
        """Return the values of the metrics; None unless all of them are finite numbers."""
        values = [result.get(key) for key in self._keys]
        finite = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
        return [float(value) for value in values if value is not None] if finite else None

    def _ask(self) -> None:
        """Let the searcher choose, and queue the trials of what it chose."""
        for _ in range(_MOST_QUESTIONS):
            if self._has_to_wait:
                return
            searcher_id = Trial.generate_id()
            try:
                suggested = self.searcher.suggest(searcher_id)
                values = self._decode(suggested)
            except Exception as error:
                self._fail(error)
            if values is not None:
                self._queue(searcher_id, values)
                return
            if suggested == Searcher.FINISHED:
                break
            # Asking again before anything has changed makes BayesOpt believe that it is done.
            self._has_to_wait = bool(self._open)
        self._exhausted = True

    def _decode(self, suggested: Any) -> dict[str, Any] | None:
        if suggested is None or suggested == Searcher.FINISHED:
            return None
        return {e.name: e.decode(suggested[name]) for name, e in self._encodings.items()}

    def _queue(self, searcher_id: str, values: Mapping[str, Any]) -> None:
        samples = self._sampling.of_suggestion(values, self._next_configuration)
        suggestion = _Suggestion(searcher_id, len(samples), len(samples))
        self._waiting.extend((suggestion, sample) for sample in samples)
        self._asked += 1
        self._next_configuration = max(sample.configuration for sample in samples) + 1

    def _fail(self, error: Exception) -> None:
        name = type(self.searcher).__name__
        raise SweepFailed(f"The searcher {name} failed: {type(error).__name__}: {error}") from error
