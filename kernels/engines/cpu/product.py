"""Draws that are a matrix product on the CPU, compiled: product.h, or BLAS where that is faster."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...laws.normal import NORMAL_LAW
from ...runtime.hugepages import empty
from ...stream.layout import collapse
from ...stream.noise import compute_dtype
from ..eager import product as reference
from ..matrix_product import MatrixProduct
from . import elementwise
from . import product_library as library


def forward(
    kind: MatrixProduct, key: Tensor, params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """The draw of `shape` and `dtype`; as :func:`engines.eager.product.forward`."""
    compute = compute_dtype(dtype)
    operands = [p if p.dtype == compute else p.to(compute) for p in params]
    if 1 not in operands[1].stride()[-2:]:
        operands[1] = operands[1].contiguous()
    plan = forward_plan(kind, tuple(shape), *[(p.shape, p.stride()) for p in operands])
    built = None if plan is None else library.forward(compute)
    if plan is None or built is None:
        return reference.forward(kind, "compiled", key, params, shape, dtype)
    draw, *steps = plan
    out = empty(shape, compute)
    norm = empty(shape[:-1], compute) if kind.norm else None
    fields = [*key.view(torch.int64).tolist(), *draw, out.data_ptr(), 0 if norm is None else norm.data_ptr()]
    for p, step in zip(operands, steps, strict=True):
        fields += (p.data_ptr(), *step)
    if len(operands) == 2:
        fields += (0,) * 5
    built.forward((ctypes.c_int64 * len(fields))(*fields))
    sample = out if dtype == compute else out.to(dtype)
    return (sample,) if norm is None else (sample, norm if dtype == compute else norm.to(dtype))


def backward(
    kind: MatrixProduct, key: Tensor, grad: Tensor, like: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor]:
    """The gradients that `needs` marks; as :func:`engines.eager.product.backward`."""
    grads = []
    if needs[0]:
        grads.append(reference.of_loc(grad, like[0]))
    if needs[1]:
        grads.append(_of_factor(kind, key, grad, like[1]))
    if len(needs) == 3 and needs[2]:
        grads += elementwise.backward(NORMAL_LAW, key, (grad,), (like[0], like[2]), (False, True))
    return grads


def _of_factor(kind: MatrixProduct, key: Tensor, grad: Tensor, factor: Tensor) -> Tensor:
    compute = compute_dtype(grad.dtype)
    draw = backward_plan(kind, grad.shape, factor.shape)
    built = None if draw is None else library.backward(compute)
    if draw is None or built is None:
        return reference.of_factor(kind, "compiled", key, grad, factor)
    out = empty(factor.shape, compute)
    dense = (grad if grad.dtype == compute else grad.to(compute)).contiguous()
    fields = (*key.view(torch.int64).tolist(), *draw, out.data_ptr(), dense.data_ptr())
    built.backward((ctypes.c_int64 * len(fields))(*fields))
    return out if out.dtype == factor.dtype else out.to(factor.dtype)


class RowSteps(NamedTuple):
    """The rows of a draw and where operands lie.

    Row (s, b, t), numbered row-major, has factor b.

    Attributes:
        sizes: of s, b and t.
        steps: for each operand, from one s, b and t to the next, in elements.
    """

    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]


def row_steps(batch: Sequence[int], own: Sequence[bool], strides: Sequence[Sequence[int]]) -> RowSteps | None:
    """The rows of a draw, or None where they are not of that form.

    Args:
        batch: the draw's dimensions but the last.
        own: for each of them, whether the factor changes along it.
        strides: for each operand, its strides in them.
    """
    changing = [d for d, changes in enumerate(own) if changes]
    first, end = (changing[0], changing[-1] + 1) if changing else (0, 0)
    if not all(own[d] or batch[d] == 1 for d in range(first, end)) or 0 in batch:
        return None
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for part in (slice(first), slice(first, end), slice(end, None)):
        collapsed, stepped = collapse(batch[part], [stride[part] for stride in strides])
        if len(collapsed) > 1:
            return None
        sizes += collapsed or [1]
        for step, steps_of_part in zip(steps, stepped, strict=True):
            step += steps_of_part or [0]
    return RowSteps(tuple(sizes), tuple(tuple(step) for step in steps))


def by_blas(rows: RowSteps, n: int, k: int) -> bool:
    """Whether BLAS multiplies: large matrices that many rows share, sooner where these do not follow one another.

    Measured on two cores with AVX-512. And where there is nothing to multiply.
    """
    before, _, after = rows.sizes
    large = 1024 if after >= 24 else 16
    return n * k == 0 or (before * after >= 32 and min(n, k) >= large)


@functools.lru_cache(maxsize=256)
def forward_plan(
    kind: MatrixProduct, shape: tuple[int, ...], *operands: tuple[torch.Size, tuple[int, ...]]
) -> tuple[tuple[int, ...], ...] | None:
    """Of a forward call, the fields of the draw but its key, and of each operand but its address.

    None where BLAS multiplies. `operands` are the shape and strides of each.
    """
    batch = shape[:-1]
    strides = []
    for (sizes, steps), event in zip(operands, kind.events, strict=True):
        own = len(sizes) - event
        broadcast = (0,) * (len(batch) - own)
        strides.append((*broadcast, *(0 if n == 1 else s for n, s in zip(sizes[:own], steps[:own], strict=True))))
    rows = row_steps(batch, [step != 0 for step in strides[1]], strides)
    n, k = operands[1][0][-2:]
    if rows is None or by_blas(rows, n, k):
        return None
    of_operands = [(*step, steps[-1]) for step, (_, steps) in zip(rows.steps, operands, strict=True)]
    of_operands[1] = (rows.steps[1][1], *operands[1][1][-2:])
    return _draw_fields(kind, rows, n, k), *of_operands


@functools.lru_cache(maxsize=256)
def backward_plan(kind: MatrixProduct, shape: torch.Size, factor: torch.Size) -> tuple[int, ...] | None:
    """Of a backward call, the fields of the draw but its key; None where BLAS multiplies."""
    batch, (n, k) = shape[:-1], factor[-2:]
    own = (False,) * (len(batch) + 2 - len(factor)) + tuple(size != 1 for size in factor[:-2])
    rows = row_steps(batch, own, ())
    return None if rows is None or by_blas(rows, n, k) else _draw_fields(kind, rows, n, k)


def _draw_fields(kind: MatrixProduct, rows: RowSteps, n: int, k: int) -> tuple[int, ...]:
    return kind.stream, *rows.sizes, n, k, int(kind.triangular)
