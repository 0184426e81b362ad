"""What a draw's parameters have to be."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from ..stream.noise import SIGNIFICAND_BITS


def reconciled(names: Sequence[str], params: Sequence[Tensor]) -> tuple[Sequence[Tensor], torch.dtype]:
    """The parameters on one device, and the dtype they promote to, or an error that names what is wrong.

    Integers and bools next to floating-point parameters take their dtype, as everywhere in torch.

    Raises:
        TypeError: no parameter that is floating-point, or one that is neither that nor an integer.
        RuntimeError: parameters on different devices.
    """
    dtype, device = params[0].dtype, params[0].device
    for p in params:
        if p.dtype != dtype or p.device != device or dtype not in SIGNIFICAND_BITS:
            return _reconciled(dict(zip(names, params, strict=True)))
    return params, dtype


def _reconciled(named: dict[str, Tensor]) -> tuple[Sequence[Tensor], torch.dtype]:
    exact = {p.dtype for p in named.values() if not p.dtype.is_floating_point and not p.dtype.is_complex}
    floating = len({p.dtype for p in named.values()} - exact) > 0
    for name, p in named.items():
        if p.dtype not in SIGNIFICAND_BITS and not (floating and p.dtype in exact):
            raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, got {p.dtype}")
    params = list(named.values())
    # As everywhere in torch, a 0-dim CPU tensor goes with tensors of any device.
    anchors = [p.device for p in params if not (p.dim() == 0 and p.device.type == "cpu")] or [params[0].device]
    if any(device != anchors[0] for device in anchors):
        places = ", ".join(f"{name} is on {p.device}" for name, p in named.items())
        raise RuntimeError(f"parameters must be on one device, but {places}")
    dtype = functools.reduce(torch.promote_types, (p.dtype for p in params))
    return [p.to(anchors[0], dtype if p.dtype in exact else p.dtype) for p in params], dtype
