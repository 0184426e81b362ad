"""Draws inside kernels that a compiler makes: what the code of one tile calls; see :mod:`draws.lowerings`.

The tile is of any shape, and its elements have any numbers in the sample. Where the last dimension runs through the
sample, a lane handles the elements of whole Philox blocks, as in our own kernels; elsewhere each element takes a block
of its own, of which the other words are left unused. The numbers are the same.
"""

# Triton's front end knows no starred tuples, and names in capitals are compile-time constants, not Yoda's.
# ruff: noqa: RUF005
from __future__ import annotations

from ...runtime.language import tl, triton
from ...stream.philox import DEVICE_ROUNDS, philox4x32_words
from .elementwise_kernels import inside
from .tiles import element_of_block, gradients, interleave, of_law


@triton.jit
def _words(seed, offset, block, STREAM: tl.constexpr, HARDWARE: tl.constexpr):
    # The interpreter gives a number the type of its size.
    key = tl.cast(seed, tl.uint64)
    number = tl.cast(offset, tl.uint64) + block
    zero, stream = tl.full((), 0, tl.uint32), tl.full((), STREAM, tl.uint32)
    k0, k1 = key.to(tl.uint32), (key >> 32).to(tl.uint32)
    return philox4x32_words(
        number.to(tl.uint32), (number >> 32).to(tl.uint32), zero, stream, k0, k1, DEVICE_ROUNDS, HARDWARE
    )


@triton.jit
def noise_of_elements(
    seed, offset, index, NOISE: tl.constexpr, DTYPE: tl.constexpr, STREAM: tl.constexpr, HARDWARE: tl.constexpr
):
    """The noise of numbered elements, integers of any shape in any order, of a sample of DTYPE."""
    number = tl.cast(index, tl.uint64)
    PER_BLOCK: tl.constexpr = 2 if tl.float64 == DTYPE else 4
    w0, w1, w2, w3 = _words(seed, offset, number // PER_BLOCK, STREAM, HARDWARE)
    return element_of_block(w0, w1, w2, w3, number, NOISE, DTYPE, HARDWARE)


@triton.jit
def noise_of_tile(
    seed,
    offset,
    index,
    NOISE: tl.constexpr,
    DTYPE: tl.constexpr,
    STREAM: tl.constexpr,
    ALIGNED: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The noise of the elements with the numbers `index`, of its shape.

    Args:
        seed, offset: of the key.
        NOISE: the device function of a noise.
        DTYPE: of the sample.
        STREAM: the last counter word.
        ALIGNED: whether the numbers along the last dimension are consecutive, from a multiple of its size or of what a
            block holds on.
    """
    PER_BLOCK: tl.constexpr = 2 if tl.float64 == DTYPE else 4
    COLUMNS: tl.constexpr = index.shape[len(index.shape) - 1]
    if ALIGNED and COLUMNS % PER_BLOCK == 0:
        # 16 bytes of a sample: of halves two blocks.
        PAIR: tl.constexpr = DTYPE.primitive_bitwidth == 16 and COLUMNS % 8 == 0
        first = _of_groups(index, 8 if PAIR else PER_BLOCK).to(tl.uint64)
        w0, w1, w2, w3 = _words(seed, offset, first // PER_BLOCK, STREAM, HARDWARE)
        noise = NOISE(w0, w1, w2, w3, DTYPE, HARDWARE)
        if PAIR:
            w0, w1, w2, w3 = _words(seed, offset, first // PER_BLOCK + 1, STREAM, HARDWARE)
            noise = noise + NOISE(w0, w1, w2, w3, DTYPE, HARDWARE)
        return interleave(noise).reshape(index.shape)
    else:
        return noise_of_elements(seed, offset, index, NOISE, DTYPE, STREAM, HARDWARE)


@triton.jit
def _of_groups(x, SIZE: tl.constexpr):
    """The first of each SIZE neighbouring elements, 2, 4 or 8, as a vector."""
    first, _ = tl.split(x.reshape(x.numel // 2, 2))
    return first if SIZE == 2 else _of_groups(first, SIZE // 2)


@triton.jit
def _operands(noises, values):
    """The noises and values, of one dtype; the noises of the shape of all together."""
    cast = ()
    first = noises[0]
    for j in tl.static_range(len(values)):
        value = tl.cast(values[j], noises[0].dtype)
        first, _ = tl.broadcast(first, value)
        cast = cast + (value,)
    whole = (first,)
    for j in tl.static_range(1, len(noises)):
        whole = whole + (tl.broadcast_to(noises[j], first.shape),)
    return whole, cast


@triton.jit
def sample(
    noises,
    values,
    TRANSFORM: tl.constexpr,
    LOWER: tl.constexpr,
    UPPER: tl.constexpr,
    END: tl.constexpr,
    DTYPE: tl.constexpr,
    RESULT: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """A sample of DTYPE, rounded to it, as a number of RESULT. `values` are the parameters."""
    noises, values = _operands(noises, values)
    x = inside(TRANSFORM(of_law(noises), *values, HARDWARE), values, LOWER, UPPER, END)
    return tl.broadcast_to(x, noises[0].shape).to(DTYPE).to(RESULT)


@triton.jit
def log_prob(noises, values, LOG_PROB: tl.constexpr, DTYPE: tl.constexpr, RESULT: tl.constexpr, HARDWARE: tl.constexpr):
    """The log-density of the same sample."""
    noises, values = _operands(noises, values)
    return tl.broadcast_to(LOG_PROB(of_law(noises), *values, HARDWARE), noises[0].shape).to(DTYPE).to(RESULT)


@triton.jit
def gradient(
    noises,
    values,
    TRANSFORM_GRAD: tl.constexpr,
    LOG_PROB_GRAD: tl.constexpr,
    AFFINE: tl.constexpr,
    NUMBER: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """The gradient of parameter NUMBER, of the compute dtype. `values` are those that :func:`gradients` takes."""
    noises, values = _operands(noises, values)
    return gradients(noises, values, TRANSFORM_GRAD, LOG_PROB_GRAD, AFFINE, HARDWARE)[NUMBER]
