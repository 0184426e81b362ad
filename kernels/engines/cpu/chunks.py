"""Operands of the loops of elementwise.h: parameters that have to be laid out, and gradients that have to be summed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...runtime.backend import CPU
from ...runtime.hugepages import empty

# Elements laid out at a time where parameters are neither dense nor one number: small enough for a second-level cache
# per core, large enough to occupy several of them.
CHUNK = 2**18


# The modes of an output in elementwise.h.
DENSE, SUM, UNUSED = 0, 1, 2


@dataclass(frozen=True)
class Chunk:
    """Elements start .. stop of a draw in row-major order; `index` picks them, as a tensor of shape `sizes`."""

    index: tuple[slice, ...]
    sizes: tuple[int, ...]
    start: int
    stop: int


def chunks(shape: torch.Size) -> Iterator[Chunk]:
    """Cut a shape into consecutive chunks of at most CHUNK elements."""
    inner, dim = 1, len(shape)  # elements of, and first of, the dimensions that a chunk takes whole
    while dim > 0 and inner * shape[dim - 1] <= CHUNK:
        dim -= 1
        inner *= shape[dim]
    if dim == 0:
        yield Chunk((), tuple(shape), 0, inner)
        return
    rows, start = CHUNK // inner, 0
    for outer in itertools.product(*(range(size) for size in shape[: dim - 1])):
        for row in range(0, shape[dim - 1], rows):
            count = min(rows, shape[dim - 1] - row)
            index = (*(slice(i, i + 1) for i in outer), slice(row, row + count))
            yield Chunk(index, (*(1 for _ in outer), count, *shape[dim:]), start, start + count * inner)
            start += count * inner


class Input:
    """A tensor broadcast to the shape of a draw: one number for all elements, or one for each (`dense`).

    `ready` where the loop can read `tensor`: of the compute dtype, in row-major order.
    """

    __slots__ = ("dense", "laid_out", "ready", "tensor")

    def __init__(self, tensor: Tensor, shape: torch.Size, compute: torch.dtype):
        one = tensor.ndim == 0
        same = (s == 0 or size == 1 for size, s in zip(tensor.shape, tensor.stride(), strict=True))
        if not one and tensor.numel() > 0 and all(same):
            one, tensor = True, tensor.as_strided((), ())
        if one and tensor.dtype != compute:
            tensor = tensor.to(compute)
        self.dense = not one
        self.ready = one or (tensor.dtype == compute and tensor.numel() == shape.numel() and tensor.is_contiguous())
        self.tensor = tensor if self.ready else tensor.expand(shape)
        self.laid_out: Tensor | None = None

    def chunk(self, chunk: Chunk, compute: torch.dtype) -> Tensor:
        """What the loop reads for the elements of a chunk."""
        if not self.dense:
            return self.tensor
        if self.ready:
            return self.tensor.view(-1)[chunk.start : chunk.stop]
        # A parameter broadcast over all the dimensions that chunks cut is the same for every chunk of one size.
        same = all(self.tensor.stride(dim) == 0 for dim in range(len(chunk.index)))
        if not same or self.laid_out is None or self.laid_out.shape != chunk.sizes:
            self.laid_out = empty(chunk.sizes, compute).copy_(self.tensor[chunk.index])
        return self.laid_out


class Gradient:
    """The gradient of one parameter: written by the loop, summed by it, or summed here over broadcast dimensions.

    Sums across the loop's units of work, and across chunks, are float64.
    """

    def __init__(self, param: Tensor, shape: torch.Size, compute: torch.dtype, needed: bool):
        self.param, self.compute = param, compute
        self.result: Tensor | None = None
        self.broadcast = 1 < param.numel() != shape.numel()
        if not needed:
            self.mode = UNUSED
        elif param.numel() == 1:
            self.mode = SUM
            self.result = torch.zeros(param.shape, dtype=torch.float64, device=CPU)
        elif self.broadcast:
            self.mode = DENSE
            own = (1,) * (len(shape) - param.ndim) + param.shape
            self.result = torch.zeros(own, dtype=torch.float64, device=CPU)
        else:
            self.mode = DENSE
            self.result = empty(param.shape, param.dtype)
        self.ready = self.mode != DENSE or (not self.broadcast and param.dtype == compute)

    def target(self, chunk: Chunk) -> Tensor | None:
        """Where the loop leaves its result for a chunk."""
        if self.result is None:
            return None
        if self.mode == SUM:
            return empty(self.param.shape, torch.float64)
        if self.ready:
            return self.result.view(-1)[chunk.start : chunk.stop]
        return empty(chunk.sizes, self.compute)

    def add(self, chunk: Chunk, target: Tensor | None) -> None:
        """Take over the loop's result for a chunk."""
        if self.result is None or target is None:
            return
        if self.mode == SUM:
            self.result += target
        elif self.broadcast:
            kept = zip(chunk.index, self.result.shape, strict=False)
            part = self.result[tuple(slice(0, 1) if size == 1 else rows for rows, size in kept)]
            part += target.sum_to_size(part.shape)
        elif not self.ready:
            self.result.view(-1)[chunk.start : chunk.stop].copy_(target.view(-1))

    def finish(self) -> Tensor:
        assert self.result is not None
        result = self.result if self.result.dtype == self.param.dtype else self.result.to(self.param.dtype)
        return result if result.shape == self.param.shape else result.reshape(self.param.shape)
