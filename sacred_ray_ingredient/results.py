"""What a sweep has recorded, as tables for a notebook; nothing here ever writes.

::

    from sacred_ray_ingredient import results

    sweep = results.sweep("last")
    sweep.trials.sort_values("result")
    sweep.metrics("loss")
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sacred_ray_ingredient.errors import ConfigMistakes, did_you_mean
from sacred_ray_ingredient.metrics import result_metrics
from sacred_ray_ingredient.mongo.address import MongoAddress
from sacred_ray_ingredient.nested import flatten
from sacred_ray_ingredient.record.earlier import last_values
from sacred_ray_ingredient.record_access import record_address

if TYPE_CHECKING:
    import pandas as pd

LAST = "last"
# Of a document only what a table shows travels: neither output nor host nor sources.
_FIELDS = dict.fromkeys(
    (
        *("status", "start_time", "stop_time", "result", "config", "omniboard.tags"),
        *("meta.sweep.trial_index", "meta.sweep.attempt", "meta.sweep.segment"),
    ),
    1,
)
_RUNS_PER_QUERY = 20_000
_MOST_IDS_SHOWN = 5
# Where nothing is, as in a column of a parameter that a trial does not have.
_MISSING = None


@dataclass(frozen=True)
class _Attempt:
    """The documents of one attempt of a trial: one, and another for each time it went on."""

    index: int
    attempt: int
    segments: list[dict[str, Any]]


@dataclass(frozen=True)
class SweepResults:
    """The trials of one sweep; what was read is kept, so make it anew to see what has come since.

    Attributes
    ----------
    sweep_id, exp_name : str
        Its names.
    outer_run_ids : tuple
        Its own runs, the first one first; more than one where it was resumed.
    status : str
        Of the last of these.
    """

    sweep_id: str
    exp_name: str
    outer_run_ids: tuple[Any, ...]
    status: str
    _runs: Any = field(repr=False, compare=False)
    _metrics: Any = field(repr=False, compare=False)

    @functools.cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: its last attempt.

        The columns are ``run_id``, ``trial_index``, ``attempt``, ``status``, ``start_time``,
        ``duration`` in seconds, ``result``, ``tags``, ``config.NAME`` for each entry of the
        configuration, with dots where entries are nested, and ``metric.NAME`` with the last value
        of each metric and the numbers of a returned dictionary. What a trial does not have is NaN
        or None.
        """
        attempts = self.attempts
        last = attempts.drop_duplicates("trial_index", keep="last")
        return last.reset_index(drop=True)

    @functools.cached_property
    def attempts(self) -> pd.DataFrame:
        """One row per attempt, with the columns of `trials`; by trial, then by attempt.

        An attempt that was paused and went on in another document is one row, with the run id and
        the status of the last of them.
        """
        attempts = self._read_attempts
        run_ids = [run["_id"] for attempt in attempts for run in attempt.segments]
        return _table(attempts, _last_values(self._metrics, run_ids))

    def metrics(self, name: str, all_attempts: bool = False) -> pd.DataFrame:
        """Return all points of a metric, one row each.

        Parameters
        ----------
        name
            As the experiment logs it.
        all_attempts
            Also of attempts that were followed by another one.

        Returns
        -------
        pandas.DataFrame
            With the columns ``run_id``, ``trial_index``, ``attempt``, ``step``, ``value`` and
            ``time``; by trial, and within it as logged.

        Raises
        ------
        ConfigMistakes
            If no trial has logged it.
        """
        attempts = self._read_attempts
        if not all_attempts:
            attempts = list({attempt.index: attempt for attempt in attempts}.values())
        run_ids = [run["_id"] for attempt in attempts for run in attempt.segments]
        found = _points(self._metrics, run_ids, name)
        if not found:
            raise ConfigMistakes([self._not_logged(name, run_ids)])
        return _long_table(attempts, found)

    @functools.cached_property
    def _read_attempts(self) -> list[_Attempt]:
        query = {"meta.sweep.sweep_id": self.sweep_id, "meta.sweep.trial_index": {"$exists": True}}
        found = [(_order(run), run) for run in self._runs.find(query, _FIELDS)]
        # By the order alone: documents cannot be compared.
        found.sort(key=operator.itemgetter(0))
        attempts: list[_Attempt] = []
        for (index, number, _), run in found:
            last = attempts[-1] if attempts else None
            if last is not None and (last.index, last.attempt) == (index, number):
                last.segments.append(run)
            else:
                attempts.append(_Attempt(index, number, [run]))
        return attempts

    def _not_logged(self, name: str, run_ids: Sequence[Any]) -> str:
        names = sorted({n for each in _last_values(self._metrics, run_ids).values() for n in each})
        logged = f"it has {', '.join(names)}" if names else "it has none yet"
        hint = did_you_mean(name, names)
        return f"No trial of {self.sweep_id} has logged the metric {name!r}{hint}; {logged}."


def sweep(sweep_id: str = LAST, url: str | MongoAddress | None = None) -> SweepResults:
    """Find a sweep in the record.

    Parameters
    ----------
    sweep_id
        ``sweep-…``, or ``last`` for the one that was begun last.
    url
        ``mongodb://HOST:PORT/DATABASE`` without a password, ``HOST:PORT:DATABASE`` as for ``-m``,
        or an address. None: what ``SACRED_MONGO_URL`` says, else the project's own server.

    Raises
    ------
    ConfigMistakes
        If there is no such sweep.
    DatabaseError
        If the database cannot be reached, or there is none.
    """
    from sacred_ray_ingredient.record.target import database_at

    address = _address(url)
    database = database_at(address)
    return _sweep_of(
        database[address.collection], database["metrics"], sweep_id, address.describe()
    )


def _address(url: str | MongoAddress | None) -> MongoAddress:
    if isinstance(url, MongoAddress):
        url.check()
        return url
    if url is not None and "://" in url:
        return record_address(config={"url": url})
    return record_address(option=url)


def _sweep_of(runs: Any, metrics: Any, wanted: str, where: str) -> SweepResults:
    own = {
        "meta.sweep.sweep_id": {"$exists": True},
        "meta.sweep.trial_index": {"$exists": False},
    }
    fields = {"meta.sweep.sweep_id": 1, "meta.sweep.exp_name": 1, "status": 1}
    if wanted == LAST:
        latest = runs.find_one(own, fields, sort=[("start_time", -1), ("_id", -1)])
        if latest is None:
            raise ConfigMistakes([f"No sweep is recorded in {where} yet."])
        wanted = latest["meta"]["sweep"]["sweep_id"]
    query = {**own, "meta.sweep.sweep_id": wanted}
    found = list(runs.find(query, fields, sort=[("start_time", 1), ("_id", 1)]))
    if not found:
        latest = runs.find(own, fields, sort=[("start_time", -1)]).limit(100)
        ids = list(dict.fromkeys(run["meta"]["sweep"]["sweep_id"] for run in latest))
        listed = f"the latest ones are: {', '.join(ids[:_MOST_IDS_SHOWN])}" if ids else "none is"
        raise ConfigMistakes(
            [f"There is no sweep {wanted!r} in {where}{did_you_mean(wanted, ids)}; {listed}."]
        )
    newest = found[-1]
    return SweepResults(
        sweep_id=wanted,
        exp_name=str(newest["meta"]["sweep"].get("exp_name", wanted)),
        outer_run_ids=tuple(run["_id"] for run in found),
        status=str(newest.get("status")),
        _runs=runs,
        _metrics=metrics,
    )


def _order(run: Mapping[str, Any]) -> tuple[int, int, int]:
    about = run["meta"]["sweep"]
    return about["trial_index"], about.get("attempt", 0), about.get("segment", 0)


def _in_parts(run_ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield so many ids at a time as one query can have."""
    for start in range(0, len(run_ids), _RUNS_PER_QUERY):
        yield run_ids[start : start + _RUNS_PER_QUERY]


def _last_values(metrics: Any, run_ids: Sequence[Any]) -> dict[Any, dict[str, float]]:
    found: dict[Any, dict[str, float]] = {}
    for part in _in_parts(run_ids):
        found |= last_values(metrics, part)
    return found


def _points(metrics: Any, run_ids: Sequence[Any], name: str) -> dict[Any, list[dict[str, Any]]]:
    """Read the documents of a metric by run, in the order of their parts."""
    # By names alone, which the index has; a metric can have such a name without being a part.
    names = [name, re.compile(rf"^{re.escape(name)} \(part \d+\)$")]
    found: dict[Any, list[dict[str, Any]]] = {}
    for part in _in_parts(run_ids):
        query = {"run_id": {"$in": list(part)}, "name": {"$in": names}}
        for document in metrics.find(query):
            if document.get("of", document["name"]) == name:
                found.setdefault(document["run_id"], []).append(document)
    for documents in found.values():
        documents.sort(key=lambda document: document.get("part", 1))
    return found


def _table(attempts: Sequence[_Attempt], logged: Mapping[Any, Mapping[str, float]]) -> pd.DataFrame:
    """Lay out attempts by columns, which is what pandas is fast with."""
    import pandas as pd

    first = [attempt.segments[0] for attempt in attempts]
    last = [attempt.segments[-1] for attempt in attempts]
    columns: dict[str, Any] = {
        "run_id": [run["_id"] for run in last],
        "trial_index": [attempt.index for attempt in attempts],
        "attempt": [attempt.attempt for attempt in attempts],
        "status": [run.get("status") for run in last],
        "start_time": pd.to_datetime([run.get("start_time") for run in first]),
        "duration": pd.Series(map(_duration, attempts), dtype=float),
        "result": [run.get("result") for run in last],
        "tags": [(run.get("omniboard") or {}).get("tags") or [] for run in last],
    }
    columns |= _named_columns("config.", (flatten(run.get("config") or {}) for run in last))
    columns |= _named_columns("metric.", (_metrics_of(each, logged) for each in attempts))
    return pd.DataFrame(columns)


def _named_columns(prefix: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    count = 0
    for row in rows:
        for name, value in row.items():
            column = columns.get(name)
            if column is None:
                column = columns[name] = []
            if len(column) < count:
                column.extend([_MISSING] * (count - len(column)))
            column.append(value)
        count += 1
    for column in columns.values():
        column.extend([_MISSING] * (count - len(column)))
    return {f"{prefix}{name}": columns[name] for name in columns}


def _metrics_of(attempt: _Attempt, logged: Mapping[Any, Mapping[str, float]]) -> dict[str, float]:
    """Return the last values of an attempt: what it logged before it was paused counts too."""
    metrics: dict[str, float] = {}
    for run in attempt.segments:
        metrics.update(logged.get(run["_id"], {}))
    result = attempt.segments[-1].get("result")
    if isinstance(result, Mapping):
        metrics.update(result_metrics(result))
    return metrics


def _duration(attempt: _Attempt) -> float | None:
    """Return the seconds that an attempt ran; None while it does."""
    seconds = 0.0
    for run in attempt.segments:
        begin, end = run.get("start_time"), run.get("stop_time")
        if begin is None or end is None:
            return None
        seconds += (end - begin).total_seconds()
    return seconds


def _long_table(
    attempts: Sequence[_Attempt], found: Mapping[Any, Sequence[Mapping[str, Any]]]
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    documents = [
        (attempt, part)
        for attempt in attempts
        for run in attempt.segments
        for part in found.get(run["_id"], ())
    ]
    names = ("steps", "values", "timestamps")
    # A document that is being read while it is written has all three of each point.
    counts = [min(len(part.get(name) or ()) for name in names) for _, part in documents]
    points = {
        name: list(
            itertools.chain.from_iterable(
                part[name][:count] for (_, part), count in zip(documents, counts, strict=True)
            )
        )
        for name in names
    }
    return pd.DataFrame(
        {
            "run_id": np.repeat([part["run_id"] for _, part in documents], counts),
            "trial_index": np.repeat([attempt.index for attempt, _ in documents], counts),
            "attempt": np.repeat([attempt.attempt for attempt, _ in documents], counts),
            "step": points["steps"],
            "value": points["values"],
            "time": pd.to_datetime(points["timestamps"]),
        }
    )
