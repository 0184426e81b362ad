"""Whether a parameter's numbers lie where they must: one kernel, of which the host learns later.

The outcome is a byte in pinned memory, which the kernel writes and the host reads whenever it likes: no call of the
driver, which a capture in another thread would forbid.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from ...runtime.language import HAS_TRITON, tl, triton
from ...stream.noise import SIGNIFICAND_BITS
from .direct_launch import Program, launch

# What is checked: no NaN; positive; in [0, 1]; not negative; 0 or a whole number. NaN is in none of them.
REAL, POSITIVE, UNIT_INTERVAL, NONNEGATIVE, WHOLE = range(5)

# One program reads all numbers: no more of them.
MOST = 2**16
_BLOCK = 1024

_UNKNOWN = 255


@triton.jit(do_not_specialize=["n"])
def check_kernel(x_ptr, out_ptr, n, KIND: tl.constexpr, BLOCK: tl.constexpr):
    """Stores 1 if all of n numbers satisfy KIND, else 0."""
    valid = tl.full((BLOCK,), 1, tl.int32)
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + at, mask=at < n, other=1.0)
        if x.dtype != tl.float64:
            x = x.to(tl.float32)
        if KIND == 0:
            good = x == x
        elif KIND == 1:
            good = x > 0
        elif KIND == 2:
            good = (x >= 0) & (x <= 1)
        elif KIND == 3:
            good = x >= 0
        else:
            good = (x >= 0) & (x - tl.floor(x) == 0)  # not of infinity
        valid = valid & good.to(tl.int32)
    tl.store(out_ptr, tl.min(valid, axis=0).to(tl.uint8))


class Outcomes:
    """Bytes of pinned memory, written by devices, taken in turn."""

    def __init__(self, number: int) -> None:
        self.memory = torch.empty(number, dtype=torch.uint8, device="cpu", pin_memory=torch.cuda.is_available())
        self._bytes = (ctypes.c_uint8 * number).from_address(self.memory.data_ptr())
        self._next = 0

    def take(self, device: torch.device) -> Outcome:
        """A byte that nothing has been written to."""
        i = self._next
        self._next = (i + 1) % len(self._bytes)
        self._bytes[i] = _UNKNOWN
        return Outcome(self._bytes, i, self.memory, device)


class Outcome:
    """What a device finds out: true or false, once it has arrived."""

    __slots__ = ("_bytes", "_device", "_i", "_memory")

    def __init__(self, bytes_: Any, i: int, memory: Tensor, device: torch.device) -> None:
        self._bytes, self._i, self._memory, self._device = bytes_, i, memory, device

    @property
    def target(self) -> Tensor:
        """The byte, which 1 or 0 has to be written to."""
        return self._memory[self._i]

    @property
    def address(self) -> int:
        """Where it lies."""
        return self._memory.data_ptr() + self._i

    def query(self) -> bool:
        """Whether it is there."""
        arrived: bool = self._bytes[self._i] != _UNKNOWN
        return arrived

    def synchronize(self) -> None:
        """Wait for it."""
        torch.accelerator.synchronize(self._device)
        if not self.query():  # of a device that has failed, which says so itself
            self._bytes[self._i] = 1

    def __bool__(self) -> bool:
        return bool(self._bytes[self._i] == 1)


def can_check(value: Tensor) -> bool:
    """Whether the kernel reads a tensor."""
    if not HAS_TRITON or value.dtype not in SIGNIFICAND_BITS or not 0 < value.numel() <= MOST:
        return False
    return value.is_contiguous() or not any(value.stride())


def check(value: Tensor, kind: int, out: Tensor) -> Program | None:
    """Launches the check of a tensor that `can_check` accepts."""
    options = {"num_warps": 4, "enable_fp_fusion": False}
    return launch(check_kernel, (1,), value.device, value, out, numbers(value), KIND=kind, BLOCK=_BLOCK, **options)


def numbers(value: Tensor) -> int:
    """How many numbers a tensor that `can_check` accepts has in memory."""
    return value.numel() if any(value.stride()) else 1
