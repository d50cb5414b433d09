"""What a run shares with others, which the database has once: sources, packages, nodes."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacred_ray_ingredient.record.documents import Notes, storable
from sacred_ray_ingredient.record.environment import (
    environment_document,
    environment_id,
    host_document,
    short_host,
)
from sacred_ray_ingredient.record.journal import Journal
from sacred_ray_ingredient.record.run_state import ENVIRONMENTS, object_id

# Of the documents, as Sacred names it.
FORMAT = "MongoObserver-0.7.0"


def as_it_is(path: str) -> bytes | None:
    """Leave a source file to be read from the disk."""
    return None


@dataclass(frozen=True)
class Surroundings:
    """What a run refers to.

    Parameters
    ----------
    about
        What the document has under ``meta.record`` besides the ids of its journal and environment.
    source
        Gives the content of a source file as it was imported, by its path; None where the file is
        to be read.
    stored
        Ids of files and documents that others give to the database, or have given; what a run
        gives is added.
    """

    about: Mapping[str, Any] = field(default_factory=dict)
    source: Callable[[str], bytes | None] = as_it_is
    stored: set[str] = field(default_factory=set)

    def first_document(
        self,
        journal: Journal,
        ex_info: Mapping[str, Any],
        command: str,
        host_info: Mapping[str, Any],
        config: Mapping[str, Any],
        meta_info: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Make the document of a run as it begins, and journal what it refers to.

        Parameters
        ----------
        journal
            Of the run.
        ex_info, command, host_info, config, meta_info
            As Sacred gives them to its observers.

        Returns
        -------
        dict
            Plain data for the journal; ``notes`` says what could not be stored as it was.
        """
        notes = Notes()
        experiment = {**storable(ex_info), "sources": self.keep_sources(journal, ex_info, notes)}
        environment = environment_id()
        node, host = host_document(host_info)
        if self._is_news(environment):
            _append_document(journal, environment, environment_document()[1])
        if self._is_news(node):
            _append_document(journal, node, host)
        meta = storable(meta_info, notes=notes, where="meta")
        record = {"journal": journal.record_id, "environment": environment}
        return {
            "experiment": experiment,
            "format": FORMAT,
            "command": command,
            "host": short_host(host_info, node),
            "config": storable(config, notes=notes, where="config"),
            "meta": {**meta, "record": {**record, **storable(self.about)}},
            "notes": notes.as_list(),
        }

    def keep_sources(
        self, journal: Journal, ex_info: Mapping[str, Any], notes: Notes
    ) -> list[list[Any]]:
        """Journal the source files that are not stored yet.

        Parameters
        ----------
        journal
            Gets them.
        ex_info
            As Sacred gives it to its observers.
        notes
            Are told of files that cannot be read.

        Returns
        -------
        list of list
            Name and file id of each source.
        """
        kept = []
        for name, _ in ex_info["sources"]:
            path = os.path.join(ex_info["base_dir"], name)
            try:
                content = self.source(path)
                content = Path(path).read_bytes() if content is None else content
            except OSError as error:
                notes.add(f"source {name}: {path} cannot be read ({error.strerror})")
                continue
            kept.append([storable(name), self._keep_source(journal, path, content)])
        return kept

    def _keep_source(self, journal: Journal, path: str, content: bytes) -> str:
        digest, file_id = _ids_of_source(path, content)
        if self._is_news(file_id):
            journal.files.keep_bytes(content)
            about = {"id": file_id, "digest": digest, "filename": storable(path)}
            journal.append("file", about)
        return file_id

    def _is_news(self, identity: str) -> bool:
        """Tell whether nobody has stored it yet, and take it for stored from now on."""
        if identity in self.stored:
            return False
        self.stored.add(identity)
        return True


def _append_document(journal: Journal, identity: str, content: dict[str, Any]) -> None:
    about = {"collection": ENVIRONMENTS, "id": identity, "content": content}
    journal.append("document", about)


@functools.lru_cache(maxsize=256)
def _ids_of_source(path: str, content: bytes) -> tuple[str, str]:
    digest = hashlib.sha256(content).hexdigest()
    return digest, object_id("source", path, digest)
