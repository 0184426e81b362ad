"""Where a draw's random bits come from, as operators take it: a few tensors.

A *packed* key is what `torch.func._random` calls a key: a uint64 tensor (seed, offset), the offset counting 128-bit
Philox blocks. A *reservation* is what `torch.Generator.philox_state` returns: three one-element int64 tensors (seed,
offset, intragraph offset), the offsets counting 32-bit words; under graph capture they lie on the GPU. The key of part
of a sample, a box, is either, and behind it a tensor that :mod:`stream.window` describes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

WORDS_PER_BLOCK = 4


class Key(tuple[Tensor, ...]):
    """The tensors of a key: how many there are says what it is, which only this class needs to know.

    Autograd's functions are given a plain tuple of them, in which functorch finds the tensors that it maps.
    """

    __slots__ = ()

    @property
    def is_reservation(self) -> bool:
        return len(self) > 2

    @property
    def box(self) -> Tensor | None:
        """What part of a sample is drawn; None where it is the whole."""
        return None if len(self) % 2 == 1 else self[-1]

    @property
    def whole(self) -> Key:
        """The key without its box."""
        return self if len(self) % 2 == 1 else Key(self[:-1])

    def of_box(self, box: Tensor) -> Key:
        """The key of part of the sample."""
        return Key((*self, box))

    def packed(self) -> Tensor:
        """The packed key of the whole sample, on the device of its tensors."""
        if not self.is_reservation:
            return self[0]
        seed, offset, intragraph = self[:3]
        # uint64 tensors have no shift: shift in int64 and clear the bits that the sign filled in.
        block = ((offset + int(intragraph)) >> 2) & (2**62 - 1)
        return torch.cat((seed, block)).view(torch.uint64)

    def moved(self, blocks: int) -> Key:
        """The key of a draw that begins so many blocks later."""
        if self.is_reservation:
            seed, offset, intragraph = self
            return Key((seed, offset + WORDS_PER_BLOCK * blocks, intragraph))
        seed, offset = self[0].view(torch.int64)
        return Key((torch.stack((seed, offset + blocks)).view(torch.uint64),))


def packed_key(key: Sequence[Tensor]) -> Tensor:
    """The packed key of an operator's key argument; see :meth:`Key.packed`."""
    return Key(key).packed()
