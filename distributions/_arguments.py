"""What constructors make of their arguments before torch's constructors do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


def check_one_of(**alternatives: object) -> dict[str, object]:
    """The one argument among `alternatives` that is not None, as a dictionary; an error that names them otherwise."""
    given = {name: value for name, value in alternatives.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"Either `{'` or `'.join(alternatives)}` must be specified, but not both.")
    return given


def unexpanded(parameter: Tensor) -> Tensor:
    """A view of `parameter`, which needs no gradient, with every dimension of stride 0 shrunk to size 1."""
    for dim, stride in enumerate(parameter.stride()):
        if stride == 0 and parameter.shape[dim] > 1:
            parameter = parameter.narrow(dim, 0, 1)
    return parameter


def broadcastable(**parameters: Any) -> Iterable[Any]:
    """The parameters as a constructor broadcasts them: 0-dim CPU tensors moved to the device of the others.

    A draw would have to wait for that copy each time.

    Raises:
        RuntimeError: the tensors among them do not broadcast; it names them.
    """
    first = None
    for p in parameters.values():
        if isinstance(p, Tensor):
            # Comparing keeps symbolic sizes symbolic; hashing them would compile again for each size.
            if first is None:
                first = p
            elif p.shape != first.shape or p.device != first.device:
                break
    else:
        return parameters.values()
    tensors = {name: p for name, p in parameters.items() if isinstance(p, Tensor)}
    try:
        broadcast_shapes(*(p.shape for p in tensors.values()))
    except RuntimeError as error:
        listed = ", ".join(f"{name} of shape {tuple(p.shape)}" for name, p in tensors.items())
        raise RuntimeError(f"parameters do not broadcast against each other: {listed}") from error
    anchor = next((p for p in tensors.values() if not is_cpu_scalar(p)), None)
    if anchor is None or anchor.is_cpu:
        return parameters.values()
    return [p.to(anchor.device) if isinstance(p, Tensor) and is_cpu_scalar(p) else p for p in parameters.values()]


def is_cpu_scalar(parameter: Tensor) -> bool:
    """Whether it goes with tensors of any device, as everywhere in torch."""
    return parameter.dim() == 0 and parameter.is_cpu


def broadcast_shapes(*shapes: Sequence[int]) -> torch.Size:
    """As `torch.broadcast_shapes`, whose first call imports a computer algebra system, for half a second.

    Raises:
        RuntimeError: the shapes do not broadcast.
    """
    if torch.compiler.is_compiling():
        result: torch.Size = torch.broadcast_shapes(*shapes)
        return result
    sizes = [1] * max(map(len, shapes))
    for shape in shapes:
        for dim in range(-len(shape), 0):
            if shape[dim] != sizes[dim]:
                if sizes[dim] == 1:
                    sizes[dim] = shape[dim]
                elif shape[dim] != 1:
                    raise RuntimeError(f"shapes do not broadcast: {', '.join(map(str, map(tuple, shapes)))}")
    return torch.Size(sizes)
