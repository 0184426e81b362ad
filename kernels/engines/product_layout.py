"""How the rows of a draw share matrices, and where a row's operands lie.

A row is a draw's last dimension. Rows that share a factor are multiplied by it together, a tile of rows at a time; a
tile's rows differ in one dimension of the batch, the *run*, so that each operand steps evenly through them. The run is
the longest of the collapsed dimensions along which the factor stays. All others are walked by number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..stream.layout import INT31, collapse, pack


@dataclass(frozen=True)
class Walk:
    """Dimensions that are walked by number, as arguments of :func:`stream.layout.strided_offset`."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Batch:
    """The rows of a draw.

    Attributes:
        rows: in the run.
        steps: for each operand, from a row of the run to the next, in elements.
        own: the dimensions along which the factor changes.
        shared: the other dimensions besides the run.
        wide: indices need 64 bits.
    """

    rows: int
    steps: tuple[int, ...]
    own: Walk
    shared: Walk
    wide: bool


def describe_batch(sizes: Sequence[int], own: Sequence[bool], operands: Sequence[Sequence[int]]) -> Batch:
    """The layout of a batch of `sizes`.

    Args:
        own: for each dimension, whether the factor changes along it.
        operands: for each operand, its stride in each dimension; the first one's are the rows' numbers.
    """
    # A stride that only tells dimensions along which the factor changes from others keeps these apart.
    marks = list(row_strides(sizes, own))
    collapsed, (kept, *strides) = collapse(sizes, [marks, *operands])
    runs = [d for d, mark in enumerate(kept) if mark == 0]
    run = max(runs, key=lambda d: collapsed[d], default=None)
    extent = math.prod(sizes)
    for stride in strides:
        extent = max(extent, sum((n - 1) * s for n, s in zip(collapsed, stride, strict=True)))
    wide = max(extent, *(2 * n for n in collapsed or [1]), *(2 * s for row in strides for s in row or [0])) >= INT31

    def walk(dims: Sequence[int]) -> Walk:
        # strided_offset wants at least one dimension.
        chosen = [collapsed[d] for d in dims] or [1]
        steps = [s for stride in strides for s in ([stride[d] for d in dims] or [0])]
        return Walk(pack(chosen, wide), pack(steps, wide), math.prod(chosen))

    return Batch(
        rows=1 if run is None else collapsed[run],
        steps=tuple(0 if run is None else stride[run] for stride in strides),
        own=walk([d for d, mark in enumerate(kept) if mark != 0]),
        shared=walk([d for d in runs if d != run]),
        wide=wide,
    )


def row_strides(sizes: Sequence[int], counted: Sequence[bool] | None = None) -> list[int]:
    """Row-major strides over the dimensions of `sizes` that are counted, and 0 in the others."""
    strides, step = [], 1
    for size, counts in reversed(list(zip(sizes, counted or [True] * len(sizes), strict=True))):
        strides.append(step if counts else 0)
        step *= size if counts else 1
    return strides[::-1]
