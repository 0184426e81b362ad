"""A step of gradient descent on bfloat16 parameters, rounded stochastically, in one kernel.

`parameter - rate * gradient` is computed in float32 and rounded to one of the two bfloat16 numbers next to it, to the
upper one with a probability proportional to its nearness: on average nothing is lost, where rounding to nearest loses
every step that is below half a unit in the last place (Gupta, Agrawal, Gopalakrishnan and Narayanan, "Deep learning
with limited numerical precision", 2015).
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from rsample.kernels import device

BLOCK = 1024


@triton.jit
def rounded(x, bits):
    """A float32 rounded to bfloat16, up where its lower 16 bits and the random ones carry."""
    word = x.to(tl.uint32, bitcast=True)
    finite = (word & 0x7F800000) != 0x7F800000
    word = tl.where(finite, word + bits, word)
    return (word >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.jit
def step_kernel(parameter_ptr, grad_ptr, rate, seed, offset, n, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * BLOCK
    i = start + tl.arange(0, BLOCK)
    parameter = tl.load(parameter_ptr + i, mask=i < n).to(tl.float32)
    grad = tl.load(grad_ptr + i, mask=i < n).to(tl.float32)
    bits = device.bits16(seed, offset, start, BLOCK)
    tl.store(parameter_ptr + i, rounded(parameter - rate * grad, bits), mask=i < n)


def descend(parameter: Tensor, grad: Tensor, rate: float, key: tuple[int, int]) -> None:
    """Moves a bfloat16 parameter, in place; it and its gradient are contiguous, the key is two numbers."""
    n = parameter.numel()
    step_kernel[(triton.cdiv(n, BLOCK),)](parameter, grad, rate, *key, n, BLOCK, enable_fp_fusion=False)
