"""Commands of every outer experiment: about the record of earlier sweeps, and about the cluster."""

from __future__ import annotations

import sys

from sacred import Experiment
from sacred.run import Run

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.positional_arguments import Positional

# Under this name a command leaves its exit code in the info of its run.
EXIT_CODE = "exit_code"


def add_record_commands(outer: Experiment, inner: Experiment) -> None:
    """Give an outer experiment the commands ``rerun`` and ``sync``.

    Parameters
    ----------
    outer
        Gets the commands.
    inner
        Its inner experiment.
    """
    outer.positional = Positional()

    @outer.command(unobserved=True)
    def rerun(_run: Run) -> None:
        """Run a recorded trial again and compare: rerun RUN_ID; --record records it, too."""
        from sacred_ray_ingredient.record.target import close_clients
        from sacred_ray_ingredient.record_access import record_target
        from sacred_ray_ingredient.rerun import RerunRequest
        from sacred_ray_ingredient.rerun import rerun as run_again
        from sacred_ray_ingredient.threads import restart_with

        given: Positional = outer.positional
        if given.word is None:
            raise ConfigMistakes(["rerun needs the id of a run, as in: rerun 12"])
        entry = _run.config["ray"]["mongo"]
        request = RerunRequest(
            given.word,
            record_target(_run.meta_info["options"].get("--mongo_db"), entry),
            inner=inner,
            record=bool(getattr(_run, "record_asked", False)),
            restart=restart_with if given.is_own_process else None,
        )
        try:
            _run.info[EXIT_CODE] = run_again(request, _say)
        finally:
            close_clients()

    @outer.command(unobserved=True)
    def sync(_run: Run) -> None:
        """Bring what the database has not got yet of earlier sweeps from their journals to it."""
        from sacred_ray_ingredient import mongo
        from sacred_ray_ingredient.record.sync import sync_all
        from sacred_ray_ingredient.record.target import close_clients, own_folders
        from sacred_ray_ingredient.record_access import journals_folder, tell_sync

        # Each journal knows its database; one that is named on the command line gets all.
        option = _run.meta_info["options"].get("--mongo_db")
        address = mongo.from_option(option) if option else None
        folders = [journals_folder(), *own_folders()]
        try:
            _run.info[EXIT_CODE] = tell_sync(sync_all(folders, _say, address), _say)
        finally:
            close_clients()


def add_check_command(outer: Experiment, inner: Experiment) -> None:
    """Give an outer experiment the command ``check``.

    Parameters
    ----------
    outer
        Gets the command.
    inner
        Its inner experiment.
    """

    @outer.command(unobserved=True)
    def check(_run: Run) -> None:
        """Look whether the nodes of the cluster can run the trials, without running any."""
        from sacred_ray_ingredient.cluster_check import check_cluster
        from sacred_ray_ingredient.plan import OuterRequest, make_plan
        from sacred_ray_ingredient.record.target import close_clients

        plan = make_plan(outer, inner, OuterRequest.of_run(_run))
        asked = bool(getattr(_run, "record_asked", False))
        try:
            _run.info[EXIT_CODE] = check_cluster(plan, _run.meta_info["options"], asked, _say)
        finally:
            close_clients()


def exit_for_command(run: Run | None) -> None:
    """End the process if a command has left an exit code other than 0.

    Parameters
    ----------
    run
        The finished run of the command.
    """
    code = run.info.get(EXIT_CODE, 0) if run is not None else 0
    if code:
        sys.exit(code)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
