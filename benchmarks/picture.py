"""The growth curves as a picture for the docs: SVG, written by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 50, 60
_COLOURS = ("#1f6fb4", "#d1602a", "#3a8f4d", "#7a4fa3")
_STEPS = (1, 2, 2.5, 5, 10)
_LINES = 5


def growth_picture(curves: Mapping[str, Mapping[int, float]]) -> str:
    """Draw trials, on a logarithmic axis, against milliseconds per trial.

    Parameters
    ----------
    curves
        For each way the milliseconds by the number of trials.

    Returns
    -------
    str
        The SVG.
    """
    counts = sorted({count for curve in curves.values() for count in curve})
    highest = max(value for curve in curves.values() for value in curve.values())
    top, step = _axis(highest)

    def x_of(count: float) -> float:
        low, high = math.log(counts[0]), math.log(counts[-1])
        share = (math.log(count) - low) / (high - low) if high > low else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y_of(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="13" role="img">',
        "<title>Milliseconds per trial by number of trials</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 28, "What a no-op recorded trial costs", "start", size=16),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, "trials in the sweep (log scale)"),
        f'<g transform="rotate(-90 20 {_HEIGHT / 2})">'
        f"{_text(20, _HEIGHT / 2, 'milliseconds per trial')}</g>",
    ]
    for number in range(round(top / step) + 1):
        value = number * step
        parts.append(_line(_LEFT, y_of(value), _WIDTH - _RIGHT, y_of(value)))
        parts.append(_text(_LEFT - 8, y_of(value) + 4, f"{value:g}", "end"))
    for count in counts:
        bottom = _HEIGHT - _BOTTOM
        parts.append(_line(x_of(count), bottom, x_of(count), bottom + 5))
        parts.append(_text(x_of(count), bottom + 22, f"{count:,}"))
    for colour, (way, curve) in zip(_colours(curves), sorted(curves.items()), strict=True):
        points = [(x_of(count), y_of(value)) for count, value in sorted(curve.items())]
        parts += _curve(way, points, colour)
    return "\n".join([*parts, "</svg>", ""])


def _axis(highest: float) -> tuple[float, float]:
    """Return the end of an axis from 0, and the distance of its lines."""
    rough = highest / _LINES
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))
    return step * math.ceil(highest / step), step


def _colours(curves: Mapping[str, object]) -> list[str]:
    return [_COLOURS[number % len(_COLOURS)] for number in range(len(curves))]


def _curve(way: str, points: Sequence[tuple[float, float]], colour: str) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    end_x, end_y = points[-1]
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points),
        _text(end_x + 12, end_y + 4, way, "start", colour),
    ]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        'stroke="#cccccc" stroke-width="1"/>'
    )


def _text(
    x: float,
    y: float,
    words: str,
    anchor: str = "middle",
    colour: str = "#333333",
    size: int = 13,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-size="{size}">{escape(words)}</text>'
    )
