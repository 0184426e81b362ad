"""One draw that is a matrix product from checked arguments: the entry of this layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import keys
from ..dtensor import any_dtensor
from ..function import wants_derivative
from ..noise import elements_per_block
from ..parameters import reconciled
from ..recording import record
from . import ops
from .autograd import MatrixDraw
from .kind import Kind
from .native import PRODUCTS


def draw_product(
    kind: Kind,
    params: dict[str, Tensor],
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    key: Tensor | None = None,
    differentiable: bool = False,
) -> tuple[Tensor, ...]:
    """Draw one sample of `shape`, whose last dimension is that of the event.

    Every argument is checked before anything is drawn or any generator state is consumed.

    Args:
        kind: what to draw.
        params: its parameters in order, by the names in messages: floating-point tensors on one device whose batch
            dimensions broadcast to those of `shape`.
        generator: reserve the key from this generator instead of the device's default one.
        key: draw exactly the sample of this key, a uint64 tensor (seed, offset); excludes `generator`.
        differentiable: let gradients reach the parameters.

    Returns:
        A contiguous sample of the parameters' promoted dtype and, where `kind` asks for it, the squared norm of each
        row's noise, of shape `shape[:-1]`.

    Raises:
        TypeError: a parameter, key or generator of the wrong type or a parameter that is not floating-point.
        ValueError: both `key` and `generator`, or a key of the wrong shape or dtype.
        RuntimeError: parameters, key or generator on different devices.
    """
    if key is None and generator is None and not torch.compiler.is_compiling():
        drawn = PRODUCTS[kind.name].draw(list(params.values()), shape, differentiable)
        if drawn is not None:
            return drawn
    tensors, dtype = reconciled(tuple(params), tuple(params.values()))
    device = tensors[0].device
    if any_dtensor(tensors):
        raise NotImplementedError(
            f"draws that are a matrix product do not take DTensor parameters; draw with the full_tensor() of "
            f"{' and '.join(name for name, p in params.items() if any_dtensor((p,)))}"
        )
    generator = keys.check_source(key, generator, device)
    # Streams beside the draw's own count from the same block.
    per_row, per_block = max(shape[-1], tensors[1].shape[-1]), elements_per_block(dtype)
    blocks = (math.prod(shape[:-1]) * per_row + per_block - 1) // per_block
    if keys.watched():
        source = keys.take(key, generator, device, blocks)
        if source.recorded or source.transformed:
            if not differentiable:
                tensors = [p.detach() for p in tensors]
            if source.recorded:
                return record(ops.operator(kind), source.key, tensors, shape, dtype)
            outputs: tuple[Tensor, ...] = MatrixDraw.apply(
                kind, source.key, source.marker, tuple(shape), dtype, *tensors
            )
            return outputs
        taken = source.key
    else:
        taken = keys.reserve(device, blocks, generator) if key is None else (key,)
    if not wants_derivative(tensors):
        return ops.forward(kind, taken, tensors, shape, dtype)
    if differentiable:
        outputs = MatrixDraw.apply(kind, taken, None, tuple(shape), dtype, *tensors)
        return outputs
    return ops.forward(kind, taken, [p.detach() for p in tensors], shape, dtype)
