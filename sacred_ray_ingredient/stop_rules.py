"""Rules of ``ray.stop``: when a trial has gone on for long enough."""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sacred_ray_ingredient.errors import ConfigMistakes, SacredRayError, did_you_mean
from sacred_ray_ingredient.metrics import report_name, reported_metrics
from sacred_ray_ingredient.resolvers import (
    import_reference,
    is_reference,
    reference_text,
    signature_of,
)
from sacred_ray_ingredient.values import plain, show

_COMPARISON = re.compile(r"\s*(<=|>=|<|>)\s*([^<>=]+)")
_OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
# Counted by Tune and by us. A metric with another of Tune's names is reported under one of its own.
_COUNTED = ("step", "training_iteration", "time_total_s")
# What the main function returns, known when the trial has ended.
_RESULT = "result"
_PLATEAU = {"metric", "std", "num_results", "grace_period", "metric_threshold", "mode"}


@dataclass(frozen=True)
class StopRule:
    """Ends a trial when its last report fulfils it.

    Attributes
    ----------
    text : str
        As it is stored and told.
    check : callable
        Gets the trial id and the last report; tells whether the trial is to end.
    metric : str or None
        The metric of the experiment that it looks at, if it is one.
    bound : tuple or None
        Name, comparison and number, if it is a threshold.
    """

    text: str
    check: Callable[[str, Mapping[str, Any]], bool] = field(repr=False, compare=False)
    metric: str | None = None
    bound: tuple[str, str, float] | None = None


def parse_stop(raw: Any, source: str = "ray.stop") -> tuple[list[StopRule], list[str]]:
    """Read the rules as the user wrote them.

    Parameters
    ----------
    raw
        None, a function of the trial id and the reported values as ``module:function`` or Python
        object, or a mapping from names of metrics to the value at which a trial ends (``0.99``
        is reached from below, ``"<= 0.1"`` from above), with ``plateau`` and ``function`` as
        further rules.
    source
        Config path of it, for the sentences.

    Returns
    -------
    tuple
        The rules without what is wrong, and a sentence for each thing that is wrong.
    """
    if raw is None or raw == {}:
        return [], []
    entries: Mapping[Any, Any] = raw if isinstance(raw, Mapping) else {"function": raw}
    rules: list[StopRule] = []
    mistakes: list[str] = []
    for name, value in entries.items():
        where = f"{source}.{name}" if isinstance(raw, Mapping) else source
        if value is None:  # taken back, after a named config gave it
            continue
        try:
            rules.append(_read_rule(str(name), plain(value), where))
        except ConfigMistakes as wrong:
            mistakes += wrong.mistakes
    return rules, mistakes


def _read_rule(name: str, value: Any, where: str) -> StopRule:
    if name == "function":
        return _function_rule(value, where)
    if name == "plateau":
        return _plateau_rule(value, where)
    return _threshold_rule(name, value, where)


def reason_to_stop(
    rules: Sequence[StopRule], trial_id: str, result: Mapping[str, Any]
) -> str | None:
    """Find out whether a report ends its trial.

    Parameters
    ----------
    rules
        All rules; the first that is fulfilled counts.
    trial_id
        The engine's own name of the trial.
    result
        The report, by the names that metrics are reported under.

    Returns
    -------
    str or None
        Why it ends; None if it goes on.

    Raises
    ------
    SacredRayError
        If a function of the user raised.
    """
    rule = next((rule for rule in rules if rule.check(trial_id, result)), None)
    if rule is None:
        return None
    step = f" at step {result['step']}" if "step" in result else ""
    return f"stopped by ray.stop: {rule.text}{step}"


def _threshold_rule(name: str, value: Any, where: str) -> StopRule:
    _check_is_reported(name, f"{where} is {show(value)}")
    compared = _COMPARISON.fullmatch(value) if isinstance(value, str) else None
    sign, bound = compared.groups() if compared else (">=", value)
    try:
        number = float(bound)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(bound, bool) or math.isnan(number):
        raise ConfigMistakes(
            [
                f"{where} is {show(value)}; it must be the number at which a trial ends, or text "
                "such as '<= 0.1'."
            ]
        )
    reported = _reported(name)

    def check(trial_id: str, result: Mapping[str, Any]) -> bool:
        reached = result.get(reported)
        return isinstance(reached, (int, float)) and _OPERATORS[sign](reached, number)

    metric = None if name in _COUNTED else name
    return StopRule(f"{name} {sign} {number:g}", check, metric, (name, sign, number))


def _reported(name: str) -> str:
    return name if name in _COUNTED else report_name(name)


def _check_is_reported(metric: str, wrong: str) -> None:
    if metric == _RESULT:
        raise ConfigMistakes(
            [
                f"{wrong}, but the result of a trial is known when it has ended and can end none; "
                "name a metric that the experiment logs."
            ]
        )


def _plateau_rule(value: Any, where: str) -> StopRule:
    arguments = {"metric": value} if isinstance(value, str) else value
    if not isinstance(arguments, Mapping) or "metric" not in arguments:
        raise ConfigMistakes(
            [
                f"{where} is {show(value)}; it must be the name of a metric, or a mapping such as "
                "{'metric': 'loss', 'std': 0.01, 'num_results': 4, 'grace_period': 4}."
            ]
        )
    unknown = [str(name) for name in arguments if name not in _PLATEAU]
    if unknown:
        hint = did_you_mean(unknown[0], _PLATEAU) or f"; it has {', '.join(sorted(_PLATEAU))}"
        raise ConfigMistakes([f"{where}.{unknown[0]} is no argument of a plateau{hint}."])
    given = dict(arguments)
    metric = given["metric"]
    if not isinstance(metric, str) or not metric.strip():
        raise ConfigMistakes(
            [f"{where}.metric is {show(metric)}; it must be the name of a metric."]
        )
    _check_is_reported(metric, f"{where}.metric is {show(metric)}")
    _check_numbers(given, where)
    if ("metric_threshold" in given) != ("mode" in given) or given.get("mode", "min") not in (
        "min",
        "max",
    ):
        raise ConfigMistakes(
            [f"{where} must give metric_threshold and mode, 'min' or 'max', together or not."]
        )
    rest = ", ".join(f"{name}={item!r}" for name, item in given.items() if name != "metric")
    text = f"{metric} has come to a plateau" + (f" ({rest})" if rest else "")
    given["metric"] = _reported(metric)
    return StopRule(text, _Plateau(given))


def _check_numbers(given: Mapping[str, Any], where: str) -> None:
    for name in ("std", "num_results", "grace_period", "metric_threshold"):
        number = given.get(name, 1)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ConfigMistakes([f"{where}.{name} is {show(number)}; it must be a number."])
        least = {"num_results": 1, "grace_period": 0}.get(name)
        if least is not None and (not isinstance(number, int) or number < least):
            raise ConfigMistakes(
                [f"{where}.{name} is {show(number)}; it must be a whole number from {least}."]
            )
    std = given.get("std", 0)
    if not std >= 0:  # nor is what is no number
        raise ConfigMistakes([f"{where}.std is {show(std)}; it must be a number from 0."])


class _Plateau:
    """Tune's rule, made when the first report comes: only then Tune is there."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments

    @functools.cached_property
    def _stopper(self) -> Any:
        from ray.tune.stopper import TrialPlateauStopper

        return TrialPlateauStopper(**self._arguments)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        if self._arguments["metric"] not in result:
            return False
        return bool(self._stopper(trial_id, result))


def _function_rule(value: Any, where: str) -> StopRule:
    function, text = value, reference_text(value)
    if isinstance(value, str):
        if not is_reference(value):
            raise ConfigMistakes(
                [f"{where} is {show(value)}; it must be 'module:function' or a mapping of rules."]
            )
        function, text = import_reference(value, where), value.strip()
    if not callable(function):
        raise ConfigMistakes(
            [
                f"{where} is {show(value)}, which is no function; it must take the trial id and "
                "the reported values and tell whether the trial is to end."
            ]
        )

    signature = signature_of(function)
    try:
        if signature is not None:
            signature.bind("trial id", {})
    except TypeError as error:
        raise ConfigMistakes(
            [
                f"{where} is {show(text)}, which takes {signature}; it must take two arguments, "
                "the trial id and the reported values."
            ]
        ) from error

    def check(trial_id: str, result: Mapping[str, Any]) -> bool:
        values = {**{name: result.get(name) for name in _COUNTED}, **reported_metrics(result)}
        try:
            return bool(function(trial_id, values))
        except Exception as error:
            raise SacredRayError(
                f"{where} is {text}, which raised {type(error).__name__}: {error}; "
                "the sweep was ended."
            ) from error

    return StopRule(text, check)
