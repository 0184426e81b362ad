"""One file a distribution: the law of its draw, as torch code of which all else is made."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .law import Law


def known_laws() -> dict[str, Law]:
    """The laws that the files here hold, by their names, in alphabetical order."""
    from .law import Law

    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Law)}
    return dict(sorted(found.items()))
