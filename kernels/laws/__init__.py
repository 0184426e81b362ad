"""One file a distribution: the map of its draw, as torch code and as device functions."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .map import Map


def known_maps() -> dict[str, Map]:
    """The maps that the files here hold, by their names, in alphabetical order."""
    from .map import Map

    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Map)}
    return dict(sorted(found.items()))
