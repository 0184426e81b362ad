"""Words to noise: uniform in [0, 1) and standard normal.

A `Noise` turns the four words of one Philox block into the noise of the elements that the block feeds: four elements
where the compute dtype is float32, two where it is float64. Bits to float and the Box-Muller pairing are those of
PyTorch's stateless kernels (`torch.func._random`), so a noise stream can be checked against an independent
implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .philox import Words

# Bits of the significand, the hidden one included.
SIGNIFICAND_BITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype a map computes in for samples of `dtype`: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def elements_per_block(dtype: torch.dtype) -> int:
    """How many elements of a sample of `dtype` one 128-bit Philox block feeds."""
    return 2 if dtype == torch.float64 else 4


@dataclass(frozen=True)
class Noise:
    """One kind of noise: `from_words(words, dtype)` is the specification, `device` its Triton twin.

    `from_words` takes four int64 word tensors of shape S and the sample's dtype, and returns one tensor of shape S in
    the compute dtype per element of the block, in element order.
    """

    name: str
    from_words: Callable[[Words, torch.dtype], tuple[Tensor, ...]]
    device: Any = None


def _uniform_bits(words: Words, bits: int) -> tuple[Tensor, ...]:
    """Uniform in [0, 1) on a grid of 2**-bits, from the low bits of each word (or pair of words, high word first)."""
    if bits <= 24:
        return tuple((w & ((1 << bits) - 1)).to(torch.float32) * 2.0**-bits for w in words)
    mask = (1 << (bits - 32)) - 1
    return tuple(
        (((words[i] & mask) << 32) | words[i + 1]).to(torch.float64) * 2.0**-bits for i in (0, 2)
    )


def uniform_from_words(words: Words, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """u in [0, 1) with the resolution of the compute dtype: 24 bits, or 53 for float64."""
    return _uniform_bits(words, SIGNIFICAND_BITS[compute_dtype(dtype)])


def native_uniform_from_words(words: Words, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """u in [0, 1) with the resolution of the sample's own dtype: 53, 24, 11 or 8 bits, exact in that dtype.

    Equals `torch.func._random.uniform` bit for bit in every float dtype.
    """
    return _uniform_bits(words, SIGNIFICAND_BITS[dtype])


def normal_from_words(words: Words, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Standard normal by Box and Muller, "A note on the generation of random normal deviates" (1958).

    Radius from the even word and angle from the odd one, both rounded to the middle of their grid cell, so the radius
    never takes log(0): sqrt(-2 log u) reaches 6.66 in float32 (u >= 2**-33) and 9.49 in float64 (u >= 2**-65).
    """
    if compute_dtype(dtype) == torch.float32:
        u = tuple(w.to(torch.float32) * 2.0**-32 + 2.0**-33 for w in words)
    else:
        # One rounding, that of the sum: the product by a power of two and the conversion of 32 bits are exact.
        u = tuple(
            (words[i].to(torch.float64) * 2.0**-32 + words[i + 1].to(torch.float64) * 2.0**-64) + 2.0**-65
            for i in (0, 2)
        )
    noise: list[Tensor] = []
    for even, odd in zip(u[0::2], u[1::2], strict=True):
        radius = torch.sqrt(-2.0 * torch.log(even))
        angle = odd * (2.0 * math.pi)
        noise += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return tuple(noise)


UNIFORM = Noise("uniform", uniform_from_words)
NATIVE_UNIFORM = Noise("native_uniform", native_uniform_from_words)
NORMAL = Noise("normal", normal_from_words)
