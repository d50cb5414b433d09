"""Parts that are mixed into Ray's searchers, where these wait for ever, end early or are noisy."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from ray.tune.search import Searcher


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of libraries from the terminal; what matters raises."""
    loggers = [logging.getLogger(name) for name in ("ray.tune", "hpbandster")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def preserved_random_states() -> Iterator[None]:
    """Leave the global random states as they were."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def fresh_random_states(seed: int) -> tuple[Any, Any]:
    """Return states for Python's and NumPy's random numbers."""
    python = random.Random(seed)  # noqa: S311
    return python.getstate(), np.random.RandomState(seed).get_state()


class Isolated:
    """Part of every searcher: quiet, and with global random states of its own.

    BOHB and ZOOpt draw from the global states, which this makes repeatable.
    """

    random_states: tuple[Any, Any]

    def suggest(self, trial_id: str) -> Any:
        """Choose values; see the class."""
        with quiet(), preserved_random_states():
            random.setstate(self.random_states[0])
            np.random.set_state(self.random_states[1])
            suggested = super().suggest(trial_id)  # type: ignore[misc]
            self.random_states = random.getstate(), np.random.get_state()
        return suggested

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hear how a trial ended; see the class."""
        with quiet(), preserved_random_states():
            super().on_trial_complete(trial_id, result, error)  # type: ignore[misc]


class EveryPointOnce:
    """Part of Optuna's searcher for brute force, which does not say when nothing is left."""

    points_left = 0

    def suggest(self, trial_id: str) -> Any:
        """Choose values; see the class."""
        if self.points_left <= 0:
            return Searcher.FINISHED
        self.points_left -= 1
        return super().suggest(trial_id)  # type: ignore[misc]


class KeepsSuggesting:
    """Part of BayesOpt's searcher, which waits or ends where it need not.

    It waits for the results of its first points, which are drawn at random: one that failed
    never has a result, so another one takes its place. Afterwards it would suggest the same
    point until there is a new result, and end: a failed trial counts as the worst so far, and
    one that still runs as the mean.
    """

    optimizer: Any
    random_search_trials: int
    _total_random_search_trials: int
    _buffered_trial_results: list[Any]
    _live_trial_mapping: dict[str, dict[str, float]]

    def suggest(self, trial_id: str) -> Any:
        """Choose values; see the class."""
        known = self.optimizer._space
        if self._at_first() or not len(known):
            return super().suggest(trial_id)  # type: ignore[misc]
        self.optimizer._space = copy.deepcopy(known)
        try:
            for params in self._live_trial_mapping.values():
                self._register(params, float(known.target.mean()))
            return super().suggest(trial_id)  # type: ignore[misc]
        finally:
            self.optimizer._space = known

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hear how a trial ended; see the class."""
        if error or not result:
            params = self._live_trial_mapping[trial_id]
            if self._at_first():
                self._total_random_search_trials -= 1
            elif len(self.optimizer._space):
                self._register(params, float(self.optimizer._space.target.min()))
        super().on_trial_complete(trial_id, result, error)  # type: ignore[misc]

    def _at_first(self) -> bool:
        return len(self._buffered_trial_results) < self.random_search_trials

    def _register(self, params: dict[str, float], target: float) -> None:
        if self.optimizer._space.params_to_array(params) not in self.optimizer._space:
            self.optimizer.register(params, target)


class CountsAll:
    """Part of ZOOpt's searcher, which waits for the results of its first points.

    One that failed counts as the worst possible; and where all results are there before the
    next question, as with one trial at a time, there is nothing to wait for.
    """

    optimizer: Any
    _live_trial_mapping: dict[str, Any]
    solution_dict: dict[str, Any]

    def suggest(self, trial_id: str) -> Any:
        """Choose values; see the class."""
        first = self.optimizer._parameter.get_train_size()
        if self.optimizer.init_num == first and self.optimizer.complete_num >= first:
            self.optimizer.init_num += 1
        elif self.optimizer.init_num < first:
            self.optimizer._best_solution = None  # with one, the user's points are forgotten
        return super().suggest(trial_id)  # type: ignore[misc]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hear how a trial ended; see the class."""
        if error or not result:
            self.optimizer.complete(self.solution_dict[trial_id], math.inf)
            result = None
        super().on_trial_complete(trial_id, result, error)  # type: ignore[misc]
