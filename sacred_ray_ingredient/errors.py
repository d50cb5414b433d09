"""Every exception that this package raises on purpose.

Each one is a sentence for the person at the terminal and carries the exit code that the
command line gives for it. They derive from Sacred's own root so that Sacred prints the
sentence, not a stack trace, also where our command line is not in between.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from sacred.utils import SacredError


class SacredRayError(SacredError):
    """Root of the exceptions of this package.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 1 where something failed while running, 2 where the
        request was wrong or could not be started.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message, print_traceback=False, print_usage=False)


class ConfigMistakes(SacredRayError):
    """What is wrong in the configuration of a sweep, all of it at once.

    Parameters
    ----------
    mistakes
        One sentence each; at least one.
    """

    exit_code = 2

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        if len(self.mistakes) == 1:
            message = self.mistakes[0]
        else:
            listed = "\n".join(f"  - {mistake}" for mistake in self.mistakes)
            message = f"{len(self.mistakes)} mistakes in the configuration:\n{listed}"
        super().__init__(message)


class NodeMistakes(SacredRayError):
    """Nodes of the cluster cannot run the trials; a table and a sentence for each mistake."""

    exit_code = 2


class DatabaseError(SacredRayError):
    """The MongoDB of a sweep cannot be reached, started or used."""

    exit_code = 2


class InnerImportError(SacredRayError):
    """The inner experiment cannot be imported, on the driver or by a worker."""

    exit_code = 2


class FrozenCodeError(SacredRayError):
    """The recorded code of a sweep cannot be read."""

    exit_code = 2


class ResolverError(SacredRayError):
    """A dependent parameter cannot be computed from the others."""


class SweepFailed(SacredRayError):
    """A sweep ended without a usable trial, or could not go on."""


class ClusterLost(SacredRayError):
    """The head of the Ray cluster went away while a sweep ran."""


class MetricNotReported(SacredRayError):
    """A finished trial has no value for the metric that the sweep compares."""

    exit_code = 2


class TrialFailed(SacredRayError):
    """The inner experiment raised; the trace stands in the trial's document."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the known names nearest to a wrong one.

    Parameters
    ----------
    word
        The name that is not known.
    known
        All names that would be right.

    Returns
    -------
    str
        `` (did you mean 'x'?)`` or an empty string where nothing is near, ready to be put
        behind the wrong name.
    """
    near = difflib.get_close_matches(word, sorted(set(known)), n=3, cutoff=0.6)
    if not near:
        return ""
    listed = " or ".join(repr(name) for name in near)
    return f" (did you mean {listed}?)"
