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
    also_while_away
        Whether its end waits also while the database is known to be away.
    """

    end_s: float = 5.0
    start_s: float = 0.5
    also_while_away: bool = True
