"""Named configs of the ``ray`` ingredient that work without a prefix on any outer experiment.

Sacred looks up a bare name only in the outer experiment itself. There, the ingredient's own
content comes first and what the outer experiment gives under the same name is laid over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sacred import Experiment, Ingredient

from sacred_ray_ingredient.nested import merge

# Sacred makes the docstring of a scope an entry, and warns that it was added.
_DOC_ENTRY = "__doc__"


class LayeredNamedConfig:
    """A named config made of others, each below a path, later ones on top.

    Parameters
    ----------
    layers
        Path and named config, in any of Sacred's forms; the path may be empty.
    """

    def __init__(self, *layers: tuple[str, Callable[..., Mapping[str, Any]]]) -> None:
        self._layers = layers
        self._var_docs: dict[str, str] = {}
        self.__doc__ = layers[-1][1].__doc__

    def __call__(
        self,
        fixed: Mapping[str, Any] | None = None,
        preset: Mapping[str, Any] | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Evaluate all layers, as Sacred evaluates a named config."""
        content: dict[str, Any] = {}
        for path, layer in self._layers:
            below = layer(fixed=_below(fixed, path), preset=_below(preset, path), fallback=fallback)
            entries = {name: value for name, value in below.items() if name != _DOC_ENTRY}
            content = merge(content, {path: entries} if path else entries)
        return content


def _below(given: Mapping[str, Any] | None, path: str) -> dict[str, Any]:
    entries = dict(given or {})
    return dict(entries.get(path, {})) if path else entries


def complete_named_configs(outer: Experiment, ingredient: Ingredient) -> None:
    """Give an outer experiment the named configs of an ingredient, once.

    Parameters
    ----------
    outer
        Its own named configs of the same names are laid over those of the ingredient.
    ingredient
        One of its ingredients.
    """
    for name, own in list(outer.named_configs.items()):
        if not isinstance(own, LayeredNamedConfig):
            below = ingredient.named_configs.get(name)
            layers = [(ingredient.path, below)] if below is not None else []
            outer.named_configs[name] = LayeredNamedConfig(*layers, ("", own))
    for name, below in ingredient.named_configs.items():
        if name not in outer.named_configs:
            outer.named_configs[name] = LayeredNamedConfig((ingredient.path, below))
