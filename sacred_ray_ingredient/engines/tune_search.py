"""From suggestions of searchers to Tune's trials."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.search.search_generator import SearchGenerator

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.cluster.capacity import Autoscaler, most_at_once
from sacred_ray_ingredient.cluster.resources import read_resources
from sacred_ray_ingredient.engines.base import EngineJob
from sacred_ray_ingredient.engines.encoding import Encoding
from sacred_ray_ingredient.engines.make_searcher import SearchJob, make_searcher
from sacred_ray_ingredient.engines.tune_trials import ResolvingGenerator, TrialMaker
from sacred_ray_ingredient.errors import SweepFailed
from sacred_ray_ingredient.metrics import report_name
from sacred_ray_ingredient.resolved_config import TrialResolver
from sacred_ray_ingredient.restart import PlannedTrial, RecordedSuggestion, Restart
from sacred_ray_ingredient.sampling import Sampling
from sacred_ray_ingredient.seeds import derive_seed
from sacred_ray_ingredient.settings import SweepSettings

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
        return ResolvingGenerator(job.trials(), job.total, job.resolver, most)
    search = SearchJob(
        dimensions=sampling.dimensions(),
        metrics=[report_name(metric) for metric in settings.metrics],
        modes=list(settings.modes),
        seed=sampling.seed,
        num_samples=sampling.num_samples,
        max_concurrent=trials_at_once(settings, job.autoscaler),
        points_to_evaluate=settings.points_to_evaluate,
        earlier=job.earlier,
    )
    choice, restart = job.searcher, job.restart
    if restart is not None:
        choice, search = going_on(choice, search, restart)
    searcher, encodings = make_searcher(choice, search)
    return SearchingGenerator(
        searcher, encodings, sampling, job.resolver, most, settings.metrics, restart or Restart()
    )


def going_on(choice: Choice, search: SearchJob, restart: Restart) -> tuple[Choice, SearchJob]:
    """Return a searcher and what it has to do where a sweep goes on.

    It is told of what has finished, begins with what is run again, and draws other numbers than
    it did at the beginning.

    Parameters
    ----------
    choice, search
        As for a sweep that begins.
    restart
        Where it goes on.
    """
    begun = [suggestion.values for suggestion in restart.suggestions]
    points = search.points_to_evaluate[restart.asked :]
    seed = derive_seed(search.seed, restart.asked)
    arguments = dict(choice.arguments)
    if arguments.get("seed") is not None:
        arguments["seed"] = derive_seed(arguments["seed"], restart.asked)
    sampler = arguments.get("sampler")
    if isinstance(sampler, Mapping) and isinstance(sampler.get("seed"), int):
        arguments["sampler"] = {**sampler, "seed": derive_seed(sampler["seed"], restart.asked)}
    earlier = [*search.earlier, *restart.earlier]
    search = replace(search, points_to_evaluate=points, begun=begun, earlier=earlier, seed=seed)
    return replace(choice, arguments=arguments), search


def trials_at_once(settings: SweepSettings, autoscaler: Autoscaler | None = None) -> int:
    """Count how many trials can run at once.

    Parameters
    ----------
    settings
        What a trial asks for, and how many there may be.
    autoscaler
        What starts nodes for the cluster, if something does.
    """
    if settings.max_concurrent_trials:
        return settings.max_concurrent_trials
    if not ray.is_initialized():
        return 1
    return most_at_once(read_resources(settings.resources_per_trial), autoscaler)


@dataclass
class _Suggestion:
    """What a searcher has chosen, and what became of the trials of it.

    It hears nothing of what it has not chosen itself.
    """

    searcher_id: str | None
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
    restart
        Where a sweep goes on: what is run again first, and the numbers that come next.
    """

    def __init__(
        self,
        searcher: Searcher,
        encodings: Mapping[str, Encoding],
        sampling: Sampling,
        resolver: TrialResolver,
        max_concurrent: int,
        metrics: Sequence[str],
        restart: Restart = Restart(),  # noqa: B008
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
        self._maker: TrialMaker | None = None
        self._waiting: deque[tuple[_Suggestion, PlannedTrial]] = deque()
        self._open: dict[str, _Suggestion] = {}
        self._latest: dict[str, dict[str, Any]] = {}
        self._asked = restart.asked
        self._again = list(restart.suggestions)
        # What the searcher chose before it came to what is run again.
        self._held: deque[tuple[str, dict[str, Any]]] = deque()
        made = (trial.index for again in self._again for trial in again.trials)
        self._next_index = max([restart.next_index - 1, *made]) + 1
        self._next_configuration = restart.next_configuration
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
        self._maker = TrialMaker(experiments, self._resolver)

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
        suggestion, planned = self._waiting.popleft()
        own_id = suggestion.searcher_id if suggestion.trials == 1 else None
        trial_id = own_id or Trial.generate_id()
        trial = self._maker.make(trial_id, planned)
        self._open[trial_id] = suggestion
        return trial

    def is_finished(self) -> bool:
        """Tell whether there will be no more trials."""
        asked = self._exhausted or self._asked >= self._sampling.num_samples
        return self._finished or (asked and not self._waiting and not self._again)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Let the searcher hear of a trial on its way, where that is all of its suggestion."""
        if self._limits_itself:
            self._has_to_wait = False  # the trial may have been paused
        suggestion = self._open.get(trial_id)
        if suggestion is None or self._measured(result) is None:
            return
        self._latest[trial_id] = result
        if suggestion.trials > 1 or suggestion.searcher_id is None:
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
        if suggestion.open or suggestion.searcher_id is None:
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
        if self._again:
            self._ask_again()
            return
        if self._held:
            self._queue(*self._held.popleft())
            return
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

    def _ask_again(self) -> None:
        """Queue a recorded choice, for which the searcher is to choose it again."""
        if self._has_to_wait:
            return
        searcher_id = Trial.generate_id()
        try:
            suggested = self.searcher.suggest(searcher_id)
            values = self._decode(suggested)
        except Exception as error:
            self._fail(error)
        if values is None and suggested != Searcher.FINISHED and self._open:
            self._has_to_wait = True
            return
        same = [again for again in self._again if values and _is_same(again, values)]
        again = same[0] if same else self._again[0]
        self._again.remove(again)
        if values is not None and not same:
            self._held.append((searcher_id, values))
        open_trials, measured = len(again.trials), list(again.measured)
        own_id = searcher_id if same else None
        suggestion = _Suggestion(own_id, again.total, open_trials, measured)
        self._waiting.extend((suggestion, planned) for planned in again.trials)

    def _decode(self, suggested: Any) -> dict[str, Any] | None:
        if suggested is None or suggested == Searcher.FINISHED:
            return None
        return {e.name: e.decode(suggested[name]) for name, e in self._encodings.items()}

    def _queue(self, searcher_id: str, values: Mapping[str, Any]) -> None:
        samples = self._sampling.of_suggestion(values, self._next_configuration)
        suggestion = _Suggestion(searcher_id, len(samples), len(samples))
        for index, sample in enumerate(samples, self._next_index):
            self._waiting.append((suggestion, PlannedTrial(index, sample)))
        self._next_index += len(samples)
        self._asked += 1
        self._next_configuration = max(sample.configuration for sample in samples) + 1

    def _fail(self, error: Exception) -> None:
        name = type(self.searcher).__name__
        raise SweepFailed(f"The searcher {name} failed: {type(error).__name__}: {error}") from error


def _is_same(recorded: RecordedSuggestion, values: Mapping[str, Any]) -> bool:
    """Tell whether a searcher chose a recorded point, up to what its encoding rounds."""
    return all(_is_close(value, values.get(name)) for name, value in recorded.values.items())


def _is_close(left: Any, right: Any) -> bool:
    is_float = isinstance(left, float) and isinstance(right, (int, float))
    return math.isclose(left, right, rel_tol=1e-9) if is_float else bool(left == right)
