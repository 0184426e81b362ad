"""Every distribution's map, found by its name: the objects *_MAP in the modules of rsample.kernels.maps."""

from __future__ import annotations

import importlib
import pkgutil

from rsample.kernels import maps
from rsample.kernels.maps.map import Map


def known_maps() -> dict[str, Map]:
    """The maps by their names, in alphabetical order."""
    found = {}
    for module in pkgutil.iter_modules(maps.__path__):
        contents = vars(importlib.import_module(f"{maps.__name__}.{module.name}"))
        for name, value in contents.items():
            if name.endswith("_MAP") and isinstance(value, Map):
                found[value.name] = value
    return dict(sorted(found.items()))


def joint_map(map: Map) -> Map | None:
    """The draw of the sample with its log-density: pathwise where that exists, else at a constant sample."""
    if map.density is None:
        return None
    return map.with_score() if map.density.reference_grad is None else map.with_log_prob()
