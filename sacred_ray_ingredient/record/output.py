"""What a run prints, on its way into the journal."""

from __future__ import annotations

from typing import Any

from sacred.run import Run

from sacred_ray_ingredient.record.documents import storable


def news_of_output(before: str, now: str) -> list[Any]:
    """Return where the output differs from what the journal has, and how it goes on there.

    Parameters
    ----------
    before
        What the journal has.
    now
        All of the output.
    """
    # A filter may have rewritten the last lines.
    start = len(before) if now.startswith(before) else 0
    return [start, storable(now[start:])]


def take_rest_of_output(run: Run) -> None:
    """Add what was printed after the last heartbeat, which Sacred leaves in its buffer.

    Parameters
    ----------
    run
        Its captured output is completed.
    """
    output = run._output_file
    if output is None or output.final is None:
        return
    rest = output.get()
    if isinstance(rest, bytes):
        rest = rest.decode("utf-8", "replace")
    if not rest:
        return
    text = run.captured_out + rest
    if run.captured_out_filter is not None:
        text = run.captured_out_filter(text)
    run.captured_out = text
