"""Philox4x32: a counter and a key in, four 32-bit words out.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3, whose
Philox4x32-10 PyTorch, JAX and Triton use too. The torch function here is the specification; the device function
below it computes the same words.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..runtime.language import tl, triton

ROUNDS = 10
MULTIPLIER_A = 0xD2511F53
MULTIPLIER_B = 0xCD9E8D57
WEYL_A = 0x9E3779B9  # golden ratio
WEYL_B = 0xBB67AE85  # sqrt(3) - 1
MASK32 = 0xFFFFFFFF
# The same for device code, which reads globals only as constexpr.
DEVICE_ROUNDS = tl.constexpr(ROUNDS)
DEVICE_MULTIPLIER_A = tl.constexpr(MULTIPLIER_A)
DEVICE_MULTIPLIER_B = tl.constexpr(MULTIPLIER_B)
DEVICE_WEYL_A = tl.constexpr(WEYL_A)
DEVICE_WEYL_B = tl.constexpr(WEYL_B)

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox4x32(counter: Words, key: tuple[Tensor, Tensor], rounds: int = ROUNDS) -> Words:
    """The four output words of each counter under one key.

    Args:
        counter: four int64 tensors of broadcastable shapes, values in [0, 2**32).
        key: two int64 tensors, values in [0, 2**32).
        rounds: 10 for the stream contract; 7 is the fewest that passes BigCrush.

    Returns:
        Four int64 tensors with values in [0, 2**32). torch has no uint32 arithmetic on all backends; int64
        holds a 32 x 32 bit product modulo 2**64, which is all that is needed.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for i in range(rounds):
        if i > 0:
            k0 = (k0 + WEYL_A) & MASK32
            k1 = (k1 + WEYL_B) & MASK32
        product_a = c0 * MULTIPLIER_A
        product_b = c2 * MULTIPLIER_B
        c0, c1, c2, c3 = (
            ((product_b >> 32) & MASK32) ^ c1 ^ k0,
            product_b & MASK32,
            ((product_a >> 32) & MASK32) ^ c3 ^ k1,
            product_a & MASK32,
        )
    return c0, c1, c2, c3


def philox_blocks(seed: Tensor, block: Tensor, c2: int = 0, c3: int = 0) -> Words:
    """The words of numbered 128-bit blocks of one seed, in the subsequence of counter words c2 and c3.

    Args:
        seed: int64 0-dim tensor, the 64 bits of the Philox key.
        block: int64 tensor of any shape, the 64 bits of counter words 0 and 1.
    """
    high = torch.tensor((c2, c3), device=block.device)
    counter = (block & MASK32, (block >> 32) & MASK32, high[0], high[1])
    return philox4x32(counter, (seed & MASK32, (seed >> 32) & MASK32))


@triton.jit
def halves(x, HARDWARE: tl.constexpr):
    """(low, high): the two words of a uint64.

    On NVIDIA a move of registers, which costs nothing and which LLVM does not look through: what it knows to be halves
    of a product it may widen again, to an exclusive or of 64 bits, and the product then takes three instructions.
    """
    if HARDWARE:
        return tl.inline_asm_elementwise("mov.b64 {$0, $1}, $2;", "=r,=r,l", [x], (tl.uint32, tl.uint32), True, 1)
    else:
        return x.to(tl.uint32), (x >> 32).to(tl.uint32)


@triton.jit
def philox4x32_words(c0, c1, c2, c3, k0, k1, ROUNDS: tl.constexpr, HARDWARE: tl.constexpr, STEP: tl.constexpr = 0):
    """Device twin of :func:`philox4x32` on uint32 values of broadcastable shapes.

    The product is one 64-bit multiplication, of which both halves are used: `tl.umulhi` beside `*` would compile to
    two instructions. Scalars stay scalar: where a counter word is uniform, its half of the first rounds is computed
    once per program, not per lane. The counter is (c0 + STEP, c1, c2, c3), where the sum must not carry: blocks a
    constant apart share a first product.
    """
    for i in tl.static_range(ROUNDS):
        if i > 0:
            k0 += DEVICE_WEYL_A
            k1 += DEVICE_WEYL_B
        product_a = c0.to(tl.uint64) * DEVICE_MULTIPLIER_A
        if i == 0:
            product_a += STEP * DEVICE_MULTIPLIER_A
        low_a, high_a = halves(product_a, HARDWARE)
        low_b, high_b = halves(c2.to(tl.uint64) * DEVICE_MULTIPLIER_B, HARDWARE)
        # The key before the other word: where the high half is uniform too, the lanes are left one exclusive or.
        c0, c1, c2, c3 = high_b ^ k0 ^ c1, low_b, high_a ^ k1 ^ c3, low_a
    return c0, c1, c2, c3
