"""How good the results of a search are: Optuna through this package against Optuna alone.

The same sampler (TPE as Optuna has it by default), the same number of trials, one at a time, and
the same seeds; what is compared is the best value of each search. Run, from the root of the
repository::

    python -m benchmarks.quality --seeds 20
    python -m benchmarks.quality --seeds 20 --sweeps 3

Through this package means the way that a sweep takes from a search space as a user writes it to the
points of its trials and back to the searcher: `sampling`, `engines.make_searcher`,
`engines.encoding` and `engines.tune_search`, with real trials of Tune, which are evaluated here
instead of in a worker. ``--sweeps`` runs so many searches over the digits as real sweeps, with Ray
and MongoDB, and makes sure that their trials are the same as those that were made here.

Optuna alone is what its users write: ``study.optimize``, where the function asks for its parameters
one by one, and only for those that it needs.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.database import URL_VARIABLE
from benchmarks.figures import BenchmarkFailed, Row, Size, text_table
from benchmarks.quality_problems import DIGITS_CONFIG, PROBLEMS, Point, Problem

ROOT = Path(__file__).resolve().parent.parent
FIGURE = "quality"
SEEDS = 20
OURS = "ours, Optuna's TPE"
ALONE = "Optuna alone, its TPE"
# Below it a difference is taken for one.
_NOISE_P = 0.05
_SWEEP_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Search:
    """What one search came to.

    Attributes
    ----------
    points : list
        In their order.
    values : list of float
        Of these.
    """

    points: list[Point]
    values: list[float]


def search_here(problem: Problem, seed: int, trials: int) -> Search:
    """Search with a sweep's own parts, one trial after the other.

    Parameters
    ----------
    problem
        What is optimised.
    seed
        Of the sweep.
    trials
        How many.
    """
    from ray.tune.experiment import Experiment

    from sacred_ray_ingredient.tasks import TrialTask

    generator = _generator(problem, seed, trials)
    points: list[Point] = []
    values: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sri-") as folder:
        experiment = Experiment("quality", _never_run, storage_path=folder, num_samples=1)
        generator.add_configurations([experiment])
        while not generator.is_finished():
            trial = generator.next_trial()
            if trial is None:
                raise BenchmarkFailed(f"{problem.name}: the searcher waits, but nothing runs")
            points.append(TrialTask.from_config(trial.config).sampled)
            values.append(problem.value(points[-1]))
            result = {"result": values[-1], "training_iteration": 1}
            generator.on_trial_complete(trial.trial_id, result)
    return Search(points, values)


def _never_run(config: Mapping[str, Any]) -> None:
    """Stand for the function of a worker."""


def _generator(problem: Problem, seed: int, trials: int) -> Any:
    from sacred_ray_ingredient.choices import Choice
    from sacred_ray_ingredient.engines.make_searcher import SearchJob, make_searcher
    from sacred_ray_ingredient.engines.tune_search import SearchingGenerator
    from sacred_ray_ingredient.resolved_config import TrialResolver
    from sacred_ray_ingredient.sampling import Sampling
    from sacred_ray_ingredient.search_space import parse_search_space

    space, mistakes = parse_search_space(problem.space)
    if mistakes:
        raise BenchmarkFailed("; ".join(mistakes))
    sampling = Sampling(space, trials, seed)
    job = SearchJob(
        dimensions=sampling.dimensions(),
        metrics=["result"],
        modes=[problem.mode],
        seed=seed,
        num_samples=trials,
        max_concurrent=1,
    )
    searcher, encodings = make_searcher(Choice("optuna"), job)
    resolver = TrialResolver(lambda *_: {}, (), seed, lambda updates: updates)
    return SearchingGenerator(searcher, encodings, sampling, resolver, 1, ["result"])


def search_alone(problem: Problem, seed: int, trials: int) -> Search:
    """Search with Optuna as it is.

    Parameters
    ----------
    problem
        What is optimised.
    seed
        Of Optuna's sampler.
    trials
        How many.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points: list[Point] = []
    values: list[float] = []

    def objective(trial: Any) -> float:
        points.append(problem.suggest(trial))
        values.append(problem.value(points[-1]))
        return values[-1]

    direction: Any = "minimize" if problem.mode == "min" else "maximize"
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction=direction, sampler=sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.optimize(objective, n_trials=trials)
    return Search(points, values)


WAYS: dict[str, Callable[[Problem, int, int], Search]] = {OURS: search_here, ALONE: search_alone}


def search_as_sweep(problem: Problem, seed: int, trials: int) -> Search:
    """Search the digits with a real sweep, and read its record.

    Parameters
    ----------
    problem
        The digits.
    seed
        Of the sweep.
    trials
        How many.

    Raises
    ------
    BenchmarkFailed
        If the command failed, or not all trials are recorded.
    """
    from benchmarks.runs import temporary_place

    ray = {
        "search_space": problem.space,
        "search_alg": "optuna",
        "num_samples": trials,
        "metric": "result",
        "mode": problem.mode,
        "max_concurrent_trials": 1,
    }
    with temporary_place() as place:
        environment = place.environment("sweep")
        for folder in (environment["RAY_TMPDIR"], environment["HOME"]):
            Path(folder).mkdir(exist_ok=True)
        config = place.folder / "search.json"
        config.write_text(json.dumps({"seed": seed, "ray": ray, "digits": dict(DIGITS_CONFIG)}))
        done = subprocess.run(
            [sys.executable, "-m", "experiments.digits_search", "with", str(config)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SWEEP_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise BenchmarkFailed(
                f"the sweep of seed {seed} failed:\n{(done.stdout + done.stderr)[-3000:]}"
            )
        return _recorded(environment[URL_VARIABLE], trials)


def _recorded(url: str, trials: int) -> Search:
    import pymongo

    with pymongo.MongoClient(url) as client:
        query = {"meta.sweep.trial_index": {"$exists": True}, "status": "COMPLETED"}
        order = [("meta.sweep.trial_index", 1)]
        runs = list(client.get_default_database().runs.find(query, sort=order))
    if len(runs) != trials:
        raise BenchmarkFailed(f"{len(runs)} trials are recorded as COMPLETED, not {trials}")
    points = [run["meta"]["sweep"]["sampled"] for run in runs]
    return Search(points, [float(run["result"]) for run in runs])


def best(problem: Problem, search: Search) -> float:
    """Return the best value of a search."""
    return min(search.values) if problem.mode == "min" else max(search.values)


def p_value(ours: Sequence[float], others: Sequence[float]) -> float:
    """Return how likely so different values are where nothing differs (Mann-Whitney).

    Parameters
    ----------
    ours, others
        The best values of searches.
    """
    from scipy.stats import mannwhitneyu

    if set(ours) == set(others) and len(set(ours)) == 1:
        return 1.0
    return float(mannwhitneyu(ours, others, alternative="two-sided").pvalue)


def compare(problem: Problem, seeds: Sequence[int], trials: int) -> dict[str, list[float]]:
    """Search in every way with every seed; return the best values by way.

    Parameters
    ----------
    problem
        What is optimised.
    seeds
        Each is used for one search of each way.
    trials
        Of each search.
    """
    return {
        way: [best(problem, search(problem, seed, trials)) for seed in seeds]
        for way, search in WAYS.items()
    }


def rows_of(problem: Problem, found: Mapping[str, Sequence[float]], trials: int) -> list[Row]:
    """Lay out the best values of one problem.

    Parameters
    ----------
    problem
        What was optimised.
    found
        Best values by way.
    trials
        Of each search.
    """
    better = "lower" if problem.mode == "min" else "higher"
    rows = []
    for way, values in found.items():
        low, high = np.percentile(values, [25, 75])
        note = f"{len(values)} seeds of {trials} trials; quartiles {low:.4g} to {high:.4g}"
        median = statistics.median(values)
        rows.append(
            Row(FIGURE, way, median, "best", better=better, note=note, measure=problem.name)  # type: ignore[arg-type]
        )
    p = p_value(found[OURS], found[ALONE])
    sign = 1 if problem.mode == "max" else -1
    gain = sign * (statistics.median(found[OURS]) - statistics.median(found[ALONE]))
    verdict = "no worse" if gain >= 0 else f"worse by {-gain:.3g} in the median"
    goal = None if gain >= 0 else _NOISE_P
    rows.append(Row(FIGURE, f"{OURS} : {ALONE}", p, "p", goal, note=verdict, measure=problem.name))
    return rows


def figures(size: Size) -> list[Row]:
    """Compare on all problems; another round takes other seeds.

    Parameters
    ----------
    size
        ``trials`` is the number of trials of each search.
    """
    seeds = range(2 if size.quick else SEEDS)
    shift = size.round * len(seeds)
    rows = []
    for problem in PROBLEMS.values():
        trials = size.pick(problem.trials, 12)
        evaluated = remembering(problem)
        found = compare(evaluated, [seed + shift for seed in seeds], trials)
        rows += rows_of(problem, found, trials)
    return rows


def remembering(problem: Problem) -> Problem:
    """Return a problem that evaluates each point once, which changes nothing but the time."""

    @functools.cache
    def value_of(text: str) -> float:
        return problem.value(json.loads(text))

    def value(point: Point) -> float:
        return value_of(json.dumps(point, sort_keys=True))

    return Problem(
        problem.name, problem.space, problem.suggest, value, problem.mode, problem.trials
    )


def check_sweeps(count: int, trials: int) -> str:
    """Run searches over the digits as real sweeps too.

    Parameters
    ----------
    count
        How many.
    trials
        Of each.

    Returns
    -------
    str
        A sentence about what was found.

    Raises
    ------
    BenchmarkFailed
        If a sweep had other trials than the search here, or other values.
    """
    problem = PROBLEMS["digits"]
    for seed in range(count):
        here, there = search_here(problem, seed, trials), search_as_sweep(problem, seed, trials)
        if here != there:
            raise BenchmarkFailed(f"seed {seed}: the sweep had the trials {there}, not {here}")
    return f"{count} real sweeps over the digits had the same {trials} trials as the searches here."


def main() -> None:
    """Read the command line, compare and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description="Compare what searches find: Optuna through this package and alone.",
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"searches of each way ({SEEDS})")
    parser.add_argument("--trials", type=int, help="of each search (by problem)")
    parser.add_argument("--only", choices=list(PROBLEMS), action="append", help="these problems")
    parser.add_argument("--sweeps", type=int, default=0, help="so many as real sweeps too (0)")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only or PROBLEMS:
        problem = remembering(PROBLEMS[name])
        trials = arguments.trials or problem.trials
        found = compare(problem, range(arguments.seeds), trials)
        rows += rows_of(problem, found, trials)
        print(f"{name} is done", flush=True)
    print(text_table(rows))
    if arguments.sweeps:
        print(check_sweeps(arguments.sweeps, arguments.trials or PROBLEMS["digits"].trials))


if __name__ == "__main__":
    main()
