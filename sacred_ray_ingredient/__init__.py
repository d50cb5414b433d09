"""Run any Sacred experiment as a Ray Tune search, every trial recorded in MongoDB.

Importing the package starts nothing and imports neither Ray nor pymongo; its public names are
loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sacred_ray_ingredient import results as results
    from sacred_ray_ingredient.checkpoints import Checkpoints as Checkpoints
    from sacred_ray_ingredient.errors import SacredRayError as SacredRayError
    from sacred_ray_ingredient.ingredient import attach as attach
    from sacred_ray_ingredient.ingredient import launch as launch
    from sacred_ray_ingredient.ingredient import make_outer as make_outer
    from sacred_ray_ingredient.ingredient import ray_ingredient as ray_ingredient
    from sacred_ray_ingredient.record.alone import observe as observe
    from sacred_ray_ingredient.resolvers import resolver as resolver

__version__ = "0.1.0"

_HOMES = {
    "Checkpoints": "checkpoints",
    "SacredRayError": "errors",
    "attach": "ingredient",
    "launch": "ingredient",
    "make_outer": "ingredient",
    "observe": "record.alone",
    "ray_ingredient": "ingredient",
    "resolver": "resolvers",
}
# Modules with which a notebook works.
_MODULES = frozenset({"results"})
__all__ = sorted([*_HOMES, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
