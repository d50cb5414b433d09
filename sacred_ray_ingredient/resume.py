"""Going on with a sweep from its record: what was asked, what has changed, what is left to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sacred import Experiment
from sacred.run import Run

from sacred_ray_ingredient.earlier_sweep import EarlierSweep, settled_sweep, target_of
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.fingerprint import changes, space_changed
from sacred_ray_ingredient.inner import evaluate_config
from sacred_ray_ingredient.plan import OuterRequest, SweepPlan, make_plan
from sacred_ray_ingredient.record.earlier import RecordedAttempt, read_attempts
from sacred_ray_ingredient.record.target import RecordTarget
from sacred_ray_ingredient.recorded_code import code_notes
from sacred_ray_ingredient.restart import (
    Restart,
    counts,
    recorded_trials,
    restart_of_samples,
)
from sacred_ray_ingredient.restart_search import restart_of_suggestions
from sacred_ray_ingredient.searcher_checks import SUPPORTS_WARM_START

_MOST_CHANGES_SHOWN = 20
# How a note about a file begins to be there ends.
_IS_NEW = " is new"


def plan_of_run(
    outer: Experiment,
    inner: Experiment,
    run: Run,
    asked: bool,
    say: Callable[[str], None] = print,
) -> SweepPlan:
    """Make the plan of an outer run, which may go on with a recorded sweep.

    Parameters
    ----------
    outer, inner
        The experiments.
    run
        The outer run; without a seed of its own it gets that of the sweep it goes on with.
    asked
        Whether the user asked for a record in MongoDB although there are files.
    say
        Prints a line for the user.

    Raises
    ------
    ConfigMistakes, DatabaseError
        With what is wrong.
    """
    request = OuterRequest.of_run(run)
    wanted = request.config["ray"].get("resume")
    if not isinstance(wanted, str) or not wanted:
        return make_plan(outer, inner, request)
    options = run.meta_info["options"]
    target = target_of(options, request.config["ray"]["mongo"], asked, run.unobserved, wanted)
    earlier = settled_sweep(target, wanted, outer.path)
    if _own_seed(outer, request) is None and earlier.request.seed is not None:
        # Sacred has drawn one by now.
        run.config["seed"] = earlier.request.seed
        request = replace(request, config={**request.config, "seed": earlier.request.seed})
    run.config["ray"]["resume"] = earlier.sweep_id
    plan = make_plan(outer, inner, request)
    if target.address is None:  # cannot be: see target_of
        return plan
    attempts = read_attempts(target.database(), target.address.collection, earlier.sweep_id)
    return resumed(plan, earlier, attempts, target, say)


def _own_seed(outer: Experiment, request: OuterRequest) -> Any:
    return evaluate_config(outer, request.config_updates, request.named_configs).get("seed")


def resumed(
    plan: SweepPlan,
    earlier: EarlierSweep,
    attempts: Sequence[RecordedAttempt],
    target: RecordTarget,
    say: Callable[[str], None] = print,
) -> SweepPlan:
    """Turn the plan of a new sweep into one that goes on with a recorded one.

    Parameters
    ----------
    plan
        What is asked for now.
    earlier
        The recorded sweep.
    attempts
        Of its trials.
    target
        Where it is recorded.
    say
        Prints a line for the user.

    Raises
    ------
    ConfigMistakes
        If it is another search by now, and the user has not said that it may be; or if fewer
        samples are asked for than were begun.
    """
    settings = plan.settings
    found = changes(earlier.fingerprint, plan)
    found += _code_changes(earlier, plan, target)
    if found and not settings.accept_changes:
        raise ConfigMistakes([_changed(earlier.sweep_id, found)])
    for sentence in found:
        say(f"Accepted: {sentence}")
    restart = _restart(plan, earlier, attempts, say)
    say(_told(restart, earlier, settings.retry_failed))
    return replace(
        plan,
        sweep_id=earlier.sweep_id,
        exp_name=settings.exp_name or earlier.exp_name,
        restart=restart,
        changes=tuple(found),
    )


def _restart(
    plan: SweepPlan,
    earlier: EarlierSweep,
    attempts: Sequence[RecordedAttempt],
    say: Callable[[str], None],
) -> Restart:
    """Find out where the sweep goes on."""
    settings, sampling = plan.settings, plan.sampling
    search, evaluations = recorded_trials(attempts, settings.retry_failed)
    restart = Restart(earlier.outer_run_ids, search, evaluations)
    if plan.searcher is None:
        is_other = space_changed(earlier.fingerprint, plan)
        restart = restart_of_samples(restart, sampling, is_other)
        begun = 0 if is_other else _begun_samples(restart, plan)
    else:
        restart = restart_of_suggestions(restart, sampling, settings.metrics, earlier.sweep_id)
        begun = restart.asked
        if plan.searcher.name not in SUPPORTS_WARM_START:
            say(f"The searcher {plan.searcher.name} cannot be told of the finished trials.")
    if begun > sampling.num_samples:
        raise ConfigMistakes(
            [
                f"ray.num_samples is {sampling.num_samples}, but {begun} samples of "
                f"{earlier.sweep_id} were begun before; give as many at least."
            ]
        )
    return restart


def _code_changes(earlier: EarlierSweep, plan: SweepPlan, target: RecordTarget) -> list[str]:
    """Name the files that are not as they were when the sweep was last started."""
    if earlier.meta.get("code") is None:  # its driver died before it was stored
        return []
    document = {"meta": {"sweep": earlier.meta}}
    notes = code_notes(target.database(), document, plan.reference, plan.inner)
    if all(note.endswith(_IS_NEW) for note in notes):
        return []  # what nothing of the recorded code imports
    return [f"{note.rstrip('.')}." for note in notes]


def _changed(sweep_id: str, found: Sequence[str]) -> str:
    shown = list(found[:_MOST_CHANGES_SHOWN])
    if len(found) > len(shown):
        shown.append(f"and {len(found) - len(shown)} changes more.")
    listed = "\n".join(f"  - {sentence}" for sentence in shown)
    return (
        f"{sweep_id} would not go on as it began:\n{listed}\nUndo that, or let it go on "
        "nevertheless with ray.accept_changes=True."
    )


def _begun_samples(restart: Restart, plan: SweepPlan) -> int:
    """Count the samples of a random or grid search of which a trial is recorded."""
    sampling = plan.sampling
    last = max(restart.search, default=-1)
    places = 1 + last - sum(index < last for index in restart.evaluations)
    each = max(sampling.total() // sampling.num_samples, 1)
    return -(-places // each)


def _told(restart: Restart, earlier: EarlierSweep, retry_failed: bool) -> str:
    by_kind = counts(restart)
    parts = [_trials(by_kind.get("finished", 0), "finished")]
    if by_kind.get("failed"):
        again = (
            "to be run again" if retry_failed else "left (ray.retry_failed=True runs them again)"
        )
        parts.append(f"{by_kind['failed']} failed and {again}")
    if by_kind.get("unfinished"):
        parts.append(f"{by_kind['unfinished']} to be run again")
    return f"{earlier.sweep_id} goes on: {', '.join(parts)}."


def _trials(count: int, state: str) -> str:
    return f"1 trial {state}" if count == 1 else f"{count} trials {state}"


def request_of(
    outer: Experiment,
    wanted: str,
    config_updates: Mapping[str, Any],
    named_configs: Sequence[str],
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Ask again for a recorded sweep, from its document alone.

    Parameters
    ----------
    outer
        The outer experiment.
    wanted
        Id of the sweep, or ``last``.
    config_updates, named_configs
        What is asked besides.
    options
        Sacred's options of the command.

    Returns
    -------
    tuple
        The updates, named configs and options for the outer run.

    Raises
    ------
    ConfigMistakes
        If there is no such sweep, or its document does not have what was asked.
    """
    entry = evaluate_config(outer, config_updates, named_configs)["ray"]["mongo"]
    asked = bool(options.get("--record"))
    target = target_of(options, entry, asked, bool(options.get("--unobserved")), wanted)
    earlier = settled_sweep(target, wanted, outer.path)
    request = earlier.request
    if request.reason is not None:
        raise ConfigMistakes(
            [
                f"{earlier.sweep_id} cannot be asked for again from its document: "
                f"{request.reason}. Start it as before, with ray.resume={earlier.sweep_id} added."
            ]
        )
    updates, names = request.asked_again(outer, config_updates, named_configs)
    updates["ray"] = {**updates.get("ray", {}), "resume": earlier.sweep_id}
    return updates, names, {**options, **({"--force": True} if request.force else {})}
