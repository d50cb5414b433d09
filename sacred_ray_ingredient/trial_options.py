"""Sacred's command-line options that each trial gets too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

# Options of Sacred that concern the outer run alone.
_OPTIONS_OF_THE_SWEEP = {
    "--enforce_clean",
    "--help",
    "--id",
    "--mongo_db",
    "--pdb",
    "--print-config",
    "--print_config",
    "--priority",
    "--queue",
    "--record",
}
_OPTIONS_WITH_PATHS = {"--file_storage", "--tiny_db"}


def trial_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Pick Sacred's options that each trial gets too.

    Parameters
    ----------
    options
        Of the outer run, by long flag.

    Returns
    -------
    dict
        Options of a trial; paths are absolute. ``--force`` is on, as the configuration has been
        checked more strictly than Sacred would.
    """
    chosen: dict[str, Any] = {}
    for name, value in options.items():
        if name.startswith("--") and name not in _OPTIONS_OF_THE_SWEEP and value:
            chosen[name] = os.path.abspath(value) if name in _OPTIONS_WITH_PATHS else value
    return {**chosen, "--force": True}
