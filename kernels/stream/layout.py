"""How an operand that broadcasts to the sample's shape is laid out in memory.

A kernel walks the sample in row-major order and must know where element i of that order lies in each operand. Most
operands are one of two easy kinds, one value or the sample's own order; for the rest the sample's dimensions are
collapsed into as few as possible and the kernel computes coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..runtime.language import tl, triton

# Kinds of operand. A group is the run of neighbouring elements that one lane of the kernel handles.
SCALAR = "scalar"  # one value
DENSE = "dense"  # the sample's shape, contiguous, 16-byte aligned
ROWS = "rows"  # a group lies contiguous and aligned, as in a bias of shape (features,)
REPEATED = "repeated"  # a group shares one value, as in a scale of shape (rows, 1)
STRIDED = "strided"  # every element on its own

INT31 = 1 << 31
_WIDE_BIAS = 1 << 62


@dataclass(frozen=True)
class Layout:
    """The layouts of a kernel's operands.

    Attributes:
        kinds: one of the five kinds for each operand.
        sizes: the collapsed sizes of the sample, outermost first, packed; empty when no operand needs coordinates.
        strides: for each operand its strides over those dimensions, packed, one operand after the other.
        wide: indices need 64 bits.
        window: the strides of the whole sample follow those of the operands; see :mod:`stream.window`.
    """

    kinds: tuple[str, ...]
    sizes: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    wide: bool = False
    window: bool = False


def collapse(sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """The fewest dimensions that describe the same row-major walk for all operands.

    Args:
        sizes: the dimensions of the walk, outermost first.
        strides: for each operand, its stride in each dimension (0 where it is broadcast).

    Returns:
        Collapsed sizes and strides in the same form. Dimensions of size 1 are gone; neighbours are one dimension where
        every operand steps through them evenly.
    """
    out_sizes: list[int] = []
    out_strides: list[list[int]] = [[] for _ in strides]
    for dim, size in enumerate(sizes):
        if size == 1:
            continue
        if out_sizes and all(o[-1] == s[dim] * size for o, s in zip(out_strides, strides, strict=True)):
            out_sizes[-1] *= size
            for o, s in zip(out_strides, strides, strict=True):
                o[-1] = s[dim]
        else:
            out_sizes.append(size)
            for o, s in zip(out_strides, strides, strict=True):
                o.append(s[dim])
    return out_sizes, out_strides


def row_major_strides(shape: Sequence[int]) -> list[int]:
    """The strides of a contiguous tensor."""
    strides = [1] * len(shape)
    for dim in range(len(shape) - 2, -1, -1):
        strides[dim] = strides[dim + 1] * shape[dim + 1]
    return strides


def pack(values: Sequence[int], wide: bool) -> tuple[int, ...]:
    """Integers in a form that Triton does not specialise on.

    Triton compiles again for an integer in a tuple that is 1, or divisible by 16, or of another width. A negative odd
    number is neither of the first two; the bias fixes its width.
    """
    bias = _WIDE_BIAS if wide else 0
    return tuple(-2 * v - 1 - bias for v in values)


@triton.jit
def unpack(value, WIDE: tl.constexpr):
    """Inverse of :func:`pack`, unsigned: 64 bits where WIDE, else 32."""
    if WIDE:
        return ((-1 - value - (1 << 62)) >> 1).to(tl.uint64)
    else:
        return ((-1 - value) >> 1).to(tl.uint32)


def describe(
    shape: Sequence[int], operands: Sequence[Tensor], group: int, window: Sequence[int] | None = None
) -> Layout:
    """The layout of operands that broadcast to `shape`.

    Args:
        shape: the sample's logical shape.
        operands: tensors of shapes that broadcast to it, of any strides.
        group: how many neighbouring elements a lane handles; a power of two.
        window: the strides of the whole sample along its dimensions, if the draw is part of one.
    """
    kinds = []
    for operand in operands:
        if operand.numel() == 1:
            kinds.append(SCALAR)
        elif operand.shape == shape and operand.is_contiguous() and operand.data_ptr() % 16 == 0:
            kinds.append(DENSE)
        else:
            kinds.append(STRIDED)
    if STRIDED not in kinds and window is None:
        return Layout(tuple(kinds))

    strided = [j for j, kind in enumerate(kinds) if kind == STRIDED]
    walks = [operands[j].expand(shape).stride() for j in strided]
    sizes, strides = collapse(shape, walks if window is None else [*walks, window])
    numel = extent = 1
    for size in sizes:
        numel *= size
    packed = [[0] * len(sizes) for _ in operands] + strides[len(strided) :]
    for stride in strides:
        extent = max(extent, sum((size - 1) * s for size, s in zip(sizes, stride, strict=True)))
    for j, stride in zip(strided, strides, strict=False):
        packed[j] = stride
        if not any(stride):
            kinds[j] = SCALAR
        elif sizes[-1] % group == 0 and stride[-1] == 0:
            kinds[j] = REPEATED
        elif (
            sizes[-1] % group == 0
            and stride[-1] == 1
            and all(s % group == 0 for s in stride[:-1])
            and operands[j].data_ptr() % 16 == 0
        ):
            kinds[j] = ROWS
    # Packing takes one bit.
    wide = max(numel, extent, *(2 * v for v in sizes), *(2 * s for row in packed for s in row)) >= INT31
    packed_strides = pack([s for row in packed for s in row], wide)
    return Layout(tuple(kinds), pack(sizes, wide), packed_strides, wide, window is not None)


@triton.jit
def strided_offset(index, sizes, strides, OPERAND: tl.constexpr, WIDE: tl.constexpr):
    """Where the elements of row-major numbers `index` lie in an operand, counted in elements.

    Args:
        index: tensor of unsigned integers, 64-bit where WIDE, else 32-bit.
        sizes, strides: as in :class:`Layout`.
    """
    RANK: tl.constexpr = len(sizes)
    offset = tl.zeros_like(index)
    for d in tl.static_range(RANK - 1):
        size = unpack(sizes[RANK - 1 - d], WIDE)
        outer = index // size
        offset += (index - outer * size) * unpack(strides[OPERAND * RANK + RANK - 1 - d], WIDE)
        index = outer
    return offset + index * unpack(strides[OPERAND * RANK], WIDE)
