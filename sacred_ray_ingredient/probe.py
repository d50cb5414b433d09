"""The worker's end of the check before the first trial; it imports nothing that is not checked."""

from __future__ import annotations

from sacred_ray_ingredient.errors import InnerImportError
from sacred_ray_ingredient.inner import InnerReference


def check_import(inner: InnerReference) -> str | None:
    """Try on a worker what each trial begins with.

    Parameters
    ----------
    inner
        The inner experiment.

    Returns
    -------
    str or None
        A sentence if it cannot be imported there.
    """
    try:
        inner.load()
    except InnerImportError as error:
        return str(error)
    return None
