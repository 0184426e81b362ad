"""Drop-in replacement of torch.distributions: each class that can be drawn from draws in one kernel.

Whatever else torch.distributions has is here too, and is torch's: `kl_divergence`, `constraints`,
transforms, `Distribution`. So it is enough to change the import.

>>> import rsample.distributions as dist
>>> z = dist.Normal(torch.zeros(3), torch.ones(3)).rsample((16,))

Each file of this folder whose name begins with a letter gives its classes. For type checkers `__init__.pyi` names them;
`make format` writes it.
"""

import importlib
import pkgutil
import sys

import torch.distributions
from torch.distributions import *  # noqa: F403

from ._module_paths import add_module_paths, classes_of
from .acceleration import accelerate

_ours = {"accelerate": accelerate}
for _module in pkgutil.iter_modules(sys.modules[__name__].__path__):
    if not (_module.ispkg or _module.name.startswith("_")):
        _ours |= classes_of(importlib.import_module(f"{__name__}.{_module.name}"))
globals().update(_ours)

__all__ = sorted(_ours)
__all__ += [name for name in torch.distributions.__all__ if name not in __all__]

add_module_paths(sys.modules[__name__])
