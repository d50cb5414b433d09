"""The code and the packages that a recorded run had, beside those of now.

What comes from the database is compared and written to files, never imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sacred_ray_ingredient.errors import ConfigMistakes
from sacred_ray_ingredient.nested import get_path

if TYPE_CHECKING:
    from sacred import Experiment

    from sacred_ray_ingredient.inner import InnerReference

NOT_RECORDED = "The code of this run was not recorded, so that it cannot be compared."
_MOST_PACKAGES = 10


def recorded_file(database: Any, file_id: Any) -> bytes | None:
    """Read a file from the database.

    Parameters
    ----------
    database
        The pymongo database.
    file_id
        Of GridFS, as an ObjectId or its text.

    Returns
    -------
    bytes or None
        None where it is not there.
    """
    import gridfs
    from bson import ObjectId
    from bson.errors import InvalidId

    if isinstance(file_id, str):
        try:
            file_id = ObjectId(file_id)
        except InvalidId:
            return None
    try:
        content: bytes = gridfs.GridFS(database).get(file_id).read()
    except (gridfs.errors.NoFile, gridfs.errors.CorruptGridFile):
        return None
    return content


def code_notes(
    database: Any, document: Mapping[str, Any], inner: InnerReference, experiment: Experiment
) -> list[str]:
    """Say in which files the code is other than that of a recorded run.

    Parameters
    ----------
    database
        The pymongo database.
    document
        Of the run.
    inner
        Where the experiment was loaded from now.
    experiment
        The experiment.

    Returns
    -------
    list of str
        A sentence for each file; empty where all are the same.
    """
    archive = _archive(database, document)
    if archive is not None:
        from sacred_ray_ingredient.frozen_code import FrozenCode, differences, freeze

        return differences(FrozenCode.from_archive(archive), freeze(inner))
    sources = _sources(database, document)
    if not sources:
        return [NOT_RECORDED]
    base = Path(experiment.get_experiment_info()["base_dir"])
    notes = []
    for name, content in sources.items():
        try:
            now = (base / name).read_bytes()
        except OSError:
            notes.append(f"{name} is gone")
            continue
        if now != content:
            notes.append(f"{name} has changed")
    return notes


def _archive(database: Any, document: Mapping[str, Any]) -> bytes | None:
    code_id = get_path(document, "meta.sweep.code") or get_path(document, "meta.record.code")
    return None if code_id is None else recorded_file(database, code_id)


def _sources(database: Any, document: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files that Sacred itself found to be of the experiment."""
    found = {}
    for name, file_id in get_path(document, "experiment.sources") or ():
        content = recorded_file(database, file_id)
        if content is not None:
            found[str(name)] = content
    return found


def write_code(database: Any, document: Mapping[str, Any], folder: Path) -> tuple[int, str]:
    """Write the code that a run had into a new folder.

    Parameters
    ----------
    database
        The pymongo database.
    document
        Of the run.
    folder
        Must be empty, or not exist.

    Returns
    -------
    count : int
        How many files were written.
    what : str
        What they are.

    Raises
    ------
    ConfigMistakes
        If there is no code in the record, a file would be outside of the folder, or the folder is
        in use.
    """
    run_id = document["_id"]
    archive = _archive(database, document)
    if archive is not None:
        from sacred_ray_ingredient.frozen_code import FrozenCode

        code = FrozenCode.from_archive(archive)
        files = {module.label: code.source(module) for module in code.modules}
        what = "the project's modules"
    else:
        files = _sources(database, document)
        what = "the sources that Sacred found"
    if not files:
        raise ConfigMistakes([f"The code of run {run_id} was not recorded."])
    leaving = [name for name in files if not _is_within(name)]
    if leaving:
        raise ConfigMistakes(
            [
                f"Run {run_id} has a source file {name!r}, which would be outside of {folder}; "
                "nothing is written."
                for name in leaving
            ]
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigMistakes([f"{folder} is there already; give the name of a new folder."])
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise ConfigMistakes([f"{folder} cannot be written ({error.strerror})."]) from error
    return len(files), what


def _is_within(name: str) -> bool:
    path = PurePosixPath(name)
    is_plain = "\\" not in name and "\0" not in name and name not in ("", ".")
    return is_plain and not path.is_absolute() and ".." not in path.parts


def environment_notes(database: Any, document: Mapping[str, Any]) -> list[str]:
    """Say what else is other than it was: Python, packages, the processor.

    Parameters
    ----------
    database
        The pymongo database.
    document
        Of the run.
    """
    from sacred.host_info import get_host_info

    from sacred_ray_ingredient.record.environment import environment_document

    notes = []
    host = document.get("host") or {}
    recorded = _shared(database, get_path(document, "meta.record.environment"))
    python = str(recorded.get("python") or host.get("python_version") or "")
    if python and python != platform.python_version():
        notes.append(f"Python: {python} then, {platform.python_version()} now")
    processor = host.get("cpu") or _shared(database, host.get("node")).get("cpu")
    processor_now = get_host_info().get("cpu")
    if processor and processor_now and processor != processor_now:
        notes.append(f"processor: {processor} then, {processor_now} now")
    _, current = environment_document()
    installed = recorded.get("distributions") or recorded.get("packages") or ()
    return notes + package_notes(installed, [*current["distributions"], *_packages_in_ray()])


def _packages_in_ray() -> list[str]:
    """Return the packages that Ray brings along, which only its workers count as installed."""
    spec = importlib.util.find_spec("ray")
    folders = [] if spec is None else spec.submodule_search_locations or []
    within = [str(Path(folder) / "thirdparty_files") for folder in folders]
    found = importlib.metadata.distributions(path=within)
    return [f"{each.metadata['Name']}=={each.version}" for each in found]


def _shared(database: Any, document_id: Any) -> Mapping[str, Any]:
    """Return a document that several runs share; empty where there is none."""
    if document_id is None:
        return {}
    return database["environments"].find_one({"_id": document_id}) or {}


def package_notes(recorded: Iterable[str], current: Iterable[str]) -> list[str]:
    """Say which packages have other versions than they had.

    Parameters
    ----------
    recorded, current
        ``name==version`` each.

    Returns
    -------
    list of str
        A package each; the last one counts the rest where there are many.
    """
    then, now = _versions(recorded), _versions(current)
    changed = [
        f"{name}: {', '.join(sorted(then[name] - now.get(name, set())))} then, "
        f"{', '.join(sorted(now.get(name, set()))) or 'not installed'} now"
        for name in sorted(then)
        if then[name] - now.get(name, set())
    ]
    if len(changed) > _MOST_PACKAGES:
        more = len(changed) - _MOST_PACKAGES
        changed = [*changed[:_MOST_PACKAGES], f"and {more} packages more"]
    return changed


def _versions(entries: Iterable[str]) -> dict[str, set[str]]:
    """Return all versions of each package: there can be several, on several paths."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        name, _, version = str(entry).partition("==")
        # As package indexes compare names.
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(version)
    return found
