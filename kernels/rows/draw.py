"""One draw over rows from checked arguments: the entry of this layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import keys
from ..backend import CPU
from ..dtensor import any_dtensor
from ..function import wants_derivative
from ..noise import SIGNIFICAND_BITS, elements_per_block
from ..parameters import reconciled
from ..recording import record
from . import native
from .autograd import RaceDraw, RelaxedDraw
from .ops import Kind, Race, race, run_below_autograd


def draw_rows(
    kind: Kind,
    params: dict[str, Tensor],
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
    key: Tensor | None = None,
    differentiable: bool = False,
) -> tuple[Tensor, ...]:
    """Draw one sample for each row of `shape`, whose last dimension is that of the categories.

    Every argument is checked before anything is drawn or any generator state is consumed.

    Args:
        kind: what to draw.
        params: the weights or logits, of shape (..., K) that broadcasts to `shape`; and, for a relaxed draw, the
            temperature, one number. Floating-point tensors of one dtype on one device, by the names in messages.
        generator: reserve the key from this generator instead of the device's default one.
        key: draw exactly the sample of this key, a uint64 tensor (seed, offset); excludes `generator`.
        differentiable: let gradients reach the parameters.

    Returns:
        The sample and, where `kind` asks for it, its log-probability.

    Raises:
        TypeError: a parameter, key or generator of the wrong type or a parameter that is not floating-point.
        ValueError: both `key` and `generator`, or a key of the wrong shape or dtype.
        RuntimeError: parameters, key or generator on different devices.
    """
    if key is None and generator is None and not torch.compiler.is_compiling():
        drawn = native.draw(kind, params, shape, differentiable)
        if drawn is not None:
            return (drawn,)
    if key is None and generator is None and not (differentiable or keys.watched()):
        plain = [p.detach() for p in params.values()]
        if _are_plain_on_cpu(plain):
            # The fewest steps: a small draw by torch takes 9 us in all.
            return tuple(kind.run(keys.borrow(CPU, 0, None), plain, shape))
    tensors, dtype = reconciled(tuple(params), tuple(params.values()))
    device = tensors[0].device
    if any_dtensor(tensors):
        from .. import sharded

        return sharded.draw_rows(kind, params, shape, generator=generator, key=key, differentiable=differentiable)
    generator = keys.check_source(key, generator, device)
    per_block = elements_per_block(dtype)
    source = keys.take(key, generator, device, (math.prod(shape) + per_block - 1) // per_block)
    if not differentiable:
        tensors = [p.detach() for p in tensors]
    if source.recorded:
        return record(kind.op, source.key, tensors, shape, *kind.options)
    recorded = source.transformed or (differentiable and wants_derivative(tensors))
    return draw_with_key(kind, source.key, tensors, shape, source.marker, recorded=recorded)


def count_categories(
    probs: Tensor, shape: torch.Size, *, generator: torch.Generator | None = None, key: Tensor | None = None
) -> Tensor:
    """How often each category occurs along the first dimension of a draw of `shape`; of the dtype of `probs`.

    Arguments and errors are those of :func:`draw_rows`.
    """
    if key is None and generator is None and not torch.compiler.is_compiling():
        counted = native.counts(probs, shape)
        if counted is not None:
            return counted
    kind = race(from_probs=True, one_hot=False, log_prob=False, straight_through=False)
    (category,) = draw_rows(kind, {"probs": probs}, shape, generator=generator, key=key)
    category = category.movedim(0, -1)
    counts = torch.zeros(shape[1:], dtype=torch.int64, device=probs.device)
    return counts.scatter_add(-1, category, torch.ones_like(category)).type_as(probs)


def _are_plain_on_cpu(tensors: Sequence[Tensor]) -> bool:
    """Whether these are plain tensors on the CPU, all of one dtype that the kernels take."""
    dtype = tensors[0].dtype
    for t in tensors:
        if type(t) is not Tensor or t.device != CPU or t.dtype != dtype or t.is_neg():
            return False
    return dtype in SIGNIFICAND_BITS


def draw_with_key(
    kind: Kind,
    key: keys.Key,
    params: Sequence[Tensor],
    shape: Sequence[int],
    marker: Tensor | None = None,
    *,
    recorded: bool,
) -> tuple[Tensor, ...]:
    """The draw of a key as operators take it, from checked arguments; `recorded` by autograd or not."""
    if recorded:
        function = RaceDraw if isinstance(kind, Race) else RelaxedDraw
        outputs: tuple[Tensor, ...] = function.apply(kind, key, marker, tuple(shape), *params)
        return outputs
    return run_below_autograd(kind, key, params, shape)
