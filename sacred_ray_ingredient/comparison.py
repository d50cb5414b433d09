"""Whether two runs came out the same, to the last bit, and where not: what differs first.

Nothing is rounded and there is no tolerance: the same code, config and seed give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.values import show

Point = tuple[Any, Any]
"""Step and value of a metric."""

_NOTHING = object()


@dataclass(frozen=True)
class Outcome:
    """What came out of a run.

    Parameters
    ----------
    status
        Sacred's status.
    result
        What the main function returned, as plain data.
    metrics
        Points by name; finite values only.
    nonfinite
        By name of the metric: how many values were NaN or infinite.
    error
        What it raised, in one line.
    """

    status: str
    result: Any = None
    metrics: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    nonfinite: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What came of comparing.

    Attributes
    ----------
    is_same : bool
        Whether nothing differs of what was compared.
    sentences : list of str
        What is the same, or what differs.
    compared : int
        How many values were looked at, the result included.
    """

    is_same: bool
    sentences: list[str]
    compared: int


@dataclass(frozen=True)
class _MetricDifference:
    name: str
    recorded: int
    differing: int
    first: str
    largest: float

    def sentence(self) -> str:
        by = f", by at most {self.largest!r}" if self.largest else ""
        return (
            f"{self.name}: {self.differing} of {self.recorded} values differ{by}; the first: "
            f"{self.first}."
        )


def compare(
    recorded: Outcome, again: Outcome, ended_early: bool = False, continued: bool = False
) -> Comparison:
    """Compare a recorded run with one that was made from its document.

    Parameters
    ----------
    recorded, again
        What came out of the two.
    ended_early
        Whether the recorded one was ended before its main function returned: then only the values
        that it had are compared.
    continued
        Whether the recorded one went on from a state: then the values from its first step on are
        compared.

    Returns
    -------
    Comparison
        With a sentence for everything that differs, or one that says that nothing does.
    """
    differing: list[str] = []
    compared = 0
    if not ended_early or again.status == "FAILED":
        differing += _endings(recorded, again)
    with_result = not ended_early and recorded.status == again.status == "COMPLETED"
    if with_result:
        compared += 1
        differing += _results(recorded.result, again.result)
    metrics = _aligned(recorded.metrics, again.metrics, ended_early, continued)
    values = sum(len(before) for before, _ in metrics.values())
    compared += values
    found = [_metric(name, *points) for name, points in sorted(metrics.items())]
    differing += [difference.sentence() for difference in found if difference is not None]
    if not ended_early and not continued:
        differing += _nonfinite(recorded.nonfinite, again.nonfinite)
    same_metrics = sum(difference is None for difference in found)
    counted = f"{_count(len(metrics), 'metric')}, {_count(values, 'value')}"
    if differing:
        if same_metrics:
            differing.append(f"{_count(same_metrics, 'metric')} of {len(metrics)}: all the same.")
        return Comparison(False, differing, compared)
    return Comparison(
        True,
        [f"{_ending_again(recorded, with_result, ended_early)}; {counted}: all the same."],
        compared,
    )


def _ending_again(recorded: Outcome, with_result: bool, ended_early: bool) -> str:
    if with_result:
        if recorded.result is None:
            return "no result again"
        return f"result {show(recorded.result)} again, to the last bit"
    if recorded.status == "FAILED" and not ended_early:
        return f"failed again with {recorded.error}"
    return "the result is not compared"


def _endings(recorded: Outcome, again: Outcome) -> list[str]:
    if recorded.status != again.status:
        return [f"status: {_ending(recorded)} was recorded, {_ending(again)} came now."]
    if recorded.status == "FAILED" and recorded.error != again.error:
        return [f"error: {recorded.error} was recorded, {again.error} came now."]
    return []


def _ending(outcome: Outcome) -> str:
    return f"{outcome.status} ({outcome.error})" if outcome.error else outcome.status


def _results(recorded: Any, again: Any) -> list[str]:
    differing = list(_differences(recorded, again, "result"))
    if not differing:
        return []
    sentences = [
        f"{path}: {_shown(before)} was recorded, {_shown(now)} came now{_by(before, now)}."
        for path, before, now in differing[:3]
    ]
    more = len(differing) - len(sentences)
    if more:
        sentences.append(
            f"{_count(more, 'further entry', 'further entries')} of the result differ."
        )
    return sentences


def _differences(before: Any, now: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Walk through both at once and yield what is not the same."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            below = before.get(key, _NOTHING), now.get(key, _NOTHING)
            yield from _differences(*below, f"{path}.{key}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for position, below in enumerate(zip(before, now, strict=True)):
            yield from _differences(*below, f"{path}[{position}]")
    elif not same_value(before, now):
        yield path, before, now


def same_value(one: Any, other: Any) -> bool:
    """Tell whether two values are the same, NaN and NaN included.

    Parameters
    ----------
    one, other
        Plain data without containers.
    """
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other) or (_is_nan(one) and _is_nan(other))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _aligned(
    recorded: Mapping[str, Sequence[Point]],
    again: Mapping[str, Sequence[Point]],
    ended_early: bool,
    continued: bool,
) -> dict[str, tuple[list[Point], list[Point]]]:
    """Pair the points of each metric, as far as both runs can have them."""
    names = list(recorded) if ended_early else list({**recorded, **again})
    pairs = {}
    for name in names:
        before, now = list(recorded.get(name, ())), list(again.get(name, ()))
        if continued and before:
            first = before[0][0]
            now = now[next((n for n, (step, _) in enumerate(now) if step >= first), len(now)) :]
        if ended_early:
            now = now[: len(before)]
        pairs[name] = (before, now)
    return pairs


def _metric(name: str, before: list[Point], now: list[Point]) -> _MetricDifference | None:
    differing = [
        (old, new) for old, new in zip(before, now, strict=False) if not _same_point(old, new)
    ]
    surplus = abs(len(before) - len(now))
    if not differing and not surplus:
        return None
    if differing:
        (step, value), (step_now, value_now) = differing[0]
        at = f"at step {step}" if step == step_now else f"step {step} recorded, step {step_now} now"
        first = f"{at}, {value!r} recorded, {value_now!r} now"
    else:
        first = f"{len(before)} values were recorded, {len(now)} came now"
    gaps = [_gap(old[1], new[1]) for old, new in differing]
    return _MetricDifference(
        name, max(len(before), len(now)), len(differing) + surplus, first, max(gaps, default=0.0)
    )


def _same_point(one: Point, other: Point) -> bool:
    return same_value(one[0], other[0]) and same_value(one[1], other[1])


def _nonfinite(recorded: Mapping[str, int], again: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: {recorded.get(name, 0)} values that are NaN or infinite were recorded, "
        f"{again.get(name, 0)} came now."
        for name in sorted({*recorded, *again})
        if recorded.get(name, 0) != again.get(name, 0)
    ]


def _gap(one: Any, other: Any) -> float:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (one, other))
    return abs(float(other) - float(one)) if numbers else 0.0


def _by(before: Any, now: Any) -> str:
    gap = _gap(before, now)
    return f" (difference {gap!r})" if gap else ""


def _shown(value: Any) -> str:
    return "nothing" if value is _NOTHING else show(value)


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"
