"""Runs a recorded run again, from its document alone, and compares to the last bit.

What is run is the code on the disk, with the configuration, seed included, of the record. Nothing
that comes from the database is executed; it names an experiment of the project, and gives values.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacred import Experiment
from sacred.utils import SacredInterrupt

from sacred_ray_ingredient.comparison import Comparison, Outcome, Point, compare
from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.inner import InnerReference, evaluate_config, reference_to
from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.record.documents import as_metric_value, is_finite_number, storable
from sacred_ray_ingredient.recorded_code import code_notes, environment_notes
from sacred_ray_ingredient.recorded_run import RecordedRun, parse_reference, read_run
from sacred_ray_ingredient.threads import thread_note
from sacred_ray_ingredient.trial_options import trial_options
from sacred_ray_ingredient.values import plain, show

if TYPE_CHECKING:
    from sacred_ray_ingredient.record.target import RecordTarget

TAG = "rerun"

_SAME, _DIFFERENT, _NOT_DONE = 0, 1, 2
# Options with which a run would be recorded in other places, which the database must not choose.
_RECORDING_OPTIONS = {"--comment", "--file_storage", "--s3", "--sql", "--tiny_db", "--unobserved"}
_MOST_ENTRIES = 5


@dataclass(frozen=True)
class RerunRequest:
    """What is to be run again.

    Parameters
    ----------
    run_id
        As the user gave it.
    target
        The database that has it.
    inner
        The experiment, for who knows it; None: the one that the document names.
    is_named
        Whether the user has named it, so that it is taken whatever the document says.
    record
        Whether the new run is recorded too.
    restart
        Starts this process anew with as many threads as the trial had; None where the process is
        not ours alone.
    """

    run_id: Any
    target: RecordTarget
    inner: Experiment | None = None
    is_named: bool = False
    record: bool = False
    restart: Callable[[int, bool], None] | None = field(default=None, repr=False)


class SeenEnough(KeyboardInterrupt):
    """Ends a run of which everything that the recorded one had has been seen.

    A ``KeyboardInterrupt``, so that an ``except Exception`` of the experiment does not hold it up.
    """

    STATUS = "COMPLETED"


def rerun(request: RerunRequest, say: Callable[[str], None]) -> int:
    """Run a recorded run again and tell whether it came out the same.

    Parameters
    ----------
    request
        Which one, and how.
    say
        Prints a line, or several, for the user.

    Returns
    -------
    int
        Exit code: 0 if it came out the same, 1 if not, 2 if there is nothing that could be
        compared.

    Raises
    ------
    ConfigMistakes, InnerImportError
        If it cannot be run again.
    """
    address = request.target.address
    if address is None:
        raise ConfigMistakes(["There is no database to read the run from."])
    database, place = request.target.database(), address.describe()
    recorded = read_run(database, address.collection, request.run_id, place)
    if recorded.ended_early and not recorded.outcome.metrics:
        raise ConfigMistakes(
            [
                f"Run {recorded.run_id} ended early ({recorded.ended_early}) and had logged "
                "nothing: there is nothing to compare."
            ]
        )
    threads, is_certain = recorded.threads
    if threads is not None and request.restart is not None:
        request.restart(threads, is_certain)
    say = _printable(say)
    reference, experiment = _experiment_of(recorded, request.inner, request.is_named)
    say(f"Run {recorded.run_id} again: {reference}, in {os.getcwd()}.")
    notes = [*_notes_before(recorded), *thread_note(threads)]
    again = _Again(reference, experiment, recorded, request)
    outcome = again.run()
    ended_early, continued = recorded.ended_early is not None, recorded.continued is not None
    comparison = compare(recorded.outcome, outcome, ended_early, continued)
    notes += _config_notes(recorded.config, again.config)
    code = code_notes(database, recorded.document, reference, experiment)
    environment = [] if comparison.is_same else environment_notes(database, recorded.document)
    if again.trace and not recorded.outcome.error:
        say(again.trace)
    _tell(comparison, notes, code, environment, say)
    if again.new_id is not None:
        say(f"The new run is run {again.new_id}, with the tag {TAG}.")
    if not comparison.compared and comparison.is_same and recorded.outcome.status != "FAILED":
        return _NOT_DONE
    return _SAME if comparison.is_same else _DIFFERENT


class _Again:
    """A new run of the recorded configuration, and what came out of it."""

    def __init__(
        self,
        reference: InnerReference,
        experiment: Experiment,
        recorded: RecordedRun,
        request: RerunRequest,
    ) -> None:
        self.config: dict[str, Any] | None = None
        self.trace: str | None = None
        self.new_id: Any = None
        self._reference = reference
        self._experiment = experiment
        self._recorded = recorded
        self._request = request
        self._metrics: dict[str, list[Point]] = {}
        self._nonfinite: dict[str, int] = {}

    def run(self) -> Outcome:
        """Run it to its end, or until all that the recorded run had has been seen."""
        run, error, status = None, None, "COMPLETED"
        try:
            run = self._make()
            self.config = storable(run.config)
            run()
        except SeenEnough:
            pass
        except SacredInterrupt as interrupt:
            status = getattr(interrupt, "STATUS", "INTERRUPTED")
        except (Exception, SystemExit) as raised:
            status = "FAILED"
            lines = traceback.format_exception(raised)
            self.trace = "".join(lines).rstrip()
            error = self.trace.splitlines()[-1].strip()
        if run is not None and self._request.record:
            from sacred_ray_ingredient.record.observer import recorded_id

            self.new_id = recorded_id(run)
        result = None if run is None else storable(run.result)
        return Outcome(status, result, self._metrics, self._nonfinite, error)

    def _make(self) -> Any:
        command = self._recorded.get("command") or self._recorded.get("meta.command")
        options = trial_options(self._recorded.get("meta.options") or {})
        run = self._experiment._create_run(
            command if command in self._experiment.commands else None,
            config_updates=_with_own_objects(self._recorded.config, self._experiment),
            meta_info={"rerun_of": self._recorded.run_id},
            options={
                **{
                    name: given for name, given in options.items() if name not in _RECORDING_OPTIONS
                },
                "--unobserved": not self._request.record,
            },
        )
        if self._request.record:
            from sacred_ray_ingredient.record.processes import this_process

            about = {"experiment": str(self._reference), "process": this_process()}
            replace(self._request.target, about=about).observe(run, extra_tags=[TAG], name=TAG)
        self._watch(run._metrics)
        return run

    def _watch(self, logger: Any) -> None:
        """Keep each logged scalar that a record would have."""
        log_scalar_metric = logger.log_scalar_metric

        def log_and_keep(metric_name: str, value: Any, step: int | None = None) -> None:
            log_scalar_metric(metric_name, value, step)
            number = as_metric_value(value)
            if number is not None and is_finite_number(+number):
                point = (plain(logger._metric_step_counter[metric_name]), +number)
                self._metrics.setdefault(metric_name, []).append(point)
            elif number is not None:
                self._nonfinite[metric_name] = self._nonfinite.get(metric_name, 0) + 1
            if self._recorded.ended_early and self._has_all():
                raise SeenEnough(f"Run {self._recorded.run_id} had no more than this.")

        logger.log_scalar_metric = log_and_keep

    def _has_all(self) -> bool:
        wanted = self._recorded.outcome.metrics
        if self._recorded.continued:
            return all(
                self._metrics.get(name, [(points[-1][0] - 1, 0)])[-1][0] >= points[-1][0]
                for name, points in wanted.items()
            )
        return all(len(self._metrics.get(name, ())) >= len(wanted[name]) for name in wanted)


def _with_own_objects(recorded: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Return a recorded config with the experiment's own defaults where these were recorded.

    The database has lists where the defaults may have arrays, and text for other objects.
    """
    try:
        defaults = evaluate_config(experiment, {})
    except Exception:  # a config that cannot be computed without updates
        return dict(recorded)
    return _merged(recorded, defaults)


def _merged(recorded: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, value in recorded.items():
        own = defaults.get(name)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            merged[name] = _merged(value, own)
        else:
            merged[name] = own if own is not None and storable(own) == value else value
    return merged


def _experiment_of(
    recorded: RecordedRun, inner: Experiment | None, is_named: bool
) -> tuple[InnerReference, Experiment]:
    """Find the experiment of a run: the one at hand where it is that, else the one it names."""
    if inner is not None:
        reference = reference_to(inner)
        is_it = recorded.reference in (None, str(reference)) and recorded.name == inner.path
        if is_it or is_named:
            return reference, inner
    if recorded.reference is None:
        own = f", and this is {inner.path!r}" if inner is not None else ""
        raise ConfigMistakes(
            [
                f"The document of run {recorded.run_id} does not say where its experiment "
                f"{recorded.name!r} is{own}: name it with `sacred-ray rerun {recorded.run_id} "
                "--experiment MODULE:ATTRIBUTE`."
            ]
        )
    reference = parse_reference(recorded.reference)
    if reference.script is not None and not _is_below_here(reference.script):
        raise ConfigMistakes(
            [
                f"The experiment of run {recorded.run_id} is in {reference.script}, which is not "
                "in the current folder: go to its folder, or name the experiment with "
                f"`sacred-ray rerun {recorded.run_id} --experiment SCRIPT:ATTRIBUTE`."
            ]
        )
    return reference, load_here(reference)


def load_here(reference: InnerReference) -> Experiment:
    """Import an experiment of the current folder.

    Parameters
    ----------
    reference
        Where it is.

    Raises
    ------
    InnerImportError
        If it cannot be imported.
    """
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:  # as `python -m` has it
        sys.path.insert(0, here)
    return reference.load()


def _is_below_here(script: str) -> bool:
    return Path(script).resolve().is_relative_to(Path.cwd().resolve())


def _notes_before(recorded: RecordedRun) -> list[str]:
    notes = []
    if recorded.ended_early:
        notes.append(
            f"The recorded run ended early ({recorded.ended_early.rstrip('.')}): the values that "
            "it had until then are compared, and not the result."
        )
    if recorded.continued:
        notes.append(
            f"The recorded run did not begin at the beginning: {recorded.continued.rstrip('.')}. "
            "The new one does, so that its values can be others; they are compared from the first "
            "recorded step on."
        )
    return notes + [f"Of the record: {note}" for note in recorded.notes]


def _config_notes(recorded: Mapping[str, Any], again: Mapping[str, Any] | None) -> list[str]:
    """Say where the new run has another configuration, as when a hook sets entries."""
    if again is None:
        return []
    before, now = flatten(storable(recorded)), flatten(again)
    changed = []
    for path in sorted({*before, *now}):
        if path not in before:
            changed.append(f"{path} is {show(now[path])}, and was not there")
        elif path not in now:
            changed.append(f"{path} is gone, it was {show(before[path])}")
        elif now[path] != before[path] and now[path] == now[path]:
            changed.append(f"{path} is {show(now[path])}, it was {show(before[path])}")
    if not changed:
        return []
    more = len(changed) - _MOST_ENTRIES
    rest = f"; and {more} more" if more > 0 else ""
    return [f"The configuration is another one now: {'; '.join(changed[:_MOST_ENTRIES])}{rest}."]


def _tell(
    comparison: Comparison,
    notes: list[str],
    code: list[str],
    environment: list[str],
    say: Callable[[str], None],
) -> None:
    if not comparison.is_same:
        say("It came out differently:")
    for sentence in comparison.sentences:
        say(sentence if comparison.is_same else f"  {sentence}")
    for note in notes:
        say(note)
    for title, found in (("Code", code), ("Surroundings", environment)):
        if found:
            say(f"{title}:")
            for note in found:
                say(f"  {note}")
    if not comparison.is_same and not (code or environment or notes):
        say(
            "Code, config, packages and processor are the same: the result depends on something "
            "else, such as a file, the time, or random numbers without a seed."
        )


def _printable(say: Callable[[str], None]) -> Callable[[str], None]:
    """Keep control characters, which text from a database can have, from the terminal."""

    def say_plainly(text: str) -> None:
        say(
            "".join(
                char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text
            )
        )

    return say_plainly
