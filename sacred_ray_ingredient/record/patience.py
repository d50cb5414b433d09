"""How long a run waits for the database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How long a run waits for the database.

    Parameters
    ----------
    end_s
        The longest time at its end, in seconds.
    start_s
        The longest time at its start, for the run id.
    waits_at_end
        Whether its end waits; of a run that does not, the thread brings the rest.
    known_id
        Run id that was reserved for it, so that its start need not wait.
    """

    end_s: float = 5.0
    start_s: float = 0.5
    waits_at_end: bool = True
    known_id: int | None = None
