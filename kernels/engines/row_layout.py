"""How rows of weights that broadcast to a draw's shape are laid out in memory.

The elements of a draw of shape (..., K) are numbered row-major, and groups of neighbours share Philox blocks. A row
begins inside a group where K is odd. Kernels walk a row from the group that it begins in, so that wide accesses stay
wide at any K: in weights of the same row-major order, and in the sample, a group is aligned then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..stream.layout import INT31, collapse, pack


@dataclass(frozen=True)
class Rows:
    """The layout of the rows of one tensor.

    Attributes:
        sizes, strides: where rows begin, as the arguments of :func:`stream.layout.strided_offset`.
        step: from a category to the next, in elements.
        aligned: the categories of a row lie side by side, and every group is aligned to 16 bytes.
        wide: indices need 64 bits.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    step: int
    aligned: bool
    wide: bool


def describe_rows(shape: Sequence[int], weights: Tensor, group: int) -> Rows:
    """The layout of weights that broadcast to `shape`, whose last dimension is that of the categories.

    Args:
        group: how many neighbouring elements a lane handles; a power of two.
    """
    given = weights.expand(shape).stride()
    k, step = shape[-1], given[-1] if shape[-1] > 1 else 1
    sizes, (strides,) = collapse(shape[:-1], [given[:-1]])
    if not sizes:
        sizes, strides = [1], [0]
    in_order = len(sizes) == 1 and (sizes[0] == 1 or strides[0] == k)
    in_groups = k % group == 0 and all(s % group == 0 for s in strides)
    aligned = step == 1 and (in_order or in_groups) and weights.data_ptr() % 16 == 0
    rows = extent = 1
    for size, stride in zip(sizes, strides, strict=True):
        rows *= size
        extent += (size - 1) * stride
    wide = max(rows, extent, *(2 * s for s in sizes), *(2 * s for s in strides)) >= INT31
    return Rows(pack(sizes, wide), pack(strides, wide), step, aligned, wide)
