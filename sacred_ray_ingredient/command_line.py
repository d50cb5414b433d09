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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sacred import Experiment
from sacred.run import Run
from sacred.utils import ConfigAddedError, SacredError

from sacred_ray_ingredient.errors import ConfigMistakes, SacredRayError, did_you_mean
from sacred_ray_ingredient.inner import evaluate_config, settable_names
from sacred_ray_ingredient.interruption import SweepInterrupted

_CTRL_C = 130


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

    def run(
        command_name: str | None = None,
        config_updates: Mapping[str, Any] | None = None,
        named_configs: Sequence[str] = (),
        **arguments: Any,
    ) -> Run:
        debug = (arguments.get("options") or {}).get("--debug")
        try:
            _check_named_configs(outer, named_configs)
            return sacreds_run(command_name, config_updates, named_configs, **arguments)
        except SweepInterrupted as interruption:
            sys.exit(interruption.exit_code)
        except KeyboardInterrupt:
            sys.exit(_CTRL_C)
        except SacredRayError as error:
            if debug:
                raise
            _say_error(str(error))
            sys.exit(error.exit_code)
        except ConfigAddedError as error:
            if debug:
                raise
            _say_error(_unknown_entry(outer, error))
            sys.exit(2)
        except SacredError as error:
            if debug:
                raise
            _say_error(str(error))
            sys.exit(2)

    # Sacred's own handling prints usage or a stack trace and always exits with 1.
    outer.run = run
    try:
        finished = Experiment.run_commandline(outer, argv)
    finally:
        del outer.run
    _exit_for_failed_trials(finished)
    return finished


def _check_named_configs(outer: Experiment, named_configs: Iterable[str]) -> None:
    from sacred_ray_ingredient.ingredient import ray_ingredient
    from sacred_ray_ingredient.named_configs import complete_named_configs

    complete_named_configs(outer, ray_ingredient)
    known = [name for name, _ in outer.gather_named_configs()]
    mistakes = [
        f"There is no named config or config file {name!r}{did_you_mean(name, known)}; named "
        f"configs are {', '.join(sorted(known))}."
        for name in named_configs
        if name not in known and not os.path.exists(name)
    ]
    if mistakes:
        raise ConfigMistakes(mistakes)


def _unknown_entry(outer: Experiment, error: ConfigAddedError) -> str:
    entry = ", ".join(map(str, error.conflicting_configs))
    known = settable_names(outer, evaluate_config(outer, {}))
    path = entry.rpartition(".")[0]
    siblings = {name for name in known if name.rpartition(".")[0] == path}
    hint = did_you_mean(entry, known) or f"; known there are {', '.join(sorted(siblings))}"
    return f"{entry} is not an entry of the configuration{hint}."


def _exit_for_failed_trials(run: Run | None) -> None:
    counts = run.info.get("sweep", {}).get("counts", {}) if run is not None else {}
    failed = counts.get("FAILED", 0) + counts.get("TIMEOUT", 0)
    if failed:
        _say_error(f"{failed} of the sweep's trials failed.")
        sys.exit(1)


def _say_error(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
