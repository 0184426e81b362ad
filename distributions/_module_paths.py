"""The classes of each file, and every module path of torch.distributions, under this package's name."""

from __future__ import annotations

import functools
import pkgutil
import sys
from types import ModuleType

import torch.distributions as td

from ._sampling import KeyedSampling


def classes_of(module: ModuleType) -> dict[str, type]:
    """The distributions that a module defines and that can be drawn from, by their names."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, KeyedSampling)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def add_module_paths(package: ModuleType) -> None:
    """Make `from <package>.<module> import <name>` work wherever torch.distributions has that module and name.

    A class that `package` replaces is `package`'s, all else is torch's. So a module in which nothing is replaced, such
    as `constraints`, is torch's own; the others give torch's names, private helpers too, next to ours.
    """
    for module in pkgutil.iter_modules(td.__path__):
        theirs = sys.modules[f"{td.__name__}.{module.name}"]
        path = f"{package.__name__}.{module.name}"
        replaced = {
            name: ours
            for name, value in vars(theirs).items()
            if getattr(value, "__module__", None) == theirs.__name__
            and isinstance(ours := getattr(package, name, None), type)
            and issubclass(ours, KeyedSampling)
        }
        if path in sys.modules or replaced:
            ours_module = sys.modules.setdefault(path, ModuleType(path, theirs.__doc__))
            vars(ours_module).update(replaced)
            vars(ours_module)["__getattr__"] = functools.partial(getattr, theirs)
        else:
            sys.modules[path] = theirs
        setattr(package, module.name, sys.modules[path])
