"""The command line of an outer experiment: Sacred's own, with sentences and exit codes.

====  =====================================================================================
code  meaning
====  =====================================================================================
0     all trials completed
1     some or all trials failed
2     the request was wrong, or could not be started; no trial was lost to it
130   ended by Ctrl-C; 143 by a termination signal
====  =====================================================================================
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sacred import Experiment
from sacred.run import Run
from sacred.utils import ConfigAddedError, SacredError

from sacred_ray_ingredient.config_files import read_config_file
from sacred_ray_ingredient.errors import (
    ConfigMistakes,
    SacredRayError,
    SweepFailed,
    did_you_mean,
)
from sacred_ray_ingredient.inner import (
    evaluate_config,
    ingredients_of,
    settable_names,
    unknown_entries,
)
from sacred_ray_ingredient.interruption import SweepInterrupted
from sacred_ray_ingredient.nested import flatten, get_path
from sacred_ray_ingredient.outer_commands import exit_for_command
from sacred_ray_ingredient.positional_arguments import options_with_value, positional
from sacred_ray_ingredient.tune_files import with_tune_files
from sacred_ray_ingredient.verbs import verb_of

_CTRL_C = 130
# How Sacred begins its complaint about a dotted key within a dictionary.
_SACREDS_KEY_ERROR = "Invalid key"


def run_commandline(outer: Experiment, argv: str | Sequence[str] | None = None) -> Run | None:
    """Run the command line of an outer experiment.

    Parameters
    ----------
    outer
        The outer experiment.
    argv
        As for Sacred's ``Experiment.run_commandline``.

    Returns
    -------
    sacred.run.Run or None
        The finished run.

    Raises
    ------
    SystemExit
        With the exit code, for anything but a sweep whose trials all completed.
    """
    sacreds_run = outer.run
    words, outer.positional = positional(argv, options_with_value(outer))
    words, resumed = _without_verb(outer, words)

    def run(
        command_name: str | None = None,
        config_updates: Mapping[str, Any] | None = None,
        named_configs: Sequence[str] = (),
        **arguments: Any,
    ) -> Run:
        debug = (arguments.get("options") or {}).get("--debug")
        try:
            named_configs, files = with_tune_files(outer, named_configs)
            if resumed is not None:
                given = outer, resumed, config_updates or {}, named_configs, arguments["options"]
                config_updates, named_configs, arguments["options"] = _recorded_request(*given)
            if files:  # the record shows which files the named configs were
                arguments["meta_info"] = {**(arguments.get("meta_info") or {}), "tune_files": files}
            _check_request(outer, config_updates or {}, named_configs)
            return sacreds_run(command_name, config_updates, named_configs, **arguments)
        except SweepInterrupted as interruption:
            sys.exit(interruption.exit_code)
        except KeyboardInterrupt:
            sys.exit(_CTRL_C)
        except Exception as error:
            explained = _explained(outer, error, config_updates, named_configs)
            if debug or explained is None:
                raise
            _say_error(str(explained))
            sys.exit(explained.exit_code)

    # Sacred's own handling prints usage or a stack trace and always exits with 1.
    outer.run = run
    try:
        _check_updates(words)
        finished = Experiment.run_commandline(outer, words)
    finally:
        del outer.run
    _exit_for_failed_trials(finished)
    return finished


def _without_verb(outer: Experiment, words: Sequence[str]) -> tuple[list[str], str | None]:
    """Take ``resume SWEEP_ID`` out of the command line, and return the id."""
    if "resume" not in words:
        return list(words), None
    try:
        return verb_of(words, options_with_value(outer))
    except ConfigMistakes as error:
        _say_error(str(error))
        sys.exit(error.exit_code)


def _recorded_request(
    outer: Experiment,
    sweep_id: str,
    config_updates: Mapping[str, Any],
    named_configs: Sequence[str],
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Return what was asked of a recorded sweep, with what is asked now laid over it."""
    from sacred_ray_ingredient.resume import request_of

    _check_request(outer, config_updates, named_configs)
    return request_of(outer, sweep_id, config_updates, named_configs, options)


def _check_updates(words: Sequence[str]) -> None:
    """Refuse ``a=1 a.b=2``, on which Sacred's parser breaks."""
    updates = words[words.index("with") + 1 :] if "with" in words else []
    given = [word.partition("=")[0].strip() for word in updates if "=" in word]
    for path in given:
        inside = [other for other in given if other.startswith(f"{path}.")]
        if inside:
            _say_error(f"{path} and {inside[0]}, a part of it, are both given; give one of them.")
            sys.exit(2)


def _check_request(
    outer: Experiment, config_updates: Mapping[str, Any], named_configs: Sequence[str]
) -> None:
    """Find what Sacred would answer with a stack trace."""
    outer.complete_named_configs()
    known = sorted({name for name, _ in outer.gather_named_configs()})
    mistakes: list[str] = []
    for name in named_configs:
        if os.path.isfile(name):
            # Sacred would run code that stands in it, so it is read here before.
            mistakes += _config_file_mistakes(name)
        elif name not in known:
            mistakes.append(
                f"There is no named config or config file {name!r}{did_you_mean(name, known)}; "
                f"named configs are {', '.join(known)}."
            )
    mistakes += [
        f"{ingredient.path} is {config_updates[ingredient.path]!r}; its entries can be set, as in "
        f"{ingredient.path}.NAME=VALUE, but not the whole."
        for ingredient in ingredients_of(outer)
        if not isinstance(config_updates.get(ingredient.path, {}), Mapping)
    ]
    if not mistakes:
        config = _computed_config(outer, config_updates, named_configs)
        names = ["seed", *(f"{ingredient.path}.seed" for ingredient in ingredients_of(outer))]
        seeds = {name: get_path(config, name) for name in names}
        mistakes = [
            f"{name} is {seed!r}; it must be a whole number from 0."
            for name, seed in seeds.items()
            if seed is not None and (not isinstance(seed, int) or seed < 0)
        ]
    if mistakes:
        raise ConfigMistakes(mistakes)


def _computed_config(
    outer: Experiment, config_updates: Mapping[str, Any], named_configs: Sequence[str]
) -> dict[str, Any]:
    try:
        return evaluate_config(outer, config_updates, named_configs)
    except (SacredError, KeyError):  # explained later, as what Sacred itself would raise
        raise
    except Exception as error:  # whatever a config scope raises on a value that it cannot use
        given = ", ".join(f"{path}={value!r}" for path, value in flatten(config_updates).items())
        raise ConfigMistakes(
            [
                f"The configuration cannot be computed from {given or 'its defaults'}: "
                f"{type(error).__name__}: {error}. -d shows where."
            ]
        ) from error


def _config_file_mistakes(name: str) -> Sequence[str]:
    try:
        read_config_file(name)
    except ConfigMistakes as error:
        return error.mistakes
    return ()


def _explained(
    outer: Experiment,
    error: Exception,
    config_updates: Mapping[str, Any] | None,
    named_configs: Sequence[str],
) -> SacredRayError | None:
    """Turn what Sacred raises for wrong configurations into sentences; None for anything else."""
    if isinstance(error, SacredRayError):
        return error
    if isinstance(error, ConfigAddedError):
        mistakes = _all_mistakes(outer, config_updates or {}, named_configs)
        for entry in error.__conflicting_configs__:
            if not any(entry in mistake for mistake in mistakes):
                mistakes.insert(0, _not_taken(outer, entry))
        return ConfigMistakes(mistakes)
    if isinstance(error, SacredError):
        return ConfigMistakes([str(error)])
    if type(error).__module__.partition(".")[0] == "pymongo":
        reason = str(error).partition(",")[0]
        return SweepFailed(
            f"The MongoDB of the record stopped answering ({type(error).__name__}: {reason}). What "
            "was recorded before is there; trials that were running may still say RUNNING."
        )
    if isinstance(error, KeyError) and str(error.args[0]).startswith(_SACREDS_KEY_ERROR):
        nested = "{'optimizer': {'lr': ...}} instead of {'optimizer.lr': ...}"
        return ConfigMistakes([f"{error.args[0]}. Write nested dictionaries: {nested}."])
    return None


def _not_taken(outer: Experiment, entry: str) -> str:
    inner = outer.inner_experiment
    within = entry.removeprefix(f"{inner.path}.")
    for ingredient in ingredients_of(inner):
        if within != entry and within.startswith(f"{ingredient.path}."):
            return (
                f"{entry} is an entry of the ingredient {ingredient.path!r}: give it as {within}."
            )
    return f"{entry} is no entry that anything in the experiment takes."


def _all_mistakes(
    outer: Experiment, config_updates: Mapping[str, Any], named_configs: Sequence[str]
) -> list[str]:
    """Find all that is wrong where Sacred has named the first entry that it does not know."""
    from sacred_ray_ingredient.plan import OuterRequest, make_plan

    inner = outer.inner_experiment
    config = evaluate_config(outer, config_updates, named_configs)
    known = settable_names(outer, evaluate_config(outer, {}))
    mistakes = [
        f"{entry} is not an entry of the configuration{_hint(entry, known)}."
        for entry in unknown_entries(outer, config_updates, named_configs)
        if entry.split(".")[0] not in ("ray", inner.path)
    ]
    try:
        make_plan(outer, inner, OuterRequest(config, config_updates, named_configs))
    except ConfigMistakes as further:
        mistakes += further.mistakes
    return mistakes


def _hint(entry: str, known: Collection[str]) -> str:
    path = entry.rpartition(".")[0]
    siblings = {name for name in known if name.rpartition(".")[0] == path}
    return did_you_mean(entry, known) or f"; known there are {', '.join(sorted(siblings))}"


def _exit_for_failed_trials(run: Run | None) -> None:
    exit_for_command(run)
    info = run.info.get("sweep", {}) if run is not None else {}
    counts = dict(info.get("counts", {}))
    if info.get("time_budget_used_up"):  # it ends trials as planned
        counts.pop("INTERRUPTED", None)
    failed = sum(counts.values()) - counts.get("COMPLETED", 0)
    if failed:
        _say_error(f"{failed} of the sweep's trials did not complete.")
        sys.exit(1)


def _say_error(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
