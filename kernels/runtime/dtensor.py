"""DTensors among tensors, found without importing torch.distributed."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from torch import Tensor
from torch.nn import Parameter


def any_dtensor(values: Iterable[object]) -> bool:
    """Whether one of the values is a DTensor."""
    for value in values:
        # Every draw asks. A parameter made of a DTensor is of type DTensor.
        kind = type(value)
        if kind is not Tensor and kind is not Parameter and _is_dtensor(value):
            return True
    return False


def local_part(tensor: Tensor) -> Tensor:
    """What this rank has of a DTensor; any other tensor itself."""
    if not any_dtensor((tensor,)):
        return tensor
    local: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return local


def _is_dtensor(value: object) -> bool:
    # Before their module has been imported there are none.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)
