"""The face towards Sacred: the ``ray`` ingredient, and outer experiments made with it.

The module knows how to fit a sweep into Sacred's own command line; what a sweep does is in
`sacred_ray_ingredient.sweep`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sacred import Experiment, Ingredient
from sacred.commandline_options import cli_option
from sacred.run import Run

from sacred_ray_ingredient.command_line import run_commandline
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.inner import ingredients_of
from sacred_ray_ingredient.mongo.sources import config_mistakes, from_option
from sacred_ray_ingredient.named_configs import complete_named_configs
from sacred_ray_ingredient.nested import flatten, unflatten
from sacred_ray_ingredient.outer_commands import add_check_command, add_record_commands
from sacred_ray_ingredient.storage_url import secret_in_url

ray_ingredient = Ingredient("ray")


@ray_ingredient.config
def _default_config() -> None:
    search_space = {}  # parameters of the inner experiment, each a sampler or a list of values
    dependent = {}  # parameters computed from the others, each an expression or module:function
    named_configs = []  # named configs of the inner experiment to search over, as alternatives
    trials = []  # trials one by one, instead of a space: their named_configs and config_updates
    metric = "result"  # what trials are compared by: a logged metric, or the result; or several
    mode = "max"  # whether the highest or the lowest value is the best: max or min
    num_samples = None  # samples of the space, each over its whole grid; None: 1, random space 10
    repeat = 1  # how often each configuration is run, with other seeds; its mean counts
    evaluate_best = 0  # how often the best configuration is run at the end, with fresh seeds
    search_alg = None  # what chooses the samples, with its arguments; None: random and grid search
    points_to_evaluate = []  # points of the space to begin with
    warm_start = None  # earlier sweeps whose results the searcher is told: sweep id, or several
    scheduler = None  # what ends or changes trials while they run, with its arguments
    stop = None  # when a trial ends: values of metrics, plateau, or module:function
    time_budget_s = None  # longest time for the whole search, in seconds
    trial_timeout_s = None  # longest time for a trial, in seconds
    envs = []  # environments for multi_env_eval: every one is run, and summarised
    env_key = "env_name"  # parameter of the inner experiment that picks the environment
    seeds = None  # seeds for every point of the space: how many, or a list; None: one per trial
    max_concurrent_trials = None  # most trials at once; None: as many as the resources allow
    max_failures = 0  # how often a failed trial is tried again
    resources_per_trial = {"cpu": 1}  # what a trial is given, in Ray's terms
    address = None  # Ray cluster to join; None: a local one for the time of the sweep
    init_kwargs = {}  # further arguments of ray.init
    runtime_env = {}  # Ray's runtime environment of the trials, beside the project's files
    log_to_file = None  # files for what trials print: True, one name, or two (output, errors)
    storage_path = None  # folder or URL for checkpoints and logs; None: .sacred_ray/tune
    exp_name = None  # name of the search, a tag of its runs; None: that of the outer experiment
    engine = "auto"  # direct: fast, without searcher and scheduler; tune: Ray Tune; auto: by need
    report_every = None  # seconds between reports; None: 1, or as scheduler and stop need
    resume = None  # sweep to go on with: its id, or last
    retry_failed = False  # whether the failed trials of a resumed sweep are run again
    accept_changes = False  # whether a sweep is resumed although its space, config or code changed
    # whether a sweep starts without MongoDB, how long runs wait for it, how often journals fsync
    record = {"without_database": False, "wait_s": 5.0, "fsync_s": None}
    # MongoDB of the record; without url: SACRED_MONGO_URL, or the project's own server
    mongo = {"url": None, "db_name": None, "password_file": None, "password_env": None}


@ray_ingredient.config_hook
def _keep_passwords_out(config: Any, command_name: Any, logger: Any) -> dict[str, Any]:
    """Refuse a password in the configuration before any command can print or store it."""
    own = config[ray_ingredient.path]
    mistakes = config_mistakes(own["mongo"]) if isinstance(own["mongo"], Mapping) else []
    secret = secret_in_url(own["storage_path"])
    mistakes += [] if secret is None else [secret]
    if mistakes:
        raise ConfigMistakes(mistakes)
    return {}


@ray_ingredient.named_config
def hyperparameter_search() -> None:
    """Search over parameters of the inner experiment; give ray.search_space."""
    exp_name = "hyperparameter_search"


@ray_ingredient.named_config
def multi_env_eval() -> None:
    """Run every environment of ray.envs with several seeds and compare; give ray.envs."""
    exp_name = "multi_env_eval"
    seeds = 5


@ray_ingredient.named_config
def dependent_params() -> None:
    """Search with parameters that are computed from others; give ray.dependent."""
    exp_name = "dependent_params"


@ray_ingredient.capture
def _open_entries(  # noqa: PLR0913
    search_space: Any,
    dependent: Any,
    search_alg: Any,
    scheduler: Any,
    stop: Any,
    resources_per_trial: Any,
    init_kwargs: Any,
    runtime_env: Any,
    record: Any,
    mongo: Any,
) -> None:
    """Make entries below these settable: Sacred allows it for arguments of captured functions."""


def make_outer(name: str, inner: Experiment, ingredients: Sequence[Ingredient] = ()) -> Experiment:
    """Make an outer experiment that runs sweeps over an inner one.

    Parameters
    ----------
    name
        Name of the outer experiment.
    inner
        The inner experiment, a module-level variable of an importable module or of the script.
    ingredients
        Further ingredients of the outer experiment.

    Returns
    -------
    sacred.Experiment
        With the ``ray`` ingredient, its named configs, and a main that runs the sweep. Call its
        ``run_commandline()`` under ``if __name__ == "__main__"``.

    Raises
    ------
    ConfigMistakes
        See `attach`.
    """
    frame = inspect.currentframe()
    caller = frame.f_back if frame is not None else None
    namespace = caller.f_globals if caller is not None else globals()
    # Sacred takes sources, documentation and folder from the module that calls the constructor;
    # run with the caller's globals, this function stands in that module.
    construct = types.FunctionType(_construct.__code__, namespace)
    outer = construct(Experiment, name, list(ingredients))
    return attach(outer, inner)


def _construct(kind: Any, name: str, ingredients: list[Ingredient]) -> Any:
    return kind(name, ingredients=ingredients)


def attach(outer: Experiment, inner: Experiment, main: bool = True) -> Experiment:
    """Make an existing experiment an outer experiment.

    Parameters
    ----------
    outer
        Gets the ingredients that it does not have yet, the named configs and the command line.
    inner
        The inner experiment.
    main
        Whether running a sweep becomes its main function; otherwise call `launch` from yours.

    Returns
    -------
    sacred.Experiment
        The outer experiment.

    Raises
    ------
    ConfigMistakes
        If the inner experiment cannot be told from the ``ray`` ingredient, or is the outer one.
    """
    taken = [
        ingredient.path
        for ingredient in [inner, *ingredients_of(inner)]
        if ingredient.path in (ray_ingredient.path, outer.path) and ingredient is not ray_ingredient
    ]
    if taken:
        raise ConfigMistakes(
            [
                f"The inner experiment {inner.path!r} or an ingredient of it is called "
                f"{taken[0]!r}; that is the name of the outer experiment or of the ingredient of "
                "this package: choose another name."
            ]
        )
    if ray_ingredient in ingredients_of(inner):
        raise ConfigMistakes(
            [
                f"The inner experiment {inner.path!r} is an outer experiment itself; give the "
                "experiment that it runs."
            ]
        )
    # The inner's own ingredients are listed too: otherwise Sacred lets named configs of the
    # outer experiment win over the command line in them.
    needed = [*ingredients_of(inner), inner, ray_ingredient]
    outer.ingredients = list(outer.ingredients)
    outer.ingredients += [entry for entry in needed if entry not in outer.ingredients]
    _register(outer, inner)
    if main:

        @outer.main
        def sweep(_run: Run) -> float:
            """Run the sweep: all trials, recorded; see print_named_configs."""
            return launch(_run)

        outer.sweep_command = sweep
    outer.run_commandline = types.MethodType(run_commandline, outer)
    _add_preview(outer, inner)
    _add_resume(outer)
    return outer


def _add_preview(outer: Experiment, inner: Experiment) -> None:
    @outer.command(unobserved=True)
    def preview(_run: Run) -> None:
        """Show the trials that a sweep would have, without running any."""
        from sacred_ray_ingredient.plan import OuterRequest, make_plan
        from sacred_ray_ingredient.preview import preview as preview_of

        sys.stdout.write(preview_of(make_plan(outer, inner, OuterRequest.of_run(_run))) + "\n")


def _add_resume(outer: Experiment) -> None:
    @outer.command(unobserved=True)
    def resume() -> None:
        """Go on with a sweep: resume SWEEP_ID, or resume last; then 'with ...' for changes."""
        raise ConfigMistakes(["resume works on the command line; from Python, set ray.resume."])


def _register(outer: Experiment, inner: Experiment) -> None:
    """Fit a sweep into the making of the outer experiment's runs."""
    outer.inner_experiment = inner
    add_record_commands(outer, inner)
    add_check_command(outer, inner)
    outer.sweep_command = None
    outer.complete_named_configs = functools.partial(complete_named_configs, outer, ray_ingredient)

    @cli_option("-r", "--record", is_flag=True)
    def record_option(args: bool, run: Run) -> None:
        """Record the run and its trials in MongoDB, also with -F; the default without."""
        _prepare(outer, inner, run)

    outer.additional_cli_options = [*outer.additional_cli_options, record_option]
    outer.all_cli_options = [*outer.all_cli_options, record_option]

    @outer.option_hook
    def complete(options: dict[str, Any]) -> None:
        logging.getLogger(ray_ingredient.path).addFilter(_is_worth_a_warning)
        outer.complete_named_configs()
        # Sacred applies an option only if it is set, and would make an observer of its own for -m.
        mongo_db, options["--mongo_db"] = options.get("--mongo_db"), None
        if mongo_db:
            from_option(mongo_db)
        options["--record"] = {"asked": bool(options.get("--record")), "--mongo_db": mongo_db}


def _is_worth_a_warning(record: logging.LogRecord) -> bool:
    """Tell Sacred's warnings from those about entries that are there to be filled."""
    opened = tuple(
        f'Added new config entry: "{name}.' for name in _open_entries.signature.arguments
    )
    return not record.getMessage().startswith(opened)


def _prepare(outer: Experiment, inner: Experiment, run: Run) -> None:
    """Check a run of the outer experiment and choose its database, before it starts.

    Raises
    ------
    ConfigMistakes, DatabaseError
        With what is wrong; nothing has been started or recorded then.
    """
    from sacred_ray_ingredient.recording import open_record, with_earlier_results
    from sacred_ray_ingredient.resume import plan_of_run

    options = run.meta_info["options"]
    record = options.pop("--record")
    options["--mongo_db"] = record["--mongo_db"]
    run.record_asked = record["asked"]
    if run.main_function.unobserved:
        return
    if options.get("--id"):
        raise ConfigMistakes(
            [f"-i asks for the run id {options['--id']!r}; ids of sweeps come from the database."]
        )
    is_sweep = run.main_function is outer.sweep_command

    def plan() -> Any:
        return plan_of_run(outer, inner, run, record["asked"])

    run.sweep_plan = plan() if is_sweep else None
    run.make_sweep_plan = plan
    run.record_target = open_record(run, run.sweep_plan, record["asked"])
    if run.sweep_plan is not None:
        run.sweep_plan = with_earlier_results(run.sweep_plan, run.record_target)
    run.config["ray"] |= _as_text(run.config["ray"])


def _as_text(ray_config: dict[str, Any]) -> dict[str, Any]:
    """Return the entries that can hold Python objects as they are stored, in the grammar's text."""
    from sacred_ray_ingredient.resolvers import reference_text
    from sacred_ray_ingredient.schedulers import stored_text
    from sacred_ray_ingredient.search_space import parse_search_space
    from sacred_ray_ingredient.stop_rules import parse_stop

    space, mistakes = parse_search_space(ray_config["search_space"])
    if mistakes:  # said when the sweep is launched; the record shows what was given
        return {}
    dependent = {
        path: reference_text(value) if callable(value) else value
        for path, value in flatten(ray_config["dependent"]).items()
    }
    rules, _ = parse_stop(ray_config["stop"])
    is_function = callable(ray_config["stop"])
    return {
        "search_space": space.text(),
        "dependent": unflatten(dependent),
        "scheduler": stored_text(ray_config["scheduler"]),
        **({"stop": rules[0].text} if is_function and rules else {}),
    }


def launch(run: Run, say: Callable[[str], None] = print) -> float:
    """Run the sweep of an outer run; for a main function of one's own.

    Parameters
    ----------
    run
        The outer run that is running: Sacred's ``_run``.
    say
        Prints a line, or several, for the user.

    Returns
    -------
    float
        The best value of the metric.

    Raises
    ------
    ConfigMistakes
        If something is wrong in the configuration.
    SacredRayError
        See `sacred_ray_ingredient.sweep.run_sweep`.
    """
    from sacred_ray_ingredient.recording import name_sweep
    from sacred_ray_ingredient.sweep import run_sweep

    plan, target = run.sweep_plan, run.record_target
    if plan is None:
        plan = run.make_sweep_plan()
        target = name_sweep(run, plan, target)
    return run_sweep(plan, run, target, say)
