"""The attempts of a sweep that are in the database already, as a resumed sweep reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sacred_ray_ingredient.metrics import result_metrics

_PAUSED, _EARLY_STOPPED, _EVALUATION = "paused", "early-stopped", "evaluate-best"
# Of runs that never came to an end of their own.
_UNFINISHED = ("RUNNING", "INTERRUPTED", "QUEUED")


@dataclass(frozen=True)
class RecordedAttempt:
    """One document of a trial: a segment of one of its attempts.

    Attributes
    ----------
    index, attempt, segment, configuration, repetition : int
        As the trial's task had them.
    status : str
        Sacred's status of the run.
    tags : tuple of str
        Of the run.
    sampled, resolved : dict
        Nested.
    seed : int or None
        Seed of the run.
    named_configs : tuple of str
        Named configs of the inner experiment that the search chose.
    run_id : int or str
        Id of the run.
    metrics : dict
        Last value of each metric, and of the result.
    config : dict
        The complete configuration.
    checkpoint : str or None
        Folder of the last checkpoint.
    error, stop_reason : str or None
        What went wrong, and why it was ended.
    """

    index: int
    attempt: int
    segment: int
    status: str
    run_id: Any
    configuration: int = 0
    repetition: int = 0
    tags: tuple[str, ...] = ()
    sampled: Mapping[str, Any] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    named_configs: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    error: str | None = None
    stop_reason: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end, or a scheduler had seen enough of it."""
        was_to_go_on = _PAUSED in self.tags and _EARLY_STOPPED not in self.tags
        return self.status == "COMPLETED" and not was_to_go_on

    @property
    def is_failed(self) -> bool:
        """Whether it ended by itself, but not well."""
        return self.status != "COMPLETED" and self.status not in _UNFINISHED

    @property
    def is_evaluation(self) -> bool:
        """Whether it ran the best configuration after the search."""
        return _EVALUATION in self.tags

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts attempts of a sweep as they came."""
        return self.index, self.attempt, self.segment


def read_attempts(database: Any, collection: str, sweep_id: str) -> list[RecordedAttempt]:
    """Read all attempts of a sweep's trials.

    Parameters
    ----------
    database
        The pymongo database.
    collection
        Name of the collection of runs.
    sweep_id
        The sweep.

    Returns
    -------
    list of RecordedAttempt
        By index, attempt and segment. What an attempt logged before it was paused counts for its
        later segments too.
    """
    query = {"meta.sweep.sweep_id": sweep_id, "meta.sweep.trial_index": {"$exists": True}}
    fields = dict.fromkeys(
        ("status", "meta.sweep", "config", "result", "info.sweep", "omniboard.tags", "fail_trace"),
        1,
    )
    found = list(database[collection].find(query, fields, sort=[("_id", 1)]))
    logged = last_values(database["metrics"], [run["_id"] for run in found])
    attempts = [_attempt(run, logged.get(run["_id"], {})) for run in found]
    return _with_earlier_segments(sorted(attempts, key=lambda attempt: attempt.order))


def _attempt(run: Mapping[str, Any], logged: Mapping[str, float]) -> RecordedAttempt:
    about = run["meta"]["sweep"]
    config = run.get("config") or {}
    own = (run.get("info") or {}).get("sweep") or {}
    return RecordedAttempt(
        index=about["trial_index"],
        attempt=about.get("attempt", 0),
        segment=about.get("segment", 0),
        status=run.get("status", "RUNNING"),
        run_id=run["_id"],
        configuration=about.get("configuration", about["trial_index"]),
        repetition=about.get("repetition", 0),
        tags=tuple((run.get("omniboard") or {}).get("tags") or ()),
        sampled=about.get("sampled") or {},
        resolved=about.get("resolved") or {},
        seed=config.get("seed"),
        named_configs=tuple(about.get("named_configs") or ()),
        metrics={**logged, **result_metrics(run.get("result"))},
        config=config,
        checkpoint=own.get("checkpoint"),
        error=_last_line(run.get("fail_trace")),
        stop_reason=own.get("stop_reason"),
    )


def _last_line(trace: Any) -> str | None:
    lines = "".join(map(str, trace or ())).strip().splitlines()
    return lines[-1] if lines else None


def _with_earlier_segments(attempts: Sequence[RecordedAttempt]) -> list[RecordedAttempt]:
    completed: list[RecordedAttempt] = []
    for attempt in attempts:
        before = completed[-1] if completed else None
        if before is not None and before.order[:2] == attempt.order[:2]:
            attempt = replace(
                attempt,
                metrics={**before.metrics, **attempt.metrics},
                checkpoint=attempt.checkpoint or before.checkpoint,
            )
        completed.append(attempt)
    return completed


def last_values(
    metrics: Any, run_ids: Sequence[Any], names: Sequence[str] | None = None
) -> dict[Any, dict[str, float]]:
    """Read the last value of each metric of runs.

    Parameters
    ----------
    metrics
        The pymongo collection of metrics.
    run_ids
        The runs.
    names
        Only of these metrics.

    Returns
    -------
    dict
        By run id and name; of a metric with several documents from the last one.
    """
    query: dict[str, Any] = {"run_id": {"$in": list(run_ids)}}
    if names is not None:
        query["$or"] = [{field: {"$in": list(names)}} for field in ("name", "of")]
    fields = {"run_id": 1, "name": 1, "of": 1, "part": 1, "values": {"$slice": -1}}
    last: dict[Any, dict[str, float]] = {}
    for document in sorted(metrics.find(query, fields), key=lambda one: one.get("part", 1)):
        values = document.get("values") or []
        if values and isinstance(values[-1], (int, float)):
            name = document.get("of", document["name"])
            last.setdefault(document["run_id"], {})[name] = float(values[-1])
    return last
