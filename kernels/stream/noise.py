"""Words to noise: uniform in [0, 1), uniform around 0, standard exponential and standard normal; and two of them.

A `Noise` turns the four words of one Philox block into the noise of the elements that the block feeds: four elements
where the compute dtype is float32, two where it is float64. Bits to float and the Box-Muller pairing are those of
PyTorch's stateless kernels (`torch.func._random`), so a noise stream can be checked against an independent
implementation.
"""

# Triton's front end knows no starred tuples, and names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: RUF005, SIM300
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..formula.devicemath import bits_or, exponential_of_centered, negative_two_log, sincos
from ..runtime.language import tl, triton
from . import compatibility
from .philox import MASK32, Words

# Bits of the significand, the hidden one included.
SIGNIFICAND_BITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype a law computes in for samples of `dtype`: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def elements_per_block(dtype: torch.dtype) -> int:
    """How many elements of a sample of `dtype` one 128-bit Philox block feeds."""
    return 2 if dtype == torch.float64 else 4


@dataclass(frozen=True)
class Noise:
    """One kind of noise: `from_words(words, dtype)` is the specification, `device` its Triton twin.

    `from_words` takes four int64 word tensors of shape S and the sample's dtype, and returns one tensor of shape S in
    the compute dtype per element of the block, in element order. `device(w0, w1, w2, w3, DTYPE, HARDWARE)` does the
    same with uint32 words and Triton's dtype; HARDWARE allows the special-function unit of NVIDIA GPUs.

    `aten_fill(out, key)`, where there is one, fills a tensor with the same noise by ATen's stateless kernel, for eager
    draws, and returns it. Its resolution is that of the compute dtype or, where `native_resolution` is set, of the
    sample's dtype. `of_element(word, dtype)`, for noise whose elements do not share words, takes for each
    element its word as a signed integer, or for float64 samples its two words as one of 64 bits, the high one first.
    """

    name: str
    from_words: Callable[[Words, torch.dtype], tuple[Tensor, ...]]
    aten_fill: compatibility.Fill | None = None
    of_element: Callable[[Tensor, torch.dtype], Tensor] | None = None
    native_resolution: bool = False
    device: Any = None
    values: ClassVar[int] = 1  # of an element

    def elements_per_block(self, dtype: torch.dtype) -> int:
        return elements_per_block(dtype)


@dataclass(frozen=True)
class NoisePair:
    """Two noises of each element, which a law takes as a tuple.

    The first is that of the draw's blocks. The second is made in the same way of the blocks with the same numbers and 1
    as the last counter word, so that all words of both are used.

    `slopes(values, *params)` says how they move with parameters at a fixed probability, where the law's gradients are
    those of such a draw; as in :class:`laws.rejection.noise.LoopNoise`.
    """

    first: Noise
    second: Noise
    slopes: Callable[..., list[tuple[int, int, Tensor]]] | None = None
    values: ClassVar[int] = 2

    @property
    def name(self) -> str:
        return f"{self.first.name}_and_{self.second.name}"

    def elements_per_block(self, dtype: torch.dtype) -> int:
        return elements_per_block(dtype)


def singles(noise: Any) -> tuple[Any, ...]:
    """The one or two noises of an element."""
    return (noise.first, noise.second) if isinstance(noise, NoisePair) else (noise,)


def _uniform_bits(words: Words, bits: int) -> tuple[Tensor, ...]:
    """Uniform in [0, 1) on a grid of 2**-bits, from the low bits of each word (or pair of words, high word first)."""
    if bits <= 24:
        return tuple((w & ((1 << bits) - 1)).to(torch.float32) * 2.0**-bits for w in words)
    mask = (1 << (bits - 32)) - 1
    return tuple((((words[i] & mask) << 32) | words[i + 1]).to(torch.float64) * 2.0**-bits for i in (0, 2))


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
    step = 1 if compute_dtype(dtype) == torch.float32 else 2
    u = tuple(open_unit(words[i], words[i + step - 1], dtype) for i in range(0, 4, step))
    noise: list[Tensor] = []
    for even, odd in zip(u[0::2], u[1::2], strict=True):
        radius = torch.sqrt(-2.0 * torch.log(even))
        angle = odd * (2.0 * math.pi)
        noise += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return tuple(noise)


def open_unit(high: Tensor, low: Tensor, dtype: torch.dtype) -> Tensor:
    """A uniform number in (0, 1), the middle of its cell: of the high word in float32, of both in float64."""
    if compute_dtype(dtype) == torch.float32:
        return high.to(torch.float32) * 2.0**-32 + 2.0**-33
    # One rounding, that of the sum: the product by a power of two and the conversion of 32 bits are exact.
    return (high.to(torch.float64) * 2.0**-32 + low.to(torch.float64) * 2.0**-64) + 2.0**-65


def signed32(word: Tensor) -> Tensor:
    """The signed integer with the bits of a word in [0, 2**32)."""
    return (word ^ (1 << 31)) - (1 << 31)


def signed64(high: Tensor, low: Tensor) -> Tensor:
    """The signed integer, int64, with the low 32 bits of two words."""
    return (high.to(torch.int64) << 32) | (low.to(torch.int64) & MASK32)


def centered_of_element(word: Tensor, dtype: torch.dtype) -> Tensor:
    """t in [-1/2, 1/2], uniform and never 0, from the signed integer of an element: the middle of its cell.

    Both ends of a distribution can be drawn from the neighbourhood of 0, where floating-point numbers are dense: |t|
    reaches down to 2**-33 (float32) or 2**-65 (float64).
    """
    if compute_dtype(dtype) == torch.float32:
        return word.to(torch.float32) * 2.0**-32 + 2.0**-33
    return word.to(torch.float64) * 2.0**-64 + 2.0**-65


def exponential_of_element(word: Tensor, dtype: torch.dtype) -> Tensor:
    """Standard exponential -log(u), u = t for positive t and 1 + t for negative: in [2**-33, 22.9] for float32.

    As 1 - u is -t for negative t, small values are as exact as large ones, and none is 0.
    """
    t = centered_of_element(word, dtype)
    return torch.where(t > 0, -torch.log(t), -torch.log1p(t))


def _from_words(of_element: Callable[[Tensor, torch.dtype], Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    def from_words(words: Words, dtype: torch.dtype) -> tuple[Tensor, ...]:
        if compute_dtype(dtype) == torch.float32:
            return tuple(of_element(signed32(w), dtype) for w in words)
        return tuple(of_element(signed64(words[i], words[i + 1]), dtype) for i in (0, 2))

    return from_words


@triton.jit
def _uniform_of_word(w, BITS: tl.constexpr, LENGTH: tl.constexpr, HARDWARE: tl.constexpr):
    """(w mod 2**BITS) * 2**-BITS * LENGTH in float32, exact, without a conversion instruction; a LENGTH of 1 or 2."""
    if BITS == 24:
        # The low 24 bits of a float32 count units of 2**-149 (subnormals, and on through the first normal binade).
        return (w & 0xFFFFFF).to(tl.float32, bitcast=True) * (LENGTH * 2.0**125)
    else:
        # With the exponent of 2**(23 - BITS) the last significand bit is worth 2**-BITS.
        EXPONENT: tl.constexpr = (127 + 22 - BITS + LENGTH) << 23
        return bits_or(w, (1 << BITS) - 1, EXPONENT, HARDWARE).to(tl.float32, bitcast=True) - (LENGTH << (23 - BITS))


@triton.jit
def _uniform_of_words(high, low, LENGTH: tl.constexpr):
    """53 bits in float64: the low 21 bits of `high` above the 32 of `low`."""
    return (((high & 0x1FFFFF).to(tl.uint64) << 32) | low.to(tl.uint64)).to(tl.float64) * (LENGTH * 2.0**-53)


@triton.jit
def _uniforms(w0, w1, w2, w3, BITS: tl.constexpr, LENGTH: tl.constexpr, HARDWARE: tl.constexpr):
    if BITS == 53:
        return _uniform_of_words(w0, w1, LENGTH), _uniform_of_words(w2, w3, LENGTH)
    else:
        return (
            _uniform_of_word(w0, BITS, LENGTH, HARDWARE),
            _uniform_of_word(w1, BITS, LENGTH, HARDWARE),
            _uniform_of_word(w2, BITS, LENGTH, HARDWARE),
            _uniform_of_word(w3, BITS, LENGTH, HARDWARE),
        )


@triton.jit
def _uniform_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Device twin of :func:`uniform_from_words`."""
    BITS: tl.constexpr = 53 if DTYPE == tl.float64 else 24
    return _uniforms(w0, w1, w2, w3, BITS, 1, HARDWARE)


@triton.jit
def _native_uniform_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Device twin of :func:`native_uniform_from_words`."""
    BITS: tl.constexpr = DTYPE.fp_mantissa_width + 1
    return _uniforms(w0, w1, w2, w3, BITS, 1, HARDWARE)


@triton.jit
def doubled_native_uniform_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Twice the numbers of :func:`native_uniform_from_words`, in [0, 2), at the same cost."""
    BITS: tl.constexpr = DTYPE.fp_mantissa_width + 1
    return _uniforms(w0, w1, w2, w3, BITS, 2, HARDWARE)


@triton.jit
def open_unit_device(high, low, DTYPE: tl.constexpr):
    """Device twin of :func:`open_unit`."""
    if DTYPE == tl.float64:
        return (high.to(tl.float64) * 2.0**-32 + low.to(tl.float64) * 2.0**-64) + 2.0**-65
    else:
        return tl.fma(high.to(tl.float32), 2.0**-32, 2.0**-33)


@triton.jit
def box_muller(even, odd, HARDWARE: tl.constexpr):
    """Two float32 normals from two words.

    The radius takes u rounded as PyTorch rounds it. The angle takes the word as a signed number, which is the same
    angle modulo 2 pi, nearer to 0 and so better rounded.
    """
    radius = tl.sqrt(negative_two_log(open_unit_device(even, even, tl.float32), HARDWARE))
    sin, cos = sincos(odd.to(tl.int32, bitcast=True).to(tl.float32) * (6.283185307179586 * 2.0**-32), HARDWARE)
    return radius * cos, radius * sin


@triton.jit
def _normal_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Device twin of :func:`normal_from_words`."""
    if DTYPE == tl.float64:
        radius = tl.sqrt(-2.0 * tl.log(open_unit_device(w0, w1, DTYPE)))
        angle = open_unit_device(w2, w3, DTYPE) * 6.283185307179586
        return radius * tl.cos(angle), radius * tl.sin(angle)
    else:
        n0, n1 = box_muller(w0, w1, HARDWARE)
        n2, n3 = box_muller(w2, w3, HARDWARE)
        return n0, n1, n2, n3


@triton.jit
def centered_of_words(high, low, DTYPE: tl.constexpr):
    if DTYPE == tl.float64:
        word = ((high.to(tl.uint64) << 32) | low.to(tl.uint64)).to(tl.int64, bitcast=True)
        return tl.fma(word.to(tl.float64), 2.0**-64, 2.0**-65)
    else:
        return tl.fma(high.to(tl.int32, bitcast=True).to(tl.float32), 2.0**-32, 2.0**-33)


@triton.jit
def _centered_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Device twin of :func:`centered_of_element`."""
    if DTYPE == tl.float64:
        return centered_of_words(w0, w1, DTYPE), centered_of_words(w2, w3, DTYPE)
    else:
        return (
            centered_of_words(w0, w0, DTYPE),
            centered_of_words(w1, w1, DTYPE),
            centered_of_words(w2, w2, DTYPE),
            centered_of_words(w3, w3, DTYPE),
        )


@triton.jit
def _exponential_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    """Device twin of :func:`exponential_of_element`."""
    return _exponentials(_centered_device(w0, w1, w2, w3, DTYPE, HARDWARE), False, HARDWARE)


@triton.jit
def _coarse_exponential_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    return _exponentials(_centered_device(w0, w1, w2, w3, DTYPE, HARDWARE), True, HARDWARE)


@triton.jit
def _exponentials(t, COARSE: tl.constexpr, HARDWARE: tl.constexpr):
    noise = ()
    for j in tl.static_range(len(t)):
        noise = noise + (exponential_of_centered(t[j], COARSE, HARDWARE),)
    return noise


UNIFORM = Noise("uniform", uniform_from_words, aten_fill=compatibility.fill_uniform, device=_uniform_device)
NATIVE_UNIFORM = Noise(
    "native_uniform",
    native_uniform_from_words,
    aten_fill=compatibility.fill_uniform,
    native_resolution=True,
    device=_native_uniform_device,
)
NORMAL = Noise("normal", normal_from_words, aten_fill=compatibility.fill_normal, device=_normal_device)
CENTERED = Noise("centered", _from_words(centered_of_element), of_element=centered_of_element, device=_centered_device)
EXPONENTIAL = Noise(
    "exponential", _from_words(exponential_of_element), of_element=exponential_of_element, device=_exponential_device
)
# The same numbers, at fewer instructions on a GPU, for laws that need only a small absolute error.
COARSE_EXPONENTIAL = replace(EXPONENTIAL, device=_coarse_exponential_device)
