"""Makes the searchers of Ray Tune from what the user chose.

Each is seeded, quiet, and knows the points to begin with and the earlier trials. Where Ray's
class would wait for ever or end too early, a subclass mends that.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ray.tune.search import Searcher

from sacred_ray_ingredient.choices import Choice
from sacred_ray_ingredient.engines.encoding import Encoding, make_encodings
from sacred_ray_ingredient.engines.mended import (
    CountsAll,
    EveryPointOnce,
    Isolated,
    KeepsSuggesting,
    fresh_random_states,
    preserved_random_states,
    quiet,
)
from sacred_ray_ingredient.errors import SweepFailed
from sacred_ray_ingredient.points import point_values
from sacred_ray_ingredient.samplers import Sampler
from sacred_ray_ingredient.searchers import (
    OPTUNA_SAMPLERS,
    SEARCHERS,
    optuna_sampler,
)

_NUMPY_SEEDS = 2**32
# For numbers and categories at once, and any number of trials at a time; Nevergrad's own choice,
# NGOpt, stumbles over NumPy 2.4.
_NEVERGRAD_OPTIMIZER = "PortfolioDiscreteOnePlusOne"
_LEAST_ZOOPT_BUDGET = 4  # with less, ZOOpt ends the process
_LIBRARIES = {
    **{"optuna": "Optuna", "hyperopt": "HyperOpt", "nevergrad": "Nevergrad"},
    **{"bohb": "BOHB", "bayesopt": "BayesOpt", "zoopt": "ZOOpt"},
}
# Enough results for a library to learn from, where it is told to begin with that at once.
_TRIED_RESULTS = 8
_AT_ONCE = {"hyperopt": {"n_initial_points": 1}, "bayesopt": {"random_search_steps": 0}}


@dataclass(frozen=True)
class SearchJob:
    """What a searcher has to do.

    Parameters
    ----------
    dimensions
        What there is to choose: samplers by name.
    metrics
        What to look at in the results, by the names that they have there.
    modes
        ``min`` or ``max`` for each metric.
    seed
        Seed of the search.
    num_samples
        How many choices there will be.
    max_concurrent
        How many trials run at once; 0 where that is not known.
    points_to_evaluate
        What to begin with: parameters, nested or dotted. What a point does not say is drawn at
        random.
    earlier
        What is known: values by dimension and a value of each metric.
    begun
        What to begin with before all else, as values by dimension.
    """

    dimensions: Mapping[str, Sampler]
    metrics: Sequence[str]
    modes: Sequence[str]
    seed: int
    num_samples: int
    max_concurrent: int = 0
    points_to_evaluate: Sequence[Mapping[str, Any]] = ()
    earlier: Sequence[tuple[Mapping[str, Any], Sequence[float]]] = ()
    begun: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class _Order:
    """What the makers below share: the job in the words of Ray's classes."""

    job: SearchJob
    searcher_class: Any
    space: dict[str, Any]
    metric: Any
    mode: Any
    seed: int
    points: list[dict[str, Any]] | None
    earlier: list[tuple[dict[str, Any], list[float]]]
    arguments: dict[str, Any]

    def make(self, *mixins: type, space_name: str = "space", **arguments: Any) -> Any:
        """Make the searcher, where the user's arguments come before our own."""
        made = type(self.searcher_class.__name__, (*mixins, Isolated, self.searcher_class), {})
        given = {**arguments, **self.arguments, "metric": self.metric, "mode": self.mode}
        given.setdefault(space_name, self.searcher_class.convert_search_space(self.space))
        searcher = made(points_to_evaluate=self.points, **given)
        searcher.random_states = fresh_random_states(self.seed)
        return searcher

    def losses(self) -> list[tuple[dict[str, Any], float]]:
        """Return the earlier trials for a library that minimizes one number."""
        sign = -1.0 if self.mode == "max" else 1.0
        return [(values, sign * measured[0]) for values, measured in self.earlier]


def make_searcher(choice: Choice, job: SearchJob) -> tuple[Searcher, dict[str, Encoding]]:
    """Make a searcher of Ray Tune.

    Parameters
    ----------
    choice
        What the user chose, without mistakes.
    job
        What the searcher has to do.

    Returns
    -------
    tuple
        The searcher, and how to read what it suggests: encodings by the names that it uses.

    Raises
    ------
    SweepFailed
        If the library of the searcher refuses an argument, or anything else.
    """
    encodings = make_encodings(choice.name, job.dimensions)
    module = importlib.import_module(f"ray.tune.search.{choice.name}")
    arguments = dict(choice.arguments)
    seed = arguments.pop("seed", None)
    several = len(job.metrics) > 1
    order = _Order(
        job,
        getattr(module, SEARCHERS[choice.name].ray_class),
        {name: encoding.domain() for name, encoding in encodings.items()},
        list(job.metrics) if several else job.metrics[0],
        list(job.modes) if several else job.modes[0],
        (job.seed if seed is None else seed) % _NUMPY_SEEDS,
        _encoded_points(job, encodings) or None,
        _encoded_earlier(job, encodings),
        arguments,
    )
    with quiet(), preserved_random_states():
        try:
            searcher: Searcher = _MAKERS[choice.name](choice, order)
        except (Exception, SystemExit) as error:  # ZOOpt ends the process
            raise SweepFailed(
                f"The searcher {choice.text()!r} cannot be made: {type(error).__name__}: {error}"
            ) from error
    return searcher, encodings


def refused_by_library(
    choice: Choice,
    dimensions: Mapping[str, Sampler],
    metrics: Sequence[str] = ("result",),
    modes: Sequence[str] = ("max",),
    num_samples: int = 10,
) -> str | None:
    """Let the library of a searcher look at the values of its arguments.

    The searcher is made and asked for a suggestion; if it was given arguments, also for one that
    it has to base on results. Ray need not have been started.

    Parameters
    ----------
    choice
        What the user chose; nothing else is wrong with it.
    dimensions
        What there is to choose: samplers by name.
    metrics, modes
        What it looks at, and ``min`` or ``max`` for each.
    num_samples
        How many choices there will be.

    Returns
    -------
    str or None
        A sentence; None if the library takes them.
    """
    job = SearchJob(dimensions, metrics, modes, 0, num_samples)
    tried = [(choice, job)]
    at_once = _learning_at_once(choice)
    if at_once is not None:
        places = [(number + 0.5) / _TRIED_RESULTS for number in range(_TRIED_RESULTS)]
        points = [{name: s.quantile(place) for name, s in dimensions.items()} for place in places]
        known = [(point, [float(n)] * len(metrics)) for n, point in enumerate(points)]
        tried.append((at_once, replace(job, earlier=known)))
    said = io.StringIO()
    try:
        # ZOOpt says on the terminal why it ends the process.
        with contextlib.redirect_stdout(said), preserved_random_states():
            for asked, what in tried:
                searcher, _ = make_searcher(asked, what)
                searcher.suggest("tried")
    except (Exception, SystemExit) as error:
        cause = error.__cause__ or error if isinstance(error, SweepFailed) else error
        is_end = isinstance(cause, SystemExit)
        problem = said.getvalue() if is_end else f"{type(cause).__name__}: {cause}"
        return (
            f"ray.search_alg is {choice.text()!r}, which {_LIBRARIES[choice.name]} refuses: "
            f"{problem.strip().rstrip('.')}."
        )
    return None


def _learning_at_once(choice: Choice) -> Choice | None:
    """Return a choice with the user's arguments that bases its first suggestion on results.

    None where no argument is given, or a library that takes long to learn would be used.
    """
    if not set(choice.arguments) - {"seed"}:
        return None
    if choice.name != "optuna":
        at_once = _AT_ONCE.get(choice.name)
        return None if at_once is None else replace(choice, arguments=choice.arguments | at_once)
    name, arguments = optuna_sampler(choice)
    if name != "tpe":
        return None
    sampler = {"name": name, **arguments, "n_startup_trials": 1}
    return replace(choice, arguments={**choice.arguments, "sampler": sampler})


def _encoded_points(job: SearchJob, encodings: Mapping[str, Encoding]) -> list[dict[str, Any]]:
    points = []
    given = [point_values(point, job.dimensions)[0] for point in job.points_to_evaluate]
    for number, values in enumerate([*job.begun, *given]):
        encoded = {}
        for position, (internal, encoding) in enumerate(encodings.items()):
            # Drawn also where it is not needed, so that a point does not change the others.
            drawn = np.random.default_rng([job.seed, number, position]).random()
            value = values.get(encoding.name, encoding.sampler.quantile(drawn))
            encoded[internal] = encoding.encode(value)
        points.append(encoded)
    return points


def _encoded_earlier(
    job: SearchJob, encodings: Mapping[str, Encoding]
) -> list[tuple[dict[str, Any], list[float]]]:
    encoded = []
    for values, measured in job.earlier:
        point = {i: e.encode(values[e.name]) for i, e in encodings.items() if e.name in values}
        complete = len(point) == len(encodings) and None not in point.values()
        if complete and all(math.isfinite(value) for value in measured):
            encoded.append((point, [float(value) for value in measured]))
    return encoded


def _optuna(choice: Choice, order: _Order) -> Any:
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name, arguments = optuna_sampler(choice)
    made = getattr(optuna.samplers, OPTUNA_SAMPLERS[name])(**{"seed": order.seed, **arguments})
    order.arguments["sampler"] = made
    searcher = order.make(*([EveryPointOnce] if name == "bruteforce" else []))
    study = searcher._ot_study
    for values, measured in order.earlier:
        study.add_trial(
            optuna.trial.create_trial(params=values, distributions=searcher._space, values=measured)
        )
    if name == "bruteforce":
        searcher.points_left = math.prod(map(_count, searcher._space.values()))
        searcher.points_left -= len({tuple(values.values()) for values, _ in order.earlier})
        # The sampler asks for an end that only Optuna's own loop knows.
        study.stop = lambda: None
    return searcher


def _count(distribution: Any) -> int:
    if hasattr(distribution, "choices"):
        return len(distribution.choices)
    steps: int = round((distribution.high - distribution.low) / (distribution.step or 1))
    return steps + 1


def _hyperopt(choice: Choice, order: _Order) -> Any:
    hyperopt = importlib.import_module("hyperopt")
    searcher = order.make(random_state_seed=order.seed)
    trials, labels = searcher._hpopt_trials, list(order.space)
    for values, loss in order.losses():
        point = dict(values)
        searcher._convert_categories_to_indices(point)
        (tid,) = trials.new_trial_ids(1)
        misc = {
            "tid": tid,
            "cmd": searcher.domain.cmd,
            "workdir": None,
            "idxs": {label: [tid] for label in labels},
            "vals": {label: [point[label]] for label in labels},
        }
        result = {"loss": loss, "status": hyperopt.STATUS_OK}
        (document,) = trials.new_trial_docs([tid], [None], [result], [misc])
        document["state"] = hyperopt.JOB_STATE_DONE
        trials.insert_trial_docs([document])
        trials.refresh()
    return searcher


def _nevergrad(choice: Choice, order: _Order) -> Any:
    nevergrad = importlib.import_module("nevergrad")
    parametrization = order.searcher_class.convert_search_space(order.space)
    parametrization.random_state = np.random.RandomState(order.seed)
    given = {"budget": order.job.num_samples, "num_workers": max(order.job.max_concurrent, 1)}
    name = order.arguments.pop("optimizer", _NEVERGRAD_OPTIMIZER)
    given |= order.arguments.pop("optimizer_kwargs", None) or {}
    searcher = order.make(
        optimizer=nevergrad.optimizers.registry[name],
        optimizer_kwargs=given,
        space=parametrization,
    )
    optimizer = searcher._nevergrad_opt
    for values, loss in order.losses():
        optimizer.tell(parametrization.spawn_child(new_value=values), loss)
    return searcher


def _bohb(choice: Choice, order: _Order) -> Any:
    searcher = order.make(seed=order.seed)
    for number, (values, measured) in enumerate(order.earlier):
        # As results of the smallest budget, which count until the sweep has a model of its own.
        trial_id = f"earlier {number}"
        searcher.trial_to_params[trial_id] = values
        searcher.on_trial_result(
            trial_id, {order.metric: measured[0], "hyperband_info": {"budget": 0}}
        )
        searcher.on_trial_complete(trial_id)
    return searcher


def _bayesopt(choice: Choice, order: _Order) -> Any:
    # What is known already takes the place of the first points, which are drawn at random.
    known: dict[str, Any] = {"random_search_steps": 0} if order.earlier else {}
    searcher = order.make(KeepsSuggesting, random_state=order.seed, **known)
    for values, measured in order.earlier:
        searcher._register_result(values, {order.metric: measured[0]})
    return searcher


def _zoopt(choice: Choice, order: _Order) -> Any:
    searcher = order.make(
        CountsAll,
        space_name="dim_dict",
        budget=max(order.job.num_samples, _LEAST_ZOOPT_BUDGET),
        parallel_num=max(order.job.max_concurrent, 1),
    )
    parameter = searcher.optimizer._parameter
    points = parameter.get_init_samples() or ()
    for solution in points:
        # Ray gives tuples, and the library changes copies of what it was given.
        solution.set_x(list(solution.get_x()))
    parameter.set_train_size(max(parameter.get_train_size(), len(points)))
    return searcher


_MAKERS: dict[str, Callable[[Choice, _Order], Any]] = {
    "optuna": _optuna,
    "hyperopt": _hyperopt,
    "nevergrad": _nevergrad,
    "bohb": _bohb,
    "bayesopt": _bayesopt,
    "zoopt": _zoopt,
}
