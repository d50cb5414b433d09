"""Looking at the processes of a cluster before the first trial."""

from __future__ import annotations

from sacred_ray_ingredient.errors import InnerImportError
from sacred_ray_ingredient.frozen_code import FrozenCode
from sacred_ray_ingredient.inner import InnerReference
from sacred_ray_ingredient.trial import check_import

_IMPORT_TIMEOUT_S = 120


class ImportProbe:
    """Asks a worker to import the inner experiment, while the driver does something else.

    Parameters
    ----------
    inner
        The inner experiment.
    folder
        Current folder of the driver.
    code
        The project's modules, as the driver has them.
    """

    def __init__(self, inner: InnerReference, folder: str, code: FrozenCode | None = None) -> None:
        import ray

        self._inner = inner
        self._answer = ray.remote(num_cpus=0, max_retries=0)(check_import).remote(
            inner, folder, code
        )

    def wait(self) -> None:
        """Wait for the answer.

        Raises
        ------
        InnerImportError
            If the worker cannot import the inner experiment.
        """
        import ray

        try:
            sentence = ray.get(self._answer, timeout=_IMPORT_TIMEOUT_S)
        except ray.exceptions.RayError as error:
            first_line = str(error).strip().split("\n", 1)[0]
            raise InnerImportError(
                f"A worker process cannot import the inner experiment {self._inner}: {first_line}"
            ) from error
        if sentence is not None:
            raise InnerImportError(f"On a worker process: {sentence}")
