"""What trials ask for, and what the cluster has."""

from __future__ import annotations

from collections.abc import Mapping

from sacred_ray_ingredient.errors import ConfigMistakes

# Ray Tune's names of resources that Ray has another for.
RAY_NAMES = {"cpu": "CPU", "gpu": "GPU"}


def check_resources(resources_per_trial: Mapping[str, float]) -> None:
    """Find out whether the cluster can give a trial what it asks for.

    Parameters
    ----------
    resources_per_trial
        What each trial asks for.

    Raises
    ------
    ConfigMistakes
        If a trial asks for more than the whole cluster has.
    """
    import ray

    total = ray.cluster_resources()
    mistakes = [
        f"ray.resources_per_trial.{name} is {amount}; the cluster has "
        f"{total.get(RAY_NAMES.get(name, name), 0):g} in all."
        for name, amount in resources_per_trial.items()
        if amount > total.get(RAY_NAMES.get(name, name), 0)
    ]
    if mistakes:
        raise ConfigMistakes(mistakes)


def room_for(resources: Mapping[str, float], there: Mapping[str, float]) -> int:
    """Count how many workers a cluster has room for, at least one.

    Parameters
    ----------
    resources
        What each worker takes, by Ray Tune's names.
    there
        What the cluster has in all, by Ray's.
    """
    shares = [
        int(there.get(RAY_NAMES.get(name.lower(), name), 0) / amount + 1e-9)
        for name, amount in resources.items()
        if amount > 0
    ]
    # Trials that ask for nothing: as many at once as there are processors.
    return max(min(shares) if shares else int(there.get("CPU", 1)), 1)
