"""A window: a box cut out of a sample, drawn without the rest of it.

Noise is numbered by the elements of the whole sample, so a box of it, such as the shard of one GPU, is a draw of its
own as soon as the kernels know which numbers its elements have. Its key tells them: the key of the whole draw, moved on
to the block of the box's first element, and behind it an int64 tensor on the CPU: how many elements the whole sample
has, then its strides along the box's dimensions. The strides are left out where the box is one run of the sample.

The numbers of a box of shape (2, 8) whose strides are (24, 1) are 0 .. 8 and 24 .. 32. Blocks must not straddle it:
the first element begins a block, and the innermost run of the box and all strides but the last are multiples of the
elements of a block; of two blocks, for samples of 2-byte elements.

Draws by inversion (:mod:`engines.inversion`) are numbered themselves, and not their categories. A box of
these may be any: in front of the strides, which are not left out, stands how many draws of the block that the key is
moved on to are before the box's first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..runtime.backend import CPU
from .layout import collapse
from .philox_key import Key


@dataclass(frozen=True)
class Window:
    """The steps from element to element of a box, counted in elements of the whole sample.

    Attributes:
        strides: of the sample along each of the box's dimensions.
    """

    strides: tuple[int, ...]

    def runs(self, shape: Sequence[int], per_block: int = 1) -> tuple[list[int], list[int]]:
        """The sizes and strides of the fewest dimensions that walk a box of `shape`, counted in blocks.

        The last is that of the runs, and has stride 1.
        """
        sizes, (strides,) = collapse(shape, [self.strides])
        if strides[-1] != 1:
            sizes, strides = [*sizes, 1], [*strides, 1]
        return [*sizes[:-1], sizes[-1] // per_block], [*(s // per_block for s in strides[:-1]), strides[-1]]

    def blocks(self, shape: Sequence[int], per_block: int, device: torch.device) -> Tensor:
        """The number of each block of a box of `shape`, less the first: int64 of shape (runs, blocks of a run)."""
        sizes, strides = self.runs(shape, per_block)
        numbers = torch.zeros(1, dtype=torch.int64, device=device)
        for size, stride in zip(sizes, strides, strict=True):
            numbers = numbers.unsqueeze(-1) + torch.arange(size, device=device) * stride
        return numbers.reshape(-1, sizes[-1])


def windowed_key(key: Key, numel: int, strides: Sequence[int] = ()) -> Key:
    """The key of a box of a sample of `numel` elements, from the whole draw's key moved on to the box's first block."""
    return key.of_box(torch.tensor((numel, *strides), dtype=torch.int64, device=CPU))


def split_key(key: Sequence[Tensor], numel: int) -> tuple[Key, int, Window | None]:
    """The key that a box's key begins with, how many elements the whole sample has, and the window if it has gaps.

    Args:
        key: of a draw of `numel` elements, which is the whole sample unless it is a box's key.
    """
    key = Key(key)
    if key.box is None:
        return key, numel, None
    numel, *strides = key.box.tolist()
    return key.whole, numel, Window(tuple(strides)) if strides else None
