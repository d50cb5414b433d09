"""The inner experiment: where it is, what the user changed of it, what can be set in it.

It travels by reference, never by pickle: a pickled Sacred experiment loses the wrappers that
fill in its arguments. What goes to a trial are the *updates* of the inner configuration, not
the resolved configuration, so that entries derived from others are computed anew in each trial.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sacred import Experiment, Ingredient
from sacred import initialize as sacred_init
from sacred.utils import convert_to_nested_dict, join_paths, set_by_dotted_path

from sacred_ray_ingredient.errors import InnerImportError
from sacred_ray_ingredient.frozen_code import script_module_name
from sacred_ray_ingredient.nested import flatten, get_path, merge

# Sacred makes the docstring of a config scope an entry.
_DOC_ENTRY = "__doc__"
# Arguments of captured functions that no configuration gives; the last is of Sacred's own command.
_SPECIAL_ARGUMENTS = {"_config", "_log", "_rnd", "_run", "_seed", _DOC_ENTRY, "config_filename"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InnerReference:
    """Where an experiment is found again: an attribute of a module or of a script file.

    Parameters
    ----------
    attribute
        Name of the module-level variable that holds the experiment.
    module
        Importable module; None for a script.
    script
        Absolute path of the script, for an experiment in a file run as ``python file.py``.
    """

    attribute: str
    module: str | None = None
    script: str | None = None

    def __str__(self) -> str:
        """Return ``module:attribute`` or ``file.py:attribute``."""
        return f"{self.module or self.script}:{self.attribute}"

    def load(self) -> Experiment:
        """Import the experiment.

        Returns
        -------
        sacred.Experiment
            The same object each time within one process.

        Raises
        ------
        InnerImportError
            If the module cannot be imported or has no such experiment.
        """
        try:
            module = self._module()
        except SystemExit as error:
            raise InnerImportError(
                f"The inner experiment {self} cannot be imported: importing it called "
                f"sys.exit({error.code!r}); put what runs it under if __name__ == '__main__'."
            ) from error
        except Exception as error:
            raise InnerImportError(
                f"The inner experiment {self} cannot be imported: {type(error).__name__}: {error}."
            ) from error
        experiment = getattr(module, self.attribute, None)
        if not isinstance(experiment, Experiment):
            raise InnerImportError(
                f"The inner experiment {self} cannot be used: {self.attribute!r} there is "
                f"{experiment!r}, not a Sacred experiment."
            )
        return experiment

    def _module(self) -> ModuleType:
        if self.module is not None:
            return importlib.import_module(self.module)
        script = str(self.script)
        name = script_module_name(script)
        if name in sys.modules:
            return sys.modules[name]
        # In a worker it is found by this name, in the frozen code of the sweep.
        found = importlib.util.find_spec(name)
        spec = found or importlib.util.spec_from_file_location(name, script)
        if spec is None or spec.loader is None:
            raise ImportError(f"{script} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        folder = str(Path(script).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


def reference_to(experiment: Experiment) -> InnerReference:
    """Find the module-level variable that holds an experiment.

    Parameters
    ----------
    experiment
        The inner experiment as the driver has it.

    Returns
    -------
    InnerReference
        The module in which it was made is preferred to those that import it from there.

    Raises
    ------
    InnerImportError
        If no module holds it in a variable, as when it is made inside a function.
    """
    made_in = experiment.mainfile.filename if experiment.mainfile else None
    found: list[tuple[bool, ModuleType, str]] = []
    for module in list(sys.modules.values()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is experiment:
                is_home = made_in is not None and getattr(module, "__file__", None) == made_in
                found.append((is_home, module, attribute))
    if not found:
        raise InnerImportError(
            f"The inner experiment {experiment.path!r} is not the value of any module-level "
            "variable, so that workers cannot import it: assign it to a variable at the top "
            "level of a module."
        )
    _, module, attribute = max(found, key=lambda candidate: candidate[0])
    if module.__name__ != "__main__":
        return InnerReference(attribute, module=module.__name__)
    if getattr(module, "__spec__", None) is not None:
        return InnerReference(attribute, module=module.__spec__.name)  # type: ignore[union-attr]
    if getattr(module, "__file__", None) is None:
        raise InnerImportError(
            f"The inner experiment {experiment.path!r} was made at a prompt or in a notebook, "
            "where workers cannot import it: put it into a module."
        )
    return InnerReference(attribute, script=str(Path(str(module.__file__)).resolve()))


def ingredients_of(experiment: Ingredient) -> list[Ingredient]:
    """Return all ingredients below an experiment, innermost first, each once."""
    below = [ingredient for ingredient, depth in experiment.traverse_ingredients() if depth]
    return list(dict.fromkeys(reversed(below)))


def collect_updates(
    outer: Experiment,
    inner: Experiment,
    config_updates: Mapping[str, Any],
    named_configs: Iterable[str],
) -> dict[str, Any]:
    """Find out what a command line of the outer experiment changes of the inner one.

    Sacred keeps the command line's updates but not what named configs and config files add, so
    its first two configuration phases (``sacred.initialize.create_run``) are done again here.

    Parameters
    ----------
    outer
        The outer experiment.
    inner
        One of its ingredients.
    config_updates
        As Sacred got them for the outer run.
    named_configs
        As Sacred got them for the outer run, config files included.

    Returns
    -------
    dict
        Updates as the inner experiment takes them: its own entries at the top, those of its
        ingredients under their paths.
    """
    scaffolding = _scaffolding(outer, config_updates, named_configs)
    updates: dict[str, Any] = deepcopy(scaffolding[inner.path].config_updates)
    for ingredient in ingredients_of(inner):
        below = deepcopy(scaffolding[ingredient.path].config_updates)
        below.pop(_DOC_ENTRY, None)
        if below:
            set_by_dotted_path(updates, ingredient.path, below)
    updates.pop(_DOC_ENTRY, None)
    return updates


def has_own_named_configs(inner: Experiment, named_configs: Iterable[str]) -> bool:
    """Tell whether one of the named configs is of the inner experiment or its ingredients.

    What these give can depend on other entries, so that it has to be computed for each trial.
    """
    paths = {inner.path, *(ingredient.path for ingredient in ingredients_of(inner))}
    return any(name.rpartition(".")[0] in paths for name in named_configs)


def as_outer_updates(inner: Experiment, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Turn parameters of the inner experiment into updates of an outer one.

    Parameters
    ----------
    inner
        The inner experiment.
    parameters
        Nested; those of its ingredients under their paths.
    """
    own = deepcopy(dict(parameters))
    updates: dict[str, Any] = {}
    for ingredient in ingredients_of(inner):
        if "." not in ingredient.path and ingredient.path in own:
            updates[ingredient.path] = own.pop(ingredient.path)
    return {inner.path: own, **updates} if own else updates


def evaluate_config(
    experiment: Experiment, updates: Mapping[str, Any], named_configs: Iterable[str] = ()
) -> dict[str, Any]:
    """Compute the configuration that an experiment would run with.

    Nothing is run and nothing of the experiment is changed.

    Parameters
    ----------
    experiment
        Usually the inner experiment.
    updates
        Changes, nested, as for ``Experiment.run(config_updates=...)``.
    named_configs
        Names of named configs, or config files.

    Returns
    -------
    dict
        The complete configuration, those of the ingredients under their paths; without the
        automatic seeds.
    """
    scaffolding = _evaluated(experiment, updates, named_configs)
    config: dict[str, Any] = deepcopy(sacred_init.get_configuration(scaffolding))
    return config


def unknown_entries(
    experiment: Experiment, updates: Mapping[str, Any], named_configs: Iterable[str] = ()
) -> list[str]:
    """Find the updates of entries that an experiment does not have.

    Sacred refuses these at the top level but takes them, with a warning, within an entry that
    is an argument of a captured function; there they are as likely to be misspelt. Only what is
    put into an empty dictionary, or is itself such an argument, is taken to be meant.

    Parameters
    ----------
    experiment
        The experiment.
    updates
        Changes, nested.
    named_configs
        Names of named configs, or config files.

    Returns
    -------
    list of str
        Dotted names.
    """
    before = evaluate_config(experiment, {})
    unknown = []
    for scaffold in _evaluated(experiment, updates, named_configs).values():
        for entry in sorted(scaffold.config_mods.added - scaffold.captured_args):
            path = join_paths(scaffold.path, entry)
            if entry.split(".")[-1] not in (_DOC_ENTRY, "seed") and not is_open(path, before):
                unknown.append(path)
    return unknown


def is_open(path: str, config: Mapping[str, Any]) -> bool:
    """Tell whether a dotted path is below an empty dictionary, which is there to be filled."""
    parts = path.split(".")
    above = (get_path(config, ".".join(parts[:depth])) for depth in range(1, len(parts)))
    return any(isinstance(entry, Mapping) and not entry for entry in above)


def _evaluated(
    experiment: Experiment, updates: Mapping[str, Any], named_configs: Iterable[str]
) -> dict[str, Any]:
    scaffolding = _scaffolding(experiment, updates, named_configs)
    for scaffold in scaffolding.values():
        scaffold.gather_fallbacks()
        scaffold.set_up_config()
        hook_updates = scaffold.run_config_hooks(
            sacred_init.get_configuration(scaffolding), experiment.default_command, _log
        )
        scaffold.config = merge(scaffold.config, hook_updates)
    return scaffolding


def settable_names(inner: Experiment, config: Mapping[str, Any]) -> set[str]:
    """List the dotted names that can be set in the inner experiment.

    Parameters
    ----------
    inner
        The inner experiment.
    config
        Its evaluated configuration.

    Returns
    -------
    set of str
        All entries at every level, arguments of captured functions that have no default, and
        ``seed``.
    """
    names = {"seed"}
    for path in flatten(config):
        if path.endswith(_DOC_ENTRY):
            continue
        parts = path.split(".")
        names |= {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    for ingredient in [inner, *ingredients_of(inner)]:
        prefix = "" if ingredient is inner else ingredient.path
        for function in ingredient.captured_functions:
            arguments = set(function.signature.arguments) - _SPECIAL_ARGUMENTS
            below = join_paths(prefix, function.prefix) if function.prefix else prefix
            names |= {join_paths(below, argument) for argument in arguments}
    # An ingredient is set entry by entry, never as a whole.
    return names - {ingredient.path for ingredient in ingredients_of(inner)}


def _scaffolding(
    experiment: Experiment, config_updates: Mapping[str, Any], named_configs: Iterable[str]
) -> dict[str, Any]:
    """Distribute updates and named configs over an experiment and its ingredients."""
    ingredients = sacred_init.gather_ingredients_topological(experiment)
    scaffolding: dict[str, Any] = sacred_init.create_scaffolding(experiment, ingredients)
    for scaffold in scaffolding.values():
        scaffold.logger = _log
    prefixes = sorted((path.split(".") for path in scaffolding if path), key=len, reverse=True)
    updates = convert_to_nested_dict(deepcopy(dict(config_updates)))
    sacred_init.distribute_config_updates(prefixes, scaffolding, updates)
    for named_config in named_configs:
        scaffold, name = sacred_init.get_scaffolding_and_config_name(named_config, scaffolding)
        scaffold.gather_fallbacks()
        content = scaffold.run_named_config(name)
        sacred_init.distribute_presets(scaffold.path, prefixes, scaffolding, content)
        for path, value in sacred_init.iterate_flattened(content):
            set_by_dotted_path(updates, join_paths(scaffold.path, path), value)
    sacred_init.distribute_config_updates(prefixes, scaffolding, updates)
    return scaffolding
